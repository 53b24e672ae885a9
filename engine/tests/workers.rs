//! Several workers are one switch: whichever worker a frame comes to, the same copies leave by the same ports, in order,
//! and none is lost.
#![cfg(test)]

mod support;

use crossdock_engine::Switch;
use crossdock_engine::clock::Millis;
use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Arena, Offload};
use crossdock_engine::ports::Port;
use crossdock_engine::ports::channel::{Channel, ChannelEnd};
use crossdock_engine::stats::PortCounters;
use crossdock_engine::switch::Config;
use crossdock_engine::tables::topology::{Domain, DomainId, PortView};
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::{Attachment, Peers, Worker, WorkerConfig};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use support::{Rig, frame, mac, number_of, numbered, one_domain, plug, receive};

/// Workers polled by hand, and a channel at every port: port `p` belongs to worker `p % workers`.
struct Mesh {
    workers: Vec<Worker>,
    ends: Vec<ChannelEnd>,
    /// By port, of every worker.
    counters: Vec<Vec<Arc<PortCounters>>>,
    arena: Arena,
    now: u32,
}

impl Mesh {
    fn new(workers: usize, ports: usize) -> Mesh {
        Mesh::of(Domain::new("lan"), workers, ports, 1024)
    }

    fn of(domain: Domain, workers: usize, ports: usize, ring: usize) -> Mesh {
        let arena = Arena::new(8192, 256).unwrap();
        let topology = Arc::new(one_domain(domain, vec![PortView::default(); ports]));
        let config = WorkerConfig { flows: 1024, workers, ..WorkerConfig::default() };
        let made = Peers::mesh(workers).into_iter().map(|peers| {
            let mut worker = Worker::new(config, &arena, Vec::new()).unwrap();
            worker.join(peers);
            worker.tables().publish(topology.clone()).unwrap();
            worker
        });
        let workers = made.collect();
        let mut mesh = Mesh { workers, ends: Vec::new(), counters: Vec::new(), arena, now: 1 };
        (0..ports).for_each(|port| mesh.open(port, ring));
        mesh
    }

    fn open(&mut self, port: usize, ring: usize) {
        let (channel, end) = Channel::pair(&port.to_string(), ring, 9000, &self.arena).unwrap();
        let (caps, up) = (channel.caps(), Arc::new(AtomicBool::new(true)));
        let (owner, mut queues) = (port % self.workers.len(), Box::new(channel).open(&self.arena, 1).unwrap());
        let counters: Vec<Arc<PortCounters>> = self.workers.iter().map(|_| Arc::default()).collect();
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let queues = if number == owner { std::mem::take(&mut queues) } else { Vec::new() };
            let (name, counters, up, caps) = (port.to_string(), counters[number].clone(), up.clone(), caps.clone());
            worker.attach(Attachment { port: PortId(port as u16), name, queues, via: owner, counters, up, caps });
        }
        self.ends.push(end);
        self.counters.push(counters);
    }

    fn send(&mut self, port: usize, frame: &[u8]) {
        self.ends[port].send(frame, Offload::default()).unwrap();
    }

    fn poll(&mut self, worker: usize) -> usize {
        self.workers[worker].poll(Millis(self.now))
    }

    fn settle(&mut self) {
        while (0..self.workers.len()).map(|worker| self.poll(worker)).sum::<usize>() > 0 {}
    }

    fn received(&mut self, port: usize) -> Vec<Vec<u8>> {
        let end = &mut self.ends[port];
        std::iter::from_fn(|| end.recv()).map(|(frame, _)| frame).collect()
    }

    /// Sends one frame, lets it through, and says how many copies came out of which ports.
    fn copies(&mut self, port: usize, frame: &[u8]) -> Vec<usize> {
        self.send(port, frame);
        self.settle();
        (0..self.ends.len()).map(|port| self.received(port).len()).collect()
    }

    /// Lets `ms` pass, with housekeeping at every worker.
    fn advance(&mut self, ms: u32) {
        for _ in 0..ms / 500 {
            self.now += 500;
            self.workers.iter_mut().for_each(|worker| worker.housekeeping(Millis(self.now)));
        }
    }

    /// Where each worker believes an address to be.
    fn places(&mut self, station: Mac) -> Vec<Option<PortId>> {
        let known = |worker: &mut Worker| worker.tables().fdb(DomainId(0)).and_then(|fdb| fdb.lookup(station));
        self.workers.iter_mut().map(known).collect()
    }

    fn sum(&self, count: impl Fn(&PortCounters) -> u64) -> u64 {
        let strays = self.workers.iter().map(|worker| count(worker.strays())).sum::<u64>();
        strays + self.counters.iter().flatten().map(|counters| count(counters)).sum::<u64>()
    }

    fn in_flight(&self) -> i64 {
        let [rx, made] = [self.sum(|c| c.rx_frames.get()), self.sum(|c| c.generated.get())];
        let [tx, dropped] = [self.sum(|c| c.tx_frames.get() + c.coalesced.get()), self.sum(PortCounters::dropped)];
        (rx + made) as i64 - (tx + dropped) as i64
    }
}

/// A frame of a run: where it comes in, from whom, to whom (0 is everybody).
type Sent = (usize, u8, u8);

fn sent(ports: usize) -> impl Strategy<Value = Sent> {
    (0..ports, 1u8..7, 0u8..7)
}

fn bytes((_, from, to): Sent, number: u32) -> Vec<u8> {
    numbered(mac(from), if to == 0 { Mac::BROADCAST } else { mac(to) }, number)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Frames one after another: any number of workers sends the copies that one worker sends.
    #[test]
    fn workers_are_one_switch(workers in 2usize..5, run in proptest::collection::vec(sent(5), 1..60)) {
        let (mut mesh, mut one) = (Mesh::new(workers, 5), Rig::new(5));
        for (number, &frame) in (0..).zip(&run) {
            let bytes = bytes(frame, number);
            let (here, there) = (mesh.copies(frame.0, &bytes), one.copies(frame.0, &bytes));
            prop_assert_eq!(here, there, "frame {} of {:?}", number, run);
        }
        prop_assert_eq!(mesh.in_flight(), 0);
    }

    /// Whatever the order in which workers get their turns, every frame is accounted for, what one station sent to
    /// another comes in order, and in the end all workers know the same places.
    #[test]
    fn no_turn_loses_or_reorders(
        workers in 2usize..5,
        run in proptest::collection::vec((sent(5), proptest::collection::vec(0usize..4, 0..3)), 1..150),
    ) {
        let mut mesh = Mesh::new(workers, 5);
        for (number, ((_, from, to), turns)) in (0..).zip(&run) {
            // A station stays where it is: what comes from two places has no order.
            let port = usize::from(*from) % 5;
            mesh.send(port, &bytes((port, *from, *to), number));
            turns.iter().for_each(|turn| _ = mesh.poll(turn % workers));
        }
        mesh.settle();
        prop_assert_eq!(mesh.in_flight(), 0);
        prop_assert_eq!(mesh.sum(|c| c.drops[DropReason::HandoverFull.index()].get()), 0);
        for port in 0..5 {
            let frames = mesh.received(port);
            let key = |frame: &[u8]| (frame[..12].to_vec(), number_of(frame));
            for pair in run.iter().map(|((_, from, to), _)| bytes((0, *from, *to), 0)[..12].to_vec()) {
                let numbers: Vec<u32> = frames.iter().map(|f| key(f)).filter(|k| k.0 == pair).map(|k| k.1).collect();
                prop_assert!(numbers.is_sorted(), "port {port}: {numbers:?}");
            }
        }
    }

    /// A station that moves, seen by several workers at about the same time, ends up in one place for all of them.
    #[test]
    fn all_agree_on_a_place(workers in 2usize..5, run in proptest::collection::vec((0usize..5, 0usize..4, 0u32..3), 1..8)) {
        let mut mesh = Mesh::new(workers, 5);
        for (port, turn, pause) in run {
            mesh.send(port, &frame(mac(1), mac(2)));
            mesh.poll(turn % workers);
            mesh.now += pause;
        }
        mesh.settle();
        // Everybody hears what is left to hear with the next frame.
        (0..5).for_each(|port| mesh.send(port, &frame(mac(10 + port as u8), Mac::BROADCAST)));
        mesh.settle();
        (0..5).for_each(|port| mesh.send(port, &frame(mac(10 + port as u8), Mac::BROADCAST)));
        mesh.settle();
        let places = mesh.places(mac(1));
        prop_assert!(places.iter().all(|place| *place == places[0] && place.is_some()), "{places:?}");
    }
}

/// The answer to a frame finds its sender known, though another worker learned it.
#[test]
fn an_answer_is_not_flooded() {
    let mut mesh = Mesh::new(3, 6);
    assert_eq!(mesh.copies(0, &frame(mac(1), mac(2))), [0, 1, 1, 1, 1, 1]);
    assert_eq!(mesh.copies(1, &frame(mac(2), mac(1))), [1, 0, 0, 0, 0, 0]);
    assert_eq!(mesh.copies(5, &frame(mac(3), mac(1))), [1, 0, 0, 0, 0, 0]);
}

/// Who talks to one worker only is forgotten by none.
#[test]
fn an_address_stays_known_everywhere_while_one_worker_sees_it() {
    let mut mesh = Mesh::of(Domain { ageing_s: 10, ..Domain::new("lan") }, 2, 2, 1024);
    mesh.copies(1, &frame(mac(2), mac(9)));
    for _ in 0..120 {
        mesh.advance(500);
        mesh.copies(0, &frame(mac(1), mac(2)));
        // The other worker hears the news with its own frames only.
        mesh.copies(1, &frame(mac(2), mac(9)));
    }
    assert_eq!(mesh.places(mac(1)), [Some(PortId(0)); 2], "after a minute, six times the ageing time");
    mesh.advance(12_000);
    assert_eq!(mesh.places(mac(1)), [None; 2], "silent");
}

/// A worker that hears nothing for a while: the others put learning off, and make up for it.
#[test]
fn what_cannot_be_told_is_learned_later() {
    let mut mesh = Mesh::of(Domain { fdb_max: 8192, ..Domain::new("lan") }, 2, 2, 4096);
    let station = |n: u32| Mac([2, 1, 0, 0, (n >> 8) as u8, n as u8]);
    for n in 0..3000 {
        mesh.send(0, &numbered(station(n), mac(200), n));
        mesh.poll(0);
    }
    let known =
        |mesh: &mut Mesh, worker: usize| mesh.workers[worker].tables().fdb(DomainId(0)).map_or(0, |fdb| fdb.len());
    assert_eq!(known(&mut mesh, 0), 1024, "as many as the ring between the workers takes");
    let frames = mesh.received(1).len();
    mesh.settle();
    assert_eq!(frames + mesh.received(1).len(), 1024, "the ring of frames is as long");
    assert_eq!(mesh.sum(|c| c.drops[DropReason::HandoverFull.index()].get()), 3000 - 1024);
    for n in 0..3000 {
        mesh.send(0, &numbered(station(n), mac(200), n));
        mesh.send(1, &frame(mac(7), mac(8)));
        mesh.settle();
        mesh.received(0);
        mesh.received(1);
    }
    assert_eq!((known(&mut mesh, 0), known(&mut mesh, 1)), (3001, 3001));
    assert_eq!(mesh.in_flight(), 0);
}

/// A worker that lags does not get hold of all super-frames: ports receive into those.
#[test]
fn super_frames_are_left_for_others() {
    let mut mesh = Mesh::new(2, 2);
    let jumbo = [frame(mac(1), mac(2)), vec![0; 8900]].concat();
    for _ in 0..1000 {
        mesh.send(0, &jumbo);
        mesh.poll(0);
    }
    assert_eq!(mesh.sum(|c| c.drops[DropReason::HandoverFull.index()].get()), 1000 - 64, "a quarter of 256 waits");
    mesh.settle();
    assert_eq!((mesh.received(1).len(), mesh.in_flight()), (64, 0));
    (0..1000).for_each(|_| assert_eq!(mesh.copies(0, &jumbo), [0, 1]));
}

/// Cores to run on: two where there are two.
fn two_cores() -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, |n| n.get());
    (0..all.min(2)).collect()
}

/// On real threads: a stream from a port of one worker to a port of another keeps its order and loses nothing while other
/// ports come and go.
#[test]
fn a_stream_between_workers_is_whole() {
    let switch = Switch::new(Config { cores: two_cores(), ..Config::default() }).unwrap();
    switch.add_domain(Domain::new("lan")).unwrap();
    let (mut a, mut b) = (plug(&switch, "a", "lan"), plug(&switch, "b", "lan"));
    b.send(&frame(mac(2), mac(1)), Offload::default()).unwrap();
    receive(&mut a);
    let frames = std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            for i in 0..100 {
                let mut c = plug(&switch, "c", "lan");
                c.send(&frame(mac(100 + i), mac(1)), Offload::default()).unwrap();
                switch.remove_port("c").unwrap();
            }
        });
        let mut next = 0;
        while !changes.is_finished() {
            (next..next + 64).for_each(|n| a.send(&numbered(mac(1), mac(2), n), Offload::default()).unwrap());
            for n in next..next + 64 {
                assert_eq!(number_of(&receive(&mut b)), n, "each in its turn");
            }
            next += 64;
        }
        next
    });
    assert!(frames > 100, "{frames}");
    let begin = Instant::now();
    while switch.conservation().in_flight() != 0 {
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", switch.conservation());
        std::thread::sleep(Duration::from_millis(1));
    }
    let unfit = |&&(reason, count): &&(DropReason, u64)| reason != DropReason::SamePort && count > 0;
    assert_eq!(switch.drops().iter().filter(unfit).collect::<Vec<_>>(), Vec::<&(DropReason, u64)>::new());
    let places: Vec<_> = switch.fdb().unwrap().into_iter().filter(|e| e.mac == mac(1)).collect();
    assert_eq!(places.len(), 1, "an address is shown once, though every worker knows it");
    let arena = switch.arena().clone();
    drop((switch, a, b));
    assert_eq!(arena.free(), arena.total());
}

/// A sleeping worker wakes for a frame that another hands over.
#[test]
fn a_worker_wakes_for_a_handed_over_frame() {
    let switch = Switch::new(Config { cores: two_cores(), ..Config::default() }).unwrap();
    switch.add_domain(Domain::new("lan")).unwrap();
    let (mut a, mut b) = (plug(&switch, "a", "lan"), plug(&switch, "b", "lan"));
    for n in 0..20 {
        std::thread::sleep(Duration::from_millis(10));
        let begin = Instant::now();
        a.send(&numbered(mac(1), mac(2), n), Offload::default()).unwrap();
        assert_eq!(number_of(&receive(&mut b)), n);
        assert!(begin.elapsed() < Duration::from_millis(700), "{:?}: a nap's end, not a wake-up", begin.elapsed());
    }
}
