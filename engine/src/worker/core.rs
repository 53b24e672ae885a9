//! What frames run through: ports, memory, cache, stages and tables, all of one worker.

use super::WorkerConfig;
use super::peers::{BURST, FRAMES};
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
use crate::tables::gossip::Sighting;
use std::io;
use std::sync::Arc;

pub(super) struct Core {
    pub ports: Ports,
    pub pool: Pool,
    pub table: FlowTable,
    pub pipeline: Pipeline,
    pub tables: Tables,
    pub now: Millis,
    pub counters: Arc<WorkerCounters>,
    pub cache: bool,
}

impl Core {
    pub fn new(config: WorkerConfig, arena: &Arena, stages: Vec<Box<dyn Stage>>) -> io::Result<Core> {
        let pipeline = Pipeline::new(stages);
        Ok(Core {
            ports: Ports::new(config.batch.max(1)),
            pool: arena.worker_pool(config.workers),
            table: FlowTable::new(config.flows, pipeline.depth())?,
            pipeline,
            tables: Tables::new(),
            now: Millis::default(),
            counters: Arc::default(),
            cache: config.cache,
        })
    }

    /// Hears what other workers learned. Due after frames were received and before they are looked up: whoever answers
    /// a frame then finds its sender's address known. Due without frames too, or the others could not go on telling.
    #[inline]
    pub fn hear(&mut self) {
        if let Some(room) = self.ports.peers.room() {
            self.tables.gossip.open(room);
            while let Some(sighting) = self.ports.peers.hear(self.tables.era()) {
                self.believe(sighting);
            }
        }
    }

    #[inline(never)]
    fn believe(&mut self, sighting: Sighting) {
        // What was learned before the link went down is forgotten first, and not this with it.
        if let Some(up) = self.ports.link_elsewhere(sighting.port) {
            self.tables.set_up(sighting.port, up);
        }
        self.tables.hear(sighting);
    }

    /// Tells the other workers what this one learned. Due before the frames leave that taught it.
    #[inline]
    pub fn tell(&mut self) {
        if !self.tables.gossip.news().is_empty() {
            self.ports.peers.tell(self.tables.gossip.news());
            self.tables.gossip.clear();
        }
    }

    /// Sends what other workers handed over, a burst of each; says how many frames.
    #[inline]
    pub fn deliver(&mut self) -> usize {
        let frames = (0..self.ports.peers.count()).map(|peer| self.deliver_from(peer)).sum();
        if frames > 0 {
            self.flush();
        }
        frames
    }

    #[inline]
    fn deliver_from(&mut self, peer: usize) -> usize {
        let mut frames = 0;
        while frames < BURST
            && let Some((port, frame)) = self.ports.peers.handed_over(peer)
        {
            Outlet::handed_over(&mut self.ports).output(port, frame, &mut self.pool);
            frames += 1;
        }
        frames
    }

    /// Deals with all that other workers have sent until now.
    pub fn catch_up(&mut self) {
        self.hear();
        let bursts = (0..=FRAMES / BURST).take_while(|_| self.deliver() > 0);
        bursts.for_each(drop);
    }

    /// Frees what other workers handed over and nobody will send.
    pub fn abandon_deliveries(&mut self) {
        for peer in 0..self.ports.peers.count() {
            while let Some((_, frame)) = self.ports.peers.handed_over(peer) {
                self.ports.strays.count_drop(DropReason::PortDown);
                self.pool.free(frame);
            }
        }
    }

    #[inline]
    pub fn receive(&mut self, queue: (PortId, usize), batch: &mut Batch) {
        self.ports.receive(queue, &mut self.pool, batch);
    }

    #[inline]
    pub fn flush(&mut self) {
        self.tell();
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
