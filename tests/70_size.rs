//! A switch of a thousand ports, each in a namespace of its own: it starts, floods, carries a flow, takes and loses ports, and ends as
//! a small one does. Needs root; everything happens in namespaces made for it.
//!
//! What is measured is printed (`--nocapture`), and all that is wrong is told in the end. The limits are those of the design
//! with room for a debug build on a busy machine.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use crossdock::control::client::request;
use hyper::Method;
use lab::{Namespace, Process, xdock_binary};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::fs;
use std::time::{Duration, Instant};
use world::paced::Paced;
use world::raw::Raw;
use world::transfer::transfer;
use world::{PATIENCE, World, until};

/// Ports.
const PORTS: usize = 1000;
/// How often a port comes and goes beside them.
const PLUGS: usize = 100;
/// How much a connection transfers beside them, in MiB.
const FLOW: usize = 64;

/// From `xdock run` to `ready`. Asked of a release build: 5 s.
const START: Duration = Duration::from_secs(10);
/// Until a start is given up.
const PATIENCE_TO_START: Duration = Duration::from_secs(60);
/// From SIGTERM to the end of the process. Asked of a release build: 2 s.
const STOP: Duration = Duration::from_secs(4);
/// Until a stop is given up.
const PATIENCE_TO_STOP: Duration = Duration::from_secs(40);
/// Adding a port, removing one, or turning a knob: the median. Asked of a release build: 10 ms.
const PLUG: Duration = Duration::from_millis(50);
/// Until plugging is given up.
const PATIENCE_TO_PLUG: Duration = Duration::from_secs(20);
/// Showing all ports. Asked of a release build: 50 ms.
const SHOW: Duration = Duration::from_millis(250);
/// Resident memory, in KiB. Asked of 4000 ports: 400 MB.
const RESIDENT: u64 = 200 << 10;
/// The process's part of a core while nothing happens. Asked of 4000 ports: 1 %.
const IDLE: f64 = 0.02;

/// What was measured and what of it is wrong.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn at_most<T: PartialOrd + Debug>(&mut self, what: &str, measured: T, limit: T) {
        println!("{what}: {measured:?}");
        if measured > limit {
            self.0.push(format!("{what}: {measured:?}, not {limit:?}"));
        }
    }

    fn equal<T: PartialEq + Debug>(&mut self, what: &str, measured: T, right: T) {
        println!("{what}: {measured:?}");
        if measured != right {
            self.0.push(format!("{what}: {measured:?}, not {right:?}"));
        }
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let result = work();
    (result, begin.elapsed())
}

/// A world of that many silent hosts; the first two have addresses.
fn town(name: &str, namespaces: usize) -> World {
    let mut world = World::silent(name, 0);
    world.hosts = world.lab.crowd("h", namespaces).unwrap();
    world
}

fn config(world: &World, ports: usize) -> String {
    let port = |n: usize| {
        let netns = world.hosts[(n - 1) % world.hosts.len()].name();
        let ifname = if ports == world.hosts.len() { "eth0".to_owned() } else { format!("eth{n}") };
        let address = if n <= 2 { format!("address = [\"10.0.0.{n}/24\"]\n") } else { String::new() };
        format!(
            "[[port]]\nname = \"h{n}\"\ndomain = \"lan\"\nifname = \"{ifname}\"\nnetns = \"{netns}\"\nmtu = 9000\n{address}"
        )
    };
    world.config() + &(1..=ports).map(port).collect::<String>()
}

/// A broadcast of that length from the first host, and how many others it has reached once nothing moves any more. None may
/// have it twice.
fn reached(world: &World, length: usize) -> usize {
    let counters: Vec<_> = world.hosts[1..].iter().map(|host| host.counters("eth0").unwrap()).collect();
    let received = || counters.iter().map(|counter| counter.received().unwrap()).collect::<Vec<_>>();
    let before = received();
    let mut frame = vec![0x5a; length];
    frame[..6].fill(0xff);
    frame[6..14].copy_from_slice(&[2, 0xbb, 0, 0, 0, 1, 0x88, 0xb5]);
    Raw::open(world.host(1), "eth0").unwrap().send(&frame).unwrap();
    let news = || received().iter().zip(&before).map(|(now, before)| now - before).collect::<Vec<u64>>();
    let (mut last, mut since) = (news(), Instant::now());
    while since.elapsed() < Duration::from_millis(500) && last.contains(&0) {
        std::thread::sleep(Duration::from_millis(20));
        let now = news();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    assert!(news().iter().all(|&count| count <= 1), "a copy came twice");
    last.iter().filter(|&&count| count == 1).count()
}

/// The time the process ran while nothing was asked of it, as a part of a core.
fn idle(process: &Process, time: Duration) -> f64 {
    let ran = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap().flatten();
        let nanos = tasks.map(|task| fs::read_to_string(task.path().join("schedstat")).unwrap());
        nanos.map(|text| text.split(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let before = ran();
    std::thread::sleep(time);
    (ran() - before) as f64 / time.as_nanos() as f64
}

/// Resident memory, in KiB (proc_pid_status(5)).
fn resident(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Adds a port to the spare namespace and removes it again, as often as there is time for; how long each took.
fn plug(world: &World, spare: &Namespace) -> (Vec<Duration>, Vec<Duration>) {
    let ask = |method, path: &str, body: Option<&Value>| request(&world.socket(), method, path, body).unwrap();
    let port = json!({ "name": "spare", "domain": "lan", "ifname": "eth0", "netns": spare.name() });
    let begin = Instant::now();
    let (mut adds, mut removes) = (Vec::new(), Vec::new());
    while adds.len() < PLUGS && begin.elapsed() < PATIENCE_TO_PLUG {
        adds.push(timed(|| ask(Method::POST, "/v1/ports", Some(&port))).1);
        removes.push(timed(|| ask(Method::DELETE, "/v1/ports/spare", None)).1);
    }
    (adds, removes)
}

/// Turns every knob of a port, and sets, forgets and flushes addresses of it; how long each took.
fn turn(world: &World) -> Vec<Duration> {
    let ask = |method, path: &str, body: &Value| request(&world.socket(), method, path, Some(body)).unwrap();
    let patch = |keys: Value| timed(|| ask(Method::PATCH, "/v1/ports/h3", &keys)).1;
    let switches = ["learning", "locked", "hairpin", "flood", "mcast_flood", "bcast_flood", "isolated"];
    let mut turns: Vec<Duration> =
        switches.iter().flat_map(|knob| [true, false, true].map(|on| patch(json!({ *knob: on })))).collect();
    turns.push(patch(json!({"isolated": ["a", "b"], "mac_limit": 5, "at_limit": "pass"})));
    turns.push(patch(json!({"locked": false, "isolated": null, "mac_limit": null, "hairpin": null})));
    let entry = json!({"domain": "lan", "mac": "02:aa:00:00:00:01", "port": "h3"});
    turns.push(timed(|| ask(Method::POST, "/v1/fdb", &entry)).1);
    turns.push(timed(|| ask(Method::POST, "/v1/fdb/flush", &json!({"port": "h3"}))).1);
    turns.push(timed(|| ask(Method::POST, "/v1/fdb/flush", &json!({}))).1);
    turns.push(timed(|| ask(Method::DELETE, "/v1/fdb/lan/02:aa:00:00:00:01", &json!({}))).1);
    turns
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Broadcasts, a connection, pings.
fn traffic(world: &World, findings: &mut Findings) {
    findings.equal("hosts that a broadcast of 60 bytes reaches", reached(world, 60), PORTS - 1);
    findings.equal("hosts that a broadcast of 9014 bytes reaches", reached(world, 9014), PORTS - 1);
    let ((), took) = timed(|| transfer(world.host(1), (world.host(2), "10.0.0.2"), FLOW, 1));
    println!("{FLOW} MiB over one connection: {took:?}");
    findings.equal("a hundred pings are answered", world.pings(1, "10.0.0.2", 100), true);
}

/// Ports that come and go while datagrams flow, none of which may be lost.
fn plugging(world: &World, findings: &mut Findings) {
    let spare = world.lab.namespace("spare").unwrap();
    let paced = Paced::start(world.host(1), world.host(2), "10.0.0.2");
    let (adds, removes) = plug(world, &spare);
    println!("datagrams beside it, none lost: {}", paced.finish());
    findings.equal("ports that came and went in time", removes.len(), PLUGS);
    findings.at_most("adding a port, median", median(adds), PLUG);
    findings.at_most("removing a port, median", median(removes), PLUG);
}

/// Knobs that are turned while datagrams flow, none of which may be lost.
fn turning(world: &World, findings: &mut Findings) {
    let paced = Paced::start(world.host(1), world.host(2), "10.0.0.2");
    let turns = turn(world);
    println!("datagrams beside it, none lost: {}", paced.finish());
    println!("the slowest turn of a knob: {:?}", turns.iter().max());
    findings.at_most("turning a knob, median", median(turns), PLUG);
}

/// Asks for the end, and looks whether anything is left.
fn ending(world: &World, mut xdock: Process, findings: &mut Findings) {
    let open = |host: &Namespace| host.counters("eth0").unwrap();
    let interfaces: Vec<_> = world.hosts.iter().map(open).collect();
    xdock.signal(Signal::TERM).unwrap();
    let (status, took) = timed(|| xdock.wait(PATIENCE_TO_STOP));
    findings.at_most("stop", took, STOP);
    findings.equal("exit code", status.ok().and_then(|status| status.code()), Some(0));
    let left = interfaces.iter().filter(|interface| interface.received().is_ok()).count();
    findings.equal("interfaces left", left, 0);
    findings.equal("the control socket is there", world.socket().exists(), false);
}

#[test]
fn a_thousand_ports_work_like_two() {
    let mut findings = Findings::default();
    let (world, took) = timed(|| town("size", PORTS));
    println!("{PORTS} namespaces: {took:?}");
    let config = config(&world, PORTS);
    let (xdock, took) = timed(|| world.lab.xdock_within(&world.switch, &config, PATIENCE_TO_START).unwrap());
    findings.at_most("start", took, START);
    findings.at_most("resident memory, KiB", resident(&xdock), RESIDENT);
    findings.at_most("idle, part of a core", idle(&xdock, Duration::from_secs(2)), IDLE);
    findings.at_most("show ports", timed(|| world.show("ports")).1, SHOW);
    traffic(&world, &mut findings);
    plugging(&world, &mut findings);
    turning(&world, &mut findings);
    until("every frame is accounted for, and its memory free", || world.at_rest());
    ending(&world, xdock, &mut findings);
    let ((), took) = timed(|| drop(world));
    println!("removing the namespaces: {took:?}");
    assert!(findings.0.is_empty(), "{:#?}", findings.0);
}

/// What a shell often allows is far less than a port each: the switch raises it as far as it may.
#[test]
fn few_descriptors_by_default_do_not_limit_the_ports() {
    let world = town("files", 8);
    let file = world.lab.path("files.toml");
    fs::write(&file, config(&world, 300)).unwrap();
    let mut command = world.switch.command("sh");
    command.args(["-c", "ulimit -S -n 256 && exec \"$0\" run -c \"$1\""]).arg(xdock_binary().unwrap()).arg(file);
    let mut xdock = world.lab.spawn("xdock", &mut command).unwrap();
    xdock.wait_for_line("ready", PATIENCE_TO_START).unwrap();
    assert_eq!(world.show("ports").as_array().unwrap().len(), 300);
    xdock.signal(Signal::TERM).unwrap();
    xdock.wait(PATIENCE.max(PATIENCE_TO_STOP)).unwrap();
}
