//! Time as the data plane sees it: a cycle counter to measure with, milliseconds to age with.
#![expect(unsafe_code, reason = "reading the time-stamp counter")]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Milliseconds since the switch began, wrapping after 49 days: compare with [`Millis::since`] and [`Millis::ahead_of`] only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, zerocopy::FromZeros)]
pub struct Millis(pub u32);

impl Millis {
    /// By how much another worker's time may be ahead of one's own: each looks at the clock once a round.
    const SKEW: u32 = 60_000;

    /// Milliseconds from `earlier` to here; 0 where `earlier` is another worker's time, and a little later than here.
    #[inline]
    pub fn since(self, earlier: Millis) -> u32 {
        let elapsed = self.0.wrapping_sub(earlier.0);
        if elapsed > u32::MAX - Millis::SKEW { 0 } else { elapsed }
    }

    /// Milliseconds from `other` to here, negative where `other` is later, of times less than 24 days apart.
    #[inline]
    pub fn ahead_of(self, other: Millis) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// The time `ms` before this.
    #[inline]
    pub fn before(self, ms: u32) -> Millis {
        Millis(self.0.wrapping_sub(ms))
    }

    /// Milliseconds from `begin` to `now`.
    #[inline]
    pub fn between(begin: Instant, now: Instant) -> Millis {
        Millis(now.saturating_duration_since(begin).as_millis() as u32)
    }
}

/// The time-stamp counter where there is one, else nanoseconds: only differences mean anything.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC exists on every x86-64 processor and has no effect but its result.
    return unsafe { std::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// How many ticks of [`ticks`] pass in a time. The first call measures it, for half a millisecond.
pub fn ticks_in(time: Duration) -> i64 {
    static PER_MS: OnceLock<u64> = OnceLock::new();
    let per_ms = *PER_MS.get_or_init(|| {
        let (begin, first) = (Instant::now(), ticks());
        while begin.elapsed() < Duration::from_micros(500) {
            std::hint::spin_loop();
        }
        let (elapsed, spent) = (begin.elapsed().as_nanos() as u64, ticks() - first);
        (spent * 1_000_000 / elapsed.max(1)).max(1)
    });
    (per_ms as i128 * time.as_nanos() as i128 / 1_000_000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_a_little_ahead_is_now() {
        assert_eq!(Millis(5).since(Millis(7)), 0);
        assert_eq!(Millis(7).since(Millis(5)), 2);
        assert_eq!(Millis(1).since(Millis(u32::MAX)), 2, "around the end");
        assert_eq!(Millis(0).since(Millis(u32::MAX / 2)), u32::MAX / 2 + 2, "25 days ago");
        assert_eq!((Millis(5).ahead_of(Millis(7)), Millis(7).ahead_of(Millis(5))), (-2, 2));
    }
}
