//! Storm control: how many flooded frames a second a port may cause.

use crate::clock::Millis;

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

/// A token bucket of one second's worth, refilled by the millisecond.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// Thousandths of a frame.
    tokens: u64,
    filled: Option<Millis>,
}

impl Bucket {
    /// Takes one frame's token; false when the cap is reached.
    pub fn admit(&mut self, per_second: u32, now: Millis) -> bool {
        let full = u64::from(per_second) * 1000;
        let elapsed = self.filled.map_or(u32::MAX, |then| now.since(then));
        self.tokens = full.min(self.tokens + u64::from(elapsed) * u64::from(per_second));
        self.filled = Some(now);
        let admitted = self.tokens >= 1000;
        self.tokens -= if admitted { 1000 } else { 0 };
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_passes_the_burst_and_the_rate() {
        let mut bucket = Bucket::default();
        let burst = (0..1000).filter(|_| bucket.admit(100, Millis(5))).count();
        assert_eq!(burst, 100);
        let rate = (0..10_000u32).filter(|i| bucket.admit(100, Millis(5 + i / 10))).count();
        assert!((98..=101).contains(&rate), "{rate}");
    }

    #[test]
    fn zero_admits_nothing() {
        assert!(!Bucket::default().admit(0, Millis(0)));
    }
}
