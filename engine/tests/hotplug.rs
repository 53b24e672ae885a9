//! Ports that are opened while others are, many at once, and again after they had gone.
#![cfg(test)]

mod support;

use crossdock_engine::Switch;
use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::{Arena, Offload};
use crossdock_engine::ports::channel::{Channel, ChannelEnd};
use crossdock_engine::ports::{Caps, Port, Queue};
use crossdock_engine::switch::{Config, Error, Membership, close};
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::Event;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use support::{PATIENCE, frame, mac, plug, receive, until};

fn switch(cores: &[usize]) -> Switch {
    let switch = Switch::new(Config { cores: cores.to_vec(), ..Config::default() }).unwrap();
    switch.add_domain(Domain::new("lan")).unwrap();
    switch
}

/// A port that says when it is being opened, and is refused when its other end goes.
struct Slow(Sender<()>, Receiver<()>);

impl Port for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn kind(&self) -> &'static str {
        "slow"
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn open(self: Box<Self>, _arena: &Arena, _workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        let _ = self.0.send(());
        let _ = self.1.recv_timeout(PATIENCE);
        Err(io::ErrorKind::TimedOut.into())
    }
}

#[test]
fn nobody_waits_for_a_port_that_is_being_opened() {
    let switch = switch(&[]);
    let ((told, begun), (end, hold)) = (channel(), channel());
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| switch.add_port(Box::new(Slow(told, hold)), &Membership::of("lan")));
        begun.recv().unwrap();
        let begin = Instant::now();
        plug(&switch, "a", "lan");
        let again = Channel::pair("slow", 16, 1500, switch.arena()).unwrap().0;
        let refused = switch.add_port(Box::new(again), &Membership::of("lan"));
        assert!(matches!(refused, Err(Error::Exists(_))), "the name is taken already");
        assert_eq!(switch.ports().len(), 1, "but no port is shown");
        assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
        drop(end);
        assert!(matches!(slow.join().unwrap(), Err(Error::Open(..))));
    });
    plug(&switch, "slow", "lan");
}

#[test]
fn many_ports_are_added_at_once_and_each_is_answered_for() {
    [&[][..], &[0, 1]].into_iter().for_each(add_many);
}

fn add_many(cores: &[usize]) {
    let switch = switch(cores);
    let _known = plug(&switch, "p3", "lan");
    let pair = |n: usize| Channel::pair(&format!("p{n}"), 16, 1500, switch.arena()).unwrap();
    let (ports, mut ends): (Vec<_>, Vec<_>) = (0..40).map(pair).unzip();
    let (lan, nowhere) = (Membership::of("lan"), Membership::of("nowhere"));
    let place = |n: usize| if n == 5 { &nowhere } else { &lan };
    let ports = ports.into_iter().enumerate().map(|(n, port)| (Box::new(port) as Box<dyn Port>, place(n))).collect();
    let added = switch.add_ports(ports);
    let refused: Vec<_> = (0..40).filter(|&n| added[n].is_err()).collect();
    assert_eq!(refused, [3, 5]);
    assert!(matches!((&added[3], &added[5]), (Err(Error::Exists(_)), Err(Error::Unknown(_)))));
    ends[0].send(&frame(mac(1), Mac::BROADCAST), Offload::default()).unwrap();
    for n in (1..40).filter(|n| !refused.contains(n)) {
        assert_eq!(receive(&mut ends[n]), frame(mac(1), Mac::BROADCAST), "port {n}");
    }
    let names: Vec<_> = (10..40).map(|n| format!("p{n}")).collect();
    assert!(matches!(switch.remove_ports(&["p0", "p5"]), Err(Error::Unknown(_))));
    close(switch.remove_ports(&names).unwrap());
    assert_eq!((switch.ports().len(), switch.domains()[0].ports.len()), (9, 9));
    assert_eq!(switch.conservation().in_flight(), 0);
}

/// A station behind `end` is heard by another, and hears it.
fn converse(end: &mut ChannelEnd, other: &mut ChannelEnd) {
    end.send(&frame(mac(1), mac(2)), Offload::default()).unwrap();
    assert_eq!(receive(other), frame(mac(1), mac(2)));
    other.send(&frame(mac(2), mac(1)), Offload::default()).unwrap();
    assert_eq!(receive(end), frame(mac(2), mac(1)));
}

#[test]
fn a_port_that_is_opened_again_keeps_its_number_and_its_counters() {
    [&[][..], &[0, 1]].into_iter().for_each(open_again);
}

fn open_again(cores: &[usize]) {
    let switch = switch(cores);
    let (mut a, mut b) = (plug(&switch, "a", "lan"), plug(&switch, "b", "lan"));
    converse(&mut a, &mut b);
    let again = || {
        let (port, end) = Channel::pair("a", 256, 1400, switch.arena()).unwrap();
        (switch.reopen_port(Box::new(port)).unwrap(), end)
    };
    drop(a);
    let event = switch.events().recv_timeout(PATIENCE).unwrap();
    assert!(matches!(&event, Event::PortGone { name, .. } if name == "a"), "{event:?}");
    let (number, mut a) = again();
    converse(&mut a, &mut b);
    close(switch.release_ports(&["nobody", "a"]));
    let shown = switch.port("a").unwrap();
    assert_eq!((shown.up, shown.counters.rx_frames.get(), shown.caps.mtu), (false, 2, 1400));
    assert!(a.send(&frame(mac(1), mac(2)), Offload::default()).is_err(), "its far end is told");
    let same;
    (same, a) = again();
    assert_eq!(same, number);
    converse(&mut a, &mut b);
    a = again().1;
    converse(&mut a, &mut b);
    let shown = switch.port("a").unwrap();
    assert_eq!((shown.up, shown.counters.rx_frames.get(), shown.counters.tx_frames.get()), (true, 4, 4));
    until("nothing is inside", || switch.conservation().in_flight() == 0);
    let stranger = Channel::pair("c", 16, 1500, switch.arena()).unwrap().0;
    assert!(matches!(switch.reopen_port(Box::new(stranger)), Err(Error::Unknown(_))));
    let arena = switch.arena().clone();
    drop((switch, a, b));
    assert_eq!(arena.free(), arena.total());
}

#[test]
fn a_frame_that_is_injected_comes_in_by_its_port() {
    [&[][..], &[0, 1]].into_iter().for_each(inject);
}

fn inject(cores: &[usize]) {
    let switch = switch(cores);
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| plug(&switch, name, "lan"));
    let announcement = frame(mac(1), Mac::BROADCAST);
    switch.inject("a", announcement.clone()).unwrap();
    assert_eq!((receive(&mut b), receive(&mut c)), (announcement.clone(), announcement.clone()));
    b.send(&frame(mac(2), mac(1)), Offload::default()).unwrap();
    assert_eq!(receive(&mut a), frame(mac(2), mac(1)), "its source is known to be there");
    until("all is done", || switch.conservation().in_flight() == 0);
    assert!(c.recv().is_none() && a.recv().is_none());
    let all = switch.conservation();
    assert_eq!((all.received, all.generated, all.sent), (1, 2, 3), "made once, copied once, and what b sent");
    let shown = switch.port("a").unwrap().counters;
    assert_eq!((shown.rx_frames.get(), shown.generated.get(), shown.tx_frames.get()), (0, 2, 1));
    switch.inject("a", vec![0xff; 5]).unwrap();
    until("a runt is dropped by name", || switch.drops().contains(&(DropReason::Runt, 1)));
    assert!(matches!(switch.inject("d", announcement.clone()), Err(Error::Unknown(_))));
    assert!(matches!(switch.inject("a", vec![0; 70_000]), Err(Error::TooLong(70_000))));
    close(switch.release_ports(&["a"]));
    switch.inject("a", announcement).unwrap();
    until("nothing comes of it", || switch.conservation().in_flight() == 0);
    assert_eq!(switch.conservation().generated, 3);
}

#[test]
fn an_injected_frame_without_memory_is_dropped_by_name() {
    let switch = Switch::new(Config { frames: 512, super_frames: 16, ..Config::default() }).unwrap();
    switch.add_domain(Domain::new("lan")).unwrap();
    let (_a, _b) = (plug(&switch, "a", "lan"), plug(&switch, "b", "lan"));
    // The other end takes none of them out.
    for _ in 0..600 {
        switch.inject("a", frame(mac(1), Mac::BROADCAST)).unwrap();
    }
    let drops = |reason: DropReason| switch.drops().iter().find(|drop| drop.0 == reason).unwrap().1;
    // A port that floods so much is sent a probe for loops besides.
    until("all are accounted for", || (600..=602).contains(&switch.conservation().generated));
    until("those that wait are counted as sent", || switch.conservation().in_flight() == 0);
    assert!(drops(DropReason::PoolEmpty) + drops(DropReason::TxFull) > 0, "{:?}", switch.drops());
}

#[test]
fn a_switch_with_many_ports_ends_soon() {
    let switch = switch(&[]);
    let pair = |n: usize| Channel::pair(&format!("p{n}"), 16, 1500, switch.arena()).unwrap();
    let (ports, _ends): (Vec<_>, Vec<_>) = (0..1000).map(pair).unzip();
    let lan = Membership::of("lan");
    let ports = ports.into_iter().map(|port| (Box::new(port) as Box<dyn Port>, &lan)).collect();
    assert!(switch.add_ports(ports).iter().all(Result::is_ok));
    let begin = Instant::now();
    drop(switch);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
