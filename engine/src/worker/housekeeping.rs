//! What is due besides frames, a little at a time.

use super::Worker;
use crate::clock::Millis;
use crate::flow::PortId;
use std::time::Duration;

/// Milliseconds in which the whole flow cache is swept once, every table aged and every link checked.
const PERIOD_MS: u32 = 1000;
/// Most links that are looked at together.
const LINKS: usize = 128;
/// Longest sleep while more is due than is done at once.
const BREATH: Duration = Duration::from_millis(1);

/// How far housekeeping has come.
#[derive(Default)]
pub(super) struct Sweep {
    cursor: usize,
    /// When it was last done.
    last: Millis,
    /// When this sweep over the flow cache began, or the last one while none is under way.
    began: Millis,
    /// Frames there had been when this sweep began: without newer ones there is nothing to carry.
    frames: u64,
    /// Links that are due: of all, and of those that are down.
    links: Due,
    down: Due,
    /// More is due.
    is_behind: bool,
}

/// How much of something that is done so many times a second is due, in thousandths.
#[derive(Default)]
struct Due(usize);

impl Due {
    /// Takes what is due after `elapsed` milliseconds, or [`LINKS`] of it.
    fn take(&mut self, per_second: usize, elapsed: u32) -> usize {
        let due = (self.0 + per_second * elapsed as usize).min(per_second * PERIOD_MS as usize);
        let now = (due / PERIOD_MS as usize).min(LINKS);
        self.0 = due - now * PERIOD_MS as usize;
        now
    }

    /// Whether nothing more is due now.
    fn is_paid(&self) -> bool {
        self.0 < PERIOD_MS as usize
    }
}

impl Worker {
    /// Does what is due at time `now`, or a little of it: call it often.
    pub fn housekeeping(&mut self, now: Millis) {
        let elapsed = now.since(self.sweep.last).min(PERIOD_MS);
        if elapsed == 0 {
            return;
        }
        self.sweep.last = now;
        self.core.now = now;
        self.core.watch_loops();
        let carries = self.sweep.cursor > 0 || now.since(self.sweep.began) >= PERIOD_MS;
        if carries {
            if self.sweep.cursor == 0 {
                self.sweep.began = now;
            }
            self.carry_stamps(now, elapsed);
        }
        // What cached flows have seen is carried over within a second.
        let is_swept = self.core.tables.sweep(now.before(PERIOD_MS), elapsed);
        let are_links_checked = self.check_some_links(elapsed);
        self.sweep.is_behind = !is_swept || !are_links_checked;
        if carries && self.sweep.cursor == 0 {
            self.publish_gauges();
        }
    }

    /// How long housekeeping may wait at most.
    pub(super) fn patience(&self) -> Duration {
        if self.sweep.is_behind { BREATH } else { Duration::from_millis(PERIOD_MS.into()) }
    }

    /// Carries the stamps of the fast path over to the forwarding databases, for the part of the flow cache that
    /// `elapsed` milliseconds stand for.
    fn carry_stamps(&mut self, now: Millis, elapsed: u32) {
        let frames = self.core.counters.frames.get();
        if self.sweep.cursor == 0 && std::mem::replace(&mut self.sweep.frames, frames) == frames {
            return;
        }
        let share = self.core.table.capacity() * elapsed as usize / PERIOD_MS as usize;
        let tables = &mut self.core.tables;
        self.sweep.cursor = self.core.table.sweep(self.sweep.cursor, share.max(64), |key, epoch, seen| {
            if now.since(seen) <= 3 * PERIOD_MS {
                tables.refresh(key, seen);
            }
            tables.epoch(key.port) == epoch
        });
    }

    /// Asks the ports whose turn comes within `elapsed` milliseconds whether their links are up; false when some are due still.
    fn check_some_links(&mut self, elapsed: u32) -> bool {
        let [all, down] = self.core.ports.links_a_second();
        let turns = [self.sweep.links.take(all, elapsed), self.sweep.down.take(down, elapsed)];
        for _ in 0..turns[0] {
            self.core.ports.next_link().into_iter().for_each(|port| self.check_link(port));
        }
        for _ in 0..turns[1] {
            self.core.ports.next_down().into_iter().for_each(|port| self.check_link(port));
        }
        self.sweep.links.is_paid() && self.sweep.down.is_paid()
    }

    /// Asks every port whether its link is up, and forgets what was learned on those that are not.
    pub fn check_links(&mut self) {
        (0..=u16::MAX).map(PortId).take(self.core.ports.slot_count()).for_each(|port| self.check_link(port));
    }

    fn check_link(&mut self, port: PortId) {
        if let Some(up) = self.core.ports.check_link(port) {
            self.core.tables.set_up(port, up);
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
