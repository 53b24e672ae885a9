//! How the workers of one switch reach each other.
//!
//! # Theory of operation
//!
//! Between any two workers lie four single-producer single-consumer rings, two each way: one for *frames* that leave by
//! a port of which only the other has a queue, one for *sightings* of addresses.
//!
//! * A worker takes handed-over frames at the top of a round and puts them into the egress batches of its own ports:
//!   they were decided where they came in. All frames from one worker to one port go the same way, so they keep their order.
//! * Sightings are told before the frames that taught them leave, and heard after frames were received and before they
//!   are looked up. So whoever answers a frame finds its sender's address known, whichever worker the answer comes to.
//! * Of sightings that rest on a newer topology than the hearer's, none is heard before it has taken that too: with it it
//!   forgets what may no longer hold, and must not forget these.
//! * A full ring of frames drops them by name, as a port does, and so does one that holds as much of the memory as it may
//!   ([`crate::frame::Shares`]). A full ring of sightings puts learning off ([`crate::tables::gossip`]).
//!
//! Nothing else is shared between workers, but for the depot of free frames, the buckets of storm caps, and a queue for the
//! rare word that a loop was found.

use super::loops::Loop;
use crate::bell::Bell;
use crate::drop::DropReason;
use crate::flow::{Flood, PortId};
use crate::frame::{Batch, Frame, Outbox};
use crate::ports::Io;
use crate::tables::gossip::Sighting;
use crossbeam::queue::ArrayQueue;
use mio::Waker;
use rtrb::{Consumer, Producer, RingBuffer};
use std::hash::RandomState;
use std::sync::Arc;

/// Most frames on their way between two workers.
pub(super) const FRAMES: usize = 1024;
/// Sightings on their way between two workers.
const SIGHTINGS: usize = 1024;
/// Loops that a worker has not heard of yet. One more is found again a second later.
const NOTICES: usize = 64;
/// Most frames taken from each other worker in one round.
pub(super) const BURST: usize = 64;

/// How a sleeping worker is woken. On cache lines of its own, as it is asked with every batch handed over.
#[repr(align(128))]
pub(crate) struct Door {
    bell: Bell,
    waker: Option<Arc<Waker>>,
}

impl Door {
    /// A door with a waker; without one the worker is polled by hand.
    pub fn new(waker: Option<Arc<Waker>>) -> Arc<Door> {
        Arc::new(Door { bell: Bell::new(), waker })
    }

    fn ring(&self) {
        if self.bell.ring() {
            // Fails only when the counter behind it is full, and then the worker is awake by it.
            let _ = self.waker.as_ref().map(|waker| waker.wake());
        }
    }
}

/// What is to be done with a frame that is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// It leaves by this port.
    Leave(PortId),
    /// It is a copy that this port is to show.
    Show(PortId),
    /// It is flooded to those ports that only the hearer has, of those that the worker of this number has not.
    Flood(Flood, usize),
}

impl Errand {
    /// The port that the frame came in by, as far as is told.
    pub fn ingress(&self) -> PortId {
        match self {
            Errand::Leave(_) | Errand::Show(_) => super::ELSEWHERE,
            Errand::Flood(flood, _) => flood.ingress,
        }
    }
}

/// A frame that is handed over.
pub(super) struct Parcel {
    pub errand: Errand,
    pub frame: Frame,
}

impl AsRef<Frame> for Parcel {
    fn as_ref(&self) -> &Frame {
        &self.frame
    }
}

/// The ends of the rings to and from one other worker. On cache lines of their own: those of two workers are made side by side.
#[repr(align(128))]
struct Link {
    door: Arc<Door>,
    frames_out: Outbox<Parcel>,
    frames_in: Consumer<Parcel>,
    sightings_out: Producer<Sighting>,
    sightings_in: Consumer<Sighting>,
}

impl Link {
    fn hear(&mut self, era: u32) -> Option<Sighting> {
        self.sightings_in.peek().ok().filter(|sighting| sighting.era <= era)?;
        self.sightings_in.pop().ok()
    }

    /// Whether the consumer must not sleep: frames wait, or so many sightings that the next may not fit.
    fn is_waiting(&self) -> bool {
        !self.frames_in.is_empty() || self.sightings_in.slots() > SIGHTINGS / 2
    }
}

/// One worker's way to all others. The default is a worker alone.
#[derive(Default)]
pub struct Peers {
    number: usize,
    own: Option<Arc<Door>>,
    /// What tells probes of this switch from others.
    secret: RandomState,
    /// Loops that others found, by the worker that is to hear of them.
    notices: Arc<[ArrayQueue<Loop>]>,
    /// By worker number; nothing at its own.
    links: Vec<Option<Link>>,
}

impl Peers {
    /// The ways of `workers` workers that are polled by hand, in order of their numbers.
    pub fn mesh(workers: usize) -> Vec<Peers> {
        Peers::between((0..workers).map(|_| Door::new(None)).collect(), usize::MAX)
    }

    /// The ways of the workers behind `doors`, who share `frames` small frames.
    pub(crate) fn between(doors: Vec<Arc<Door>>, frames: usize) -> Vec<Peers> {
        let room = share(frames, doors.len()).min(FRAMES);
        let (secret, notices) = (RandomState::new(), doors.iter().map(|_| ArrayQueue::new(NOTICES)).collect());
        let notices: Arc<[_]> = notices;
        let alone = |(number, door): (usize, &Arc<Door>)| Peers {
            number,
            own: Some(door.clone()),
            secret: secret.clone(),
            notices: notices.clone(),
            links: doors.iter().map(|_| None).collect(),
        };
        let mut all: Vec<Peers> = doors.iter().enumerate().map(alone).collect();
        for a in 0..doors.len() {
            for b in 0..a {
                let (from_a, from_b) = link(&doors[a], &doors[b], room);
                (all[a].links[b], all[b].links[a]) = (Some(from_a), Some(from_b));
            }
        }
        all
    }

    /// How many sightings every other worker can take now; `None` for a worker alone.
    pub fn room(&self) -> Option<usize> {
        self.links.iter().flatten().map(|link| link.sightings_out.slots()).min()
    }

    /// Tells all others. They hear it in their next round, so a sleeping one is woken only before its ring overflows.
    pub fn tell(&mut self, news: &[Sighting]) {
        for link in self.links.iter_mut().flatten() {
            // There is room: nobody else puts anything in since `room` was asked.
            news.iter().for_each(|&sighting| _ = link.sightings_out.push(sighting));
            if link.sightings_out.slots() < SIGHTINGS / 2 {
                link.door.ring();
            }
        }
    }

    /// The next sighting by another worker that had taken no more than `era` topologies.
    #[inline]
    pub fn hear(&mut self, era: u32) -> Option<Sighting> {
        self.links.iter_mut().flatten().find_map(|link| link.hear(era))
    }

    /// Hands every frame of `batch` over to `worker`; what does not fit is dropped by name, and all of it where there is no
    /// such worker.
    pub(super) fn hand_over(&mut self, worker: Option<usize>, errand: Errand, batch: &mut Batch, io: &mut Io<'_>) {
        let link = worker.and_then(|worker| self.links.get_mut(worker)?.as_mut());
        let Some(link) = link else { return batch.drain().for_each(|frame| io.discard(frame, DropReason::PortDown)) };
        let (mut held, shares) = (link.frames_out.held(), io.pool.shares());
        for frame in batch.drain() {
            match link.frames_out.put(Parcel { errand, frame }, held, shares) {
                Ok(()) => held += 1,
                Err(parcel) => io.discard(parcel.frame, DropReason::HandoverFull),
            }
        }
        link.door.ring();
    }

    /// Hands one frame over.
    pub(super) fn hand_over_one(&mut self, worker: usize, errand: Errand, frame: Frame, io: &mut Io<'_>) {
        let Some(link) = self.links.get_mut(worker).and_then(Option::as_mut) else {
            return io.discard(frame, DropReason::PortDown);
        };
        let parcel = Parcel { errand, frame };
        if let Err(parcel) = link.frames_out.put(parcel, link.frames_out.held(), io.pool.shares()) {
            io.discard(parcel.frame, DropReason::HandoverFull);
        }
        link.door.ring();
    }

    /// What tells probes of this switch from others.
    pub(super) fn secret(&self) -> &RandomState {
        &self.secret
    }

    /// Tells all others of a loop.
    pub(super) fn notify(&self, found: Loop) {
        let others = self.notices.iter().enumerate().filter(|(worker, _)| *worker != self.number);
        others.for_each(|(_, notices)| _ = notices.push(found));
        self.links.iter().flatten().for_each(|link| link.door.ring());
    }

    /// The next loop that another worker found.
    #[inline]
    pub(super) fn notice(&self) -> Option<Loop> {
        self.notices.get(self.number)?.pop()
    }

    /// This worker's number.
    #[inline]
    pub fn number(&self) -> usize {
        self.number
    }

    /// The one of a port's owners that frames of a worker without queue leave by.
    #[inline]
    pub fn carrier(&self, owners: &[usize], worker: usize) -> Option<usize> {
        owners.get(worker % owners.len().max(1)).copied()
    }

    /// Numbers below which all other workers lie.
    #[inline]
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// The next frame that one other worker handed over, and what is to be done with it.
    #[inline]
    pub(super) fn handed_over(&mut self, worker: usize) -> Option<Parcel> {
        self.links[worker].as_mut()?.frames_in.pop().ok()
    }

    /// Asks to be woken; true when something waits already.
    pub fn arm(&self) -> bool {
        if let Some(door) = &self.own {
            door.bell.arm();
        }
        self.links.iter().flatten().any(Link::is_waiting)
    }
}

/// How many of `frames` may wait between two of `workers`, so that at most a quarter of all waits for one of them.
fn share(frames: usize, workers: usize) -> usize {
    (frames / (4 * (workers.max(2) - 1))).max(1)
}

/// Both ends of the rings between two workers, of `room` frames each.
fn link(a: &Arc<Door>, b: &Arc<Door>, room: usize) -> (Link, Link) {
    let (frames_ab, frames_to_b) = RingBuffer::new(room);
    let (frames_ba, frames_to_a) = RingBuffer::new(room);
    let (sightings_ab, sightings_to_b) = RingBuffer::new(SIGHTINGS);
    let (sightings_ba, sightings_to_a) = RingBuffer::new(SIGHTINGS);
    let from_a = Link {
        door: b.clone(),
        frames_out: Outbox::new(frames_ab),
        frames_in: frames_to_a,
        sightings_out: sightings_ab,
        sightings_in: sightings_to_a,
    };
    let from_b = Link {
        door: a.clone(),
        frames_out: Outbox::new(frames_ba),
        frames_in: frames_to_b,
        sightings_out: sightings_ba,
        sightings_in: sightings_to_b,
    };
    (from_a, from_b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_all_waits_for_one_worker() {
        for workers in 2..9 {
            let waiting = share(4096, workers) * (workers - 1);
            assert!((1000..=1024).contains(&waiting), "{waiting} for one of {workers}");
        }
        assert_eq!(share(16, 6), 1);
    }
}
