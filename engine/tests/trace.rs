//! A trace says what then happens, and changes nothing: whole random lives of a switch, with stages that filter,
//! rewrite and answer.
#![cfg(test)]

mod support;

use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::{PortId, Verdict};
use crossdock_engine::frame::{Arena, Offload};
use crossdock_engine::tables::fdb::{Learned, Station};
use crossdock_engine::tables::storm::StormCaps;
use crossdock_engine::tables::topology::{Domain, PortView};
use crossdock_engine::trace::{Caching, Hypothesis, Trace};
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::WorkerConfig;
use proptest::prelude::*;
use support::scenario::{Life, Pace, Sent, Step, life, step};
use support::{Rig, Seen, Setup, frame, frame_of, mac, one_domain, super_frame};

thread_local! {
    static ARENA: Arena = Arena::new(4096, 256).unwrap();
}

fn trace(rig: &mut Rig, port: usize, (frame, offload): Seen) -> Trace {
    let now = rig.now();
    rig.worker.trace(&Hypothesis { port: PortId(port as u16), frame, offload }, now)
}

/// What a trace says: the frames out of every port, and the drops at every port.
fn foretold(rig: &Rig, from: usize, trace: &Trace) -> (Vec<Vec<Seen>>, Vec<Vec<u64>>) {
    let (mut out, mut drops) = (vec![Vec::new(); rig.counters.len()], rig.drops());
    for departure in &trace.departures {
        match departure.refused {
            None => out[departure.port.index()].push((departure.frame.clone(), departure.offload)),
            // A port that is gone counts nothing any more: the port that the frame came from does.
            Some(reason) if rig.has(departure.port.index()) => drops[departure.port.index()][reason.index()] += 1,
            Some(reason) => drops[from][reason.index()] += 1,
        }
    }
    trace.dropped.into_iter().for_each(|reason| drops[from][reason.index()] += 1);
    (out, drops)
}

/// Sends frames one by one; each does exactly what its trace said, and a cached program is the one the stages decide.
fn send_foretold(rig: &mut Rig, frames: &[Sent]) {
    for sent in frames {
        if !rig.has(sent.port) {
            continue;
        }
        let (bytes, offload) = sent.bytes();
        let said = trace(rig, sent.port, (bytes.clone(), offload));
        if let Some(cached) = &said.cached {
            assert_eq!(cached.program, said.program);
        }
        let expected = foretold(rig, sent.port, &said);
        assert!(rig.offer(sent.port, &bytes, offload));
        rig.settle();
        assert_eq!((rig.all_received(), rig.drops()), expected, "{sent:?}: {said:?}");
    }
}

/// Traces some frames: what they say does not matter here.
fn distract(rig: &mut Rig, life: &Life) {
    for event in life.steps.iter().take(4) {
        if let Step::Frames(frames) | Step::OneByOne(frames) = event {
            frames.iter().for_each(|sent| _ = trace(rig, sent.port, sent.bytes()));
        }
    }
}

/// A life with traces in between, or without; all that came out, and all drops.
fn outcome(life: &Life, distracted: Option<&Life>) -> (Vec<Vec<Seen>>, Vec<Vec<u64>>) {
    let arena = ARENA.with(Arena::clone);
    let config = WorkerConfig { flows: 256, ..WorkerConfig::default() };
    let mut rig = Rig::build(life.setup(config, &arena));
    let mut out = vec![Vec::new(); rig.counters.len()];
    for event in &life.steps {
        distracted.into_iter().for_each(|other| distract(&mut rig, other));
        assert_eq!(step(&mut rig, event, Pace::Rounds).refused, 0);
        rig.settle();
        out.iter_mut().zip(rig.all_received()).for_each(|(all, new)| all.extend(new));
    }
    let drops = rig.drops();
    assert!(rig.ends_at_rest());
    (out, drops)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_a_trace_says_happens(life in life(40)) {
        let arena = ARENA.with(Arena::clone);
        let config = WorkerConfig { flows: 256, ..WorkerConfig::default() };
        let mut rig = Rig::build(life.setup(config, &arena));
        for event in &life.steps {
            match event {
                Step::Frames(frames) | Step::OneByOne(frames) => send_foretold(&mut rig, frames),
                other => _ = step(&mut rig, other, Pace::Rounds),
            }
            rig.settle();
            rig.drain();
        }
        prop_assert!(rig.ends_at_rest());
    }

    /// The other life has other ports and addresses in mind.
    #[test]
    fn traces_change_nothing(life in life(40), other in life(8)) {
        let ports = life.setup(WorkerConfig::default(), &ARENA.with(Arena::clone)).topology.ports.len();
        let mut other = other;
        for event in &mut other.steps {
            if let Step::Frames(frames) | Step::OneByOne(frames) = event {
                frames.iter_mut().for_each(|sent| sent.port %= ports);
            }
        }
        prop_assert_eq!(outcome(&life, Some(&other)), outcome(&life, None));
    }

    /// A small table, full most of the time, and stations that jump: what a sighting would do is what it then does.
    #[test]
    fn what_is_foreseen_is_learned(sightings in proptest::collection::vec((1u8..40, 0u16..4, 0u32..400), 1..300)) {
        use crossdock_engine::clock::Millis;
        use crossdock_engine::tables::fdb::Fdb;
        let mut fdb = Fdb::new(&Domain { fdb_max: 16, ..Domain::new("lan") }).unwrap();
        let mut now = 0;
        for (station, port, pause) in sightings {
            now += pause / 8;
            let (station, port) = (mac(station), PortId(port));
            let before = fdb.page(0, 1000).0;
            let foreseen = fdb.foresee(station.into(), port, Millis(now));
            prop_assert_eq!(fdb.learn(station, port, Millis(now)), foreseen.learned);
            prop_assert_eq!(fdb.lookup(station), foreseen.home);
            let mut gone = before.iter().map(|entry| entry.mac).filter(|&mac| fdb.lookup(mac).is_none());
            prop_assert_eq!(gone.next(), foreseen.evicted.map(Station::mac));
            prop_assert_eq!(foreseen.evicted.is_some(), foreseen.learned == Learned::Evicted);
        }
    }
}

fn plain(bytes: Vec<u8>) -> Seen {
    (bytes, Offload::default())
}

#[test]
fn a_flow_is_explained_stage_by_stage() {
    let mut rig = Rig::new(3);
    rig.introduce(1, mac(2));
    let said = trace(&mut rig, 0, plain(frame(mac(1), mac(2))));
    let told: Vec<_> = said.steps.iter().map(|step| (step.stage, step.verdict, step.egress.clone())).collect();
    let go = Verdict::Continue;
    let [silent, chosen] = [vec![], vec![PortId(1)]];
    let stages = [("vlan", &silent), ("learn", &silent), ("isolate", &silent), ("forward", &chosen)];
    assert_eq!(told, stages.map(|(stage, egress)| (stage, go, egress.clone())));
    assert_eq!(said.steps[1].notes[0].text, "source new: learned");
    assert_eq!((&*said.steps[3].notes[0].text, said.steps[3].notes[0].port), ("destination known on", Some(PortId(1))));
    assert_eq!((said.caching, said.cached.clone()), (Caching::Once, None));
    assert!(said.steps[1].once, "the first frame of an address is not cached");
    assert_eq!(rig.port_of(mac(1)), None, "nothing was learned");
    assert_eq!(said, trace(&mut rig, 0, plain(frame(mac(1), mac(2)))), "nor does a trace remember the last");
    rig.introduce(0, mac(1));
    assert_eq!(trace(&mut rig, 0, plain(frame(mac(1), mac(2)))).caching, Caching::Flow);
    (0..2).for_each(|_| assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 1, 0]));
    let cached = trace(&mut rig, 0, plain(frame(mac(1), mac(2)))).cached.unwrap();
    assert_eq!((cached.program, cached.frames), (said.program, 2), "the trace itself does not count");
}

#[test]
fn a_flood_is_not_cached_and_every_copy_is_told_of() {
    let mut rig = Rig::build(Setup {
        mtus: vec![9000, 1500, 9000],
        ..Setup::new(one_domain(Domain::new("lan"), vec![PortView::default(); 3]))
    });
    rig.introduce(0, mac(1));
    let said = trace(&mut rig, 0, plain(frame_of(9000, mac(1), Mac::BROADCAST)));
    let left: Vec<_> = said.departures.iter().map(|d| (d.port.0, d.refused)).collect();
    assert_eq!(left, [(1, Some(DropReason::TooBig)), (2, None)]);
    assert_eq!((said.caching, said.steps[3].once), (Caching::Once, true));
    let whole = trace(&mut rig, 0, (frame_of(9000, mac(1), Mac::BROADCAST), super_frame(1400)));
    assert!(whole.departures.iter().all(|d| d.refused.is_none() && d.offload == super_frame(1400)));
}

#[test]
fn a_storm_cap_is_told_of_and_not_used_up() {
    let storm = StormCaps { broadcast: Some(2), ..StormCaps::default() };
    let mut rig = Rig::of(Domain::new("lan"), vec![PortView { storm, ..PortView::default() }, PortView::default()]);
    let flood = || frame(mac(1), Mac::BROADCAST);
    (0..5).for_each(|_| assert_eq!(trace(&mut rig, 0, plain(flood())).dropped, None));
    (0..2).for_each(|_| assert_eq!(rig.copies(0, &flood()), [0, 1]));
    assert_eq!(trace(&mut rig, 0, plain(flood())).dropped, Some(DropReason::StormBroadcast));
    assert_eq!(rig.copies(0, &flood()), [0, 0]);
}

#[test]
fn a_frame_to_where_it_would_just_have_been_learned_is_refused() {
    let mut rig = Rig::new(2);
    rig.introduce(1, mac(1));
    let said = trace(&mut rig, 0, plain(frame(mac(1), mac(1))));
    assert_eq!(said.dropped, Some(DropReason::SamePort));
    assert_eq!(rig.port_of(mac(1)), Some(1), "it did not move");
}

#[test]
fn what_is_no_frame_has_no_steps() {
    let mut rig = Rig::new(2);
    let said = trace(&mut rig, 0, plain(vec![0; 10]));
    assert_eq!((said.key, said.dropped, said.steps.len()), (Err(DropReason::Runt), Some(DropReason::Runt), 0));
    assert_eq!(rig.dropped(DropReason::Runt), 0);
}
