//! A switch with its own thread, as a program embeds it: what others do never costs a frame, a sleeping worker wakes,
//! and what is gone is reported.
#![cfg(test)]

mod support;

use crossdock_engine::Switch;
use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::PortId;
use crossdock_engine::flow::{Depth, Flow, Verdict};
use crossdock_engine::frame::{Arena, Batch, Offload};
use crossdock_engine::ports::channel::{Channel, ChannelEnd};
use crossdock_engine::ports::{Caps, Io, Port, Queue};
use crossdock_engine::stages::Stage;
use crossdock_engine::switch::{CaptureConfig, Config, Error, Membership};
use crossdock_engine::tables::storm::StormCaps;
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::{Event, Polling};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::{PATIENCE, frame, mac, number_of, numbered, plug, receive, until};

/// Frames on their way at once: fewer than any ring holds.
const WINDOW: u32 = 64;

fn switch(config: Config) -> Switch {
    let switch = Switch::new(config).unwrap();
    switch.add_domain(Domain::new("lan")).unwrap();
    switch
}

/// Two stations that know each other.
fn acquainted(switch: &Switch) -> (ChannelEnd, ChannelEnd) {
    let (mut a, mut b) = (plug(switch, "a", "lan"), plug(switch, "b", "lan"));
    a.send(&frame(mac(1), mac(2)), Offload::default()).unwrap();
    assert_eq!(receive(&mut b), frame(mac(1), mac(2)));
    b.send(&frame(mac(2), mac(1)), Offload::default()).unwrap();
    assert_eq!(receive(&mut a), frame(mac(2), mac(1)));
    (a, b)
}

/// Sends numbered frames from `a` to `b`, a window at a time, until `done` says so; every one must arrive, in order.
fn stream(a: &mut ChannelEnd, b: &mut ChannelEnd, done: impl Fn(u32) -> bool) -> u32 {
    let mut next = 0;
    while !done(next) {
        (next..next + WINDOW).for_each(|n| a.send(&numbered(mac(1), mac(2), n), Offload::default()).unwrap());
        for n in next..next + WINDOW {
            assert_eq!(number_of(&receive(b)), n, "each in its turn");
        }
        next += WINDOW;
    }
    next
}

#[test]
fn ports_and_domains_come_and_go_without_a_frame_lost_between_others() {
    let switch = switch(Config::default());
    let (mut a, mut b) = acquainted(&switch);
    let frames = std::thread::scope(|scope| {
        let changes = scope.spawn(|| (0..150).for_each(|i| come_and_go(&switch, i)));
        stream(&mut a, &mut b, |_| changes.is_finished())
    });
    assert!(frames > 1000, "{frames} frames while 150 ports came and went");
    assert_eq!(
        switch.drops().iter().filter(|(reason, _)| *reason != DropReason::SamePort).map(|d| d.1).sum::<u64>(),
        0
    );
    assert_eq!((switch.ports().len(), switch.domains().len()), (2, 1));
    assert_eq!(switch.conservation().in_flight(), 0);
}

/// A domain with a port that talks, and a port beside the stream.
fn come_and_go(switch: &Switch, i: u8) {
    let domain = format!("d{i}");
    switch.add_domain(Domain::new(&domain)).unwrap();
    let mut lonely = plug(switch, "lonely", &domain);
    let mut twin = plug(switch, "twin", &domain);
    lonely.send(&frame(mac(1), mac(2)), Offload::default()).unwrap();
    assert_eq!(receive(&mut twin), frame(mac(1), mac(2)), "the same addresses as in the other domain");
    let mut neighbour = plug(switch, "neighbour", "lan");
    neighbour.send(&frame(mac(100 + i % 100), mac(1)), Offload::default()).unwrap();
    assert!(matches!(switch.remove_domain(&domain), Err(Error::InUse(_))));
    ["lonely", "twin", "neighbour"].iter().for_each(|name| switch.remove_port(name).unwrap());
    switch.remove_domain(&domain).unwrap();
}

#[test]
fn a_port_changes_its_domain_while_it_works_and_others_lose_nothing() {
    [vec![], vec![0, 1]].into_iter().for_each(move_between_domains);
}

fn move_between_domains(cores: Vec<usize>) {
    let switch = switch(Config { cores, ..Config::default() });
    let (mut a, mut b) = acquainted(&switch);
    switch.add_domain(Domain::new("other")).unwrap();
    let (mut mover, mut twin) = (plug(&switch, "mover", "lan"), plug(&switch, "twin", "other"));
    mover.send(&frame(mac(9), mac(1)), Offload::default()).unwrap();
    assert_eq!(receive(&mut a), frame(mac(9), mac(1)));
    let frames = std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            for domain in ["other", "lan"].iter().cycle().take(101) {
                switch.change_port("mover", &Membership::of(domain)).unwrap();
                switch.change_domain(Domain { ageing_s: 10, ..Domain::new("lan") }).unwrap();
            }
        });
        stream(&mut a, &mut b, |_| changes.is_finished())
    });
    assert!(frames > 0);
    assert!(switch.fdb().unwrap().iter().all(|entry| entry.port != "mover"), "unknown where it was");
    mover.send(&frame(mac(9), mac(8)), Offload::default()).unwrap();
    assert_eq!(receive(&mut twin), frame(mac(9), mac(8)), "it is in the other domain now");
    assert_eq!(switch.fdb_sizes().unwrap(), [("lan".to_owned(), 2), ("other".to_owned(), 1)].into());
    let isolated = Membership { isolated: true, ..Membership::of("other") };
    ["mover", "twin"].iter().for_each(|name| switch.change_port(name, &isolated).unwrap());
    mover.send(&frame(mac(9), mac(8)), Offload::default()).unwrap();
    until("it is isolated", || switch.drops().contains(&(DropReason::NoEgress, 1)));
    assert!(matches!(switch.change_port("mover", &Membership::of("nowhere")), Err(Error::Unknown(_))));
    assert!(matches!(switch.change_port("nobody", &isolated), Err(Error::Unknown(_))));
}

#[test]
fn a_domain_takes_other_limits_while_its_ports_work() {
    let switch = switch(Config::default());
    let (mut a, mut b) = acquainted(&switch);
    switch.change_domain(Domain { fdb_max: 10, ..Domain::new("lan") }).unwrap();
    assert_eq!(switch.fdb_sizes().unwrap()["lan"], 0, "a table of another size is another table");
    for n in 0..50 {
        a.send(&frame(mac(100 + n), mac(2)), Offload::default()).unwrap();
        receive(&mut b);
    }
    assert_eq!((switch.fdb_sizes().unwrap()["lan"], switch.domains()[0].fdb_max), (10, 10));
    assert!(matches!(switch.change_domain(Domain::new("nowhere")), Err(Error::Unknown(_))));
}

#[test]
fn a_worker_wakes_for_a_frame_however_it_polls() {
    let adaptive = Polling::Adaptive(Duration::from_micros(50));
    for polling in [adaptive, Polling::Busy, Polling::Interrupt] {
        let switch = switch(Config { polling, ..Config::default() });
        let (mut a, mut b) = acquainted(&switch);
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(10));
            let begin = Instant::now();
            a.send(&frame(mac(1), mac(2)), Offload::default()).unwrap();
            receive(&mut b);
            // A wake-up that was missed is made up for by the nap's end, after a second.
            assert!(begin.elapsed() < Duration::from_millis(700), "{polling:?}: {:?}", begin.elapsed());
        }
    }
}

/// An embedder's port: no frame ever comes, and it counts how often it is asked for one.
struct Silent(Arc<AtomicU64>);

impl Port for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    fn kind(&self) -> &'static str {
        "silent"
    }

    fn caps(&self) -> Caps {
        Caps { mtu: 1500, ..Caps::default() }
    }

    fn open(self: Box<Self>, _arena: &Arena, _workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        Ok(vec![self])
    }
}

impl Queue for Silent {
    fn receive(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
        self.0.fetch_add(1, Relaxed);
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        batch.drain().for_each(|frame| io.sent(frame));
        Ok(())
    }
}

#[test]
fn an_idle_worker_sleeps_unless_it_is_told_to_be_busy() {
    for polling in [Polling::Adaptive(Duration::from_micros(50)), Polling::Interrupt, Polling::Busy] {
        let switch = switch(Config { polling, ..Config::default() });
        let rounds = Arc::new(AtomicU64::new(0));
        switch.add_port(Box::new(Silent(rounds.clone())), &Membership::of("lan")).unwrap();
        until("the worker runs", || rounds.load(Relaxed) > 0);
        std::thread::sleep(Duration::from_millis(100));
        let before = rounds.load(Relaxed);
        std::thread::sleep(Duration::from_millis(500));
        let rounds = rounds.load(Relaxed) - before;
        assert_eq!(rounds <= 2, polling != Polling::Busy, "{polling:?}: {rounds} rounds in half a second");
    }
}

#[test]
fn a_port_whose_far_end_vanished_is_reported_and_can_be_removed() {
    let switch = switch(Config::default());
    let (mut a, b) = acquainted(&switch);
    let mut c = plug(&switch, "c", "lan");
    drop(b);
    let event = switch.events().recv_timeout(PATIENCE).unwrap();
    assert!(matches!(&event, Event::PortGone { name, .. } if name == "b"), "{event:?}");
    until("the port is shown as down", || switch.ports().iter().all(|p| p.up == (p.name != "b")));
    a.send(&frame(mac(1), mac(2)), Offload::default()).unwrap();
    assert_eq!(receive(&mut c), frame(mac(1), mac(2)), "its address is forgotten: flooded at once");
    switch.remove_port("b").unwrap();
    assert!(matches!(switch.remove_port("b"), Err(Error::Unknown(_))));
    let mut again = plug(&switch, "b", "lan");
    a.send(&frame(mac(1), mac(2)), Offload::default()).unwrap();
    assert_eq!(receive(&mut again), frame(mac(1), mac(2)));
    assert!(switch.events().try_recv().is_err(), "reported once");
}

#[test]
fn half_a_million_frames_pass_in_order_while_everything_is_shown() {
    let switch = switch(Config::default());
    let (mut a, mut b) = acquainted(&switch);
    let (frames, looks) = std::thread::scope(|scope| {
        let stream = scope.spawn(|| stream(&mut a, &mut b, |n| n >= 500_000));
        let looks = std::iter::repeat_with(|| look(&switch)).take_while(|()| !stream.is_finished()).count();
        (stream.join().unwrap(), looks)
    });
    assert!(looks > 0);
    let all = switch.conservation();
    assert_eq!((all.received, all.sent, all.dropped, all.in_flight()), (frames as u64 + 2, frames as u64 + 2, 0, 0));
    until("the flow is counted", || switch.flows().unwrap().iter().any(|flow| flow.frames >= 500_000));
    assert_eq!(switch.workers()[0].frames, all.received);
}

/// Everything a switch shows, while frames pass.
fn look(switch: &Switch) {
    let fdb = switch.fdb().unwrap();
    let place = |m: Mac| fdb.iter().find(|entry| entry.mac == m).map(|entry| entry.port.as_str());
    assert_eq!((place(mac(1)), place(mac(2))), (Some("a"), Some("b")));
    assert!(switch.flows().unwrap().iter().all(|flow| flow.in_port == "a" || flow.in_port == "b"));
    assert!(switch.ports().iter().all(|port| port.up && port.kind == "channel"));
    assert_eq!(switch.domains()[0].ports, ["a", "b"]);
    assert!(switch.workers()[0].pool_free <= switch.workers()[0].pool_total);
    assert_eq!(switch.drops().iter().map(|(_, n)| n).sum::<u64>(), 0);
    assert_eq!(switch.conservation().dropped, 0);
}

#[test]
fn a_dropped_switch_ends_its_thread_and_gives_all_memory_back() {
    let switch = switch(Config::default());
    let arena: Arena = switch.arena().clone();
    let (mut a, b) = acquainted(&switch);
    (0..50).for_each(|_| a.send(&frame(mac(1), mac(2)), Offload::default()).unwrap());
    drop(switch);
    assert!(a.send(&frame(mac(1), mac(2)), Offload::default()).is_err(), "nobody is there");
    drop((a, b));
    assert_eq!(arena.free(), arena.total());
}

#[test]
fn far_ends_that_vanish_under_load_take_no_memory_along() {
    let switch = switch(Config::default());
    let arena = switch.arena().clone();
    let (mut a, b) = acquainted(&switch);
    for i in 0..1000 {
        let victim = plug(&switch, "victim", "lan");
        for _ in 0..100 {
            let _ = a.send(&frame(mac(1), Mac::BROADCAST), Offload::default());
        }
        std::thread::sleep(Duration::from_micros(i % 100 * 3));
        drop(victim);
        switch.remove_port("victim").unwrap();
    }
    drop((switch, a, b));
    assert_eq!(arena.free(), arena.total());
}

#[test]
fn a_far_end_sleeps_until_a_frame_comes_or_the_switch_goes() {
    let switch = switch(Config::default());
    let (mut a, mut b) = acquainted(&switch);
    while b.recv().is_some() {}
    assert!(!b.wait(Duration::from_millis(5)), "nothing comes");
    let reader = std::thread::spawn(move || {
        while !b.wait(PATIENCE) {}
        let first = b.recv().map(|(bytes, _)| bytes);
        (first, b.wait(PATIENCE))
    });
    std::thread::sleep(Duration::from_millis(20));
    a.send(&frame(mac(1), mac(2)), Offload::default()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    drop(switch);
    assert_eq!(reader.join().unwrap(), (Some(frame(mac(1), mac(2))), true));
}

#[test]
fn a_domain_s_member_list_is_ignored() {
    let switch = switch(Config::default());
    let (mut a, b) = acquainted(&switch);
    let stranger = Domain { members: vec![PortId(0), PortId(1)], ..Domain::new("other") };
    switch.add_domain(stranger).unwrap();
    let mut c = plug(&switch, "c", "other");
    c.send(&frame(mac(3), Mac::BROADCAST), Offload::default()).unwrap();
    until("the frame is dropped", || switch.conservation().in_flight() == 0 && switch.conservation().dropped > 0);
    assert!(a.recv().is_none());
    drop(b);
}

#[test]
fn names_are_taken_once_and_unknown_ones_refused() {
    let switch = switch(Config::default());
    let _a = plug(&switch, "a", "lan");
    let add = |name: &str, domain: &str| {
        let (channel, _end) = Channel::pair(name, 16, 1500, switch.arena()).unwrap();
        switch.add_port(Box::new(channel), &Membership::of(domain)).map(drop)
    };
    assert!(matches!(add("a", "lan"), Err(Error::Exists(_))));
    assert!(matches!(add("b", "nowhere"), Err(Error::Unknown(_))));
    assert!(matches!(switch.add_domain(Domain::new("lan")), Err(Error::Exists(_))));
    assert!(matches!(switch.remove_domain("nowhere"), Err(Error::Unknown(_))));
    assert_eq!(switch.ports().len(), 1);
    assert!(Switch::new(Config { cores: vec![4000], ..Config::default() }).is_err(), "no such core");
}

/// An embedder's stage: station 9 is nobody's business, and whoever asks station 8 hears that it is not here.
struct Doorman;

impl Stage for Doorman {
    fn name(&self) -> &'static str {
        "doorman"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        let asker = flow.key().eth_src;
        match flow.key().eth_dst {
            to if to == mac(9) => Verdict::Drop(DropReason::Denied),
            to if to == mac(8) => {
                flow.answer().extend(frame(mac(8), asker));
                Verdict::Reply
            }
            _ => Verdict::Continue,
        }
    }
}

#[test]
fn an_embedders_stage_decides() {
    let switch = switch(Config { stages: Box::new(|| vec![Box::new(Doorman)]), ..Config::default() });
    let (mut a, mut b) = acquainted(&switch);
    for destination in [9, 8, 2] {
        a.send(&frame(mac(1), mac(destination)), Offload::default()).unwrap();
    }
    assert_eq!(receive(&mut b), frame(mac(1), mac(2)), "the only one that got through");
    assert_eq!(receive(&mut a), frame(mac(8), mac(1)));
    assert!(b.recv().is_none());
    assert!(switch.drops().contains(&(DropReason::Denied, 1)));
    assert_eq!(switch.conservation().in_flight(), 0);
}

/// A capture of one port ends with it, though the next port gets its number; what it saw keeps the name until then.
#[test]
fn a_capture_of_a_port_ends_with_it() {
    let switch = switch(Config::default());
    let (mut a, mut h1) = (plug(&switch, "a", "lan"), plug(&switch, "h1", "lan"));
    let only = CaptureConfig { port: Some("h1".into()), ..CaptureConfig::default() };
    let mut capture = switch.capture(&only).unwrap();
    h1.send(&frame(mac(1), Mac::BROADCAST), Offload::default()).unwrap();
    receive(&mut a);
    let number = capture.read().unwrap().port;
    switch.remove_port("h1").unwrap();
    assert_eq!(switch.port_name(number).as_deref(), Some("h1"));
    let mut h9 = plug(&switch, "h9", "lan");
    h9.send(&frame(mac(9), Mac::BROADCAST), Offload::default()).unwrap();
    receive(&mut a);
    assert_eq!(switch.port_name(number).as_deref(), Some("h9"), "the number is used again");
    assert_eq!(capture.read(), None);
    assert_eq!(switch.port_name(PortId(u16::MAX)).as_deref(), Some("elsewhere"));
}

/// A port of several channels: a queue for each.
struct Many(Vec<Channel>);

impl Port for Many {
    fn name(&self) -> &str {
        "many"
    }

    fn kind(&self) -> &'static str {
        "channel"
    }

    fn caps(&self) -> Caps {
        self.0[0].caps()
    }

    fn open(self: Box<Self>, arena: &Arena, _workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        let queues = self.0.into_iter().map(|channel| Box::new(channel).open(arena, 1));
        Ok(queues.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

/// However many queues and workers the port has, and also when something else of it changes.
#[test]
fn a_storm_cap_is_one_of_the_port() {
    let switch = switch(Config { cores: vec![0, 0], ..Config::default() });
    let pairs = (0..4).map(|_| Channel::pair("many", 256, 1500, switch.arena()).unwrap());
    let (channels, mut ends): (Vec<_>, Vec<_>) = pairs.unzip();
    let storm = StormCaps { broadcast: Some(10), ..StormCaps::default() };
    let mut capped = Membership { storm, ..Membership::of("lan") };
    let mut out = plug(&switch, "out", "lan");
    switch.add_port(Box::new(Many(channels)), &capped).unwrap();
    let (begin, mut sent) = (Instant::now(), 0);
    for round in 0..20 {
        capped.isolated = round % 2 == 1;
        switch.change_port("many", &capped).unwrap();
        for end in &mut ends {
            end.send(&frame(mac(1), Mac::BROADCAST), Offload::default()).unwrap();
            sent += 1;
        }
    }
    until("all were dealt with", || {
        switch.ports().iter().map(|port| port.counters.rx_frames.get()).sum::<u64>() == sent
    });
    until("all are accounted for", || switch.conservation().in_flight() == 0);
    let got = std::iter::from_fn(|| out.recv()).count();
    let most = 10 + 10 * begin.elapsed().as_secs() as usize + 10;
    assert!((10..=most).contains(&got), "{got} of {sent}, at most {most}");
}
