//! Loops outside of the switch: two of its ports lead to each other, by a cable or by a bridge.
//! Needs root; everything happens in namespaces made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::Namespace;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use world::{World, number, silence, until};

/// Two hosts, a switch whose ports `l1` and `l2` lead to each other, and what `outside` did for that.
fn looped(name: &str, kind: &str, keys: &str, outside: impl FnOnce(&World)) -> (World, lab::Process) {
    let world = World::new(name, 2);
    silence(&world.switch);
    outside(&world);
    let xdock = world.start();
    for port in ["l1", "l2"] {
        world.done(&format!("port add {port} --kind {kind} --ifname {port} --domain lan {keys}"));
    }
    (world, xdock)
}

/// A veth pair of which both ends are ports.
fn cable(world: &World) {
    world.switch.ip("link add l1 type veth peer name l2").unwrap();
    ["l1", "l2"].iter().for_each(|port| drop(world.switch.ip(&format!("link set {port} up")).unwrap()));
}

/// A bridge of the kernel in a namespace, with a host of its own and two cables to the switch.
fn bridge(world: &World, place: &Namespace) {
    silence(place);
    place.ip("link add br0 address 02:00:00:00:00:77 type bridge").unwrap();
    place.ip("link set br0 up").unwrap();
    place.ip("addr add 10.0.0.77/24 dev br0").unwrap();
    for n in 1..=2 {
        let (inner, outer) = (format!("l{n}"), format!("u{n}"));
        world.switch.ip(&format!("link add {inner} type veth peer name {outer} netns {}", place.name())).unwrap();
        world.switch.ip(&format!("link set {inner} up")).unwrap();
        place.ip(&format!("link set {outer} master br0")).unwrap();
        place.ip(&format!("link set {outer} up")).unwrap();
    }
}

/// Frames that come in by the two ports in a second.
fn circulating(world: &World) -> u64 {
    let seen = || ["l1", "l2"].iter().map(|port| number(&world.shown(port)["rx_frames"])).sum::<u64>();
    let before = seen();
    std::thread::sleep(Duration::from_secs(1));
    seen() - before
}

fn answered(from: &Namespace, address: &str, count: usize) -> usize {
    let mut ping = from.command("ping");
    let output = ping.args(["-q", "-i", "0.02", "-W", "1", "-c", &count.to_string(), address]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("received")).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

fn assert_blocked(world: &World) {
    let blocked = world.shown("l2");
    assert_eq!((&blocked["state"], &blocked["up"]), (&"blocked".into(), &false.into()), "{blocked}");
    assert_eq!(blocked["reason"], "a loop: it leads back to the switch by port l1");
    assert_eq!(world.shown("l1")["state"], "up");
    let listed = world.done("show ports");
    assert!(listed.contains("blocked"), "{listed}");
}

/// A host that speaks to all without a pause is what makes a loop a storm.
fn shout(world: &World) {
    let mut ping = world.host(1).command("ping");
    let ping = ping.args(["-q", "-b", "-i", "0.01", "-c", "60", "-W", "1", "10.0.0.255"]);
    ping.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
}

fn hosts_beside_a_cable(name: &str, kind: &str, keys: &str) {
    let (world, _xdock) = looped(name, kind, keys, cable);
    shout(&world);
    assert!(circulating(&world) < 50);
    assert_eq!(answered(world.host(1), "10.0.0.2", 50), 50);
    assert_eq!(answered(world.host(2), "10.0.0.1", 50), 50);
    assert_blocked(&world);
    assert!(circulating(&world) < 50);
}

#[test]
fn hosts_beside_a_cable_keep_talking() {
    hosts_beside_a_cable("cable", "packet", "");
}

#[test]
fn a_storm_cap_on_both_ends_changes_nothing() {
    hosts_beside_a_cable("cablecap", "packet", "--storm broadcast=200,multicast=200,unknown=200");
}

#[test]
#[cfg(feature = "xdp")]
fn hosts_beside_a_cable_of_xdp_ports_keep_talking() {
    hosts_beside_a_cable("cablexdp", "xdp", "");
}

/// Two cables to one bridge, as somebody lays who wants more bandwidth: what the host there says goes round in one direction,
/// so no address moves.
#[test]
fn two_ways_to_one_bridge_are_one_until_the_other_is_needed() {
    let lab = lab::Lab::new("twoways").unwrap();
    let place = lab.namespace("net").unwrap();
    let (world, _xdock) = looped("twowaysw", "packet", "", |world| bridge(world, &place));
    let begin = Instant::now();
    let mut arping = Command::new("ip");
    let flood = ["netns", "exec", place.name(), "ping", "-q", "-b", "-i", "0.01", "-c", "80", "-W", "1", "10.0.0.255"];
    arping.args(flood).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    until("one of them is blocked", || world.shown("l2")["state"] == "blocked");
    println!("blocked after {:?}", begin.elapsed());
    assert!(circulating(&world) < 50);
    assert_eq!(answered(world.host(1), "10.0.0.77", 20), 20, "the host on the bridge is reached");
    assert_eq!(answered(&place, "10.0.0.2", 20), 20, "and reaches the others");
    assert_blocked(&world);
    place.ip("link set u1 nomaster").unwrap();
    until("the other way is open when the loop is gone", || world.shown("l2")["state"] == "up");
    until("and leads to the host", || answered(world.host(1), "10.0.0.77", 1) == 1);
}
