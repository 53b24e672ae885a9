//! What frames run through: ports, memory, cache, stages and tables, all of one worker.

use super::WorkerConfig;
use super::ports::{Outlet, Ports};
use crate::clock::Millis;
use crate::drop::DropReason;
use crate::execute::{Egress, execute};
use crate::flow::{FlowKey, PortId};
use crate::frame::{Arena, Batch, Frame, Pool};
use crate::pipeline::{Compiled, Pipeline};
use crate::stages::Stage;
use crate::stats::WorkerCounters;
use crate::table::{FlowTable, SlotId};
use crate::tables::Tables;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(super) struct Core {
    pub ports: Ports,
    pub pool: Pool,
    pub table: FlowTable,
    pub pipeline: Pipeline,
    pub tables: Tables,
    pub now: Millis,
    pub counters: Arc<WorkerCounters>,
    cache: bool,
}

impl Core {
    pub fn new(config: WorkerConfig, arena: &Arena, stages: Vec<Box<dyn Stage>>) -> io::Result<Core> {
        let pipeline = Pipeline::new(stages);
        Ok(Core {
            ports: Ports::new(config.batch.max(1)),
            pool: arena.worker_pool(),
            table: FlowTable::new(config.flows, pipeline.depth())?,
            pipeline,
            tables: Tables::new(),
            now: Millis::default(),
            counters: Arc::default(),
            cache: config.cache,
        })
    }

    /// Notes whether a port's link is up: for those who look at the port, and for those who send to it.
    pub fn set_link(&mut self, port: PortId, up: bool) {
        if let Some(counters) = self.ports.counters(port) {
            counters.up.store(up, Relaxed);
        }
        self.tables.set_up(port, up);
    }

    #[inline]
    pub fn receive(&mut self, queue: (PortId, usize), batch: &mut Batch) {
        self.ports.receive(queue, &mut self.pool, batch);
    }

    #[inline]
    pub fn flush(&mut self) {
        self.ports.flush(&mut self.pool);
    }

    /// Runs one frame's program: the cached one, or one compiled now.
    #[inline(always)]
    pub fn run(&mut self, frame: Frame, port: PortId, candidate: SlotId, (key, hash): (&FlowKey, u64)) {
        match self.table.hit(candidate, key, self.tables.epoch(), (frame.len(), self.now)) {
            Some(actions) if self.cache => {
                execute(actions, frame, &mut Outlet { ports: &mut self.ports, ingress: port }, &mut self.pool);
            }
            _ => self.miss(frame, port, key, hash),
        }
    }

    /// What happens without a hit at the first look: the entry is elsewhere in its set, or was made by an earlier frame
    /// of this batch, or the stages decide.
    #[inline(never)]
    fn miss(&mut self, frame: Frame, port: PortId, key: &FlowKey, hash: u64) {
        match self.table.search(key, hash, self.tables.epoch()).filter(|_| self.cache) {
            Some(slot) => {
                let actions = self.table.run(slot, frame.len(), self.now);
                execute(actions, frame, &mut Outlet { ports: &mut self.ports, ingress: port }, &mut self.pool);
            }
            None => self.compile(frame, port, key, hash),
        }
    }

    /// Walks the stages for a frame, caches what they decide where that may be, and executes it.
    fn compile(&mut self, frame: Frame, port: PortId, key: &FlowKey, hash: u64) {
        self.counters.misses.add(1);
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

    /// Sends the stages' answer back where the frame came from, instead of the frame.
    #[cold]
    fn reply(&mut self, question: Frame, port: PortId) {
        self.pool.free(question);
        let answer = self.pipeline.answer();
        let frame = self.pool.alloc(answer.len()).map(|mut frame| {
            // It fits: a frame of that room was asked for.
            let _ = frame.fill(answer);
            frame
        });
        Outlet { ports: &mut self.ports, ingress: port }.answer(frame, &mut self.pool);
    }

    /// Ends a frame that has no key.
    pub fn discard(&mut self, frame: Frame, port: PortId, reason: DropReason) {
        Outlet { ports: &mut self.ports, ingress: port }.drop(frame, reason, &mut self.pool);
    }
}
