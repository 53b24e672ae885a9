//! What is due besides frames, a little at a time.

use super::Worker;
use crate::clock::Millis;
use crate::flow::PortId;

/// Milliseconds in which the whole flow cache is swept once, every table aged and every link checked.
const PERIOD_MS: u32 = 1000;

/// How far the sweep over the flow cache has come.
#[derive(Default)]
pub(super) struct Sweep {
    cursor: usize,
    /// When the last part was swept.
    last: Millis,
    /// When this sweep began, or the last one while none is under way.
    began: Millis,
    /// Frames there had been when this sweep began: without newer ones there is nothing to carry.
    frames: u64,
}

impl Worker {
    /// Does what is due at time `now`: call it often.
    pub fn housekeeping(&mut self, now: Millis) {
        let elapsed = now.since(self.sweep.last);
        if elapsed == 0 {
            return;
        }
        self.sweep.last = now;
        if self.sweep.cursor == 0 {
            if now.since(self.sweep.began) < PERIOD_MS {
                return;
            }
            self.sweep.began = now;
        }
        self.carry_stamps(now, elapsed);
        if self.sweep.cursor == 0 {
            self.core.tables.age(now);
            self.check_links();
        }
        self.publish_gauges();
    }

    /// Carries the stamps of the fast path over to the forwarding databases, for the part of the flow cache that
    /// `elapsed` milliseconds stand for.
    fn carry_stamps(&mut self, now: Millis, elapsed: u32) {
        let frames = self.core.counters.frames.get();
        if self.sweep.cursor == 0 && std::mem::replace(&mut self.sweep.frames, frames) == frames {
            return;
        }
        let share = self.core.table.capacity() * elapsed.min(PERIOD_MS) as usize / PERIOD_MS as usize;
        let epoch = self.core.tables.epoch();
        let tables = &mut self.core.tables;
        self.sweep.cursor = self.core.table.sweep(self.sweep.cursor, share.max(64), epoch, |key, seen| {
            if now.since(seen) <= 3 * PERIOD_MS {
                tables.refresh(key, seen);
            }
        });
    }

    /// Asks every port whether its link is up, and forgets what was learned on those that are not.
    pub fn check_links(&mut self) {
        for port in (0..=u16::MAX).map(PortId).take(self.core.ports.slot_count()) {
            if let Some(up) = self.core.ports.check_link(port) {
                self.core.tables.set_up(port, up);
            }
        }
    }

    fn publish_gauges(&self) {
        let counters = &self.core.counters;
        counters.flow_entries.set(self.core.table.used() as u64);
        counters.pool_free.set(self.core.pool.free_frames() as u64);
        counters.moves.set(self.core.tables.moves());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Arena;
    use crate::worker::WorkerConfig;

    #[test]
    fn a_sweep_is_spread_over_its_period() {
        let arena = Arena::new(64, 8).unwrap();
        let config = WorkerConfig { flows: 1 << 16, ..WorkerConfig::default() };
        let mut worker = Worker::new(config, &arena, Vec::new()).unwrap();
        let (mut last, mut sweeps) = (0, 0);
        for now in 1..5000 {
            worker.core.counters.frames.add(1);
            worker.housekeeping(Millis(now));
            let cursor = worker.sweep.cursor;
            let step = if cursor >= last { cursor - last } else { worker.core.table.capacity() - last };
            assert!(step <= worker.core.table.capacity() / 500, "{step} ways in one millisecond");
            sweeps += usize::from(cursor < last);
            last = cursor;
        }
        assert!((3..=4).contains(&sweeps), "{sweeps} in five seconds");
    }
}
