//! What is due besides frames, a little at a time.

use super::Worker;
use crate::clock::Millis;
use crate::flow::PortId;
use std::sync::atomic::Ordering::Relaxed;

/// Milliseconds in which the whole flow cache is swept once, every table aged and every link checked.
const PERIOD_MS: u32 = 1000;

/// How far the sweep over the flow cache has come.
#[derive(Default)]
pub(super) struct Sweep {
    cursor: usize,
    /// When the last part was swept.
    last: Millis,
    /// When the last sweep ended.
    ended: Millis,
    /// Frames there had been when this sweep began: without newer ones there is nothing to carry.
    frames: u64,
}

impl Worker {
    /// Does what is due at time `now`: call it often.
    pub fn housekeeping(&mut self, now: Millis) {
        let elapsed = now.since(self.sweep.last);
        let resting = self.sweep.cursor == 0 && now.since(self.sweep.ended) < PERIOD_MS;
        if elapsed == 0 || resting {
            return;
        }
        self.sweep.last = now;
        self.carry_stamps(now, elapsed);
        if self.sweep.cursor == 0 {
            self.sweep.ended = now;
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
        let tables = &mut self.core.tables;
        self.sweep.cursor = self.core.table.sweep(self.sweep.cursor, share.max(64), |key, seen| {
            if now.since(seen) <= 4 * PERIOD_MS {
                tables.refresh(key.port, key.eth_src, seen);
            }
        });
    }

    /// Asks every port whether its link is up, and forgets what was learned on those that are not.
    pub fn check_links(&mut self) {
        for i in 0..self.core.ports.queue_count() {
            if let Some((port, 0)) = self.core.ports.queue_at(i) {
                self.check_link(port);
            }
        }
    }

    fn check_link(&mut self, port: PortId) {
        let up = self.core.ports.queues_mut(port).iter_mut().all(|queue| queue.is_up());
        if let Some(counters) = self.core.ports.counters(port) {
            counters.up.store(up, Relaxed);
        }
        self.core.tables.set_up(port, up);
    }

    fn publish_gauges(&self) {
        let counters = &self.core.counters;
        counters.flow_entries.set(self.core.table.used() as u64);
        counters.pool_free.set(self.core.pool.free_frames() as u64);
        counters.moves.set(self.core.tables.moves());
    }
}
