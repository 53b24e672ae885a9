//! Several workers that are polled by hand, with a channel at every port.

use super::{Link, is_probe, one_domain};
use crossdock_engine::clock::Millis;
use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Arena, Offload};
use crossdock_engine::ports::channel::{Channel, ChannelEnd};
use crossdock_engine::ports::{Port, Queue};
use crossdock_engine::stats::PortCounters;
use crossdock_engine::tables::topology::{Domain, DomainId, PortView, Topology};
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::{Attachment, Peers, Worker, WorkerConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Workers and the far ends of their ports: port `p` belongs to worker `p % workers`.
pub struct Mesh {
    pub workers: Vec<Worker>,
    pub now: u32,
    ends: Vec<ChannelEnd>,
    /// By port, of every worker.
    counters: Vec<Vec<Arc<PortCounters>>>,
    /// Whether each port's link is plugged.
    links: Vec<Arc<AtomicBool>>,
    arena: Arena,
}

impl Mesh {
    pub fn new(workers: usize, ports: usize) -> Mesh {
        Mesh::of(Domain::new("lan"), workers, ports, 1024)
    }

    /// One domain of ordinary ports with `ring` frames in each ring of a channel.
    pub fn of(domain: Domain, workers: usize, ports: usize, ring: usize) -> Mesh {
        let topology = one_domain(domain, vec![PortView::default(); ports]);
        Mesh::build(topology, workers, ring, Arena::new(8192, 256).unwrap())
    }

    pub fn build(topology: Topology, workers: usize, ring: usize, arena: Arena) -> Mesh {
        let (ports, topology) = (topology.ports.len(), Arc::new(topology));
        let config = WorkerConfig { flows: 1024, workers, ..WorkerConfig::default() };
        let made = Peers::mesh(workers).into_iter().map(|peers| {
            let mut worker = Worker::new(config, &arena, Vec::new()).unwrap();
            worker.join(peers);
            worker.tables().publish(topology.clone()).unwrap();
            worker
        });
        let workers = made.collect();
        let mut mesh = Mesh { workers, now: 1, ends: Vec::new(), counters: Vec::new(), links: Vec::new(), arena };
        (0..ports).for_each(|port| mesh.open(port, ring));
        mesh
    }

    fn open(&mut self, port: usize, ring: usize) {
        let (channel, end) = Channel::pair(&port.to_string(), ring, 9000, &self.arena).unwrap();
        let (caps, up) = (channel.caps(), Arc::new(AtomicBool::new(true)));
        let plugged = Arc::new(AtomicBool::new(true));
        let link = |queue| Box::new(Link { queue, up: plugged.clone() }) as Box<dyn Queue>;
        let queues = Box::new(channel).open(&self.arena, 1).unwrap();
        let (owner, mut queues) = (port % self.workers.len(), queues.into_iter().map(link).collect());
        let counters: Vec<Arc<PortCounters>> = self.workers.iter().map(|_| Arc::default()).collect();
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let queues = if number == owner { std::mem::take(&mut queues) } else { Vec::new() };
            let (name, counters, up, caps) = (port.to_string(), counters[number].clone(), up.clone(), caps.clone());
            worker.attach(Attachment {
                port: PortId(port as u16),
                name,
                queues,
                owners: [owner].into(),
                counters,
                up,
                caps,
            });
        }
        self.ends.push(end);
        self.counters.push(counters);
        self.links.push(plugged);
    }

    pub fn send(&mut self, port: usize, frame: &[u8]) {
        self.ends[port].send(frame, Offload::default()).unwrap();
    }

    pub fn poll(&mut self, worker: usize) -> usize {
        self.workers[worker].poll(Millis(self.now))
    }

    pub fn settle(&mut self) {
        while (0..self.workers.len()).map(|worker| self.poll(worker)).sum::<usize>() > 0 {}
    }

    /// What came out of a port, but for the switch's own probes for loops.
    pub fn received(&mut self, port: usize) -> Vec<Vec<u8>> {
        self.all_received(port).into_iter().filter(|frame| !is_probe(frame)).collect()
    }

    pub fn all_received(&mut self, port: usize) -> Vec<Vec<u8>> {
        let end = &mut self.ends[port];
        std::iter::from_fn(|| end.recv()).map(|(frame, _)| frame).collect()
    }

    /// Sends one frame, lets it through, and says how many copies came out of which ports.
    pub fn copies(&mut self, port: usize, frame: &[u8]) -> Vec<usize> {
        self.send(port, frame);
        self.settle();
        (0..self.ends.len()).map(|port| self.received(port).len()).collect()
    }

    /// Lets `ms` pass, with housekeeping at every worker.
    pub fn advance(&mut self, ms: u32) {
        for _ in 0..ms / 500 {
            self.now += 500;
            self.workers.iter_mut().for_each(|worker| worker.housekeeping(Millis(self.now)));
        }
    }

    /// Lets one worker take a configuration.
    pub fn publish(&mut self, worker: usize, topology: &Topology) {
        self.workers[worker].tables().publish(Arc::new(topology.clone())).unwrap();
    }

    /// Pulls or plugs a port's link; its worker sees it when it looks.
    pub fn set_link(&mut self, port: usize, up: bool) {
        self.links[port].store(up, Relaxed);
    }

    /// Where each worker believes an address of the first domain to be.
    pub fn places(&mut self, station: Mac) -> Vec<Option<PortId>> {
        let known = |worker: &mut Worker| worker.tables().lookup(DomainId(0), station);
        self.workers.iter_mut().map(known).collect()
    }

    /// How many addresses each worker knows in the first domain.
    pub fn known(&mut self) -> Vec<usize> {
        let known = |worker: &mut Worker| worker.tables().fdb(DomainId(0)).map_or(0, |fdb| fdb.len());
        self.workers.iter_mut().map(known).collect()
    }

    pub fn sum(&self, count: impl Fn(&PortCounters) -> u64) -> u64 {
        let strays = self.workers.iter().map(|worker| count(worker.strays())).sum::<u64>();
        strays + self.counters.iter().flatten().map(|counters| count(counters)).sum::<u64>()
    }

    /// Frames dropped for one reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.sum(|counters| counters.drops[reason.index()].get())
    }

    pub fn in_flight(&self) -> i64 {
        let [rx, made] = [self.sum(|c| c.rx_frames.get()), self.sum(|c| c.generated.get())];
        let [tx, dropped] = [self.sum(|c| c.tx_frames.get() + c.coalesced.get()), self.sum(PortCounters::dropped)];
        (rx + made) as i64 - (tx + dropped) as i64
    }
}
