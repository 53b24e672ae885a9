//! The loop of one core.
//!
//! # Theory of operation
//!
//! A worker owns everything it touches: queues, frames, flow cache, tables. Each round ([`Worker::poll`]) takes at most
//! one batch from every queue and runs it to completion, phase by phase:
//!
//! ```text
//! receive -> classify: parse, hash, prefetch the set -> probe: read tags, prefetch the entry
//!         -> run: verify; a miss walks the stages and is cached; execute -> flush every egress batch
//! ```
//!
//! The last loop is strictly in order: what one frame teaches (a new address, a move) holds for the very next one, so
//! the cache never changes what happens to a frame.
//!
//! Commands come by message at the top of a round, housekeeping a little every millisecond: flow stamps are carried
//! over to the forwarding database, old entries age, links are checked. Nothing waits for anybody.

mod idle;
mod mailbox;
mod ports;

pub use idle::{Polling, Sleeper};
pub use mailbox::{Command, Event, FdbPage, FlowPage};
pub use ports::Attachment;

use crate::clock::{Millis, ticks};
use crate::execute::{Egress, execute};
use crate::flow::{Depth, FlowKey, PortId};
use crate::frame::{Arena, Batch, Frame, Pool};
use crate::parse::parse;
use crate::pipeline::{Compiled, Pipeline};
use crate::stages::Stage;
use crate::stats::WorkerCounters;
use crate::table::{FlowTable, SlotId};
use crate::tables::Tables;
use ports::{Outlet, Ports};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Milliseconds in which the whole flow cache is swept once and every table aged once.
const SWEEP_MS: u32 = 1000;

/// Sizes of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Frames per batch.
    pub batch: usize,
    /// Flows the cache should hold.
    pub flows: usize,
    /// False compiles every frame anew: to prove that the cache changes nothing.
    pub cache: bool,
}

impl Default for WorkerConfig {
    fn default() -> WorkerConfig {
        WorkerConfig { batch: 64, flows: 65_536, cache: true }
    }
}

/// Ticks spent in each phase of [`Worker::poll_timed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTicks {
    /// Taking frames from the ports.
    pub receive: u64,
    /// Parsing and hashing.
    pub classify: u64,
    /// Finding cache entries.
    pub probe: u64,
    /// Verifying, compiling misses, executing.
    pub run: u64,
    /// Handing frames to the ports.
    pub flush: u64,
}

/// One core's switch.
pub struct Worker {
    ports: Ports,
    pool: Pool,
    table: FlowTable,
    pipeline: Pipeline,
    tables: Tables,
    depth: Depth,
    rx: Batch,
    keys: Vec<FlowKey>,
    hashes: Vec<u64>,
    slots: Vec<SlotId>,
    now: Millis,
    cache: bool,
    sweep: Sweep,
    counters: Arc<WorkerCounters>,
}

/// How far housekeeping has come.
#[derive(Default)]
struct Sweep {
    cursor: usize,
    last: Millis,
    began: Millis,
    frames: u64,
}

impl Worker {
    /// A worker without ports. `stages` come between the built-in ones, see [`Pipeline::new`].
    ///
    /// # Errors
    /// When there is no memory for the flow cache.
    pub fn new(config: WorkerConfig, arena: &Arena, stages: Vec<Box<dyn Stage>>) -> io::Result<Worker> {
        let pipeline = Pipeline::new(stages);
        Ok(Worker {
            ports: Ports::new(config.batch),
            pool: arena.pool(arena.total(), arena.total()),
            table: FlowTable::new(config.flows)?,
            depth: pipeline.depth(),
            pipeline,
            tables: Tables::new(),
            rx: Batch::new(config.batch),
            keys: Vec::with_capacity(config.batch),
            hashes: Vec::with_capacity(config.batch),
            slots: Vec::with_capacity(config.batch),
            now: Millis::default(),
            cache: config.cache,
            sweep: Sweep::default(),
            counters: Arc::default(),
        })
    }

    /// What this worker counts.
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.counters
    }

    /// What this worker knows.
    pub fn tables(&mut self) -> &mut Tables {
        &mut self.tables
    }

    /// Opens a port.
    pub fn attach(&mut self, port: Attachment) {
        port.counters.up.store(true, Relaxed);
        self.tables.set_up(port.port, true);
        self.ports.attach(port);
    }

    /// Closes a port and forgets what was learned on it; false when it was not open.
    pub fn detach(&mut self, port: PortId) -> bool {
        if let Some(counters) = self.ports.counters(port) {
            counters.up.store(false, Relaxed);
        }
        self.tables.set_up(port, false);
        self.ports.detach(port, &mut self.pool).is_some()
    }

    /// One round over all queues at time `now`; says how many frames came.
    pub fn poll(&mut self, now: Millis) -> usize {
        self.round(now, &mut ())
    }

    /// Like [`Worker::poll`], with the time of each phase added to `spent`.
    pub fn poll_timed(&mut self, now: Millis, spent: &mut PhaseTicks) -> usize {
        self.round(now, &mut Stopwatch { spent, last: 0 })
    }

    #[inline]
    fn round(&mut self, now: Millis, watch: &mut impl Laps) -> usize {
        self.now = now;
        let mut frames = 0;
        for i in 0..self.ports.queue_count() {
            let Some(queue) = self.ports.queue_at(i) else { break };
            watch.start();
            self.ports.receive(queue, &mut self.pool, &mut self.rx);
            if self.rx.is_empty() {
                continue;
            }
            frames += self.rx.len();
            watch.lap(|spent| &mut spent.receive);
            self.classify(queue.0);
            watch.lap(|spent| &mut spent.classify);
            self.probe();
            watch.lap(|spent| &mut spent.probe);
            self.run(queue.0);
            watch.lap(|spent| &mut spent.run);
            self.ports.flush(&mut self.pool);
            watch.lap(|spent| &mut spent.flush);
        }
        self.counters.frames.add(frames as u64);
        frames
    }

    /// Frames to keys and hashes; frames that are no frames leave the batch.
    fn classify(&mut self, port: PortId) {
        self.keys.clear();
        self.hashes.clear();
        let mut i = 0;
        while let Some(frame) = self.rx.get(i) {
            match parse(frame, port, self.depth) {
                Ok(key) => {
                    let hash = self.table.hash(&key, self.depth);
                    self.table.prefetch(hash);
                    self.keys.push(key);
                    self.hashes.push(hash);
                    i += 1;
                }
                Err(reason) => {
                    let frame = self.rx.remove(i);
                    Outlet { ports: &mut self.ports, ingress: port }.drop(frame, reason, &mut self.pool);
                }
            }
        }
    }

    /// Hashes to candidate entries.
    fn probe(&mut self) {
        self.slots.clear();
        self.slots.extend(self.hashes.iter().map(|&hash| self.table.candidate(hash)));
    }

    /// Runs every frame's program, in order.
    fn run(&mut self, port: PortId) {
        let mut batch = std::mem::replace(&mut self.rx, Batch::new(0));
        for (i, frame) in batch.drain().enumerate() {
            let (key, hash) = (&self.keys[i], self.hashes[i]);
            match self.table.verify(self.slots[i], key, hash, self.tables.epoch()) {
                Some(slot) if self.cache => {
                    let actions = self.table.run(slot, frame.len(), self.now);
                    let mut egress = Outlet { ports: &mut self.ports, ingress: port };
                    execute(actions, frame, &mut egress, &mut self.pool);
                }
                _ => self.miss(i, frame, port),
            }
        }
        self.rx = batch;
    }

    /// Walks the stages for a frame, caches what they decide where that may be, and executes it.
    fn miss(&mut self, i: usize, frame: Frame, port: PortId) {
        self.counters.misses.add(1);
        let (key, hash) = (&self.keys[i], self.hashes[i]);
        let compiled = self.pipeline.compile(key, &frame, &mut self.tables, self.now);
        if compiled == Compiled::Reply {
            return self.reply(frame, port);
        }
        let program = self.pipeline.program().actions();
        let slot = match compiled {
            Compiled::Flow if self.cache => self.table.insert(key, hash, program, self.tables.epoch(), self.now),
            _ => None,
        };
        let actions = match slot {
            Some(slot) => self.table.run(slot, frame.len(), self.now),
            None => program,
        };
        execute(actions, frame, &mut Outlet { ports: &mut self.ports, ingress: port }, &mut self.pool);
    }

    /// Sends the stages' answer back where the frame came from; the frame itself makes room for it.
    #[cold]
    fn reply(&mut self, frame: Frame, port: PortId) {
        self.pool.free(frame);
        let answer = self.pipeline.answer();
        let frame = self.pool.alloc(answer.len()).and_then(|mut frame| {
            if frame.fill(answer) {
                return Some(frame);
            }
            self.pool.free(frame);
            None
        });
        Outlet { ports: &mut self.ports, ingress: port }.answer(frame, &mut self.pool);
    }

    /// What is due at time `now` besides frames.
    pub fn housekeeping(&mut self, now: Millis) {
        let elapsed = now.since(self.sweep.last);
        if elapsed == 0 {
            return;
        }
        self.sweep.last = now;
        if self.sweep.cursor == 0 && now.since(self.sweep.began) < SWEEP_MS {
            return;
        }
        self.carry_stamps(now, elapsed);
        if self.sweep.cursor == 0 {
            self.sweep.began = now;
            self.tables.age(now);
            self.check_links();
        }
        self.publish_gauges();
    }

    /// Sweeps the part of the flow cache that `elapsed` milliseconds stand for.
    fn carry_stamps(&mut self, now: Millis, elapsed: u32) {
        let idle = self.sweep.cursor == 0 && self.counters.frames.get() == self.sweep.frames;
        if idle {
            return;
        }
        if self.sweep.cursor == 0 {
            self.sweep.frames = self.counters.frames.get();
        }
        let share = self.table.capacity() * elapsed.min(SWEEP_MS) as usize / SWEEP_MS as usize;
        let tables = &mut self.tables;
        self.sweep.cursor = self.table.sweep(self.sweep.cursor, share.max(64), |key, seen| {
            if now.since(seen) <= 4 * SWEEP_MS {
                tables.refresh(key.port, key.eth_src, seen);
            }
        });
    }

    /// Asks every port whether its link is up, and forgets what was learned on those that are not.
    pub fn check_links(&mut self) {
        let ids: Vec<PortId> = self.ports.ids().collect();
        for port in ids {
            let up = self.ports.queues_mut(port).iter_mut().all(|queue| queue.is_up());
            if let Some(counters) = self.ports.counters(port) {
                counters.up.store(up, Relaxed);
            }
            self.tables.set_up(port, up);
        }
    }

    fn publish_gauges(&self) {
        self.counters.flow_entries.set(self.table.used() as u64);
        self.counters.pool_free.set(self.pool.free_frames() as u64);
        self.counters.moves.set(self.tables.moves());
    }
}

/// What may watch the phases of a round.
trait Laps {
    /// The first phase begins.
    fn start(&mut self);
    /// A phase ended; its time goes where `phase` says.
    fn lap(&mut self, phase: impl Fn(&mut PhaseTicks) -> &mut u64);
}

impl Laps for () {
    #[inline(always)]
    fn start(&mut self) {}
    #[inline(always)]
    fn lap(&mut self, _phase: impl Fn(&mut PhaseTicks) -> &mut u64) {}
}

struct Stopwatch<'a> {
    spent: &'a mut PhaseTicks,
    last: u64,
}

impl Laps for Stopwatch<'_> {
    fn start(&mut self) {
        self.last = ticks();
    }

    fn lap(&mut self, phase: impl Fn(&mut PhaseTicks) -> &mut u64) {
        let now = ticks();
        *phase(self.spent) += now - std::mem::replace(&mut self.last, now);
    }
}
