//! A worker driven by hand, with a channel at every port: what the tests of the engine have in common.
#![allow(dead_code, reason = "each test file takes the part it needs")]

pub mod cost;
pub mod host;
pub mod mesh;
pub mod scenario;
pub mod vlan;

use crossdock_engine::Switch;
use crossdock_engine::clock::Millis;
use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Arena, Batch, Gso, GsoKind, Offload};
use crossdock_engine::ports::channel::{Channel, ChannelEnd};
use crossdock_engine::ports::{Caps, Io, Port, Queue};
use crossdock_engine::stages::Stage;
use crossdock_engine::stats::PortCounters;
use crossdock_engine::switch::Membership;
use crossdock_engine::tables::topology::{Domain, DomainId, PortView, Topology};
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::{Attachment, Worker, WorkerConfig};
use etherparse::PacketBuilder;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A frame as a far end sees it.
pub type Seen = (Vec<u8>, Offload);

/// The address of station `n`.
pub fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

/// A UDP datagram between two addresses that carries a number; 64 bytes.
pub fn numbered(source: Mac, destination: Mac, number: u32) -> Vec<u8> {
    let mut payload = [0; 22];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    datagram(source, destination, &payload)
}

/// The number that [`numbered`] put into a frame.
pub fn number_of(frame: &[u8]) -> u32 {
    frame[42..].first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes))
}

/// A frame between two addresses; 64 bytes.
pub fn frame(source: Mac, destination: Mac) -> Vec<u8> {
    numbered(source, destination, 0)
}

/// A frame of exactly `len` bytes, at least 42.
pub fn frame_of(len: usize, source: Mac, destination: Mac) -> Vec<u8> {
    datagram(source, destination, &vec![0x5a; len - 42])
}

fn datagram(source: Mac, destination: Mac, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(source.0, destination.0).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(4000, 53);
    packet.write(&mut frame, payload).unwrap();
    frame
}

/// Far longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Puts a channel port into a domain of a running switch.
pub fn plug(switch: &Switch, name: &str, domain: &str) -> ChannelEnd {
    let (channel, end) = Channel::pair(name, 256, 1500, switch.arena()).unwrap();
    switch.add_port(Box::new(channel), &Membership::of(domain)).unwrap();
    until("the worker opened the port", || switch.ports().iter().any(|port| port.name == name && port.up));
    end
}

/// The next frame of an end.
pub fn receive(end: &mut ChannelEnd) -> Vec<u8> {
    let begin = Instant::now();
    loop {
        if let Some((frame, _)) = end.recv() {
            return frame;
        }
        assert!(begin.elapsed() < PATIENCE, "no frame came");
        std::thread::yield_now();
    }
}

/// Waits until something is so.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a frame is one by which a switch looks for loops.
pub fn is_probe(frame: &[u8]) -> bool {
    frame.starts_with(&[3, 0x78, 0x64, 0x6f, 0x63, 0x6b])
}

/// The offload of a TCP super-frame with segments of `size` bytes behind 54 bytes of headers.
pub fn super_frame(size: u16) -> Offload {
    Offload { csum: None, gso: Some(Gso { size, hdr_len: 54, kind: GsoKind::Tcp4, ecn: false }) }
}

/// One domain "lan" with these ports; the other fields of the ports as given.
pub fn one_domain(domain: Domain, ports: Vec<PortView>) -> Topology {
    let members = (0..ports.len() as u16).map(PortId).collect();
    let view = |port| Some(PortView { domain: Some(DomainId(0)), ..port });
    Topology { ports: ports.into_iter().map(view).collect(), domains: vec![Some(Domain { members, ..domain })] }
}

/// A queue whose link the test can pull.
struct Link {
    queue: Box<dyn Queue>,
    up: Arc<AtomicBool>,
}

impl Queue for Link {
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        self.queue.receive(io, batch)
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        self.queue.transmit(io, batch)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.queue.fd()
    }

    fn is_up(&mut self) -> bool {
        self.up.load(Relaxed)
    }
}

/// How a [`Rig`] is built.
pub struct Setup {
    pub config: WorkerConfig,
    pub topology: Topology,
    pub stages: Vec<Box<dyn Stage>>,
    /// Frames in each ring of a channel.
    pub ring: usize,
    /// By port; 1500 where it ends.
    pub mtus: Vec<u16>,
    /// By port; everything where it ends.
    pub takes: Vec<Takes>,
    pub arena: Arena,
}

/// What a port takes besides whole frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    SuperFrames,
    PartialChecksums,
    Nothing,
}

impl Setup {
    pub fn new(topology: Topology) -> Setup {
        let config = WorkerConfig { flows: 4096, ..WorkerConfig::default() };
        let arena = Arena::new(4096, 256).unwrap();
        Setup { config, topology, stages: Vec::new(), ring: 1024, mtus: Vec::new(), takes: Vec::new(), arena }
    }
}

/// A worker and the far ends of its ports.
pub struct Rig {
    pub worker: Worker,
    pub arena: Arena,
    pub counters: Vec<Arc<PortCounters>>,
    /// Whether the worker takes each port's link for up.
    pub up: Vec<Arc<AtomicBool>>,
    topology: Topology,
    ends: Vec<Option<ChannelEnd>>,
    links: Vec<Arc<AtomicBool>>,
    ring: usize,
    mtus: Vec<u16>,
    takes: Vec<Takes>,
    now: u32,
}

impl Rig {
    /// Ordinary ports in one domain.
    pub fn new(ports: usize) -> Rig {
        Rig::of(Domain::new("lan"), vec![PortView::default(); ports])
    }

    /// One domain of these ports.
    pub fn of(domain: Domain, ports: Vec<PortView>) -> Rig {
        Rig::build(Setup::new(one_domain(domain, ports)))
    }

    pub fn build(setup: Setup) -> Rig {
        let arena = setup.arena;
        let worker = Worker::new(setup.config, &arena, setup.stages).unwrap();
        let ports = setup.topology.ports.len();
        let mut rig = Rig {
            worker,
            arena,
            counters: (0..ports).map(|_| Arc::default()).collect(),
            up: (0..ports).map(|_| Arc::default()).collect(),
            topology: setup.topology,
            ends: (0..ports).map(|_| None).collect(),
            links: (0..ports).map(|_| Arc::new(AtomicBool::new(true))).collect(),
            ring: setup.ring,
            mtus: setup.mtus,
            takes: setup.takes,
            now: 1,
        };
        rig.publish();
        (0..ports).for_each(|port| rig.open(port));
        rig
    }

    fn publish(&mut self) {
        self.worker.tables().publish(Arc::new(self.topology.clone())).unwrap();
    }

    /// Changes the configuration while the worker works.
    pub fn configure(&mut self, change: impl FnOnce(&mut Topology)) {
        change(&mut self.topology);
        self.publish();
    }

    fn open(&mut self, port: usize) {
        let mtu = self.mtus.get(port).copied().unwrap_or(1500);
        let (channel, end) = Channel::pair(&format!("p{port}"), self.ring, mtu, &self.arena).unwrap();
        let up = self.links[port].clone();
        up.store(true, Relaxed);
        let takes = self.takes.get(port).copied().unwrap_or(Takes::SuperFrames);
        let (csum, tso) = (takes != Takes::Nothing, takes == Takes::SuperFrames);
        let channel = channel.with_caps(Caps { mtu, csum, tso, uso: tso, ..Caps::default() });
        let caps = channel.caps();
        let queues = Box::new(channel).open(&self.arena, 1).unwrap();
        let link = |queue| Box::new(Link { queue, up: up.clone() }) as Box<dyn Queue>;
        let (queues, counters) = (queues.into_iter().map(link).collect(), self.counters[port].clone());
        let (id, name, up) = (PortId(port as u16), port.to_string(), self.up[port].clone());
        self.worker.attach(Attachment { port: id, name, queues, owners: [0].into(), counters, up, caps });
        self.ends[port] = Some(end);
    }

    /// Whether the port is there.
    pub fn has(&self, port: usize) -> bool {
        self.ends[port].is_some()
    }

    /// Removes a port, as `Switch::remove_port` does; returns what its far end still had to read.
    pub fn remove(&mut self, port: usize) -> Vec<Seen> {
        let id = PortId(port as u16);
        self.worker.detach(id);
        self.topology.domains.iter_mut().flatten().for_each(|d| d.members.retain(|&m| m != id));
        let last = self.received(port);
        self.ends[port] = None;
        self.publish();
        last
    }

    /// Puts a removed port back into the domain that its description names.
    pub fn add(&mut self, port: usize) {
        let domain = self.topology.ports[port].as_ref().and_then(|p| p.domain);
        let domain = domain.and_then(|d| self.topology.domains[d.index()].as_mut());
        if let Some(domain) = domain {
            domain.members.push(PortId(port as u16));
        }
        self.publish();
        self.open(port);
    }

    /// Pulls or plugs a port's link and lets the worker see it.
    pub fn set_link(&mut self, port: usize, up: bool) {
        self.links[port].store(up, Relaxed);
        self.worker.check_links();
    }

    /// Pulls a port's link; the worker is not told.
    pub fn pull(&mut self, port: usize) {
        self.links[port].store(false, Relaxed);
    }

    pub fn now(&self) -> Millis {
        Millis(self.now)
    }

    /// Puts a frame into the port's ring; false when it does not take it.
    pub fn offer(&mut self, port: usize, frame: &[u8], offload: Offload) -> bool {
        self.ends[port].as_mut().is_some_and(|end| end.send(frame, offload).is_ok())
    }

    /// Puts a frame into the port's ring.
    pub fn send(&mut self, port: usize, frame: &[u8]) {
        assert!(self.offer(port, frame, Offload::default()), "port {port} does not take a frame");
    }

    /// One round of the worker.
    pub fn round(&mut self) -> usize {
        self.worker.poll(Millis(self.now))
    }

    /// Rounds until no frame waits.
    pub fn settle(&mut self) {
        while self.round() > 0 {}
    }

    /// Lets time pass, with housekeeping at every full second.
    pub fn advance(&mut self, ms: u32) {
        let end = self.now + ms;
        while self.now / 1000 < end / 1000 {
            self.now = (self.now / 1000 + 1) * 1000;
            self.worker.housekeeping(Millis(self.now));
        }
        self.now = end;
    }

    /// What waits at the far end of a port, but for the switch's own probes for loops.
    pub fn received(&mut self, port: usize) -> Vec<Seen> {
        let Some(end) = self.ends[port].as_mut() else { return Vec::new() };
        std::iter::from_fn(|| end.recv()).filter(|(frame, _)| !is_probe(frame)).collect()
    }

    /// What waits at the far end of a port, if there is such a port.
    pub fn try_received(&mut self, port: usize) -> Vec<Seen> {
        if port < self.ends.len() { self.received(port) } else { Vec::new() }
    }

    /// Throws away what waits at the far ends.
    pub fn drain(&mut self) {
        for end in self.ends.iter_mut().flatten() {
            while let Some(frame) = end.recv_frame() {
                end.free(frame);
            }
        }
    }

    /// Drops the far end of a port without telling the worker.
    pub fn hang_up(&mut self, port: usize) {
        self.ends[port] = None;
    }

    /// What waits at the far ends of all ports.
    pub fn all_received(&mut self) -> Vec<Vec<Seen>> {
        (0..self.ends.len()).map(|port| self.received(port)).collect()
    }

    /// Sends one frame, lets it through, and says how many copies of exactly it came out of which ports.
    pub fn copies(&mut self, port: usize, frame: &[u8]) -> Vec<usize> {
        self.copies_with(port, frame, Offload::default())
    }

    /// [`Rig::copies`] of a frame with offloads.
    pub fn copies_with(&mut self, port: usize, frame: &[u8], offload: Offload) -> Vec<usize> {
        assert!(self.all_received().iter().all(Vec::is_empty), "frames of before wait");
        assert!(self.offer(port, frame, offload));
        self.settle();
        let seen = self.all_received();
        assert!(seen.iter().flatten().all(|(bytes, o)| bytes == frame && *o == offload), "changed on its way");
        seen.iter().map(Vec::len).collect()
    }

    /// Lets `station` say something at `port`, so that its address is known; nothing is left waiting.
    pub fn introduce(&mut self, port: usize, station: Mac) {
        self.send(port, &frame(station, Mac::BROADCAST));
        self.settle();
        self.all_received();
    }

    /// Where an address of the first domain is known to be.
    pub fn port_of(&mut self, station: Mac) -> Option<usize> {
        self.worker.tables().fdb(DomainId(0))?.lookup(station).map(PortId::index)
    }

    /// Addresses known in the first domain.
    pub fn known(&mut self) -> usize {
        self.worker.tables().fdb(DomainId(0)).map_or(0, |fdb| fdb.len())
    }

    /// Frames dropped at one port for one reason.
    pub fn dropped_at(&self, port: usize, reason: DropReason) -> u64 {
        self.counters[port].drops[reason.index()].get()
    }

    /// Frames dropped for one reason, at whatever port.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.iter().map(|c| c.drops[reason.index()].get()).sum()
    }

    /// All drops, port by port, reason by reason.
    pub fn drops(&self) -> Vec<Vec<u64>> {
        self.counters.iter().map(|c| c.drops.iter().map(|n| n.get()).collect()).collect()
    }

    /// Received and made, sent and dropped.
    pub fn balance(&self) -> (u64, u64) {
        let sum = |count: fn(&PortCounters) -> u64| self.counters.iter().map(|c| count(c)).sum::<u64>();
        (sum(|c| c.rx_frames.get() + c.generated.get()), sum(|c| c.tx_frames.get() + c.coalesced.get() + c.dropped()))
    }

    /// Received and sent.
    pub fn traffic(&self) -> (u64, u64) {
        let sum = |count: fn(&PortCounters) -> u64| self.counters.iter().map(|c| count(c)).sum::<u64>();
        (sum(|c| c.rx_frames.get()), sum(|c| c.tx_frames.get()))
    }

    /// Takes everything down; says whether all frame memory came home.
    pub fn ends_at_rest(self) -> bool {
        let arena = self.arena.clone();
        drop(self);
        arena.free() == arena.total()
    }
}
