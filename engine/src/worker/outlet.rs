//! Where frames go that leave a program: into the ports' batches, or to an end with a name.

use super::peers::Errand;
use super::ports::Ports;
use crate::capture::{Direction, Watch};
use crate::drop::DropReason;
use crate::execute::Egress;
use crate::flow::PortId;
use crate::frame::{Frame, Pool};
use crate::stats::PortCounters;

/// The ports, seen by a program that runs on a frame from `ingress`.
pub(super) struct Outlet<'a> {
    pub ports: &'a mut Ports,
    pub ingress: PortId,
}

impl<'a> Outlet<'a> {
    /// For a frame that came in by a port of this worker, or whose ingress is known.
    #[inline(always)]
    pub fn new(ports: &'a mut Ports, ingress: PortId) -> Outlet<'a> {
        Outlet { ports, ingress }
    }

    /// Counts at the ingress port.
    #[inline]
    fn count(&self, count: impl FnOnce(&PortCounters)) {
        count(self.ports.counters(self.ingress).unwrap_or(&self.ports.strays));
    }

    /// Counts at the port that a frame cannot leave by; at the ingress where that port is gone.
    #[cold]
    fn refuse(&mut self, port: PortId, frame: Frame, reason: DropReason, pool: &mut Pool) {
        self.refuse_copy(port, &frame, reason);
        pool.free(frame);
    }

    /// The same of a copy that was not made.
    #[cold]
    fn refuse_copy(&mut self, port: PortId, frame: &Frame, reason: DropReason) {
        match self.ports.counters(port) {
            // That there is no memory is nobody's fault at the far end.
            Some(counters) if reason != DropReason::PoolEmpty => {
                counters.count_drop(reason);
                Watch { tap: &mut self.ports.tap, port, direction: Direction::Out }.dropped(frame, reason);
            }
            _ => {
                self.count(|c| c.count_drop(reason));
                self.watch().dropped(frame, reason);
            }
        }
    }

    /// Sends a copy, made for a port to show, that another worker handed over.
    pub fn show(&mut self, port: PortId, copy: Frame, pool: &mut Pool) {
        if let Err((copy, reason)) = self.ports.show(port, copy, pool) {
            self.refuse(port, copy, reason, pool);
        }
    }

    fn watch(&mut self) -> Watch<'_> {
        Watch { tap: &mut self.ports.tap, port: self.ingress, direction: Direction::In }
    }

    /// Sends an answer back where its question came from; `None` when there was no memory for it.
    pub fn answer(&mut self, answer: Option<Frame>, pool: &mut Pool) {
        match answer {
            Some(frame) => self.output(self.ingress, frame, pool),
            None => {
                self.count(|c| c.count_drop(DropReason::PoolEmpty));
                self.watch().dropped_unseen(0, DropReason::PoolEmpty);
            }
        }
    }

    /// Ends a frame of which copies have left, the last of them in its place.
    pub fn end_of_copies(&mut self, frame: Frame, pool: &mut Pool) {
        self.count(|c| c.generated.take_back(1));
        pool.free(frame);
    }

    /// Hands a copy of a frame over to another worker.
    pub fn hand_over(&mut self, worker: usize, errand: Errand, frame: &Frame, pool: &mut Pool) {
        self.count(|c| c.generated.add(1));
        match pool.copy(frame) {
            Some(copy) => self.ports.hand_over(worker, errand, copy, pool),
            None => {
                self.count(|c| c.count_drop(DropReason::PoolEmpty));
                self.watch().dropped(frame, DropReason::PoolEmpty);
            }
        }
    }
}

impl Egress for Outlet<'_> {
    #[inline(always)]
    fn output(&mut self, port: PortId, frame: Frame, pool: &mut Pool) {
        if let Err((frame, reason)) = self.ports.output(port, frame, pool) {
            self.refuse(port, frame, reason, pool);
        }
    }

    fn output_copy(&mut self, port: PortId, frame: &mut Frame, pool: &mut Pool) {
        self.count(|c| c.generated.add(1));
        if let Err(reason) = self.ports.output_copy(port, frame, pool) {
            self.refuse_copy(port, frame, reason);
        }
    }

    #[cold]
    fn drop(&mut self, frame: Frame, reason: DropReason, pool: &mut Pool) {
        self.count(|c| c.count_drop(reason));
        self.watch().dropped(&frame, reason);
        pool.free(frame);
    }
}
