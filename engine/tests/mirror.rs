//! Mirrors: a port shows what passes another one, exactly that, and nobody else notices.
#![cfg(test)]

mod support;

use crossdock_engine::Switch;
use crossdock_engine::capture::{Scope, Source, ring};
use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Arena, Csum, Gso, GsoKind, Offload};
use crossdock_engine::guard::Guard;
use crossdock_engine::switch::{Config, Membership, Mirror};
use crossdock_engine::tables::topology::{Change, Domain, DomainId, MirrorTo, PortView, Topology};
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::{Worker, WorkerConfig};
use proptest::prelude::*;
use std::sync::Arc;
use support::mesh::Mesh;
use support::scenario::{Life, Pace, Step, life, step};
use support::vlan::{access, trunk};
use support::{Rig, Setup, Takes, frame, mac, number_of, numbered, one_domain, plug, receive, until};

fn to(port: u16) -> Option<MirrorTo> {
    Some(MirrorTo { to: PortId(port), ingress: true, egress: true })
}

fn mirror(worker: &mut Worker, port: u16, mirror: Option<MirrorTo>) {
    let view = worker.tables().topology.port(PortId(port)).unwrap().clone();
    drop(worker.apply(Change::Port(PortId(port), Some(PortView { mirror, ..view }))).unwrap());
}

/// Ports of one domain, and one more in no domain, which shows what passes port 0.
fn rig_of(mut ports: Vec<PortView>, takes: Vec<Takes>) -> Rig {
    let shows = ports.len() as u16;
    ports.push(PortView::default());
    let mut topology = one_domain(Domain::new("lan"), ports);
    topology.ports[usize::from(shows)].as_mut().unwrap().domain = None;
    topology.domains[0].as_mut().unwrap().members.pop();
    let mut rig = Rig::build(Setup { takes, ..Setup::new(topology) });
    mirror(&mut rig.worker, 0, to(shows));
    rig
}

fn rig(ports: usize) -> Rig {
    rig_of(vec![PortView::default(); ports], Vec::new())
}

fn shown(rig: &mut Rig, port: usize) -> Vec<Vec<u8>> {
    rig.received(port).into_iter().map(|(bytes, _)| bytes).collect()
}

fn assert_whole(rig: Rig) {
    assert_eq!(rig.balance().0, rig.balance().1);
    assert!(rig.ends_at_rest());
}

#[test]
fn both_directions_are_shown() {
    let mut rig = rig(2);
    let (hello, answer) = (frame(mac(1), mac(2)), frame(mac(2), mac(1)));
    for (port, frame) in [(0, &hello), (1, &answer), (0, &hello)] {
        rig.send(port, frame);
        rig.settle();
    }
    assert_eq!(shown(&mut rig, 2), [hello.clone(), answer.clone(), hello.clone()]);
    assert_eq!((shown(&mut rig, 1).len(), shown(&mut rig, 0).len()), (2, 1));
    for (ingress, egress, seen) in [(true, false, &hello), (false, true, &answer)] {
        mirror(&mut rig.worker, 0, Some(MirrorTo { ingress, egress, ..to(2).unwrap() }));
        rig.send(0, &hello);
        rig.send(1, &answer);
        rig.settle();
        assert_eq!(shown(&mut rig, 2), std::slice::from_ref(seen));
    }
    mirror(&mut rig.worker, 0, None);
    rig.send(0, &hello);
    rig.settle();
    assert_eq!(shown(&mut rig, 2).len(), 0);
    rig.drain();
    assert_whole(rig);
}

/// With tags as on the port's own wire: as they came in, before the port's VLAN is known, and as they leave.
#[test]
fn tags_are_those_of_the_wire() {
    let view = |vlan| PortView { vlan, ..PortView::default() };
    let mut rig = rig_of(vec![view(trunk(&[10])), view(access(10))], Vec::new());
    let tag = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0, 10], &frame[12..]].concat();
    let (hello, answer) = (frame(mac(1), mac(2)), frame(mac(2), mac(1)));
    rig.send(0, &tag(&hello));
    rig.settle();
    rig.send(1, &answer);
    rig.settle();
    assert_eq!(shown(&mut rig, 2), [tag(&hello), tag(&answer)]);
    assert_eq!((shown(&mut rig, 0), shown(&mut rig, 1)), (vec![tag(&answer)], vec![hello]));
    assert_whole(rig);
}

/// What is dropped later was received all the same.
#[test]
fn what_is_dropped_was_received() {
    let guard = Some(Arc::new(Guard::new(Some(&[mac(1)]), None)));
    let mut rig = rig_of(vec![PortView { guard, ..PortView::default() }, PortView::default()], Vec::new());
    rig.send(0, &frame(mac(9), mac(2)));
    rig.send(0, &[2; 13]);
    rig.settle();
    assert_eq!(shown(&mut rig, 2), [frame(mac(9), mac(2)), vec![2; 13]]);
    assert_eq!((rig.dropped_at(0, DropReason::Guard), rig.dropped_at(0, DropReason::Runt)), (1, 1));
    assert_whole(rig);
}

/// Two that show each other, and one that is a member of the domain itself.
#[test]
fn a_copy_is_never_copied() {
    let mut rig = Rig::new(3);
    mirror(&mut rig.worker, 0, to(1));
    mirror(&mut rig.worker, 1, to(0));
    mirror(&mut rig.worker, 2, to(2));
    for n in 0..100 {
        rig.send(0, &numbered(mac(1), Mac::BROADCAST, n));
    }
    rig.settle();
    // Everyone has its own; besides, 1 sees what came in by 0, and 0 what left by 1.
    let numbers = |frames: Vec<Vec<u8>>| frames.iter().map(|frame| number_of(frame)).collect::<Vec<_>>();
    let mut seen = [0, 1, 2].map(|port| numbers(shown(&mut rig, port)));
    seen[1].sort_unstable();
    let all: Vec<u32> = (0..100).collect();
    assert_eq!((&seen[0], &seen[2]), (&all, &all));
    assert_eq!(seen[1], all.iter().flat_map(|&n| [n, n]).collect::<Vec<_>>());
    assert_whole(rig);
}

#[test]
fn a_port_that_does_not_keep_up_is_alone_with_that() {
    let mut ports = one_domain(Domain::new("lan"), vec![PortView::default(); 3]);
    ports.ports[2].as_mut().unwrap().domain = None;
    ports.domains[0].as_mut().unwrap().members.pop();
    let mut rig = Rig::build(Setup { ring: 128, ..Setup::new(ports) });
    mirror(&mut rig.worker, 0, to(2));
    rig.introduce(1, mac(2));
    for n in 0..1000 {
        rig.send(0, &numbered(mac(1), mac(2), n));
        rig.settle();
        assert_eq!(shown(&mut rig, 1).iter().map(|frame| number_of(frame)).collect::<Vec<_>>(), [n]);
    }
    // What was introduced left by port 0, too.
    let kept = shown(&mut rig, 2).len() as u64;
    assert!(kept >= 128, "{kept}");
    assert_eq!((rig.dropped_at(2, DropReason::TxFull), rig.dropped(DropReason::TxFull)), (1000 - kept, 1000 - kept));
    rig.set_link(2, false);
    rig.send(0, &frame(mac(1), mac(2)));
    rig.settle();
    assert_eq!((rig.dropped_at(2, DropReason::PortDown), shown(&mut rig, 1).len()), (1, 1));
    let made = rig.counters[0].generated.get();
    rig.remove(2);
    rig.send(0, &frame(mac(1), mac(2)));
    rig.settle();
    assert_eq!((rig.counters[0].generated.get(), shown(&mut rig, 1).len()), (made, 1), "nobody shows it");
    rig.drain();
    assert_whole(rig);
}

/// A port that takes super-frames shows them whole; another one, cut and complete.
#[test]
fn super_frames_are_cut_where_they_must_be() {
    for (takes, frames) in [(Takes::SuperFrames, 1), (Takes::PartialChecksums, 4), (Takes::Nothing, 4)] {
        let whole = Takes::SuperFrames;
        let mut rig = rig_of(vec![PortView::default(); 2], vec![whole, whole, takes]);
        rig.introduce(1, mac(2));
        rig.received(2);
        let bytes = support::frame_of(42 + 4 * 1400, mac(1), mac(2));
        let gso = Some(Gso { size: 1400, hdr_len: 42, kind: GsoKind::Udp, ecn: false });
        let offload = Offload { csum: Some(Csum { start: 34, offset: 6 }), gso };
        assert!(rig.offer(0, &bytes, offload));
        rig.settle();
        let seen = rig.received(2);
        assert_eq!(seen.len(), frames, "{takes:?}");
        assert!(seen.iter().all(|(_, offload)| offload.gso.is_some() == (takes == Takes::SuperFrames)));
        assert_eq!(rig.received(1), [(bytes, offload)], "the frame itself stays whole");
        assert_whole(rig);
    }
}

/// Too long for the port that shows, or without memory: counted there, or at the port that is shown.
#[test]
fn what_cannot_be_shown_has_a_name() {
    let mut topology = one_domain(Domain::new("lan"), vec![PortView::default(); 3]);
    topology.domains[0].as_mut().unwrap().members.pop();
    let arena = Arena::new(512, 8).unwrap();
    let mut rig = Rig::build(Setup { mtus: vec![9000, 9000, 1500], arena, ..Setup::new(topology) });
    mirror(&mut rig.worker, 0, to(2));
    rig.introduce(1, mac(2));
    rig.drain();
    assert!(rig.offer(0, &support::frame_of(2000, mac(1), mac(2)), Offload::default()));
    rig.settle();
    assert_eq!((rig.dropped_at(2, DropReason::TooBig), shown(&mut rig, 1).len()), (1, 1));
    assert_whole(rig);
}

/// What a capture of one port saw and was not dropped, but for the switch's own probes for loops.
fn captured(source: &mut Source) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(frame) = source.read() {
        if frame.dropped.is_none() && !support::is_probe(frame.bytes) {
            all.push(frame.bytes.to_vec());
        }
    }
    all
}

thread_local! {
    /// Mapped once, and whole again after every life.
    static ARENA: Arena = Arena::new(8192, 512).unwrap();
}

/// Lives through a life with a port more, which shows port 0 or nothing: what left by all others, drops and all.
fn live(life: &Life, shows: bool) -> (Vec<Vec<support::Seen>>, Vec<Vec<u64>>) {
    let arena = ARENA.with(Arena::clone);
    let mut setup = life.setup(WorkerConfig { flows: 256, ..WorkerConfig::default() }, &arena);
    let last = setup.topology.ports.len();
    setup.topology.ports.push(Some(PortView::default()));
    let mtus = [vec![1500; last], vec![9000]].concat();
    let mut rig = Rig::build(Setup { ring: 4096, mtus, ..setup });
    if shows {
        mirror(&mut rig.worker, 0, to(last as u16));
    }
    let (sink, mut source) = ring(Scope { port: Some(PortId(0)), drops_only: false, snaplen: 70_000 }, 16 << 20);
    rig.worker.tap().add(sink);
    let mut out = vec![Vec::new(); last];
    for event in &life.steps {
        if matches!(event, Step::Toggle(_)) {
            rig.settle();
        }
        assert_eq!(step(&mut rig, event, Pace::Rounds).refused, 0);
        rig.settle();
        (0..last).for_each(|port| out[port].extend(rig.received(port)));
        if shows {
            assert_eq!(shown(&mut rig, last), captured(&mut source), "what a capture sees");
        }
    }
    let mut drops = rig.drops();
    assert_eq!(drops.pop().unwrap().iter().sum::<u64>(), 0, "it keeps up");
    assert_eq!(shown(&mut rig, last).len(), 0);
    assert_whole(rig);
    (out, drops)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A mirror shows what a capture of the port would, and changes nothing for anybody.
    #[test]
    fn lives_go_on_as_if_nobody_looked(life in life(25)) {
        let (with, without) = (live(&life, true), live(&life, false));
        if let Some(difference) = support::scenario::difference(&with, &without) {
            return Err(TestCaseError::fail(difference));
        }
    }

    /// Between workers: whichever has the port, and whichever shows it.
    #[test]
    fn any_worker_shows_what_passes_any_other(
        workers in 1usize..4,
        from in 0u16..4,
        run in proptest::collection::vec((0usize..4, 1u8..6, 0u8..6), 1..80),
    ) {
        let domain = Domain { members: (0..4).map(PortId).collect(), ..Domain::new("lan") };
        let member = Some(PortView { domain: Some(DomainId(0)), ..PortView::default() });
        let ports = [vec![member; 4], vec![Some(PortView::default())]].concat();
        let topology = Topology { ports, domains: vec![Some(domain)] };
        let mut mesh = Mesh::build(topology, workers, 1024, Arena::new(8192, 64).unwrap());
        mesh.workers.iter_mut().for_each(|worker| mirror(worker, from, to(4)));
        for (number, &(port, source, destination)) in (0..).zip(&run) {
            let destination = if destination == 0 { Mac::BROADCAST } else { mac(destination) };
            let bytes = numbered(mac(source), destination, number);
            mesh.send(port, &bytes);
            mesh.settle();
            let seen: Vec<_> = (0..5).map(|port| mesh.received(port)).collect();
            let passes = usize::from(port == usize::from(from)) + seen[usize::from(from)].len();
            prop_assert_eq!(&seen[4], &vec![bytes; passes]);
        }
        prop_assert_eq!(mesh.in_flight(), 0);
    }
}

fn named(name: &str, ingress: bool) -> Membership {
    Membership { mirror: Some(Mirror { to: name.into(), ingress, egress: true }), ..Membership::of("lan") }
}

/// Ports come and go by name; numbers are used again, and a mirror never shows at a port of another name.
#[test]
fn a_mirror_waits_for_its_port() {
    for cores in [vec![], vec![0, 0]] {
        let switch = Switch::new(Config { cores, frames: 2048, super_frames: 32, ..Config::default() }).unwrap();
        switch.add_domain(Domain::new("lan")).unwrap();
        let (mut a, mut b) = (plug(&switch, "a", "lan"), plug(&switch, "b", "lan"));
        switch.add_domain(Domain::new("aside")).unwrap();
        switch.change_port("a", &named("monitor", true)).unwrap();
        let active = || switch.port("a").unwrap().mirror.unwrap().1;
        let mut pass = |number: u32| {
            a.send(&numbered(mac(1), Mac::BROADCAST, number), Offload::default()).unwrap();
            assert_eq!(number_of(&receive(&mut b)), number);
        };
        assert!(!active());
        pass(0);
        for round in 1..4 {
            let mut monitor = plug(&switch, "monitor", "aside");
            assert!(active());
            pass(10 * round);
            assert_eq!(number_of(&receive(&mut monitor)), 10 * round);
            switch.remove_port("monitor").unwrap();
            let mut other = plug(&switch, "other", "aside");
            assert!(!active());
            pass(10 * round + 1);
            switch.remove_port("other").unwrap();
            assert_eq!(other.recv().map(|(bytes, _)| number_of(&bytes)), None, "it has the number, not the name");
        }
        switch.change_port("a", &Membership::of("lan")).unwrap();
        assert_eq!(switch.port("a").unwrap().mirror, None);
        until("all is accounted for", || switch.conservation().in_flight() == 0);
        assert_eq!(switch.drops().iter().map(|drop| drop.1).sum::<u64>(), 0);
    }
}
