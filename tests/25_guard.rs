//! The source guard between real namespaces: a container that may send any frame speaks in its neighbour's name, and nobody
//! believes it; a container that behaves notices nothing. Needs root; everything happens in namespaces made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::run;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;
use world::raw::Raw;
use world::transfer::transfer;
use world::{World, number, until};

const SPOOFER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const VICTIM: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 3];
const ALL: [u8; 6] = [0xff; 6];
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// Three hosts: the spoofer's port is guarded, the victim's and the client's are not.
fn world(name: &str) -> World {
    World::new(name, 3).port(1, "guard = true")
}

fn guarded(world: &World, port: &str) -> u64 {
    world.shown(port)["drops"]["guard"].as_u64().unwrap_or(0)
}

fn frame(to: [u8; 6], from: [u8; 6], tags: &[[u8; 4]], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &tags.concat(), &ethertype.to_be_bytes(), payload, &[0; 20]].concat()
}

/// An ARP packet of Ethernet and IPv4.
fn arp(operation: u8, sender: [u8; 6], address: u8) -> Vec<u8> {
    let form = [0, 1, 8, 0, 6, 4, 0, operation];
    [&form[..], &sender, &[10, 0, 0, address], &CLIENT, &[10, 0, 0, 3]].concat()
}

fn ipv4(source: u8) -> Vec<u8> {
    let header = [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, source, 10, 0, 0, 3];
    [&header[..], &[0, 53, 0, 53, 0, 8, 0, 0]].concat()
}

fn ip6(n: u8) -> [u8; 16] {
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]
}

/// An ICMPv6 message to all nodes, with its checksum.
fn icmpv6(source: [u8; 16], kind: u8, body: &[u8]) -> Vec<u8> {
    let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let length = (4 + body.len() as u16).to_be_bytes();
    let mut message = [&[kind, 0, 0, 0][..], body].concat();
    let pseudo = [&source[..], &all_nodes, &[0, 0], &length, &[0, 0, 0, 58], &message].concat();
    let sum: u32 = pseudo.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    message[2..4].copy_from_slice(&(!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes());
    [&[0x60, 0, 0, 0, length[0], length[1], 58, 255][..], &source, &all_nodes, &message].concat()
}

/// An unsolicited advertisement of an address with the spoofer's MAC, which overrides what is known.
fn advertisement(source: [u8; 16], target: [u8; 16]) -> Vec<u8> {
    icmpv6(source, 136, &[&[0x20, 0, 0, 0][..], &target, &[2, 1], &SPOOFER].concat())
}

/// A Router Advertisement of the prefix fd66::/64.
fn router(source: [u8; 16]) -> Vec<u8> {
    let prefix = [3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0, 0xfd, 0x66, 0, 0, 0, 0, 0, 0];
    icmpv6(source, 134, &[&[64, 0, 0x0e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0][..], &prefix, &[0; 8]].concat())
}

const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1];

/// Destination, source, type and payload.
type Try = ([u8; 6], [u8; 6], u16, Vec<u8>);

/// What the spoofer tries, without tags and with.
fn spoofed() -> Vec<Vec<u8>> {
    let tries: Vec<Try> = vec![
        (ALL, VICTIM, 0x88b5, Vec::new()),
        (CLIENT, VICTIM, 0x0800, ipv4(2)),
        (CLIENT, SPOOFER, 0x0800, ipv4(2)),
        (CLIENT, SPOOFER, 0x0806, arp(2, SPOOFER, 2)),
        (ALL, SPOOFER, 0x0806, arp(1, SPOOFER, 2)),
        (CLIENT, SPOOFER, 0x0806, arp(2, VICTIM, 1)),
        (ALL, SPOOFER, 0x8035, arp(3, SPOOFER, 2)),
        (ALL_NODES, SPOOFER, 0x86dd, advertisement(ip6(1), ip6(2))),
        (ALL_NODES, SPOOFER, 0x86dd, advertisement(ip6(2), ip6(2))),
        (ALL_NODES, SPOOFER, 0x86dd, router(LINK_LOCAL)),
    ];
    let tags: [&[[u8; 4]]; 3] = [&[], &[[0x81, 0, 0, 0]], &[[0x81, 0, 0, 0], [0x81, 0, 0, 0]]];
    let with = |tags: &&[[u8; 4]]| {
        tries.iter().map(|(to, from, kind, packet)| frame(*to, *from, tags, *kind, packet)).collect::<Vec<_>>()
    };
    tags.iter().flat_map(with).collect()
}

/// What a host has in its neighbour cache for an address.
fn neighbour(world: &World, n: usize, address: &str) -> String {
    world.host(n).ip(&format!("neigh show {address}")).unwrap()
}

/// What the client believes of the victim.
fn beliefs(world: &World) -> [String; 2] {
    ["10.0.0.2", "fd00::2"].map(|address| neighbour(world, 3, address))
}

#[test]
fn a_neighbours_traffic_stays_his() {
    let world = world("guard-spoof");
    let _xdock = world.start();
    assert!(world.pings(3, "10.0.0.2", 3) && world.pings(3, "fd00::2", 3));
    assert!(world.pings(1, "10.0.0.3", 3) && world.pings(1, "fd00::3", 3), "the spoofer itself has a life");
    assert_eq!(guarded(&world, "h1"), 0);
    let (raw, watched) = (Raw::open(world.host(1), "eth0").unwrap(), Raw::open(world.host(3), "eth0").unwrap());
    let tries = spoofed();
    tries.iter().for_each(|frame| raw.send(frame).unwrap());
    until("all are counted", || guarded(&world, "h1") == tries.len() as u64);
    let seen = watched.drain(Duration::from_millis(200)).unwrap();
    assert!(seen.iter().all(|frame| !tries.contains(frame)), "none arrives");
    assert_eq!(world.learned("h2"), ["02:00:00:00:00:02"]);
    assert!(beliefs(&world).iter().all(|known| known.contains("02:00:00:00:00:02")), "{:?}", beliefs(&world));
    assert!(!world.host(3).ip("-6 addr show dev eth0").unwrap().contains("fd66:"), "nor is it a router");
    assert!(world.pings(3, "10.0.0.2", 20) && world.pings(3, "fd00::2", 20));
    let drops = world.show("drops");
    assert_eq!(number(&drops["guard"]["count"]), tries.len() as u64);
    assert!(drops["guard"]["meaning"].as_str().unwrap().contains("source"));
    until("nothing is under way", || world.at_rest());
}

/// The same frames, where nobody guards: the test is worth something.
#[test]
fn without_a_guard_they_are_believed() {
    let world = World::new("guard-none", 3);
    let _xdock = world.start();
    assert!(world.pings(3, "10.0.0.2", 3) && world.pings(3, "fd00::2", 3));
    let raw = Raw::open(world.host(1), "eth0").unwrap();
    spoofed().iter().for_each(|frame| raw.send(frame).unwrap());
    until("the router is believed", || world.host(3).ip("-6 addr show dev eth0").unwrap().contains("fd66:"));
    assert!(beliefs(&world).iter().all(|known| known.contains("02:00:00:00:00:01")), "{:?}", beliefs(&world));
}

#[test]
fn a_host_that_behaves_notices_nothing() {
    let world = World::new("guard-life", 2).every_port("guard = true");
    let _xdock = world.start();
    until("its addresses are free", || {
        (1..=2).all(|n| !world.host(n).ip("-6 addr show dev eth0").unwrap().contains("tentative"))
    });
    for address in ["10.0.0.2", "fd00::2", "fe80::ff:fe00:2%eth0"] {
        assert!(world.pings(1, address, 5), "{address}");
    }
    for address in ["10.0.0.2", "fd00::2"] {
        run(world.host(1).command("ping").args(["-c", "3", "-i", "0.01", "-s", "3000", address])).unwrap();
    }
    for address in ["10.0.0.2", "fd00::2"] {
        transfer(world.host(1), (world.host(2), address), 256, 1);
    }
    assert_eq!(world.drops().get("guard"), None);
}

/// Duplicate address detection finds what is there; the guarded host's probes and their answers pass.
#[test]
fn addresses_that_are_taken_are_found_to_be() {
    let world = World::new("guard-dad", 2).port(1, "guard = { ip = [\"10.0.0.0/24\", \"fd00::/64\"] }");
    let _xdock = world.start();
    world.host(1).ip("-6 addr add fd00::2/64 dev eth0").unwrap();
    until("it is a duplicate", || world.host(1).ip("-6 addr show dev eth0").unwrap().contains("dadfailed"));
    world.host(1).ip("-6 addr add fd00::77/64 dev eth0").unwrap();
    until("it is free", || {
        let shown = world.host(1).ip("-6 addr show dev eth0 to fd00::77").unwrap();
        shown.contains("fd00::77") && !shown.contains("tentative")
    });
    assert_eq!(world.drops().get("guard"), None);
}

/// A DHCP client's first words pass, and nothing else without an address.
#[test]
fn a_host_without_addresses_may_ask_for_one() {
    let world = World::silent("guard-dhcp", 2).port(1, "guard = true");
    let _xdock = world.start();
    let (raw, server) = (Raw::open(world.host(1), "eth0").unwrap(), Raw::open(world.host(2), "eth0").unwrap());
    let datagram = |client: u8, server: u8| {
        let header = [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
        frame(ALL, SPOOFER, &[], 0x0800, &[&header[..], &[0, client, 0, server, 0, 8, 0, 0]].concat())
    };
    let (discover, other) = (datagram(68, 67), datagram(68, 69));
    raw.send(&other).unwrap();
    raw.send(&discover).unwrap();
    assert_eq!(server.receive(world::PATIENCE).unwrap(), Some(discover));
    assert_eq!(guarded(&world, "h1"), 1);
}

#[test]
fn it_changes_while_the_port_works_and_is_shown() {
    let mut world = World::new("guard-change", 2);
    let _xdock = world.start();
    let config = world.lab.path("xdock.toml");
    assert!(world.pings(1, "10.0.0.2", 3));
    let index = |world: &World| world.host(1).ip("-o link show eth0").unwrap();
    let (before, plain) = (index(&world), fs::read_to_string(&config).unwrap());
    world = world.port(1, "guard = { mac = [\"02:00:00:00:00:01\"], ip = [\"10.0.0.9\"] }");
    fs::write(&config, world.config()).unwrap();
    let reloaded: Value = serde_json::from_str(&world.done("reload --json")).unwrap();
    let changed = json!([{"kind": "port", "name": "h1", "keys": ["guard"]}]);
    assert_eq!(reloaded["changed"], changed);
    assert!(!world.pings(1, "10.0.0.2", 2), "it has another address");
    assert_eq!(world.shown("h1")["guard"], json!({"mac": ["02:00:00:00:00:01"], "ip": ["10.0.0.9"]}));
    let trace: Value =
        serde_json::from_str(&world.done("trace --port h1 --json src=02:00:00:00:00:02 dst=02:00:00:00:00:03"))
            .unwrap();
    assert_eq!(trace["stages"][0]["stage"], "guard");
    assert_eq!(trace["stages"][0]["why"], json!(["the source MAC is not the port's"]));
    assert_eq!(trace["dropped"]["reason"], "guard");
    fs::write(&config, plain).unwrap();
    world.done("reload");
    assert!(world.pings(1, "10.0.0.2", 3));
    assert_eq!((index(&world), world.shown("h1").get("guard")), (before, None), "it is the same interface");
}

#[test]
fn it_follows_the_port_through_a_reload() {
    let world = world("guard-follow");
    let _xdock = world.start();
    assert!(world.pings(1, "10.0.0.3", 3));
    let moved = world.config().replace("10.0.0.1/24", "10.0.0.7/24").replace(":00:01\"", ":00:07\"");
    fs::write(world.lab.path("xdock.toml"), moved).unwrap();
    world.done("reload");
    assert!(world.pings(1, "10.0.0.3", 3), "its new addresses are its own");
    assert_eq!(guarded(&world, "h1"), 0);
    let raw = Raw::open(world.host(1), "eth0").unwrap();
    let new = [2, 0, 0, 0, 0, 7];
    raw.send(&frame(CLIENT, SPOOFER, &[], 0x0800, &ipv4(7))).unwrap();
    raw.send(&frame(CLIENT, new, &[], 0x0800, &ipv4(1))).unwrap();
    until("those of before are not", || guarded(&world, "h1") == 2);
}

#[test]
fn a_port_of_the_command_line_has_it_too() {
    let world = World::new("guard-flag", 1).spare();
    let _xdock = world.start();
    let add = |keys: &str| format!("port add h2 --domain lan --netns {} --ifname eth0 {keys}", world.host(2).name());
    world.done(&add("--address 10.0.0.2/24 --guard"));
    assert_eq!(world.shown("h2")["guard"], true);
    assert!(world.pings(2, "10.0.0.1", 3), "its MAC address was drawn, and is the guard's");
    world.host(2).ip("link set eth0 address 02:00:00:00:00:77").unwrap();
    assert!(!world.pings(2, "10.0.0.1", 2), "it is somebody else now");
    assert!(guarded(&world, "h2") > 0);
    world.done("port rm h2");
    world.done(&add("--guard mac=02:00:00:00:00:05,ip=10.0.0.5,fd00::/64"));
    assert_eq!(world.shown("h2")["guard"], json!({"mac": ["02:00:00:00:00:05"], "ip": ["10.0.0.5", "fd00::/64"]}));
}
