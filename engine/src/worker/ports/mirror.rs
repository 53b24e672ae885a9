//! Mirrors: copies of what passes a port, that another port shows.
//!
//! # Theory of operation
//!
//! Frames that come in are copied as they were received, before anything is decided, those that are dropped then too. Frames
//! that leave are copied when they are handed to the queue, with the tags and the offloads that they have there, by the worker
//! that has the queue. Captures see the same at the same places.
//!
//! A copy waits in a batch of its own at the port that shows it ([`Slot::shows`]), or at the worker that has that port's queue, and
//! leaves past all mirrors: a copy is never copied again, whoever mirrors to whom. It is cut and completed as any frame is, but not
//! joined with others. What the port does not take is dropped there by name; what is mirrored never notices. A port that is not
//! open shows nothing, and nothing is made for it.
//!
//! Copies count as generated at the port that is mirrored, and the time that they take is that of whoever's visit it is.

use super::{Ports, Slot};
use crate::capture::{Direction, Watch};
use crate::drop::DropReason;
use crate::flow::PortId;
use crate::frame::{Batch, Frame, Pool};
use crate::tables::topology::MirrorTo;
use crate::worker::peers::Errand;
use std::sync::atomic::Ordering::Relaxed;

impl Ports {
    /// Where copies of a port's frames go from now on. Not to itself.
    pub fn set_mirror(&mut self, port: PortId, mirror: Option<MirrorTo>) {
        if let Some(slot) = self.slot(port) {
            slot.mirror = mirror.filter(|mirror| mirror.to != port);
        }
    }

    /// Frames came in by a port that has a mirror.
    #[cold]
    pub(super) fn mirror_in(&mut self, port: PortId, frames: &mut [Frame], pool: &mut Pool) {
        let mirror = self.slot(port).and_then(|slot| slot.mirror).filter(|mirror| mirror.ingress);
        mirror.into_iter().for_each(|mirror| self.mirror(port, mirror.to, frames, pool));
    }

    /// Frames leave by a port that may have a mirror.
    #[inline]
    pub(super) fn mirror_out(&mut self, port: PortId, frames: &mut [Frame], pool: &mut Pool) {
        if let Some(mirror) = self.slot(port).and_then(|slot| slot.mirror).filter(|mirror| mirror.egress) {
            self.mirror(port, mirror.to, frames, pool);
        }
    }

    /// The frames that wait at a port which has a mirror are about to leave, if they do so here.
    #[cold]
    pub(super) fn mirror_waiting(&mut self, port: PortId, pool: &mut Pool) {
        let Some(slot) = self.slot(port).filter(|slot| !slot.queues.is_empty()) else { return };
        let mut out = std::mem::replace(&mut slot.out, Batch::none());
        self.mirror_out(port, &mut out, pool);
        self.slot(port).into_iter().for_each(|slot| slot.out = std::mem::replace(&mut out, Batch::none()));
    }

    #[cold]
    fn mirror(&mut self, from: PortId, to: PortId, frames: &mut [Frame], pool: &mut Pool) {
        if self.slot(to).is_none() {
            return;
        }
        for frame in frames {
            self.counters(from).into_iter().for_each(|count| count.generated.add(1));
            match self.show_copy(to, frame, pool) {
                // That there is no memory is nobody's fault at the far end.
                Err(DropReason::PoolEmpty) => self.lose(from, Direction::In, frame, DropReason::PoolEmpty),
                Err(reason) => self.lose(to, Direction::Out, frame, reason),
                Ok(()) => {}
            }
        }
    }

    /// Counts a copy that was not made.
    fn lose(&mut self, port: PortId, direction: Direction, frame: &Frame, reason: DropReason) {
        self.counters(port).into_iter().for_each(|count| count.count_drop(reason));
        Watch { tap: &mut self.tap, port, direction }.dropped(frame, reason);
    }

    /// Shows a copy of a frame that stays where it is, without one where the port copies anyway.
    fn show_copy(&mut self, to: PortId, frame: &mut Frame, pool: &mut Pool) -> Result<(), DropReason> {
        let slot = self.screen(to, frame)?;
        let lends = !slot.queues.is_empty() && slot.shows.is_empty() && slot.takes.takes(frame);
        if lends && self.lend(to, frame, pool) {
            return Ok(());
        }
        let copy = pool.copy(frame).ok_or(DropReason::PoolEmpty)?;
        self.wait_to_be_shown(to, copy, pool);
        Ok(())
    }

    /// Shows a copy.
    ///
    /// # Errors
    /// The copy, and why the port does not take it.
    pub fn show(&mut self, to: PortId, copy: Frame, pool: &mut Pool) -> Result<(), (Frame, DropReason)> {
        if let Err(reason) = self.screen(to, &copy) {
            return Err((copy, reason));
        }
        self.wait_to_be_shown(to, copy, pool);
        Ok(())
    }

    /// The port that is to show a frame, if it can.
    fn screen(&mut self, to: PortId, frame: &Frame) -> Result<&mut Slot, DropReason> {
        let slot = self.lane(to, frame)?;
        if slot.up.load(Relaxed) { Ok(slot) } else { Err(DropReason::PortDown) }
    }

    /// Adds a copy to those that a port is to show. They leave at the end of the visit, or when no more fit.
    fn wait_to_be_shown(&mut self, to: PortId, copy: Frame, pool: &mut Pool) {
        let Ports { slots, spares, batch, .. } = self;
        let Some(Some(slot)) = slots.get_mut(to.index()) else { return pool.free(copy) };
        if slot.shows.is_empty() {
            slot.shows = spares.pop().unwrap_or_else(|| Batch::new(*batch));
        }
        slot.shows.push_within(copy);
        let is_full = slot.shows.room() == 0;
        self.note_waiting(to);
        if is_full {
            self.flush_shown(to, pool);
        }
    }

    /// Hands the copies that wait at a port to its queue.
    #[cold]
    pub(super) fn flush_shown(&mut self, port: PortId, pool: &mut Pool) {
        let Some(slot) = self.slot(port) else { return };
        let shown = std::mem::replace(&mut slot.shows, Batch::none());
        self.dispatch(Errand::Show(port), port, shown, pool);
    }
}
