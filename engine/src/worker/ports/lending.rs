//! Frames that stay where they are, lent to ports that copy anyway.

use super::Ports;
use crate::capture::{Direction, Watch};
use crate::drop::DropReason;
use crate::flow::PortId;
use crate::frame::{Frame, Pool};
use crate::ports::Io;

impl Ports {
    /// Sends a copy of a frame that stays where it is, without one where the port copies anyway. Frames that wait for the port
    /// leave first.
    ///
    /// # Errors
    /// Why the port does not take it: nothing was counted.
    #[inline]
    pub fn output_copy(&mut self, port: PortId, frame: &mut Frame, pool: &mut Pool) -> Result<(), DropReason> {
        let carrier = self.carrier(port);
        let slot = self.lane(port, frame)?;
        let waits = !slot.out.is_empty();
        if carrier.is_none() && slot.takes.takes(frame) {
            if waits {
                self.flush_port(port, pool);
            }
            if self.lend(port, frame, pool) {
                self.mirror_out(port, std::slice::from_mut(frame), pool);
                return Ok(());
            }
        }
        let copy = pool.copy(frame).or_else(|| {
            // Memory is short: what waits elsewhere leaves first.
            self.flush(pool);
            pool.copy(frame)
        });
        let copy = copy.ok_or(DropReason::PoolEmpty)?;
        self.output(port, copy, pool).map_err(|(copy, reason)| {
            pool.free(copy);
            reason
        })
    }

    /// Whether the port's queue took a copy of the frame.
    #[inline]
    pub(super) fn lend(&mut self, port: PortId, frame: &mut Frame, pool: &mut Pool) -> bool {
        let Some(slot) = self.slots[port.index()].as_mut() else { return false };
        let Some(queue) = slot.queues.first_mut() else { return false };
        let watch = Some(Watch { tap: &mut self.tap, port, direction: Direction::Out });
        let mut io = Io { pool, count: &slot.counters, watch };
        let lent = match queue.lend(&mut io, frame) {
            Ok(lent) => lent,
            Err(error) => {
                self.failed.push((port, self.generations[port.index()], error));
                true
            }
        };
        if lent {
            Watch { tap: &mut self.tap, port, direction: Direction::Out }.passing(std::slice::from_ref(frame));
            self.note_waiting(port);
        }
        lent
    }

    /// The queue is asked to transmit at the end of the round: what was lent may wait for that.
    #[inline]
    pub(super) fn note_waiting(&mut self, port: PortId) {
        let Some(slot) = self.slots[port.index()].as_mut() else { return };
        if !slot.is_dirty {
            slot.is_dirty = true;
            self.dirty.push(port);
        }
    }
}
