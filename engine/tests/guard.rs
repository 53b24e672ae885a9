//! A guarded port of a worker: what its guard refuses is dropped by name at that port, teaches nothing, and no cached decision
//! lets it pass; and a stage of one's own that comes early has the same power.
#![cfg(test)]

mod support;

use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::{Depth, Flow, PortId, Verdict};
use crossdock_engine::frame::{Arena, Gso, GsoKind, Offload};
use crossdock_engine::guard::Guard;
use crossdock_engine::stages::{Place, Stage};
use crossdock_engine::tables::topology::{Change, Domain, DomainId, PortView};
use crossdock_engine::trace::{Caching, Hypothesis, Trace};
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::{WithoutCache, WorkerConfig};
use std::sync::Arc;
use support::{Rig, Setup, frame, frame_of, mac, one_domain};

/// The station behind the guarded port, and its address.
const OWN: u8 = 1;
const ADDRESS: [u8; 4] = [10, 0, 0, 1];

fn guarded() -> PortView {
    PortView { guard: Some(guard(&[OWN])), ..PortView::default() }
}

fn guard(stations: &[u8]) -> Arc<Guard> {
    let macs: Vec<Mac> = stations.iter().copied().map(mac).collect();
    Arc::new(Guard::new(Some(&macs), Some(&["10.0.0.1/32".parse().unwrap()])))
}

/// Port 0 is guarded, 1 and 2 are not.
fn rig(config: WorkerConfig) -> Rig {
    let ports = vec![guarded(), PortView::default(), PortView::default()];
    Rig::build(Setup { config, ..Setup::new(one_domain(Domain::new("lan"), ports)) })
}

/// Every way in which a worker decides.
fn configs() -> impl Iterator<Item = WorkerConfig> {
    let ways = [(true, WithoutCache::Never), (false, WithoutCache::Never), (true, WithoutCache::Always)];
    ways.into_iter().map(|(cache, direct)| WorkerConfig { flows: 4096, cache, direct, ..WorkerConfig::default() })
}

/// An ARP reply of station [`OWN`] to another, in which it claims an address.
fn claim(address: [u8; 4], to: Mac) -> Vec<u8> {
    let header = [&to.0[..], &mac(OWN).0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
    [&header[..], &mac(OWN).0, &address, &to.0, &[10, 0, 0, 2]].concat()
}

#[test]
fn a_neighbours_traffic_stays_his() {
    for config in configs() {
        let mut rig = rig(config);
        rig.introduce(0, mac(OWN));
        rig.introduce(1, mac(2));
        assert_eq!(rig.copies(0, &frame(mac(2), mac(OWN))), [0, 0, 0]);
        assert_eq!(rig.copies(0, &frame(mac(2), Mac::BROADCAST)), [0, 0, 0]);
        assert_eq!(rig.port_of(mac(2)), Some(1), "what is refused teaches nothing");
        assert_eq!(rig.copies(2, &frame(mac(3), mac(2))), [0, 1, 0]);
        assert_eq!((rig.dropped_at(0, DropReason::Guard), rig.dropped(DropReason::Guard)), (2, 2));
        assert_eq!(rig.balance().0, rig.balance().1);
        assert!(rig.ends_at_rest());
    }
}

#[test]
fn no_cached_decision_lets_a_false_claim_pass() {
    for config in configs() {
        let mut rig = rig(config);
        rig.introduce(1, mac(2));
        rig.introduce(0, mac(OWN));
        for _ in 0..3 {
            assert_eq!(rig.copies(0, &claim(ADDRESS, mac(2))), [0, 1, 0]);
            assert_eq!(rig.copies(0, &claim([10, 0, 0, 3], mac(2))), [0, 0, 0]);
        }
        assert_eq!(rig.dropped_at(0, DropReason::Guard), 3);
    }
}

/// One batch with frames of both kinds, and one with nothing else.
#[test]
fn what_stays_of_a_batch_keeps_its_order() {
    for config in configs() {
        let mut rig = rig(config);
        rig.introduce(1, mac(2));
        rig.introduce(0, mac(OWN));
        let frames: Vec<_> = (60..120).map(|len| frame_of(len, mac(1 + (len % 3) as u8), mac(2))).collect();
        frames.iter().for_each(|frame| rig.send(0, frame));
        rig.settle();
        let stays: Vec<_> = frames.into_iter().filter(|frame| frame[11] == OWN).collect();
        let seen: Vec<_> = rig.received(1).into_iter().map(|(bytes, _)| bytes).collect();
        assert_eq!(seen, stays);
        assert_eq!(rig.dropped_at(0, DropReason::Guard), 40);
        (0..100).for_each(|_| rig.send(0, &frame(mac(9), mac(2))));
        rig.settle();
        assert_eq!(rig.dropped_at(0, DropReason::Guard), 140);
        assert_eq!(rig.balance().0, rig.balance().1);
    }
}

#[test]
fn a_super_frame_is_judged_by_its_headers() {
    let mut rig = rig(WorkerConfig::default());
    rig.introduce(1, mac(2));
    rig.introduce(0, mac(OWN));
    let gso = Some(Gso { size: 1400, hdr_len: 42, kind: GsoKind::Udp, ecn: false });
    let offload = Offload { csum: None, gso };
    assert_eq!(rig.copies_with(0, &frame_of(60_000, mac(OWN), mac(2)), offload), [0, 1, 0]);
    let mut spoofed = frame_of(60_000, mac(OWN), mac(2));
    spoofed[29] = 9;
    assert_eq!(rig.copies_with(0, &spoofed, offload), [0, 0, 0]);
    assert_eq!(rig.dropped_at(0, DropReason::Guard), 1);
}

#[test]
fn another_guard_voids_no_cached_decision() {
    let mut rig = rig(WorkerConfig { direct: WithoutCache::Never, ..WorkerConfig::default() });
    rig.introduce(1, mac(2));
    rig.introduce(0, mac(OWN));
    let misses = |rig: &Rig| rig.worker.counters().misses.get();
    rig.copies(0, &frame(mac(OWN), mac(2)));
    let before = misses(&rig);
    for stations in [&[OWN, 7][..], &[7], &[OWN]] {
        change(&mut rig, |port| port.guard = Some(guard(stations)));
        let passes = usize::from(stations.contains(&OWN));
        assert_eq!(rig.copies(0, &frame(mac(OWN), mac(2))), [0, passes, 0], "it holds from now on");
    }
    change(&mut rig, |port| port.guard = None);
    assert_eq!(rig.copies(0, &frame(mac(OWN), mac(2))), [0, 1, 0]);
    assert_eq!(misses(&rig), before);
    assert_eq!(rig.copies(0, &frame(mac(9), mac(2))), [0, 1, 0], "nobody guards it any more");
    change(&mut rig, |port| port.isolated = true);
    rig.copies(0, &frame(mac(OWN), mac(2)));
    assert!(misses(&rig) > before + 1, "another key does");
}

/// Changes the description of port 0.
fn change(rig: &mut Rig, change: impl FnOnce(&mut PortView)) {
    let tables = rig.worker.tables();
    let mut view = tables.topology.port(PortId(0)).unwrap().clone();
    change(&mut view);
    tables.apply(Change::Port(PortId(0), Some(view))).unwrap();
}

fn trace(rig: &mut Rig, frame: &[u8]) -> Trace {
    let hypothesis = Hypothesis { port: PortId(0), frame: frame.to_vec(), offload: Offload::default() };
    rig.worker.trace(&hypothesis, rig.now())
}

#[test]
fn a_trace_says_what_the_guard_thinks() {
    let mut rig = rig(WorkerConfig::default());
    rig.introduce(1, mac(2));
    rig.copies(0, &claim(ADDRESS, mac(2)));
    let spoofed = trace(&mut rig, &frame(mac(2), mac(3)));
    let steps: Vec<_> = spoofed.steps.iter().map(|step| (step.stage, step.verdict)).collect();
    assert_eq!(steps, [("guard", Verdict::Drop(DropReason::Guard))]);
    assert_eq!(spoofed.steps[0].notes[0].text, "the source MAC is not the port's");
    assert_eq!((spoofed.dropped, spoofed.departures.len()), (Some(DropReason::Guard), 0));
    assert_eq!((spoofed.caching, spoofed.cached), (Caching::Nothing, None));
    let claimed = trace(&mut rig, &claim([10, 0, 0, 3], mac(2)));
    assert_eq!(claimed.steps[0].notes[0].text, "the IP address of the ARP sender is not the port's");
    let honest = trace(&mut rig, &frame(mac(OWN), mac(2)));
    assert_eq!((honest.steps[0].stage, honest.steps[0].verdict), ("guard", Verdict::Continue));
    assert!(honest.steps.len() > 2 && honest.departures.len() == 1);
    let runt = trace(&mut rig, &[2; 13]);
    assert_eq!((runt.dropped, runt.key), (Some(DropReason::Runt), Err(DropReason::Runt)));
    assert_eq!(rig.dropped(DropReason::Guard), 0, "nothing is counted");
}

/// Shuts a station out.
struct Refuse(Mac, Place);

impl Stage for Refuse {
    fn name(&self) -> &'static str {
        "refuse"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    fn place(&self) -> Place {
        self.1
    }

    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        if flow.key().eth_src == self.0 { Verdict::Drop(DropReason::Denied) } else { Verdict::Continue }
    }
}

#[test]
fn a_stage_before_learning_keeps_what_it_refuses_from_being_learned() {
    for (place, learned) in [(Place::BeforeLearning, Some(1)), (Place::BeforeForwarding, Some(0))] {
        let topology = one_domain(Domain::new("lan"), vec![PortView::default(); 3]);
        let refuse: Box<dyn Stage> = Box::new(Refuse(mac(6), place));
        let mut rig =
            Rig::build(Setup { stages: vec![refuse], arena: Arena::new(512, 8).unwrap(), ..Setup::new(topology) });
        // The station is known at port 1, where it was set; now somebody speaks in its name.
        let now = rig.now();
        rig.worker.tables().learn(DomainId(0), mac(6), PortId(1), now);
        for _ in 0..2 {
            assert_eq!(rig.copies(0, &frame(mac(6), Mac::BROADCAST)), [0, 0, 0]);
        }
        assert_eq!(rig.port_of(mac(6)), learned, "{place:?}");
        assert_eq!(rig.dropped_at(0, DropReason::Denied), 2);
    }
}
