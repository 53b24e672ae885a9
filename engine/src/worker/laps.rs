//! The time that the phases of a round take, for those who measure.

use crate::clock::ticks;

/// Ticks spent in each phase of [`Worker::poll_timed`](super::Worker::poll_timed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTicks {
    /// Taking frames from the ports, and asking their guards.
    pub receive: u64,
    /// Parsing and hashing.
    pub classify: u64,
    /// Finding cache entries.
    pub probe: u64,
    /// Verifying, compiling misses, executing.
    pub run: u64,
    /// Handing frames to the ports.
    pub flush: u64,
}

/// What may watch the phases of a round.
pub(super) trait Laps {
    /// The first phase begins.
    fn start(&mut self);
    /// A phase ended; its time goes where `phase` says.
    fn lap(&mut self, phase: impl Fn(&mut PhaseTicks) -> &mut u64);
}

impl Laps for () {
    #[inline(always)]
    fn start(&mut self) {}
    #[inline(always)]
    fn lap(&mut self, _phase: impl Fn(&mut PhaseTicks) -> &mut u64) {}
}

/// Adds the time of each phase to a sum.
pub(super) struct Stopwatch<'a> {
    pub spent: &'a mut PhaseTicks,
    pub last: u64,
}

impl Laps for Stopwatch<'_> {
    fn start(&mut self) {
        self.last = ticks();
    }

    fn lap(&mut self, phase: impl Fn(&mut PhaseTicks) -> &mut u64) {
        let now = ticks();
        *phase(self.spent) += now - std::mem::replace(&mut self.last, now);
    }
}
