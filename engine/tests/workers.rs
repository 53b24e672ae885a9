//! Several workers are one switch: whichever worker a frame comes to, the same copies leave by the same ports, in order,
//! and none is lost.
#![cfg(test)]

mod support;

use crossdock_engine::Switch;
use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::{Depth, Flow, PortId, Verdict};
use crossdock_engine::frame::{Arena, Offload};
use crossdock_engine::stages::Stage;
use crossdock_engine::switch::Config;
use crossdock_engine::tables::topology::{Domain, PortView};
use crossdock_engine::wire::Mac;
use proptest::prelude::*;
use std::time::{Duration, Instant};
use support::mesh::Mesh;
use support::{PATIENCE, Rig, frame, mac, number_of, numbered, one_domain, plug, receive, until};

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
        prop_assert_eq!(mesh.dropped(DropReason::HandoverFull), 0);
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
        (0..3).for_each(|_| mesh.settle());
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
    assert_eq!(mesh.known()[0], 1024, "as many as the ring between the workers takes");
    let frames = mesh.received(1).len();
    mesh.settle();
    assert_eq!(frames + mesh.received(1).len(), 1024, "the ring of frames is as long");
    assert_eq!(mesh.dropped(DropReason::HandoverFull), 3000 - 1024);
    for n in 0..3000 {
        mesh.send(0, &numbered(station(n), mac(200), n));
        mesh.send(1, &frame(mac(7), mac(8)));
        mesh.settle();
        mesh.received(0);
        mesh.received(1);
    }
    assert_eq!(mesh.known(), [3001, 3001]);
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
    let waiting = 1000 - mesh.dropped(DropReason::HandoverFull) as usize;
    assert!((40..=64).contains(&waiting), "{waiting} of 256 wait");
    mesh.settle();
    let received = mesh.received(1).len() + mesh.dropped(DropReason::TxFull) as usize;
    assert_eq!((received, mesh.in_flight()), (waiting, 0));
    (0..1000).for_each(|_| assert_eq!(mesh.copies(0, &jumbo), [0, 1]));
}

/// Also of few super-frames, each worker may hand one over.
#[test]
fn one_super_frame_may_wait_however_few_there_are() {
    let topology = one_domain(Domain::new("lan"), vec![PortView::default(); 6]);
    let mut mesh = Mesh::build(topology, 6, 16, Arena::new(1024, 16).unwrap());
    let jumbo = [frame(mac(1), mac(2)), vec![0; 8900]].concat();
    mesh.copies(5, &frame(mac(2), mac(1)));
    assert_eq!(mesh.copies(0, &jumbo), [0, 0, 0, 0, 0, 1]);
}

/// A worker that is flooded with frames by one other takes a third's in turn.
#[test]
fn no_worker_starves_another_at_a_third() {
    let mut mesh = Mesh::new(3, 3);
    mesh.copies(2, &frame(mac(3), Mac::BROADCAST));
    for n in 0..8 {
        (0..256).for_each(|_| mesh.send(0, &numbered(mac(1), mac(3), n)));
        mesh.send(1, &numbered(mac(2), mac(3), n));
        (0..4).for_each(|_| _ = mesh.poll(0));
        mesh.poll(1);
        mesh.poll(2);
        let frames = mesh.received(2);
        let from = |station: Mac| frames.iter().filter(|frame| frame[6..12] == station.0).count();
        assert_eq!((from(mac(1)), from(mac(2))), (64, 1), "a burst of each");
    }
}

/// A stage that fails at frames from one station.
struct Fragile;

impl Stage for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        assert_ne!(flow.key().eth_src, mac(66), "meant to fail");
        Verdict::Continue
    }
}

/// A switch one of whose workers has panicked ends all the same.
#[test]
fn a_switch_ends_when_a_worker_has_failed() {
    let stages = Box::new(|| vec![Box::new(Fragile) as Box<dyn Stage>]);
    let switch = Switch::new(Config { cores: vec![0; 3], stages, ..Config::default() }).unwrap();
    switch.add_domain(Domain::new("lan")).unwrap();
    let mut end = plug(&switch, "first", "lan");
    end.send(&frame(mac(66), Mac::BROADCAST), Offload::default()).unwrap();
    until("the worker failed", || switch.fdb().is_err());
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(switch);
        done.send(())
    });
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(()));
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
