//! Time as the data plane sees it: a cycle counter to measure with, milliseconds to age with.
#![expect(unsafe_code, reason = "reading the time-stamp counter")]

use std::time::Instant;

/// Milliseconds since the worker began, wrapping after 49 days: compare with [`Millis::since`] only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, zerocopy::FromZeros)]
pub struct Millis(pub u32);

impl Millis {
    /// Milliseconds from `earlier` to here.
    #[inline]
    pub fn since(self, earlier: Millis) -> u32 {
        self.0.wrapping_sub(earlier.0)
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
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}
