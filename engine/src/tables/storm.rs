//! Storm control: how many flooded frames a second a port may cause.
//!
//! The workers that receive from a port share its buckets, so that a cap is one of the port, however many queues it has. Taking a
//! token is one atomic operation, on a cache line that only they touch, for frames that are copied anyway.

use crate::clock::Millis;
use crate::flow::FloodKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Caps in frames per second; absent means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StormCaps {
    /// Broadcast frames.
    pub broadcast: Option<u32>,
    /// Other group frames.
    pub multicast: Option<u32>,
    /// Unicast frames to unknown destinations.
    pub unknown: Option<u32>,
}

impl StormCaps {
    /// The cap on floods of a kind.
    pub fn of(&self, kind: FloodKind) -> Option<u32> {
        match kind {
            FloodKind::Broadcast => self.broadcast,
            FloodKind::Multicast => self.multicast,
            FloodKind::Unknown => self.unknown,
        }
    }
}

/// What a port may still flood, of each kind. A clone is a copy; [`Buckets::share`] gives the same ones.
#[derive(Debug, Default)]
pub struct Buckets(Arc<[Bucket; 3]>);

impl Buckets {
    /// The same buckets, for another worker.
    pub fn share(&self) -> Buckets {
        Buckets(self.0.clone())
    }

    /// The bucket for floods of a kind.
    pub fn of(&self, kind: FloodKind) -> &Bucket {
        &self.0[kind as usize]
    }
}

impl Clone for Buckets {
    fn clone(&self) -> Buckets {
        Buckets(Arc::new(std::array::from_fn(|kind| Bucket(AtomicU64::new(self.0[kind].0.load(Relaxed))))))
    }
}

impl PartialEq for Buckets {
    /// Ports of the same description are equal, whatever they have flooded.
    fn eq(&self, _other: &Buckets) -> bool {
        true
    }
}

impl Eq for Buckets {}

/// A token bucket of one second's worth.
///
/// Half of the word is when it was filled last, in milliseconds, the other half the level: all ones is full, whatever the cap,
/// so a millisecond fills it by the same amount and loses nothing to rounding.
#[derive(Debug)]
pub struct Bucket(AtomicU64);

impl Default for Bucket {
    fn default() -> Bucket {
        Bucket::full()
    }
}

impl Bucket {
    const FULL: u64 = u32::MAX as u64;
    /// What a millisecond adds.
    const MILLISECOND: u64 = Bucket::FULL.div_ceil(1000);

    fn full() -> Bucket {
        Bucket(AtomicU64::new(Bucket::FULL))
    }

    /// Takes one frame's token; false when the cap is reached.
    pub fn admit(&self, per_second: u32, now: Millis) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |state| Bucket::after(state, per_second, now)).is_ok()
    }

    /// Whether a frame's token could be taken.
    pub fn would_admit(&self, per_second: u32, now: Millis) -> bool {
        Bucket::after(self.0.load(Relaxed), per_second, now).is_some()
    }

    /// The state after a token was taken, if there is one. A refusal leaves it as it is: what was filled in is not lost.
    fn after(state: u64, per_second: u32, now: Millis) -> Option<u64> {
        let (filled, level) = (Millis((state >> 32) as u32), state & Bucket::FULL);
        let elapsed = now.since(filled);
        let level = Bucket::FULL.min(level + u64::from(elapsed.min(1000)) * Bucket::MILLISECOND);
        let price = Bucket::FULL.checked_div(per_second.into())?;
        let left = level.checked_sub(price)?;
        // Another worker may have filled it a little later than our now.
        let filled = if elapsed == 0 { filled } else { now };
        Some(u64::from(filled.0) << 32 | left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_passes_the_burst_and_the_rate() {
        for cap in [1, 10, 100, 999, 12_345] {
            let bucket = Bucket::default();
            let burst = (0..3 * cap).filter(|_| bucket.admit(cap, Millis(5000))).count();
            assert_eq!(burst, cap as usize);
            let tries = |second: u32| (0..4 * cap).map(move |n| Millis(5000 + 1000 * second + n * 250 / cap));
            let rate = (0..10).flat_map(tries).filter(|now| bucket.admit(cap, *now)).count();
            let expected = 10 * cap as usize;
            assert!(rate.abs_diff(expected) <= 1 + expected / 4 + 1, "{rate} at {cap}");
        }
    }

    #[test]
    fn ten_seconds_pass_ten_times_the_rate() {
        for cap in [1, 10, 100, 999, 12_345, 500_000] {
            let bucket = Bucket::default();
            while bucket.admit(cap, Millis(0)) {}
            let mut passed = 0;
            for now in 1..=10_000 {
                passed += (0..cap).take_while(|_| bucket.admit(cap, Millis(now))).count();
            }
            assert!(passed.abs_diff(10 * cap as usize) <= 1 + cap as usize / 500, "{passed} at {cap}");
        }
    }

    #[test]
    fn zero_admits_nothing() {
        assert!(!Bucket::default().admit(0, Millis(0)));
        assert!(!Bucket::default().would_admit(0, Millis(0)));
    }

    #[test]
    fn a_look_takes_nothing() {
        let bucket = Bucket::default();
        assert!((0..10).all(|_| bucket.would_admit(1, Millis(0))));
        assert!(bucket.admit(1, Millis(0)) && !bucket.would_admit(1, Millis(0)));
    }

    /// Milliseconds wrap after 49 days, and two workers do not read the clock at the same moment.
    #[test]
    fn the_clock_may_wrap_and_go_back_a_little() {
        let bucket = Bucket::default();
        let empty = |now| while bucket.admit(10, Millis(now)) {};
        empty(u32::MAX - 100_000);
        empty(u32::MAX - 50);
        assert!(!bucket.admit(10, Millis(u32::MAX - 100)), "nothing is won by going back");
        assert!(!bucket.admit(10, Millis(48)), "99 ms are not a tenth of a second");
        assert!(bucket.admit(10, Millis(50)));
        empty(50);
        assert!(bucket.admit(10, Millis(50 + (1 << 31))), "after 24 days it is full");
        empty(50 + (1 << 31));
        assert!(bucket.admit(10, Millis((1 << 31) - 100_000)), "after 49 days");
    }

    #[test]
    fn workers_share_and_copies_do_not() {
        let buckets = Buckets::default();
        let kind = FloodKind::Broadcast;
        let (shared, copy) = (buckets.share(), buckets.clone());
        assert!(buckets.of(kind).admit(1, Millis(0)));
        assert!(!shared.of(kind).would_admit(1, Millis(0)) && copy.of(kind).would_admit(1, Millis(0)));
        assert!(shared.of(FloodKind::Unknown).admit(1, Millis(0)), "each kind has its own");
    }
}
