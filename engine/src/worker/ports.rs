//! The ports a worker has open: their queues, and the frames on their way out.

use crate::drop::DropReason;
use crate::execute::Egress;
use crate::flow::PortId;
use crate::frame::{Batch, Frame, Pool};
use crate::ports::{Caps, Io, Queue};
use crate::stats::PortCounters;
use crate::wire::ethernet::{HEADER_LEN, VLAN_TAG_LEN};
use std::io;
use std::sync::Arc;

/// A port as it is handed to a worker.
pub struct Attachment {
    /// Its number.
    pub port: PortId,
    /// Its name, for reports: numbers are used again.
    pub name: String,
    /// Its queues; this worker alone uses them. The first also transmits.
    pub queues: Vec<Box<dyn Queue>>,
    /// Where to count.
    pub counters: Arc<PortCounters>,
    /// What it can carry.
    pub caps: Caps,
}

struct Slot {
    name: String,
    queues: Vec<Box<dyn Queue>>,
    out: Batch,
    longest: usize,
    counters: Arc<PortCounters>,
}

/// Ports by number.
pub(super) struct Ports {
    slots: Vec<Option<Slot>>,
    /// Every open queue: port and position.
    queues: Vec<(PortId, usize)>,
    /// Ports with frames to flush.
    dirty: Vec<PortId>,
    /// Ports that failed since they were last asked for.
    failed: Vec<(PortId, io::Error)>,
    batch: usize,
}

impl Ports {
    pub fn new(batch: usize) -> Ports {
        Ports { slots: Vec::new(), queues: Vec::new(), dirty: Vec::new(), failed: Vec::new(), batch }
    }

    pub fn attach(&mut self, new: Attachment) {
        let index = new.port.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.queues.extend((0..new.queues.len()).map(|queue| (new.port, queue)));
        // What Linux lets a bridge forward (`is_skb_forwardable`): the MTU, the header, and one VLAN tag.
        let longest = usize::from(new.caps.mtu) + HEADER_LEN + VLAN_TAG_LEN;
        let out = Batch::new(self.batch);
        self.slots[index] = Some(Slot { name: new.name, queues: new.queues, out, longest, counters: new.counters });
        self.dirty.reserve(self.slots.len());
    }

    /// Closes a port: its frames come back to the pool, those on their way out dropped by name.
    pub fn detach(&mut self, port: PortId, pool: &mut Pool) -> Option<(String, Vec<Box<dyn Queue>>)> {
        let mut slot = self.slots.get_mut(port.index())?.take()?;
        self.queues.retain(|&(p, _)| p != port);
        self.dirty.retain(|&p| p != port);
        let mut io = Io { pool, count: &slot.counters };
        slot.out.drain().for_each(|frame| io.discard(frame, DropReason::PortDown));
        Some((slot.name, slot.queues))
    }

    /// How many queues there are.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// The port and position of the `i`th queue.
    #[inline]
    pub fn queue_at(&self, i: usize) -> Option<(PortId, usize)> {
        self.queues.get(i).copied()
    }

    /// Ports that are open.
    pub fn ids(&self) -> impl Iterator<Item = PortId> + '_ {
        self.queues.iter().filter(|&&(_, queue)| queue == 0).map(|&(port, _)| port)
    }

    /// The queues of a port.
    pub fn queues_mut(&mut self, port: PortId) -> &mut [Box<dyn Queue>] {
        self.slot(port).map_or(&mut [], |slot| &mut slot.queues)
    }

    /// Prepares every queue for a sleep; true when frames wait after all.
    pub fn arm(&mut self) -> bool {
        let mut queues = self.slots.iter_mut().flatten().flat_map(|slot| &mut slot.queues);
        queues.any(|queue| queue.arm())
    }

    /// Fills `batch` from one queue and counts what came.
    #[inline]
    pub fn receive(&mut self, (port, queue): (PortId, usize), pool: &mut Pool, batch: &mut Batch) {
        let Some(slot) = self.slots[port.index()].as_mut() else { return };
        let mut io = Io { pool, count: &slot.counters };
        if let Err(error) = slot.queues[queue].receive(&mut io, batch) {
            self.failed.push((port, error));
        }
        if !batch.is_empty() {
            slot.counters.rx_frames.add(batch.len() as u64);
            slot.counters.rx_bytes.add(batch.iter().map(|frame| frame.len() as u64).sum());
        }
    }

    /// Hands every waiting frame to its port.
    #[inline]
    pub fn flush(&mut self, pool: &mut Pool) {
        while let Some(port) = self.dirty.pop() {
            self.flush_port(port, pool);
        }
    }

    /// The next port that failed for good.
    #[inline]
    pub fn next_failed(&mut self) -> Option<(PortId, io::Error)> {
        self.failed.pop()
    }

    /// The counters of a port.
    pub fn counters(&self, port: PortId) -> Option<&Arc<PortCounters>> {
        self.slots.get(port.index())?.as_ref().map(|slot| &slot.counters)
    }

    #[inline]
    fn slot(&mut self, port: PortId) -> Option<&mut Slot> {
        self.slots.get_mut(port.index())?.as_mut()
    }

    #[inline]
    fn flush_port(&mut self, port: PortId, pool: &mut Pool) {
        let Some(slot) = self.slots[port.index()].as_mut() else { return };
        let mut io = Io { pool, count: &slot.counters };
        let Some(queue) = slot.queues.first_mut() else { return };
        if let Err(error) = queue.transmit(&mut io, &mut slot.out) {
            self.failed.push((port, error));
        }
        // A queue takes every frame; one that does not must not make the batch grow.
        slot.out.drain().for_each(|frame| io.discard(frame, DropReason::TxError));
    }

    /// The port's egress, if it can take a frame of `len` bytes on the wire.
    #[inline(always)]
    fn lane(&mut self, port: PortId, len: usize) -> Result<&mut Slot, DropReason> {
        match self.slots.get_mut(port.index()) {
            Some(Some(slot)) if len <= slot.longest => Ok(slot),
            Some(Some(_)) => Err(DropReason::TooBig),
            _ => Err(DropReason::PortDown),
        }
    }

    /// Flushes one port before its time, because its batch is full.
    #[cold]
    fn flush_early(&mut self, port: PortId, pool: &mut Pool) {
        self.dirty.retain(|&p| p != port);
        self.flush_port(port, pool);
    }
}

/// The ports, seen by a program that runs on a frame from `ingress`.
pub(super) struct Outlet<'a> {
    pub ports: &'a mut Ports,
    pub ingress: PortId,
}

impl Outlet<'_> {
    /// Counts at the ingress port.
    fn count(&self, count: impl FnOnce(&PortCounters)) {
        if let Some(counters) = self.ports.counters(self.ingress) {
            count(counters);
        }
    }

    /// Counts at the port that a frame cannot leave by; at the ingress where that port is gone.
    #[cold]
    fn refuse(&mut self, port: PortId, frame: Frame, reason: DropReason, pool: &mut Pool) {
        match self.ports.counters(port) {
            Some(counters) => counters.count_drop(reason),
            None => self.count(|c| c.count_drop(reason)),
        }
        pool.free(frame);
    }

    /// Sends an answer back where its question came from; `None` when there was no memory for it.
    pub fn answer(&mut self, answer: Option<Frame>, pool: &mut Pool) {
        match answer {
            Some(frame) => self.output(self.ingress, frame, pool),
            None => self.count(|c| c.count_drop(DropReason::PoolEmpty)),
        }
    }
}

impl Egress for Outlet<'_> {
    #[inline(always)]
    fn output(&mut self, port: PortId, frame: Frame, pool: &mut Pool) {
        match self.ports.lane(port, frame.wire_len()) {
            Err(reason) => self.refuse(port, frame, reason, pool),
            Ok(slot) => {
                let first = slot.out.is_empty();
                slot.out.push_within(frame);
                let full = slot.out.room() == 0;
                if first {
                    self.ports.dirty.push(port);
                }
                if full {
                    self.ports.flush_early(port, pool);
                }
            }
        }
    }

    fn output_copy(&mut self, port: PortId, copy: Option<Frame>, pool: &mut Pool) {
        self.count(|c| c.generated.add(1));
        match copy {
            Some(frame) => self.output(port, frame, pool),
            None => self.count(|c| c.count_drop(DropReason::PoolEmpty)),
        }
    }

    #[cold]
    fn drop(&mut self, frame: Frame, reason: DropReason, pool: &mut Pool) {
        self.count(|c| c.count_drop(reason));
        pool.free(frame);
    }
}
