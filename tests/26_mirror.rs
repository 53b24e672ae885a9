//! Mirrors between real namespaces: a third host listens to what passes a port of two others, who notice nothing. Needs root;
//! everything happens in namespaces made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use serde_json::json;
use std::fs;
use std::time::Duration;
use world::raw::Raw;
use world::transfer::transfer;
use world::{PATIENCE, World, number, until};

/// One worker that the scheduler places, and two that share the ports.
const WORKERS: [&str; 2] = ["", "cores = [0, 1]"];
const TO_H3: &str = "mirror = { to = \"h3\" }";

/// Frames seen by a listener until it has as many of them as it should.
fn listen(raw: &Raw, most: usize, is_it: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    while seen.len() < most {
        let frame = raw.receive(PATIENCE).unwrap().unwrap_or_else(|| panic!("{} of {most} frames", seen.len()));
        seen.extend(is_it(&frame).then_some(frame));
    }
    seen
}

/// An ICMP echo behind this many bytes of Ethernet and tags: a request or an answer.
fn is_echo(frame: &[u8], header: usize) -> bool {
    frame[header - 2..header] == [8, 0] && frame[header + 9] == 1 && [0, 8].contains(&frame[header + 20])
}

#[test]
fn both_directions_of_a_ping_are_seen() {
    for (n, workers) in WORKERS.into_iter().enumerate() {
        let world = World::new(&format!("mirror-ping{n}"), 3).engine(workers).port(2, TO_H3);
        let _xdock = world.start();
        let raw = Raw::open(world.host(3), "eth0").unwrap();
        assert!(world.pings(1, "10.0.0.2", 5));
        let seen = listen(&raw, 10, |frame| is_echo(frame, 14));
        let requests = seen.iter().filter(|frame| frame[34] == 8).count();
        assert_eq!((requests, seen.len() - requests), (5, 5), "{workers}");
        assert!(seen.iter().all(|frame| (frame[34] == 8) == (frame[5] == 2)), "a request goes to host 2");
        until("all is accounted for", || world.at_rest());
    }
}

/// Host 1 is untagged, host 2 behind a trunk: what passes there has tags, both ways.
#[test]
fn tags_are_seen_as_they_pass() {
    for (n, workers) in WORKERS.into_iter().enumerate() {
        let world = World::silent(&format!("mirror-tags{n}"), 3).engine(workers);
        let world = world.port(1, "vlan = { access = 10 }").port(2, "vlan = { trunk = [10] }").port(2, TO_H3);
        let _xdock = world.start();
        let [h1, h2, h3] = [1, 2, 3].map(|n| Raw::open(world.host(n), "eth0").unwrap());
        let frame = |to: u8, from: u8, tag: &[u8]| {
            [&[2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from][..], tag, &[0x88, 0xb5], &[7; 50]].concat()
        };
        let tag = [0x81, 0, 0, 10];
        h1.send(&frame(2, 1, &[])).unwrap();
        assert_eq!(h2.receive(PATIENCE).unwrap(), Some(frame(2, 1, &tag)));
        h2.send(&frame(1, 2, &tag)).unwrap();
        assert_eq!(h1.receive(PATIENCE).unwrap(), Some(frame(1, 2, &[])));
        let seen = [(); 2].map(|()| h3.receive(PATIENCE).unwrap());
        assert_eq!(seen, [Some(frame(2, 1, &tag)), Some(frame(1, 2, &tag))], "{workers}");
        assert_eq!(h3.receive(Duration::from_millis(50)).unwrap(), None);
        until("all is accounted for", || world.at_rest());
    }
}

/// A bulk transfer arrives whole while all of it is shown, whole or cut into what an AF_XDP port carries.
#[test]
fn a_transfer_does_not_suffer() {
    for (n, workers) in WORKERS.into_iter().enumerate() {
        let mut world = World::new(&format!("mirror-bulk{n}"), 3).engine(workers).port(1, TO_H3);
        if n == 1 {
            world = world.veth(3, "xdp", 1500);
        }
        let _xdock = world.start();
        for (from, to) in [(1, 2), (2, 1)] {
            transfer(world.host(from), (world.host(to), &format!("10.0.0.{to}")), 128, 3);
        }
        until("all is accounted for", || world.at_rest());
        let (mirrored, shows) = (world.shown("h1"), world.shown("h3"));
        let dropped: u64 = shows["drops"].as_object().unwrap().values().map(number).sum();
        let passed = number(&mirrored["rx_frames"]) + number(&mirrored["tx_frames"]);
        assert!(number(&shows["tx_frames"]) + dropped >= passed, "{mirrored} {shows}");
        let bytes = number(&mirrored["rx_bytes"]) + number(&mirrored["tx_bytes"]);
        assert!(dropped > 0 || number(&shows["tx_bytes"]) >= bytes, "{mirrored} {shows}");
        for port in ["h1", "h2"] {
            let drops = world.shown(port)["drops"].clone();
            assert!(drops.as_object().unwrap().keys().all(|reason| reason == "no_egress"), "{port}: {drops}");
        }
        world::assert_undamaged(&world.hosts[..2]);
    }
}

#[test]
fn a_port_that_is_down_or_not_there_shows_nothing_and_says_so() {
    let world = World::new("mirror-idle", 2).spare().port(1, "mirror = { to = \"monitor\", egress = false }");
    let _xdock = world.start();
    let mirror = |active: bool| json!({"to": "monitor", "ingress": true, "egress": false, "active": active});
    assert_eq!(world.shown("h1")["mirror"], mirror(false));
    assert!(world.done("show ports").contains("in to monitor (idle)"));
    assert!(world.pings(1, "10.0.0.2", 3));
    let add = format!("port add monitor --domain lan --netns {} --ifname eth0", world.host(3).name());
    for _ in 0..2 {
        world.done(&add);
        assert_eq!(world.shown("h1")["mirror"], mirror(true));
        let raw = Raw::open(world.host(3), "eth0").unwrap();
        assert!(world.pings(1, "10.0.0.2", 5));
        assert!(listen(&raw, 5, |frame| is_echo(frame, 14)).iter().all(|frame| frame[34] == 8), "ingress alone");
        assert!(raw.drain(Duration::from_millis(50)).unwrap().iter().all(|frame| !is_echo(frame, 14)));
        world.host(3).ip("link set eth0 down").unwrap();
        until("it is seen", || world.shown("h1")["mirror"] == mirror(false));
        assert!(world.pings(1, "10.0.0.2", 5));
        assert!(number(&world.shown("monitor")["drops"]["port_down"]) >= 5);
        world.done("port rm monitor");
    }
    assert!(world.pings(1, "10.0.0.2", 5));
    until("all is accounted for", || world.at_rest());
}

#[test]
fn it_changes_while_the_port_works() {
    let mut world = World::new("mirror-change", 3);
    let _xdock = world.start();
    let (config, plain) = (world.lab.path("xdock.toml"), world.config());
    let interface = |world: &World| world.host(1).ip("-o link show eth0").unwrap();
    let before = interface(&world);
    world = world.port(1, TO_H3);
    fs::write(&config, world.config()).unwrap();
    let reloaded: serde_json::Value = serde_json::from_str(&world.done("reload --json")).unwrap();
    assert_eq!(reloaded["changed"], json!([{"kind": "port", "name": "h1", "keys": ["mirror"]}]));
    let raw = Raw::open(world.host(3), "eth0").unwrap();
    assert!(world.pings(1, "10.0.0.2", 5));
    assert_eq!(listen(&raw, 10, |frame| is_echo(frame, 14)).len(), 10);
    fs::write(&config, plain).unwrap();
    world.done("reload");
    raw.drain(Duration::from_millis(50)).unwrap();
    assert!(world.pings(1, "10.0.0.2", 5));
    assert!(raw.drain(Duration::from_millis(50)).unwrap().iter().all(|frame| !is_echo(frame, 14)));
    assert_eq!((interface(&world), world.shown("h1").get("mirror")), (before, None));
}

/// A flag of the command line, and two ports that show each other.
#[test]
fn two_that_show_each_other_show_everything_once() {
    let world = World::new("mirror-mutual", 2).spare().port(1, "mirror = { to = \"h3\" }");
    let _xdock = world.start();
    let add = format!("port add h3 --domain lan --netns {} --ifname eth0 --address 10.0.0.3/24", world.host(3).name());
    world.done(&format!("{add} --mirror to=h1"));
    let raw = [1, 3].map(|n| Raw::open(world.host(n), "eth0").unwrap());
    assert!(world.pings(2, "10.0.0.1", 5));
    assert_eq!(listen(&raw[1], 10, |frame| is_echo(frame, 14)).len(), 10);
    let more = |raw: &Raw| raw.drain(Duration::from_millis(100)).unwrap().iter().filter(|f| is_echo(f, 14)).count();
    assert_eq!((more(&raw[1]), more(&raw[0])), (0, 5), "no more than their own requests at h1");
    until("all is accounted for", || world.at_rest());
}
