//! What frames run through: ports, memory, cache, stages and tables, all of one worker.

use super::ELSEWHERE;
use super::WorkerConfig;
use super::flood::{Flooding, MOST, scratch};
use super::loops::Loops;
use super::outlet::Outlet;
use super::peers::{BURST, Errand, FRAMES, Parcel};
use super::ports::Ports;
use super::schedule::QueueId;
use crate::clock::{Millis, ticks, ticks_in};
use crate::drop::DropReason;
use crate::execute::{Egress, execute};
use crate::flow::{FlowKey, PortId};
use crate::frame::{Arena, Batch, Frame, Pool};
use crate::pipeline::{Compiled, Pipeline};
use crate::program::Exit;
use crate::stages::Stage;
use crate::stats::WorkerCounters;
use crate::table::{FlowTable, Kept, SlotId};
use crate::tables::gossip::Sighting;
use crate::tables::{Flap, Tables};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long the frames that another worker handed over may take in one round.
const DELIVERY: Duration = Duration::from_micros(150);

pub(super) struct Core {
    pub ports: Ports,
    pub pool: Pool,
    pub table: FlowTable,
    pub pipeline: Pipeline,
    pub tables: Tables,
    pub now: Millis,
    pub counters: Arc<WorkerCounters>,
    pub cache: bool,
    /// The epoch of the port that the frames under way came by.
    pub epoch: u32,
    /// Frames of this batch between known stations for which the flow cache was of no use.
    pub useless: usize,
    /// Copies made for floods in this visit.
    pub copies: usize,
    /// A flood that this visit does not finish.
    pub unfinished: Option<Flooding>,
    /// Floods that other workers began, by worker.
    foreign: Vec<Option<Flooding>>,
    /// Addresses that were pinned, to be reported: the first few of a second.
    pub flaps: Vec<Flap>,
    /// Loops outside.
    pub loops: Loops,
    /// Scratch: exits of a part of a flood, and workers that have heard of it.
    pub exits: Vec<Exit>,
    pub told: Vec<bool>,
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
            epoch: 0,
            useless: 0,
            copies: 0,
            unfinished: None,
            foreign: Vec::new(),
            flaps: Vec::with_capacity(8),
            loops: Loops::default(),
            exits: scratch(),
            told: Vec::new(),
        })
    }

    /// Makes room for what other workers send.
    pub fn meet_peers(&mut self) {
        self.foreign.resize_with(self.ports.peers.count(), || None);
        self.told.resize(self.ports.peers.count(), false);
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
        let (mut frames, begin) = (0, if self.ports.schedule.is_fair() { ticks() } else { 0 });
        self.copies = 0;
        if let Some(flooding) = self.foreign[peer].take() {
            self.foreign[peer] = self.flood(flooding);
            frames += 1;
        }
        while frames < BURST
            && self.foreign[peer].is_none()
            && self.copies < MOST
            && let Some(Parcel { errand, frame }) = self.ports.peers.handed_over(peer)
        {
            self.carry_out(peer, errand, frame);
            frames += 1;
            if begin > 0 && (ticks() - begin) as i64 > ticks_in(DELIVERY) {
                break;
            }
        }
        frames + usize::from(self.foreign[peer].is_some())
    }

    #[inline]
    fn carry_out(&mut self, peer: usize, errand: Errand, frame: Frame) {
        self.ports.wire_size = self.ports.any_wire_size();
        match errand {
            Errand::Leave(port) => Outlet::new(&mut self.ports, ELSEWHERE).output(port, frame, &mut self.pool),
            Errand::Show(port) => Outlet::new(&mut self.ports, ELSEWHERE).show(port, frame, &mut self.pool),
            Errand::Flood(flood, origin) => {
                self.foreign[peer] = self.flood(Flooding::new(flood, frame, Some(origin)));
            }
        }
    }

    /// Whether a flood that another worker began is under way.
    pub fn is_flooding(&self) -> bool {
        self.foreign.iter().any(Option::is_some)
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
            let begun = self.foreign[peer].take().map(|flooding| flooding.abandon());
            let rest = std::iter::from_fn(|| self.ports.peers.handed_over(peer).map(|parcel| parcel.frame));
            for frame in begun.into_iter().chain(rest) {
                self.ports.strays.count_drop(DropReason::PortDown);
                self.pool.free(frame);
            }
        }
    }

    #[inline]
    pub fn receive(&mut self, queue: QueueId, batch: &mut Batch) {
        self.ports.receive(queue, &mut self.pool, batch);
    }

    #[inline]
    pub fn flush(&mut self) {
        self.tell();
        self.ports.flush(&mut self.pool);
    }

    /// Runs one frame's program: the cached one, or one compiled now. False when the visit is over.
    #[inline(always)]
    pub fn run(&mut self, frame: Frame, port: PortId, candidate: SlotId, (key, hash): (&FlowKey, u64)) -> bool {
        match self.table.hit(candidate, key, self.epoch, (frame.len(), self.now)) {
            Some(actions) if self.cache => {
                execute(actions, frame, &mut Outlet::new(&mut self.ports, port), &mut self.pool);
                true
            }
            _ => self.miss(frame, port, key, hash),
        }
    }

    /// What happens without a hit at the first look: the entry is elsewhere in its set, or was made by an earlier frame
    /// of this batch, or the stages decide.
    #[inline(never)]
    fn miss(&mut self, frame: Frame, port: PortId, key: &FlowKey, hash: u64) -> bool {
        match self.table.search(key, hash, self.epoch).filter(|_| self.cache) {
            Some(slot) => {
                let actions = self.table.run(slot, frame.len(), self.now);
                execute(actions, frame, &mut Outlet::new(&mut self.ports, port), &mut self.pool);
                true
            }
            None => self.compile(frame, port, key, hash),
        }
    }

    /// Walks the stages for a frame, caches what they decide where that may be, and executes it.
    fn compile(&mut self, frame: Frame, port: PortId, key: &FlowKey, hash: u64) -> bool {
        self.counters.misses.add(1);
        if self.is_own_probe(&frame, port, key) {
            self.discard(frame, port, DropReason::Loop);
            return true;
        }
        let compiled = self.decide(&frame, port, key);
        let kept = match compiled {
            Compiled::Flow if self.cache => {
                self.table.insert(key, hash, self.pipeline.program().actions(), self.epoch, self.now)
            }
            _ => None,
        };
        self.useless +=
            usize::from(matches!(compiled, Compiled::Flow | Compiled::Once) && kept.is_none_or(Kept::displaced));
        let Some(Kept { slot, .. }) = kept else { return self.carry_out_compiled(compiled, frame, port) };
        let actions = self.table.run(slot, frame.len(), self.now);
        execute(actions, frame, &mut Outlet::new(&mut self.ports, port), &mut self.pool);
        true
    }

    /// Walks the stages for a frame, and executes what they decide. False when the visit is over.
    #[inline(never)]
    pub fn walk(&mut self, frame: Frame, port: PortId, key: &FlowKey) -> bool {
        if self.is_own_probe(&frame, port, key) {
            self.discard(frame, port, DropReason::Loop);
            return true;
        }
        let compiled = self.decide(&frame, port, key);
        self.carry_out_compiled(compiled, frame, port)
    }

    #[inline]
    fn decide(&mut self, frame: &Frame, port: PortId, key: &FlowKey) -> Compiled {
        let compiled = self.pipeline.compile(key, frame, &mut self.tables, self.now);
        // What this frame taught may have voided what was decided before.
        self.epoch = self.tables.epoch(port);
        while let Some(flap) = self.tables.next_flap() {
            self.count_flap(flap);
        }
        compiled
    }

    /// Counts an address that was pinned, at both ports that it jumped between, or the one of them that it left and came back to.
    #[cold]
    fn count_flap(&mut self, flap: Flap) {
        let Flap { home, elsewhere, .. } = flap;
        let ports = std::iter::once(home).chain((elsewhere != home).then_some(elsewhere));
        ports.filter_map(|port| self.ports.counters(port)).for_each(|counters| counters.mac_flaps.add(1));
        [home, elsewhere].into_iter().for_each(|port| self.suspect(port, flap.who.vlan()));
        if self.flaps.len() < self.flaps.capacity() {
            self.flaps.push(flap);
        }
    }

    #[inline]
    fn carry_out_compiled(&mut self, compiled: Compiled, frame: Frame, port: PortId) -> bool {
        match compiled {
            Compiled::Flow | Compiled::Once => {
                let actions = self.pipeline.program().actions();
                execute(actions, frame, &mut Outlet::new(&mut self.ports, port), &mut self.pool);
            }
            Compiled::Flood(flood) => {
                self.loops.note(port, flood.domain, flood.class.vlan, self.now);
                self.unfinished = self.flood(Flooding::new(flood, frame, None));
                return self.unfinished.is_none() && self.copies < MOST;
            }
            Compiled::Reply => self.reply(frame, port),
        }
        true
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
        Outlet::new(&mut self.ports, port).answer(frame, &mut self.pool);
    }

    /// Ends a frame that has no key.
    pub fn discard(&mut self, frame: Frame, port: PortId, reason: DropReason) {
        Outlet::new(&mut self.ports, port).drop(frame, reason, &mut self.pool);
    }
}
