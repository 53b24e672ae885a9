//! The ports as a worker has them: its own queues, and the frames on their way out. Of a port without a queue here it
//! knows the worker that has one, and hands frames over.

use super::peers::Peers;
use crate::capture::{Direction, Tap, Watch};
use crate::drop::DropReason;
use crate::execute::Egress;
use crate::flow::PortId;
use crate::frame::{Batch, Frame, Pool};
use crate::offload::Outbound;
use crate::ports::{Caps, Io, Queue};
use crate::stats::PortCounters;
use crate::wire::ethernet::{HEADER_LEN, VLAN_TAG_LEN};
use crate::wire::vlan::Tpid;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// A port as it is handed to a worker.
pub struct Attachment {
    /// Its number.
    pub port: PortId,
    /// Its name, for reports: numbers are used again.
    pub name: String,
    /// Its queues; this worker alone uses them. The first also transmits.
    pub queues: Vec<Box<dyn Queue>>,
    /// The number of the worker that transmits where this one has no queue.
    pub via: usize,
    /// Where this worker counts; nobody else does.
    pub counters: Arc<PortCounters>,
    /// Whether frames can pass: told by the workers that have queues to all.
    pub up: Arc<AtomicBool>,
    /// What it can carry.
    pub caps: Caps,
}

struct Slot {
    name: String,
    queues: Vec<Box<dyn Queue>>,
    via: usize,
    out: Batch,
    outbound: Outbound,
    longest: usize,
    /// It delivers no super-frames.
    wire_size: bool,
    counters: Arc<PortCounters>,
    up: Arc<AtomicBool>,
}

impl Slot {
    /// Whether a frame that is too long has two VLAN tags, the second of which is not counted: a provider's tag takes nothing
    /// from the customer's MTU (802.3, clause 3.2.7; Linux does not count a frame's outermost tag either).
    #[cold]
    fn takes_longer(&self, frame: &[u8], len: usize) -> bool {
        let tag_at = |at: usize| {
            let field = frame.get(at..).and_then(|rest| rest.first_chunk());
            field.is_some_and(|&bytes| Tpid::of(u16::from_be_bytes(bytes)) != Tpid::NONE)
        };
        len <= self.longest + VLAN_TAG_LEN && tag_at(HEADER_LEN - 2) && tag_at(HEADER_LEN + VLAN_TAG_LEN - 2)
    }
}

/// Ports by number.
pub(super) struct Ports {
    slots: Vec<Option<Slot>>,
    /// Every queue that is served: port and position.
    queues: Vec<(PortId, usize)>,
    /// Ports with frames to flush.
    dirty: Vec<PortId>,
    /// Ports that failed since they were last asked for.
    failed: Vec<(PortId, io::Error)>,
    /// Who watches.
    pub tap: Tap,
    batch: usize,
    /// The way to the other workers.
    pub peers: Peers,
    /// Where frames count that were handed over for a port that is gone.
    pub strays: Arc<PortCounters>,
    /// The frames under way come from a port that delivers no super-frames, as far as known.
    wire_size: bool,
    /// Some port delivers no super-frames.
    any_wire_size: bool,
}

/// What no port is called: the ingress of frames that another worker handed over.
pub(crate) const ELSEWHERE: PortId = PortId(u16::MAX);

impl Ports {
    pub fn new(batch: usize) -> Ports {
        Ports {
            slots: Vec::new(),
            queues: Vec::new(),
            dirty: Vec::new(),
            failed: Vec::new(),
            tap: Tap::default(),
            batch,
            wire_size: false,
            any_wire_size: false,
            peers: Peers::default(),
            strays: Arc::default(),
        }
    }

    /// Opens a port for what leaves by it.
    pub fn attach(&mut self, new: Attachment) {
        let index = new.port.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        // What Linux lets a bridge forward (`is_skb_forwardable`): the MTU, the header, and one VLAN tag. A frame with two
        // tags may have four bytes more ([`Slot::takes_longer`]).
        let longest = usize::from(new.caps.mtu) + HEADER_LEN + VLAN_TAG_LEN;
        let (out, outbound) = (Batch::new(self.batch), Outbound::new(&new.caps, self.batch));
        let Attachment { name, queues, via, counters, up, caps, .. } = new;
        let wire_size = !caps.tso;
        self.slots[index] = Some(Slot { name, queues, via, out, outbound, longest, wire_size, counters, up });
        self.dirty.reserve(self.slots.len());
        self.note_wire_size();
    }

    /// Takes what comes in by a port from now on.
    pub fn serve(&mut self, port: PortId) {
        let queues = self.queues_mut(port).len();
        self.queues.extend((0..queues).map(|queue| (port, queue)));
    }

    /// Closes a port: its frames come back to the pool, those on their way out dropped by name.
    pub fn detach(&mut self, port: PortId, pool: &mut Pool) -> Option<(String, Vec<Box<dyn Queue>>)> {
        let mut slot = self.slots.get_mut(port.index())?.take()?;
        self.note_wire_size();
        self.queues.retain(|&(p, _)| p != port);
        self.dirty.retain(|&p| p != port);
        if !slot.queues.is_empty() {
            slot.up.store(false, Relaxed);
        }
        let watch = Some(Watch { tap: &mut self.tap, port, direction: Direction::Out });
        let mut io = Io { pool, count: &slot.counters, watch };
        slot.out.drain().for_each(|frame| io.discard(frame, DropReason::PortDown));
        slot.queues.iter_mut().for_each(|queue| queue.close(&mut io));
        self.tap.forget(port);
        Some((slot.name, slot.queues))
    }

    fn note_wire_size(&mut self) {
        self.any_wire_size = self.slots.iter().flatten().any(|slot| slot.wire_size);
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

    /// Numbers below which all ports lie.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Ports that are open, here or at another worker.
    pub fn ids(&self) -> impl Iterator<Item = PortId> + '_ {
        (0..=u16::MAX).zip(&self.slots).filter(|(_, slot)| slot.is_some()).map(|(id, _)| PortId(id))
    }

    /// Whether frames can pass a port: asked of its queues where they are ours, and told to all; `None` when it is not open.
    pub fn check_link(&mut self, port: PortId) -> Option<bool> {
        if let Some(up) = self.link_elsewhere(port) {
            return Some(up);
        }
        let slot = self.slot(port)?;
        // Each is asked, also behind one that is down: it counts then what the kernel lost.
        let down = slot.queues.iter_mut().map(|queue| queue.is_up()).filter(|up| !up).count();
        let up = down == 0;
        slot.up.store(up, Relaxed);
        Some(up)
    }

    /// Whether frames can pass a port that only other workers have queues of.
    pub fn link_elsewhere(&self, port: PortId) -> Option<bool> {
        let slot = self.slots.get(port.index())?.as_ref()?;
        slot.queues.is_empty().then(|| slot.up.load(Relaxed))
    }

    /// The queues of a port.
    pub fn queues_mut(&mut self, port: PortId) -> &mut [Box<dyn Queue>] {
        self.slot(port).map_or(&mut [], |slot| &mut slot.queues)
    }

    /// Prepares every queue for a sleep; true when frames wait after all.
    pub fn arm(&mut self) -> bool {
        let mut queues = self.slots.iter_mut().flatten().flat_map(|slot| &mut slot.queues);
        queues.any(|queue| queue.arm()) || self.peers.arm()
    }

    /// When a queue must be looked at again although no frame waits.
    pub fn due(&self) -> Option<Instant> {
        let queues = self.slots.iter().flatten().flat_map(|slot| &slot.queues);
        queues.filter_map(|queue| queue.due()).min()
    }

    /// Fills `batch` from one queue and counts what came.
    #[inline]
    pub fn receive(&mut self, (port, queue): (PortId, usize), pool: &mut Pool, batch: &mut Batch) {
        let Some(slot) = self.slots[port.index()].as_mut() else { return };
        self.wire_size = slot.wire_size;
        let watch = Some(Watch { tap: &mut self.tap, port, direction: Direction::In });
        let mut io = Io { pool, count: &slot.counters, watch };
        if let Err(error) = slot.queues[queue].receive(&mut io, batch) {
            self.failed.push((port, error));
        }
        if !batch.is_empty() {
            slot.counters.rx_frames.add(batch.len() as u64);
            slot.counters.rx_bytes.add(batch.iter().map(|frame| frame.len() as u64).sum());
            Watch { tap: &mut self.tap, port, direction: Direction::In }.passing(batch);
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
        let watch = Some(Watch { tap: &mut self.tap, port, direction: Direction::Out });
        let mut io = Io { pool, count: &slot.counters, watch };
        let Some(queue) = slot.queues.first_mut() else {
            return self.peers.hand_over(slot.via, port, &mut slot.out, &mut io);
        };
        if let Some(watch) = &mut io.watch {
            watch.passing(&slot.out);
        }
        if let Err(error) = slot.outbound.transmit(queue.as_mut(), &mut io, &mut slot.out, self.wire_size) {
            self.failed.push((port, error));
        }
    }

    /// The port's egress, if it can take the frame.
    #[inline(always)]
    fn lane(&mut self, port: PortId, frame: &Frame) -> Result<&mut Slot, DropReason> {
        let len = frame.wire_len();
        match self.slots.get_mut(port.index()) {
            Some(Some(slot)) if len <= slot.longest || slot.takes_longer(frame, len) => Ok(slot),
            Some(Some(_)) => Err(DropReason::TooBig),
            _ => Err(DropReason::PortDown),
        }
    }

    /// Why the port would not take a frame.
    pub fn refusal(&mut self, port: PortId, frame: &Frame) -> Option<DropReason> {
        self.lane(port, frame).err()
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

impl<'a> Outlet<'a> {
    /// For frames that another worker handed over: it has counted them. By what port they came is not told.
    pub fn handed_over(ports: &'a mut Ports) -> Outlet<'a> {
        ports.wire_size = ports.any_wire_size;
        Outlet { ports, ingress: ELSEWHERE }
    }

    /// Counts at the ingress port.
    fn count(&self, count: impl FnOnce(&PortCounters)) {
        count(self.ports.counters(self.ingress).unwrap_or(&self.ports.strays));
    }

    /// Counts at the port that a frame cannot leave by; at the ingress where that port is gone.
    #[cold]
    fn refuse(&mut self, port: PortId, frame: Frame, reason: DropReason, pool: &mut Pool) {
        let Some(counters) = self.ports.counters(port) else { return self.drop(frame, reason, pool) };
        counters.count_drop(reason);
        Watch { tap: &mut self.ports.tap, port, direction: Direction::Out }.dropped(&frame, reason);
        pool.free(frame);
    }

    /// Counts that there was no memory for a frame of the switch's own.
    #[cold]
    fn starve(&mut self) {
        self.count(|c| c.count_drop(DropReason::PoolEmpty));
        self.watch().dropped_unseen(0, DropReason::PoolEmpty);
    }

    fn watch(&mut self) -> Watch<'_> {
        Watch { tap: &mut self.ports.tap, port: self.ingress, direction: Direction::In }
    }

    /// Sends an answer back where its question came from; `None` when there was no memory for it.
    pub fn answer(&mut self, answer: Option<Frame>, pool: &mut Pool) {
        match answer {
            Some(frame) => self.output(self.ingress, frame, pool),
            None => self.starve(),
        }
    }
}

impl Egress for Outlet<'_> {
    #[inline(always)]
    fn output(&mut self, port: PortId, frame: Frame, pool: &mut Pool) {
        match self.ports.lane(port, &frame) {
            Err(reason) => self.refuse(port, frame.in_registers(), reason, pool),
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
            None => self.starve(),
        }
    }

    #[cold]
    fn drop(&mut self, frame: Frame, reason: DropReason, pool: &mut Pool) {
        self.count(|c| c.count_drop(reason));
        self.watch().dropped(&frame, reason);
        pool.free(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// A queue that is down, and counts how often it is asked.
    struct Down(Arc<AtomicU32>);

    impl Queue for Down {
        fn receive(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
            Ok(())
        }

        fn transmit(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
            Ok(())
        }

        fn is_up(&mut self) -> bool {
            self.0.fetch_add(1, Relaxed);
            false
        }
    }

    #[test]
    fn every_queue_is_asked_for_its_link() {
        let (asked, port) = (Arc::new(AtomicU32::new(0)), PortId(0));
        let queues = (0..3).map(|_| Box::new(Down(asked.clone())) as Box<dyn Queue>).collect();
        let (counters, up, caps) = (Arc::default(), Arc::default(), crate::ports::Caps::default());
        let mut ports = Ports::new(8);
        ports.attach(Attachment { port, name: "p".into(), queues, via: 0, counters, up, caps });
        assert_eq!((ports.check_link(port), asked.load(Relaxed)), (Some(false), 3));
    }
}
