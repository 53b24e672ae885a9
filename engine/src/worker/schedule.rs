//! Which queues a worker serves, and how long each.
//!
//! # Theory of operation
//!
//! A queue is *ready* or *parked*. A round serves the ready ones, a batch each; a parked one costs nothing at all, and its
//! descriptor tells when frames come (`idle.rs`). A queue that was empty [`PATIENCE`] times in a row is parked.
//!
//! Where several are ready, each gets an equal share of the worker's time, whatever its frames cost (deficit round robin,
//! Shreedhar and Varghese 1995, counted in ticks of the clock): a visit is charged with all that it took, frames that
//! had to be dropped, copies of floods and segments cut included. A queue in debt waits until it is paid off. A round grants
//! every queue what the last one took that took least of those with more frames than a visit has; where none had more,
//! what the one took that took most; and no more than a [`QUANTUM`]. As a visit cannot be broken off, a queue whose frames are
//! expensive gets fewer of them at a time ([`VISIT`]), and a flood to many ports is done in parts (`flood.rs`).

use super::flood::Pending;
use crate::clock::ticks_in;
use crate::flow::PortId;
use crate::frame::Frame;
use std::time::{Duration, Instant};

/// Times in a row that a queue may be empty before it is parked.
const PATIENCE: u8 = 4;
/// What each ready queue is granted in a round at most.
const QUANTUM: Duration = Duration::from_micros(50);
/// How long a visit should take at most.
const VISIT: Duration = Duration::from_micros(150);

/// One of a worker's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueId {
    pub port: PortId,
    /// Its position among the port's queues at this worker.
    pub queue: usize,
}

/// A ready queue.
struct Turn {
    id: QueueId,
    /// Ticks that it may still use; below 0 it waits.
    credit: i64,
    /// Ticks that a frame of it took lately.
    cost: i64,
    /// Times in a row that it was empty.
    empty: u8,
    /// What is left of the last visit.
    pending: Option<Box<Pending>>,
}

/// The ready queues of a worker.
#[derive(Default)]
pub(super) struct Schedule {
    ready: Vec<Turn>,
    /// By port: a bit for each queue that is ready.
    is_ready: Vec<u64>,
    /// By port: what a frame took when its queues were last ready.
    costs: Vec<u32>,
    /// Queues that may hold frames until some time.
    timed: Vec<QueueId>,
    /// Queues that were empty so often that they may be parked.
    tired: usize,
    /// Shares the time out; otherwise every ready queue is served in every round.
    quantum: Option<i64>,
    visit: i64,
    /// What this round grants.
    grant: i64,
    /// The most that a queue took in this round; 0 while none had frames.
    most: i64,
    /// The least that one took with more frames than its visit had, if there was such a one.
    least: Option<i64>,
}

impl Schedule {
    /// Shares the time out from now on.
    pub fn be_fair(&mut self) {
        self.quantum = Some(ticks_in(QUANTUM));
        self.grant = ticks_in(QUANTUM);
        self.visit = ticks_in(VISIT);
    }

    /// Whether time is shared out, and to be measured.
    #[inline(always)]
    pub fn is_fair(&self) -> bool {
        self.quantum.is_some()
    }

    /// There will be so many ports.
    pub fn reserve(&mut self, ports: usize) {
        if self.is_ready.len() < ports {
            self.is_ready.resize(ports, 0);
            self.costs.resize(ports, 0);
            self.ready.reserve(ports);
        }
    }

    /// Ready queues.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// A queue is served from the next round on.
    #[inline]
    pub fn make_ready(&mut self, id: QueueId) {
        let bit = 1 << (id.queue % 64);
        let Some(bits) = self.is_ready.get_mut(id.port.index()) else { return };
        if *bits & bit == 0 {
            *bits |= bit;
            let cost = i64::from(self.costs[id.port.index()]);
            self.ready.push(Turn { id, credit: 0, cost, empty: 0, pending: None });
        }
    }

    /// A round begins. Where nobody had frames in the last one, nobody wants the time of those in debt.
    #[inline]
    pub fn begin_round(&mut self) {
        let quantum = self.quantum.unwrap_or_default();
        let taken = self.least.take().unwrap_or(self.most);
        self.grant = if taken > 0 { taken.min(quantum) } else { quantum };
        self.most = 0;
    }

    /// The queue at a position, and how many frames of it make a visit; `None` while it has to wait.
    #[inline(always)]
    pub fn turn(&mut self, i: usize, batch: usize) -> Option<(QueueId, usize)> {
        let turn = self.ready.get_mut(i)?;
        let Some(quantum) = self.quantum else { return Some((turn.id, batch)) };
        let owes = turn.credit < 0;
        turn.credit = (turn.credit + self.grant).min(quantum);
        if owes {
            return None;
        }
        let most = if turn.cost * batch as i64 > self.visit { (self.visit / turn.cost).max(1) as usize } else { batch };
        Some((turn.id, most.min(batch)))
    }

    /// Charges the queue at a position with a visit that found `frames` and took `ticks`. `has_more` says that it found as many
    /// as a visit has.
    #[inline]
    pub fn charge(&mut self, i: usize, (frames, has_more): (usize, bool), ticks: u64) {
        let Some(turn) = self.ready.get_mut(i) else { return };
        let spent = ticks.min(i64::MAX as u64 / 2) as i64;
        turn.credit -= spent;
        if frames > 0 {
            turn.cost = (3 * turn.cost + spent / frames as i64) / 4;
            self.most = self.most.max(spent);
        }
        if has_more {
            self.least = Some(self.least.map_or(spent, |least| least.min(spent)));
        }
    }

    /// Notes whether the queue at a position had something.
    #[inline(always)]
    pub fn note(&mut self, i: usize, was_empty: bool) {
        let Some(turn) = self.ready.get_mut(i) else { return };
        turn.empty = if was_empty { turn.empty.saturating_add(1) } else { 0 };
        self.tired += usize::from(turn.empty == PATIENCE);
    }

    /// Pays all debts by as much as the least: nobody else wants the time.
    pub fn forgive(&mut self) {
        let least = self.ready.iter().map(|turn| turn.credit).max().filter(|&credit| credit < 0);
        least.into_iter().for_each(|least| self.ready.iter_mut().for_each(|turn| turn.credit -= least));
    }

    /// Keeps what is left of a visit to the queue at a position.
    pub fn suspend(&mut self, i: usize, pending: Box<Pending>) {
        if let Some(turn) = self.ready.get_mut(i) {
            turn.pending = Some(pending);
        }
    }

    /// Adds a frame to what the next visit to a queue begins with; gives it back where there is no such queue.
    pub fn add(&mut self, id: QueueId, frame: Frame) -> Result<(), Frame> {
        self.make_ready(id);
        let Some(turn) = self.ready.iter_mut().find(|turn| turn.id == id) else { return Err(frame) };
        turn.pending.get_or_insert_default().frames.push(frame);
        Ok(())
    }

    /// What is left of the last visit to the queue at a position.
    #[inline(always)]
    pub fn resume(&mut self, i: usize) -> Option<Box<Pending>> {
        self.ready.get_mut(i)?.pending.take()
    }

    /// Whether a queue has had frames lately, or waits for its turn.
    pub fn is_busy(&self) -> bool {
        self.ready.iter().any(|turn| turn.empty < PATIENCE)
    }

    /// Parks the queues that were empty for long enough, as far as `park` lets go of them.
    #[inline]
    pub fn park_idle(&mut self, park: impl FnMut(QueueId) -> bool) {
        if self.tired > 0 {
            self.park_tired(park);
        }
    }

    fn park_tired(&mut self, mut park: impl FnMut(QueueId) -> bool) {
        self.tired = 0;
        let mut i = 0;
        while i < self.ready.len() {
            let Turn { id, empty, .. } = self.ready[i];
            if empty >= PATIENCE && self.ready[i].pending.is_none() && park(id) {
                self.remove(i);
            } else {
                i += 1;
            }
        }
    }

    fn remove(&mut self, i: usize) -> Turn {
        let turn = self.ready.swap_remove(i);
        let port = turn.id.port.index();
        self.is_ready[port] &= !(1 << (turn.id.queue % 64));
        self.costs[port] = turn.cost.clamp(0, u32::MAX.into()) as u32;
        turn
    }

    /// Lets go of a port; frames that were left of visits go to `free`.
    pub fn forget(&mut self, port: PortId, mut free: impl FnMut(Frame)) {
        while let Some(i) = self.ready.iter().position(|turn| turn.id.port == port) {
            let pending = self.remove(i).pending;
            pending.into_iter().for_each(|pending| pending.into_frames().for_each(&mut free));
        }
        self.timed.retain(|id| id.port != port);
        if let Some(cost) = self.costs.get_mut(port.index()) {
            *cost = 0;
        }
    }

    /// A queue may hold frames until some time.
    pub fn add_timed(&mut self, id: QueueId) {
        self.timed.push(id);
    }

    /// When the first queue must be served that holds frames; those whose time has come are made ready. `due` tells when each
    /// must be.
    pub fn next_due(&mut self, now: Instant, due: impl Fn(QueueId) -> Option<Instant>) -> Option<Instant> {
        let mut first = None;
        for i in 0..self.timed.len() {
            let id = self.timed[i];
            match due(id) {
                Some(at) if at <= now => self.make_ready(id),
                Some(at) => first = Some(first.map_or(at, |first: Instant| first.min(at))),
                None => {}
            }
        }
        first
    }

    /// Whether any queue may hold frames.
    pub fn has_timed(&self) -> bool {
        !self.timed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(port: u16) -> QueueId {
        QueueId { port: PortId(port), queue: 0 }
    }

    fn schedule(ports: u16) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.reserve(usize::from(ports));
        (0..ports).for_each(|port| schedule.make_ready(id(port)));
        schedule
    }

    /// Queues whose visits cost differently get the same time.
    #[test]
    fn time_is_shared_whatever_frames_cost() {
        let mut schedule = schedule(3);
        schedule.be_fair();
        let quantum = schedule.quantum.unwrap() as u64;
        let cost = [quantum / 10, quantum * 3, quantum * 40];
        let mut spent = [0; 3];
        for _ in 0..40_000 {
            let mut served = false;
            schedule.begin_round();
            for i in 0..schedule.len() {
                if let Some((id, _)) = schedule.turn(i, 64) {
                    let port = id.port.index();
                    spent[port] += cost[port];
                    schedule.charge(i, (64, true), cost[port]);
                    served = true;
                }
            }
            if !served {
                schedule.forgive();
            }
        }
        let shares = [0, 1].map(|port| spent[port] as f64 / spent[2] as f64);
        assert!(shares.iter().all(|share| (0.9..1.1).contains(share)), "{spent:?}");
    }

    #[test]
    fn expensive_frames_come_few_at_a_time() {
        let mut schedule = schedule(1);
        schedule.be_fair();
        let visit = schedule.visit as u64;
        for _ in 0..50 {
            schedule.charge(0, (1, false), visit / 4);
            schedule.forgive();
        }
        let (_, most) = schedule.turn(0, 64).unwrap();
        assert!((4..=5).contains(&most), "{most}");
        schedule.park_idle(|_| true);
        assert_eq!(schedule.len(), 1);
    }

    #[test]
    fn a_queue_without_frames_is_parked_and_ready_again_when_told() {
        let mut schedule = schedule(2);
        for _ in 0..PATIENCE {
            schedule.note(0, true);
            schedule.note(1, false);
        }
        schedule.park_idle(|_| true);
        assert_eq!((schedule.len(), schedule.is_busy()), (1, true));
        schedule.make_ready(id(0));
        schedule.make_ready(id(0));
        assert_eq!(schedule.len(), 2);
    }
}
