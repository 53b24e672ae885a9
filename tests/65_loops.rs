//! Ports that come and go, and a switch that is killed, again and again: nothing is left behind, and nobody else loses a frame.
//! Needs root; everything happens in namespaces made for it.
//!
//! `XDOCK_LOOPS` says how often: few times here, 100 in `make proof`.

#![cfg(feature = "xdp")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::{Namespace, Process};
use rustix::process::Signal;
use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;
use world::paced::Paced;
use world::{PATIENCE, World, silence, until};

/// How often, unless the environment says otherwise.
const LOOPS: usize = 10;

fn loops() -> usize {
    std::env::var("XDOCK_LOOPS").map_or(LOOPS, |text| text.parse().unwrap())
}

/// What a process holds of the kernel's.
#[derive(Debug, PartialEq, PartialOrd)]
struct Holdings {
    descriptors: usize,
    threads: usize,
    mappings: usize,
}

fn holdings(process: &Process) -> Holdings {
    let list = |what: &str| fs::read_dir(format!("/proc/{}/{what}", process.pid())).unwrap().count();
    let mappings = fs::read_to_string(format!("/proc/{}/maps", process.pid())).unwrap().lines().count();
    Holdings { descriptors: list("fd"), threads: list("task"), mappings }
}

/// What a namespace has: its interfaces with the programs attached to them, and its packet and AF_XDP sockets.
fn contents(namespace: &Namespace) -> Vec<String> {
    let links = namespace.ip("-o -d link").unwrap();
    let names = links.lines().map(|link| link.split_whitespace().nth(1).unwrap().to_owned());
    let programs = links.lines().filter(|link| link.contains("prog/xdp")).map(|_| "program".to_owned());
    let sockets = |kind: &str| lab::run(namespace.command("ss").args(["-n", "-H", kind])).unwrap();
    let sockets = [sockets("--packet"), sockets("--xdp")].map(|list| format!("{} sockets", list.lines().count()));
    names.chain(programs).chain(sockets).collect()
}

/// Tells when a namespace no longer exists, and not only its name: the kernel then deletes the other end of a cable to it.
struct Canary {
    cage: Namespace,
    name: String,
}

impl Canary {
    fn new(world: &World, watched: &Namespace) -> Canary {
        let name = format!("c{}", watched.name().rsplit('-').next().unwrap());
        let cage = world.lab.namespace(&name).unwrap();
        silence(&cage);
        cage.ip(&format!("link add {name} type veth peer name {name} netns {}", watched.name())).unwrap();
        Canary { cage, name }
    }

    fn assert_gone(&self) {
        until("nobody holds the namespace", || !self.cage.ip("-o link").unwrap().contains(&self.name));
    }
}

/// The flags that make the third port.
fn third(world: &World, kind: &str) -> String {
    match kind {
        "tap" => {
            let place = format!("--ifname eth0 --netns {}", world.host(3).name());
            format!("port add h3 --domain lan {place} --mac 02:00:00:00:00:03 --address 10.0.0.3/24")
        }
        kind => format!("port add h3 --domain lan --kind {kind} --ifname veth3"),
    }
}

/// The third port is added, used and removed while datagrams pass between the others, one a TAP, one a packet port.
fn plug(kind: &'static str, engine: &str) {
    let mut world = World::new("plug", 3).veth(2, "packet", 1500).engine(engine);
    if kind != "tap" {
        world = world.veth(3, kind, 1500);
    }
    let xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
    world.done("port rm h3");
    let again = || {
        world.done(&third(&world, kind));
        assert_eq!(world.shown("h3")["kind"], kind);
        until("the new port carries frames", || world.pings(3, "10.0.0.1", 1));
        world.done("port rm h3");
    };
    again();
    let everywhere = || world.hosts.iter().chain([&world.switch]).map(contents).collect::<Vec<_>>();
    let (before, there) = (holdings(&xdock), everywhere());
    let paced = Paced::start(world.host(1), world.host(2), "10.0.0.2");
    (0..loops()).for_each(|_| again());
    let datagrams = paced.finish();
    assert!(datagrams > 100, "{datagrams}");
    // The kernel closes AF_XDP sockets some time after their files.
    until("nothing is left in the kernel", || everywhere() == there);
    until("nothing is left in the process", || holdings(&xdock) <= before);
    until("all frames are accounted for", || world.at_rest());
    println!("{kind} {} times, {datagrams} datagrams; {before:?} {:?}", loops(), holdings(&xdock));
    let canary = Canary::new(&world, world.host(3));
    drop(world.hosts.pop());
    canary.assert_gone();
}

#[test]
fn a_tap_comes_and_goes() {
    plug("tap", "");
}

#[test]
fn a_packet_port_comes_and_goes() {
    plug("packet", "");
}

#[test]
fn an_xdp_port_comes_and_goes() {
    plug("xdp", "");
}

#[test]
fn a_tap_comes_and_goes_with_two_workers() {
    plug("tap", "cores = [0, 1]");
}

#[test]
fn a_packet_port_comes_and_goes_with_two_workers() {
    plug("packet", "cores = [0, 1]");
}

#[test]
fn an_xdp_port_comes_and_goes_with_two_workers() {
    plug("xdp", "cores = [0, 1]");
}

/// Datagrams from a host to others, whether or not there is a switch that carries them.
struct Drizzle {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<()>,
}

impl Drizzle {
    fn start(from: &Namespace, to: &'static [&'static str]) -> Drizzle {
        let socket = from.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                // Refused while there is no interface.
                to.iter().for_each(|address| _ = socket.send_to(&[7; 1000], (*address, 9)));
                sleep(Duration::from_micros(200));
            }
        });
        Drizzle { stop, sender }
    }

    fn finish(self) {
        self.stop.store(true, Relaxed);
        self.sender.join().unwrap();
    }
}

/// Ports of every kind, two of them behind faults, on two workers.
#[test]
fn a_switch_killed_in_full_flight_leaves_nothing() {
    let faults = "fault = { duplicate = 0.1, reorder = 0.1, delay_ms = 2 }";
    let mut world = World::new("kill9", 4).engine("cores = [0, 1]").veth(2, "packet", 1500).veth(3, "xdp", 1500);
    world = world.port(3, faults).port(4, &format!("queues = 2\n{faults}"));
    let everywhere = || world.hosts.iter().chain([&world.switch]).map(contents).collect::<Vec<_>>();
    let before = everywhere();
    let drizzle = Drizzle::start(world.host(1), &["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    for _ in 0..loops() {
        let mut xdock = world.start();
        for (n, address) in [(1, "10.0.0.3"), (4, "10.0.0.2"), (3, "10.0.0.4")] {
            until("frames pass", || world.pings(n, address, 1));
        }
        assert_ne!(contents(&world.switch), before[4], "what is attached would be seen");
        xdock.signal(Signal::KILL).unwrap();
        xdock.wait(PATIENCE).unwrap();
        until("nothing is left in the kernel", || everywhere() == before);
        assert_eq!(files(&world), ["control.sock", "control.sock.lock"], "which the next one takes over");
    }
    let mut xdock = world.start();
    drizzle.finish();
    xdock.signal(Signal::TERM).unwrap();
    assert!(xdock.wait(PATIENCE).unwrap().success());
    until("nothing is left in the kernel", || everywhere() == before);
    assert_eq!(files(&world), Vec::<String>::new());
    let canaries: Vec<_> = world.hosts.iter().map(|host| Canary::new(&world, host)).collect();
    world.hosts.clear();
    canaries.iter().for_each(Canary::assert_gone);
}

/// The files where the control socket is.
fn files(world: &World) -> Vec<String> {
    let directory = fs::read_dir(world.socket().parent().unwrap()).unwrap();
    let mut files: Vec<_> = directory.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    files
}
