//! The loop of one core.
//!
//! # Theory of operation
//!
//! A worker owns everything it touches: queues, frames, flow cache, tables. Each round ([`Worker::poll`]) takes at most
//! one batch from every queue that is ready (`schedule.rs`) and runs it to completion, phase by phase:
//!
//! ```text
//! receive -> guard -> classify: parse, hash, prefetch the set -> probe: read tags, prefetch the entry
//!         -> run: verify; a miss walks the stages and is cached; execute -> flush every egress batch
//! ```
//!
//! The run loop is strictly in order: what one frame teaches (a new address, a move) holds for the very next one, so
//! the cache never changes what happens to a frame.
//!
//! Commands come by message at the top of a round, housekeeping a little every millisecond: flow stamps are carried
//! over to the forwarding database, old entries age, links are checked. Nothing waits for anybody, and nothing that is done at
//! once grows with the number of ports, domains or addresses.

mod core;
mod direct;
mod flood;
mod guarding;
mod housekeeping;
mod idle;
mod laps;
mod links;
mod loops;
mod mailbox;
mod outlet;
mod peers;
mod ports;
mod probe;
mod rehearse;
mod schedule;

pub use idle::{Polling, SPIN, Sleeper};
pub use laps::PhaseTicks;
pub use mailbox::{Command, Event, FdbPage, FlowPage, Lines};
pub(crate) use peers::Door;
pub use peers::Peers;
pub use ports::Attachment;
pub(crate) use ports::ELSEWHERE;

use crate::capture::Tap;
use crate::clock::{Millis, ticks};
use crate::drop::DropReason;
use crate::flow::{Depth, FlowKey, PortId};
use crate::frame::{Arena, Batch};
use crate::parse::{layer2, parse};
use crate::ports::Queue;
use crate::stages::Stage;
use crate::stats::{PortCounters, WorkerCounters};
use crate::table::{KeyHasher, SlotId};
use crate::tables::fdb::Fdb;
use crate::tables::topology::Change;
use crate::tables::{Ingress, Tables};
use core::Core;
use direct::Direct;
use flood::Pending;
use housekeeping::Sweep;
use laps::{Laps, Stopwatch};
use schedule::QueueId;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Sizes of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Frames per batch.
    pub batch: usize,
    /// Flows the cache should hold.
    pub flows: usize,
    /// False compiles every frame anew: to prove that the cache changes nothing.
    pub cache: bool,
    /// When frames between known stations are decided without the cache.
    pub direct: WithoutCache,
    /// Workers that share the frames.
    pub workers: usize,
}

/// When frames between known stations are decided without the flow cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutCache {
    /// While the cache knows few of them.
    #[default]
    Auto,
    /// Always, and
    Always,
    /// never: to prove that it changes nothing.
    Never,
}

impl Default for WorkerConfig {
    fn default() -> WorkerConfig {
        WorkerConfig { batch: 64, flows: 65_536, cache: true, direct: WithoutCache::Auto, workers: 1 }
    }
}

/// One core's switch.
pub struct Worker {
    core: Core,
    depth: Depth,
    batch: usize,
    rx: Batch,
    lookups: Lookups,
    direct: Direct,
    sweep: Sweep,
}

/// What is known of the frames of a batch, by position.
struct Lookups {
    keys: Vec<FlowKey>,
    hashes: Vec<u64>,
    slots: Vec<SlotId>,
    refused: Vec<(usize, DropReason)>,
}

impl Worker {
    /// A worker without ports. `stages` come between the built-in ones, see [`crate::pipeline::Pipeline::new`].
    ///
    /// # Errors
    /// When there is no memory for the flow cache.
    pub fn new(config: WorkerConfig, arena: &Arena, stages: Vec<Box<dyn Stage>>) -> io::Result<Worker> {
        let core = Core::new(config, arena, stages)?;
        let lookups = Lookups {
            keys: vec![FlowKey::default(); config.batch.max(1)],
            hashes: vec![0; config.batch.max(1)],
            slots: vec![SlotId::NONE; config.batch.max(1)],
            refused: Vec::with_capacity(config.batch),
        };
        let (depth, batch) = (core.pipeline.depth(), config.batch.max(1));
        let direct = Direct::new(batch, config.direct);
        Ok(Worker { core, depth, batch, rx: Batch::new(batch), lookups, direct, sweep: Sweep::default() })
    }

    /// What this worker counts.
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.core.counters
    }

    /// Frames that counted at no port: handed over by another worker for a port that had gone.
    pub fn strays(&self) -> &Arc<PortCounters> {
        &self.core.ports.strays
    }

    /// What this worker knows.
    pub fn tables(&mut self) -> &mut Tables {
        &mut self.core.tables
    }

    /// Takes a change of ports or domains; gives back a forwarding database that is no longer needed.
    ///
    /// # Errors
    /// When there is no memory for the forwarding database of a domain.
    pub fn apply(&mut self, change: Change) -> io::Result<Option<Fdb>> {
        if let Change::Port(id, Some(view)) = &change {
            self.core.ports.set_mirror(*id, view.mirror);
        }
        self.core.tables.apply(change)
    }

    /// Who watches this worker.
    pub fn tap(&mut self) -> &mut Tap {
        &mut self.core.ports.tap
    }

    /// Makes this worker one of several.
    pub fn join(&mut self, peers: Peers) {
        self.core.loops.secret = peers.secret().clone();
        self.core.ports.peers = peers;
        self.core.meet_peers();
    }

    /// Opens a port and serves it.
    pub fn attach(&mut self, port: Attachment) {
        let id = port.port;
        self.open(port);
        self.core.ports.serve(id);
    }

    /// Opens a port for what leaves by it. It is served when the other workers have opened it too: what comes in may
    /// have to leave by any of them.
    fn open(&mut self, port: Attachment) {
        let (id, up) = (port.port, port.up.clone());
        if !port.queues.is_empty() {
            up.store(true, Relaxed);
        }
        self.core.ports.attach(port);
        self.core.loops.reserve(self.core.ports.slot_count());
        self.core.tables.set_up(id, up.load(Relaxed));
    }

    /// Lets go of a port and forgets what was learned on it; gives back its name and queues, `None` when it is not open.
    pub fn detach(&mut self, port: PortId) -> Option<(String, Vec<Box<dyn Queue>>)> {
        self.core.tables.set_up(port, false);
        self.core.tables.flush_port(port);
        self.core.ports.detach(port, &mut self.core.pool)
    }

    /// One round over all queues that are ready at time `now`; says how many frames were dealt with, from ports and from other
    /// workers: 0 when nothing was to be done.
    pub fn poll(&mut self, now: Millis) -> usize {
        self.round(now, &mut ())
    }

    /// Like [`Worker::poll`], with the time of each phase added to `spent`.
    pub fn poll_timed(&mut self, now: Millis, spent: &mut PhaseTicks) -> usize {
        self.round(now, &mut Stopwatch { spent, last: 0 })
    }

    #[inline(always)]
    fn round(&mut self, now: Millis, watch: &mut impl Laps) -> usize {
        self.core.now = now;
        let delivered = self.core.deliver();
        let (mut frames, mut served) = (0, false);
        let is_fair = self.core.ports.schedule.is_fair();
        let mut since = 0;
        if is_fair {
            self.core.ports.schedule.begin_round();
            since = ticks();
        }
        for i in 0..self.core.ports.schedule.len() {
            let Some((queue, most)) = self.core.ports.schedule.turn(i, self.batch) else { continue };
            let came = self.visit((i, queue), most, watch);
            frames += came;
            served = true;
            if is_fair {
                let end = ticks();
                self.core.ports.schedule.charge(i, (came, came >= most), end - std::mem::replace(&mut since, end));
            }
        }
        if !served {
            self.core.ports.schedule.forgive();
        }
        if frames == 0 {
            self.core.hear();
            self.core.tell();
        }
        delivered + frames
    }

    /// Takes up to `most` frames from a queue, or those that its last visit left, and runs them to completion; says how many there
    /// were, and one for a flood.
    #[inline(always)]
    fn visit(&mut self, (i, queue): (usize, QueueId), most: usize, watch: &mut impl Laps) -> usize {
        watch.start();
        self.core.copies = 0;
        self.rx.set_limit(most);
        let is_new = match self.core.ports.schedule.resume(i) {
            Some(pending) => {
                if !self.resume(i, pending) {
                    return 1;
                }
                false
            }
            None => {
                self.core.receive(queue, &mut self.rx);
                self.core.counters.frames.add(self.rx.len() as u64);
                true
            }
        };
        self.core.ports.schedule.note(i, is_new && self.rx.is_empty());
        if self.rx.is_empty() {
            return usize::from(!is_new);
        }
        let frames = self.rx.len();
        self.guard(queue.port);
        self.core.hear();
        watch.lap(|spent| &mut spent.receive);
        match self.direct.applies(&self.core, queue.port) {
            Some(ingress) => self.switch_directly(ingress, watch),
            None => self.switch_cached(queue.port, watch),
        }
        self.core.flush();
        if self.core.unfinished.is_some() || !self.rx.is_empty() {
            self.suspend(i);
        }
        watch.lap(|spent| &mut spent.flush);
        frames
    }

    /// Decides every frame by the flow cache, and those that it does not know by the stages.
    #[inline(always)]
    fn switch_cached(&mut self, port: PortId, watch: &mut impl Laps) {
        self.core.useless = 0;
        self.classify(port);
        watch.lap(|spent| &mut spent.classify);
        self.probe();
        watch.lap(|spent| &mut spent.probe);
        let frames = self.rx.len();
        self.run(port);
        self.direct.note(frames, self.core.useless);
        watch.lap(|spent| &mut spent.run);
    }

    /// Decides every frame by the forwarding database itself, and what is out of the ordinary by the stages.
    #[inline(never)]
    fn switch_directly(&mut self, ingress: Ingress, watch: &mut impl Laps) {
        self.direct.classify(&self.rx, &ingress, &self.core.tables);
        watch.lap(|spent| &mut spent.classify);
        self.direct.probe(self.rx.len(), &ingress, &mut self.core);
        watch.lap(|spent| &mut spent.probe);
        self.direct.run(&mut self.rx, &ingress, &mut self.core);
        watch.lap(|spent| &mut spent.run);
    }

    /// Goes on with what the last visit left: false when that is enough for this one too.
    #[cold]
    fn resume(&mut self, i: usize, mut pending: Box<Pending>) -> bool {
        if let Some(flooding) = pending.flooding.take() {
            pending.flooding = self.core.flood(flooding);
            // Also when it is over: there may be no frame behind it.
            self.core.flush();
        }
        if pending.flooding.is_some() {
            self.core.ports.schedule.suspend(i, pending);
            return false;
        }
        self.rx.set_limit(self.batch);
        self.rx.take_from(&mut pending.frames);
        if !pending.frames.is_empty() {
            self.core.ports.schedule.suspend(i, pending);
        }
        true
    }

    /// Keeps what this visit leaves for the next.
    #[cold]
    fn suspend(&mut self, i: usize) {
        let flooding = self.core.unfinished.take();
        let later = self.core.ports.schedule.resume(i).into_iter().flat_map(|pending| pending.into_frames());
        let frames = self.rx.drain().chain(later).collect();
        self.core.ports.schedule.suspend(i, Box::new(Pending { flooding, frames }));
    }

    /// Frames to keys and hashes; frames that are no frames leave the batch.
    fn classify(&mut self, port: PortId) {
        let hasher = self.core.table.hasher();
        let targets = self.lookups.keys.iter_mut().zip(&mut self.lookups.hashes);
        for (i, (frame, (key, hash))) in self.rx.iter().zip(targets).enumerate() {
            match look(frame, port, self.depth, &hasher, key) {
                Ok(found) => {
                    *hash = found;
                    self.core.table.prefetch(found);
                }
                Err(reason) => self.lookups.refused.push((i, reason)),
            }
        }
        if !self.lookups.refused.is_empty() {
            self.discard_refused(port);
        }
    }

    /// Takes the frames that have no key out of the batch.
    #[cold]
    fn discard_refused(&mut self, port: PortId) {
        while let Some((i, reason)) = self.lookups.refused.pop() {
            let frame = self.rx.remove(i);
            self.lookups.keys.copy_within(i + 1.., i);
            self.lookups.hashes.copy_within(i + 1.., i);
            self.core.discard(frame, port, reason);
        }
    }

    /// Hashes to candidate entries. What the stages will ask for frames without one is fetched ahead too.
    fn probe(&mut self) {
        let Lookups { slots, hashes, keys, .. } = &mut self.lookups;
        for ((slot, &hash), key) in slots.iter_mut().zip(&hashes[..self.rx.len()]).zip(keys) {
            *slot = self.core.table.candidate(hash);
            if *slot == SlotId::NONE {
                self.core.tables.prefetch(key);
            }
        }
    }

    /// Runs every frame's program, in order, or as many as make a visit.
    fn run(&mut self, port: PortId) {
        self.core.epoch = self.core.tables.epoch(port);
        let Lookups { keys, hashes, slots, .. } = &self.lookups;
        let n = self.rx.len();
        let (keys, hashes, slots) = (&keys[..n], &hashes[..n], &slots[..n]);
        self.rx.consume_while(|i, frame| self.core.run(frame, port, slots[i], (&keys[i], hashes[i])));
    }
}

/// Writes the key of a frame and gives its hash. Layer 2 is hashed in registers, on the way to memory; the key's deeper words
/// are zero then and stay so.
#[inline(always)]
fn look(frame: &[u8], port: PortId, depth: Depth, hasher: &KeyHasher, key: &mut FlowKey) -> Result<u64, DropReason> {
    if depth > Depth::L2 {
        *key = parse(frame, port, depth)?;
        return Ok(hasher.hash(&key.words()));
    }
    let words = layer2(frame, port).ok_or(DropReason::Runt)?;
    key.set_layer2(words);
    Ok(hasher.hash(&words))
}
