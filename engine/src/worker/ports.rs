//! The ports as a worker has them: its own queues, and the frames on their way out. Of a port without a queue here it
//! knows the worker that has one, and hands frames over.

mod lending;
mod mirror;

use super::links::Links;
use super::peers::{Errand, Peers};
use super::schedule::{QueueId, Schedule};
use crate::capture::{Direction, Tap, Watch};
use crate::drop::DropReason;
use crate::flow::PortId;
use crate::frame::{Batch, Frame, Pool};
use crate::offload::{Outbound, Takes};
use crate::ports::{Caps, Io, Queue};
use crate::stats::PortCounters;
use crate::tables::topology::MirrorTo;
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
    /// The workers that have queues of it.
    pub owners: Arc<[usize]>,
    /// Where this worker counts; nobody else does.
    pub counters: Arc<PortCounters>,
    /// Whether frames can pass: told by the workers that have queues to all.
    pub up: Arc<AtomicBool>,
    /// What it can carry.
    pub caps: Caps,
}

/// An open port. What is needed only while frames are on their way is shared by all ports: an idle one costs little.
pub(super) struct Slot {
    name: String,
    pub queues: Vec<Box<dyn Queue>>,
    owners: Arc<[usize]>,
    /// Frames on their way out; memory for them is lent from [`Ports::spares`].
    out: Batch,
    /// Copies that it is to show, likewise.
    shows: Batch,
    /// Where copies of its frames go.
    mirror: Option<MirrorTo>,
    /// It is among [`Ports::dirty`].
    is_dirty: bool,
    takes: Takes,
    longest: usize,
    /// It delivers no super-frames.
    wire_size: bool,
    counters: Arc<PortCounters>,
    pub up: Arc<AtomicBool>,
    /// It is among the links that were down.
    pub is_listed: bool,
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
    pub slots: Vec<Option<Slot>>,
    /// Which queues are served next.
    pub schedule: Schedule,
    /// Ports with frames to flush.
    dirty: Vec<PortId>,
    /// Room for frames on their way out, of ports that have none.
    spares: Vec<Batch>,
    outbound: Outbound,
    /// Ports that failed since they were last asked for, and which of those that had this number.
    failed: Vec<(PortId, u32, io::Error)>,
    /// How many ports were opened: tells those of one number apart.
    generations: Vec<u32>,
    pub links: Links,
    /// Who watches.
    pub tap: Tap,
    batch: usize,
    /// The way to the other workers.
    pub peers: Peers,
    /// Where frames count that were handed over for a port that is gone.
    pub strays: Arc<PortCounters>,
    /// The frames under way come from a port that delivers no super-frames, as far as known.
    pub wire_size: bool,
    /// How many ports deliver no super-frames.
    wire_sized: usize,
}

/// What no port is called: the ingress of frames that another worker handed over.
pub(crate) const ELSEWHERE: PortId = PortId(u16::MAX);

impl Ports {
    pub fn new(batch: usize) -> Ports {
        Ports {
            slots: Vec::new(),
            schedule: Schedule::default(),
            dirty: Vec::new(),
            spares: Vec::new(),
            outbound: Outbound::new(batch),
            failed: Vec::new(),
            generations: Vec::new(),
            links: Links::default(),
            tap: Tap::default(),
            batch,
            wire_size: false,
            wire_sized: 0,
            peers: Peers::default(),
            strays: Arc::default(),
        }
    }

    /// Opens a port for what leaves by it.
    pub fn attach(&mut self, new: Attachment) {
        let index = new.port.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
            self.generations.resize(index + 1, 0);
        }
        self.generations[index] = self.generations[index].wrapping_add(1);
        // What Linux lets a bridge forward (`is_skb_forwardable`): the MTU, the header, and one VLAN tag. A frame with two
        // tags may have four bytes more ([`Slot::takes_longer`]).
        let longest = usize::from(new.caps.mtu) + HEADER_LEN + VLAN_TAG_LEN;
        let Attachment { name, queues, owners, counters, up, caps, .. } = new;
        let (takes, wire_size) = (Takes::of(&caps), !caps.tso);
        self.wire_sized += usize::from(wire_size);
        self.slots[index] = Some(Slot {
            name,
            queues,
            owners,
            out: Batch::none(),
            shows: Batch::none(),
            mirror: None,
            is_dirty: false,
            takes,
            longest,
            wire_size,
            counters,
            up,
            is_listed: false,
        });
        self.links.reserve(self.slots.len());
        self.dirty.reserve(self.slots.len());
        self.schedule.reserve(self.slots.len());
    }

    /// Takes what comes in by a port from now on.
    pub fn serve(&mut self, port: PortId) {
        for queue in 0..self.queues_mut(port).len() {
            let id = QueueId { port, queue };
            self.schedule.make_ready(id);
            if self.queues_mut(port)[queue].is_timed() {
                self.schedule.add_timed(id);
            }
        }
    }

    /// Closes a port: its frames come back to the pool, those on their way out dropped by name.
    pub fn detach(&mut self, port: PortId, pool: &mut Pool) -> Option<(String, Vec<Box<dyn Queue>>)> {
        let mut slot = self.slots.get_mut(port.index())?.take()?;
        self.wire_sized -= usize::from(slot.wire_size);
        self.dirty.retain(|&p| p != port);
        if slot.is_listed {
            self.links.forget(port);
        }
        if !slot.queues.is_empty() {
            slot.up.store(false, Relaxed);
        }
        let watch = Some(Watch { tap: &mut self.tap, port, direction: Direction::Out });
        let mut io = Io { pool, count: &slot.counters, watch };
        slot.out.drain().chain(slot.shows.drain()).for_each(|frame| io.discard(frame, DropReason::PortDown));
        slot.queues.iter_mut().for_each(|queue| queue.close(&mut io));
        // Frames that had come in and waited for their turn end as well.
        self.schedule.forget(port, |frame| io.discard(frame, DropReason::PortDown));
        self.tap.forget(port);
        Some((slot.name, slot.queues))
    }

    /// Numbers below which all ports lie.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Ports that are open, here or at another worker.
    pub fn ids(&self) -> impl Iterator<Item = PortId> + '_ {
        (0..=u16::MAX).zip(&self.slots).filter(|(_, slot)| slot.is_some()).map(|(id, _)| PortId(id))
    }

    /// The queues of a port.
    pub fn queues_mut(&mut self, port: PortId) -> &mut [Box<dyn Queue>] {
        self.slot(port).map_or(&mut [], |slot| &mut slot.queues)
    }

    /// Frames may wait in the queues of a port.
    pub fn make_ready(&mut self, port: PortId) {
        for queue in 0..self.queues_mut(port).len() {
            self.schedule.make_ready(QueueId { port, queue });
        }
    }

    /// Lets go of queues that have had no frames for a while, where something will tell when they have some.
    pub fn park_idle(&mut self) {
        let Ports { schedule, slots, .. } = self;
        schedule.park_idle(|id| {
            let slot = slots.get_mut(id.port.index()).and_then(Option::as_mut);
            let queue = slot.and_then(|slot| slot.queues.get_mut(id.queue));
            queue.is_none_or(|queue| queue.fd().is_some() && !queue.arm())
        });
    }

    /// Makes queues ready that held frames until now; when the next must be looked at.
    pub fn wake_due(&mut self, now: Instant) -> Option<Instant> {
        let Ports { schedule, slots, .. } = self;
        schedule.next_due(now, |id| slots.get(id.port.index())?.as_ref()?.queues.get(id.queue)?.due())
    }

    /// Fills `batch` from one queue and counts what came.
    #[inline]
    pub fn receive(&mut self, id: QueueId, pool: &mut Pool, batch: &mut Batch) {
        let Some(slot) = self.slots.get_mut(id.port.index()).and_then(Option::as_mut) else { return };
        self.wire_size = slot.wire_size;
        let watch = Some(Watch { tap: &mut self.tap, port: id.port, direction: Direction::In });
        let mut io = Io { pool, count: &slot.counters, watch };
        let Some(queue) = slot.queues.get_mut(id.queue) else { return };
        if let Err(error) = queue.receive(&mut io, batch) {
            self.failed.push((id.port, self.generations[id.port.index()], error));
        }
        if !batch.is_empty() {
            slot.counters.rx_frames.add(batch.len() as u64);
            slot.counters.rx_bytes.add(batch.iter().map(|frame| frame.len() as u64).sum());
            Watch { tap: &mut self.tap, port: id.port, direction: Direction::In }.passing(batch);
            if slot.mirror.is_some() {
                self.mirror_in(id.port, batch, pool);
            }
        }
    }

    /// Hands every waiting frame to its port.
    #[inline]
    pub fn flush(&mut self, pool: &mut Pool) {
        while let Some(port) = self.dirty.pop() {
            if let Some(slot) = self.slots[port.index()].as_mut() {
                slot.is_dirty = false;
            }
            self.flush_port(port, pool);
        }
    }

    /// The next port that failed for good, unless it has gone already.
    pub fn next_failed(&mut self) -> Option<(PortId, io::Error)> {
        while let Some((port, generation, error)) = self.failed.pop() {
            if self.generations[port.index()] == generation {
                return Some((port, error));
            }
        }
        None
    }

    /// The name of a port.
    pub fn name(&self, port: PortId) -> Option<&str> {
        self.slots.get(port.index())?.as_ref().map(|slot| slot.name.as_str())
    }

    /// The counters of a port.
    #[inline]
    pub fn counters(&self, port: PortId) -> Option<&Arc<PortCounters>> {
        self.slots.get(port.index())?.as_ref().map(|slot| &slot.counters)
    }

    /// The other worker that frames leave by to a port without a queue here.
    #[inline]
    pub fn carrier(&self, port: PortId) -> Option<usize> {
        let slot = self.slots.get(port.index())?.as_ref()?;
        if slot.queues.is_empty() { self.peers.carrier(&slot.owners, self.peers.number()) } else { None }
    }

    /// Whether frames of another worker to a port leave by this one.
    pub fn carries_for(&self, other: usize, port: PortId) -> bool {
        let slot = self.slots.get(port.index()).and_then(Option::as_ref);
        slot.is_some_and(|slot| {
            !slot.owners.contains(&other) && self.peers.carrier(&slot.owners, other) == Some(self.peers.number())
        })
    }

    #[inline]
    fn slot(&mut self, port: PortId) -> Option<&mut Slot> {
        self.slots.get_mut(port.index())?.as_mut()
    }

    #[inline]
    fn flush_port(&mut self, port: PortId, pool: &mut Pool) {
        if self.slots[port.index()].as_ref().is_some_and(|slot| slot.mirror.is_some()) {
            self.mirror_waiting(port, pool);
        }
        let Some(slot) = self.slots[port.index()].as_mut() else { return };
        let out = std::mem::replace(&mut slot.out, Batch::none());
        let has_copies = !slot.shows.is_empty();
        self.dispatch(Errand::Leave(port), port, out, pool);
        if has_copies {
            self.flush_shown(port, pool);
        }
    }

    /// Hands frames that are to leave by a port to its queue, or to the worker that has one.
    #[inline]
    fn dispatch(&mut self, errand: Errand, port: PortId, mut out: Batch, pool: &mut Pool) {
        let carrier = self.carrier(port);
        let Some(slot) = self.slots[port.index()].as_mut() else { return };
        let watch = Some(Watch { tap: &mut self.tap, port, direction: Direction::Out });
        let mut io = Io { pool, count: &slot.counters, watch };
        match (carrier, slot.queues.first_mut()) {
            (None, Some(queue)) => {
                if let Some(watch) = &mut io.watch {
                    watch.passing(&out);
                }
                // What is to be shown stays as it was seen.
                let joined = self.wire_size && errand == Errand::Leave(port);
                let sent = self.outbound.transmit(slot.takes, queue.as_mut(), &mut io, &mut out, joined);
                if let Err(error) = sent {
                    self.failed.push((port, self.generations[port.index()], error));
                }
            }
            (carrier, _) => self.peers.hand_over(carrier, errand, &mut out, &mut io),
        }
        if out.is_empty() && out.room() > 0 {
            self.spares.push(out);
        }
        if slot.queues.first().is_some_and(|queue| queue.has_unsent()) {
            self.schedule.make_ready(QueueId { port, queue: 0 });
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

    /// Adds a frame to those on their way out by a port.
    ///
    /// # Errors
    /// The frame, and why the port does not take it.
    #[inline(always)]
    pub fn output(&mut self, port: PortId, frame: Frame, pool: &mut Pool) -> Result<(), (Frame, DropReason)> {
        match self.lane(port, &frame) {
            Err(reason) => Err((frame.in_registers(), reason)),
            Ok(slot) if slot.out.room() > 1 => {
                slot.out.push_within(frame);
                Ok(())
            }
            Ok(_) => {
                self.output_first_or_last(port, frame, pool);
                Ok(())
            }
        }
    }

    /// Adds the first frame of a batch, or the last that fits.
    #[inline]
    fn output_first_or_last(&mut self, port: PortId, frame: Frame, pool: &mut Pool) {
        let Ports { slots, spares, dirty, batch, .. } = self;
        let Some(Some(slot)) = slots.get_mut(port.index()) else { return pool.free(frame) };
        if slot.out.is_empty() {
            slot.out = spares.pop().unwrap_or_else(|| Batch::new(*batch));
            if !slot.is_dirty {
                slot.is_dirty = true;
                dirty.push(port);
            }
        }
        slot.out.push_within(frame);
        if slot.out.room() == 0 {
            self.flush_port(port, pool);
        }
    }

    /// Hands a flood over to another worker, for the ports that only it has.
    pub fn hand_over(&mut self, worker: usize, errand: Errand, frame: Frame, pool: &mut Pool) {
        let counters = self.counters(errand.ingress()).unwrap_or(&self.strays).clone();
        let watch = Some(Watch { tap: &mut self.tap, port: errand.ingress(), direction: Direction::In });
        let mut io = Io { pool, count: &counters, watch };
        self.peers.hand_over_one(worker, errand, frame, &mut io);
    }

    /// Whether some port delivers no super-frames.
    pub fn any_wire_size(&self) -> bool {
        self.wire_sized > 0
    }
}
