//! The knobs of a bridge while traffic runs: what `xdock port set`, `domain set` and `fdb` do, after the kernel's own tests of its
//! bridge (tools/testing/selftests/net/forwarding: bridge_vlan_unaware, bridge_locked_port, bridge_sticky_fdb,
//! bridge_fdb_learning_limit), and random frames through a bridge of Linux and through Crossdock, whose knobs are turned alike.
//! Needs root; everything happens in namespaces made for it.
//!
//! # Where the two bridges are meant to differ, and the comparison does not go
//!
//! * A source that has a static entry elsewhere: Linux lets its frames pass, Crossdock drops them.
//! * A limit of addresses for each port: Linux has one for the whole bridge.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::{Process, run};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;
use world::paced::Paced;
use world::raw::Raw;
use world::{Random, World, number, until};

type Frame = Vec<u8>;

const BROADCAST: [u8; 6] = [0xff; 6];
const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 1, 2, 3];

fn frame(source: [u8; 6], destination: [u8; 6], number: u32) -> Frame {
    [&destination[..], &source, &[0x88, 0xb5], &number.to_be_bytes(), &[0; 42]].concat()
}

/// A station that is no host's own.
fn station(n: u8) -> [u8; 6] {
    [0x02, 0xaa, 0, 0, 0, n]
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Hosts without addresses on a switch, and whole frames to and from them.
struct Bench {
    world: World,
    hosts: Vec<Raw>,
    sent: u32,
    _xdock: Process,
}

impl Bench {
    fn new(world: World) -> Bench {
        let xdock = world.start();
        let hosts = open(&world);
        Bench { world, hosts, sent: 0, _xdock: xdock }
    }

    fn set(&self, port: &str, keys: &str) {
        self.world.done(&format!("port set {port} {keys}"));
    }

    /// Sends a frame from host `n`, from 1; which hosts receive it.
    fn heard(&mut self, n: usize, source: [u8; 6], destination: [u8; 6]) -> Vec<usize> {
        self.sent += 1;
        let frame = frame(source, destination, self.sent);
        self.hosts[n - 1].send(&frame).unwrap();
        let count = |host: &Raw| host.drain(Duration::from_millis(40)).is_ok_and(|frames| frames.contains(&frame));
        (1..).zip(&self.hosts).filter(|(_, host)| count(host)).map(|(n, _)| n).collect()
    }

    fn port_of(&self, mac: [u8; 6]) -> Option<String> {
        let fdb = self.world.show("fdb");
        let entry = fdb.as_array().unwrap().iter().find(|entry| entry["mac"] == text(mac))?;
        entry["port"].as_str().map(str::to_owned)
    }

    fn dropped(&self, port: &str, reason: &str) -> u64 {
        self.world.shown(port)["drops"].get(reason).map_or(0, number)
    }
}

fn open(world: &World) -> Vec<Raw> {
    let open = |host: &lab::Namespace| {
        host.ip("link set eth0 promisc on").unwrap();
        Raw::open(host, "eth0").unwrap()
    };
    world.hosts.iter().map(open).collect()
}

/// bridge_vlan_unaware.sh: `learning_test`.
#[test]
fn learning_is_turned_on_and_off() {
    let mut bench = Bench::new(World::silent("learning", 3).domain("ageing_s = 1"));
    let (first, second) = (station(1), station(2));
    bench.heard(1, first, BROADCAST);
    assert_eq!(bench.port_of(first), Some("h1".into()));
    assert_eq!(bench.heard(2, second, first), [1], "known, so not flooded");
    until("it ages", || bench.port_of(first).is_none());
    bench.set("h1", "--learning false");
    bench.heard(1, first, BROADCAST);
    assert_eq!(bench.port_of(first), None);
    assert_eq!(bench.heard(2, second, first), [1, 3], "flooded");
    bench.set("h1", "--learning true");
    bench.heard(1, first, BROADCAST);
    assert_eq!(bench.heard(2, second, first), [1]);
}

/// bridge_vlan_unaware.sh: `flood_unicast_test`, `flood_multicast_test`, and of broadcasts the same.
#[test]
fn floods_are_turned_on_and_off() {
    let mut bench = Bench::new(World::silent("flood", 3));
    let kinds = [("flood", station(9)), ("mcast-flood", GROUP), ("bcast-flood", BROADCAST)];
    for (flag, destination) in kinds {
        assert_eq!(bench.heard(1, station(1), destination), [2, 3], "{flag}");
        bench.set("h2", &format!("--{flag} off"));
        assert_eq!(bench.heard(1, station(1), destination), [3], "{flag}");
        let fields = format!("src={} dst={}", text(station(1)), text(destination));
        let trace = bench.world.done(&format!("trace --port h1 {fields}"));
        assert!(trace.contains(&format!("{} is off at h2", flag.replace('-', "_"))), "{trace}");
        bench.set("h2", &format!("--{flag}=on"));
        assert_eq!(bench.heard(1, station(1), destination), [2, 3], "{flag}");
    }
    bench.heard(2, station(2), BROADCAST);
    bench.set("h2", "--flood=false --mcast_flood=false --bcast_flood=false");
    assert_eq!(bench.heard(1, station(1), station(2)), [2], "what is known is no flood");
}

/// bridge_locked_port.sh: `locked_port_ipv4` and `_ipv6`, with hosts that ping.
#[test]
fn a_locked_port_takes_those_that_are_let_in() {
    let world = World::new("locked", 3);
    let _xdock = world.start();
    let pings = |address: &str| world.pings(1, address, 3);
    let answered = |yes: bool| ["10.0.0.2", "fd00::2"].iter().all(|address| pings(address) == yes);
    assert!(answered(true));
    world.done("port set h1 --locked --learning=off");
    assert!(answered(true), "who is known there stays so until it ages");
    world.done("fdb flush --port h1");
    assert!(answered(false));
    assert!(number(&world.shown("h1")["drops"]["locked"]) > 0);
    assert!(world.pings(2, "10.0.0.3", 3), "others do not notice");
    let trace = world.done("trace --port h1 dst=02:00:00:00:00:02");
    assert!(trace.contains("the port is locked") && trace.contains("drop: locked"), "{trace}");
    world.done("fdb add 02:00:00:00:00:01 --domain lan --port h1");
    assert!(answered(true));
    world.done("fdb rm 02:00:00:00:00:01 --domain lan");
    assert!(answered(false));
    world.done("port set h1 --locked off --learning on");
    assert!(answered(true));
}

/// bridge_locked_port.sh: `locked_port_mab_roam`.
#[test]
fn a_station_does_not_roam_to_a_locked_port() {
    let mut bench = Bench::new(World::silent("roam", 3).port(2, "locked = true"));
    bench.heard(1, station(1), BROADCAST);
    assert_eq!(bench.heard(2, station(1), BROADCAST), Vec::<usize>::new());
    assert_eq!((bench.port_of(station(1)), bench.dropped("h2", "locked")), (Some("h1".into()), 1));
    bench.set("h2", "--locked=false");
    assert_eq!(bench.heard(2, station(1), BROADCAST), [1, 3]);
    assert_eq!(bench.port_of(station(1)), Some("h2".into()));
}

/// bridge_sticky_fdb.sh, and everything else that could take a static entry away.
#[test]
fn a_static_entry_stays_whatever_happens() {
    let mut bench = Bench::new(World::silent("sticky", 3).domain("ageing_s = 1"));
    let sticky = station(7);
    let stays = |bench: &mut Bench, what: &str| {
        assert_eq!(bench.port_of(sticky), Some("h1".into()), "{what}");
        let before = bench.dropped("h2", "source_static");
        assert_eq!(bench.heard(2, sticky, BROADCAST), Vec::<usize>::new(), "{what}");
        assert_eq!(bench.dropped("h2", "source_static"), before + 1, "{what}");
        assert_eq!(bench.heard(3, station(3), sticky), [1], "{what}");
        assert_eq!(bench.heard(1, sticky, station(3)), [3], "{what}");
    };
    bench.heard(2, sticky, BROADCAST);
    bench.world.done(&format!("fdb add {} --domain lan --port h1", text(sticky)));
    stays(&mut bench, "at once");
    bench.world.done("fdb flush");
    bench.world.done("fdb flush --port h1 --domain lan");
    stays(&mut bench, "after flushes");
    std::thread::sleep(Duration::from_millis(3500));
    stays(&mut bench, "after its ageing time");
    bench.world.host(1).ip("link set eth0 down").unwrap();
    until("the link is down", || bench.world.shown("h1")["state"] == "down");
    assert_eq!(bench.heard(2, sticky, BROADCAST), Vec::<usize>::new(), "while the link is down");
    bench.world.host(1).ip("link set eth0 up").unwrap();
    until("the link is up", || bench.world.shown("h1")["state"] == "up");
    stays(&mut bench, "after a link flap");
    bench.world.done("domain set lan --fdb-max 100");
    stays(&mut bench, "in another forwarding database");
    bench.world.host(1).ip("link del eth0").unwrap();
    until("the port is gone", || bench.world.shown("h1")["state"] == "gone");
    assert_eq!(bench.heard(2, sticky, BROADCAST), Vec::<usize>::new(), "while the port is gone");
    until("the port is back", || bench.world.shown("h1")["state"] == "up");
    bench.hosts = open(&bench.world);
    stays(&mut bench, "when the port was opened again");
    let trace = bench.world.done(&format!("trace --port h2 src={} dst={}", text(sticky), text(BROADCAST)));
    assert!(trace.contains("belongs to another port by a static entry"), "{trace}");
    bench.world.done(&format!("fdb rm {} --domain lan", text(sticky)));
    assert_eq!(bench.heard(2, sticky, BROADCAST), [1, 3]);
    assert_eq!(bench.port_of(sticky), Some("h2".into()), "it is like any other again");
}

/// bridge_fdb_learning_limit.sh, for a port and for the whole bridge.
#[test]
fn addresses_beyond_a_limit_are_not_learned() {
    let mut bench = Bench::new(World::silent("limit", 3).port(1, "mac_limit = 3"));
    (1..=5).for_each(|n| drop(bench.heard(1, station(n), BROADCAST)));
    assert_eq!((bench.world.learned("h1").len(), bench.dropped("h1", "mac_limit")), (3, 2));
    let page = bench.world.done("show port h1");
    assert!(page.contains("3 learned, of 3 at most; frames from others are dropped"), "{page}");
    bench.set("h1", "--at-limit pass");
    assert_eq!(bench.heard(1, station(4), BROADCAST), [2, 3]);
    assert_eq!(bench.port_of(station(4)), None);
    bench.world.done(&format!("fdb add {} --domain lan --port h1", text(station(4))));
    bench.world.done("fdb flush --port h1");
    (1..=3).for_each(|n| drop(bench.heard(1, station(n), BROADCAST)));
    assert_eq!(bench.world.learned("h1").len(), 4, "a static entry does not count");
    bench.set("h1", "--mac-limit 0 --at-limit drop");
    bench.heard(1, station(5), BROADCAST);
    assert_eq!(bench.port_of(station(5)), Some("h1".into()));
    bench.world.done("domain set lan --fdb_max 10 --fdb_full refuse");
    (20..40).for_each(|n| drop(bench.heard(2, station(n), BROADCAST)));
    assert_eq!(bench.world.show("domains")[0]["fdb_entries"], 10);
    assert_eq!(bench.heard(2, station(39), BROADCAST), [1, 3], "it passes all the same");
    assert_eq!(bench.port_of(station(39)), None);
    bench.world.done(&format!("fdb add {} --domain lan --port h3", text(station(50))));
    assert_eq!(bench.port_of(station(50)), Some("h3".into()), "a static entry takes the place of a learned one");
    bench.world.done("domain set lan --fdb-full evict");
    bench.heard(2, station(39), BROADCAST);
    assert_eq!(bench.port_of(station(39)), Some("h2".into()));
}

#[test]
fn groups_of_isolated_ports() {
    let world = World::silent("groups", 4)
        .port(1, "isolated = [\"red\"]")
        .port(2, "isolated = [\"red\", \"blue\"]")
        .port(3, "isolated = [\"blue\"]");
    let mut bench = Bench::new(world);
    assert_eq!(bench.heard(1, station(1), BROADCAST), [3, 4]);
    assert_eq!(bench.heard(2, station(2), BROADCAST), [4]);
    assert_eq!(bench.heard(4, station(4), BROADCAST), [1, 2, 3]);
    assert_eq!(bench.heard(1, station(1), station(2)), Vec::<usize>::new());
    assert_eq!(bench.dropped("h1", "isolated"), 1);
    assert_eq!(bench.world.shown("h2")["isolated"], json!(["blue", "red"]));
    bench.set("h2", "--isolated blue");
    assert_eq!(bench.heard(1, station(1), station(2)), [2]);
    bench.set("h2", "--isolated");
    assert_eq!(bench.heard(2, station(2), BROADCAST), [1, 3, 4], "true is a group of its own");
    bench.set("h2", "--isolated false");
    assert_eq!(bench.heard(3, station(3), BROADCAST), [1, 2, 4]);
    let names: Vec<String> = (0..61).map(|n| format!("g{n}")).collect();
    let refused = bench.world.xdock(&format!("port set h2 --isolated {}", names.join(",")));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(
        stderr.starts_with("xdock: port set: port h2: isolated: the switch has no more than 62 groups"),
        "{stderr}"
    );
    bench.set("h2", &format!("--isolated {}", names[..60].join(",")));
    assert_eq!(bench.heard(2, station(2), BROADCAST), [1, 3, 4], "of none of the others' groups");
}

/// Whatever is set, also to what it is, no datagram is lost.
#[test]
fn nothing_is_lost_while_knobs_are_turned() {
    for cores in ["", "cores = [0, 1]"] {
        let world = World::new("turned", 4).engine(cores);
        let _xdock = world.start();
        assert!(world.pings(1, "10.0.0.2", 1));
        let paced = Paced::start(world.host(1), world.host(2), "10.0.0.2");
        for round in 0..10 {
            for keys in ["--learning=off", "--hairpin", "--flood=off --mac-limit 100", "--isolated blue", "--locked"] {
                world.done(&format!("port set h1 {keys}"));
                world.done(&format!("port set h3 {keys} --storm broadcast={round}"));
            }
            world.done("port set h1 --learning=on --hairpin off --flood on --isolated off --locked off --mac-limit 0");
            world.done("fdb add 02:00:00:00:00:01 --domain lan --port h1");
            world.done("domain set lan --fdb-full refuse");
            world.done("fdb flush");
            world.done("fdb rm 02:00:00:00:00:01 --domain lan");
        }
        assert!(paced.finish() > 500);
        until("all frames are accounted for", || world.at_rest());
    }
}

#[test]
fn what_runs_is_shown_as_a_file_that_gives_the_same_switch() {
    let world = World::new("shown", 3)
        .domain("static = [{ mac = \"02:00:00:00:00:09\", port = \"later\" }]")
        .port(1, "hairpin = true\nisolated = [\"a\"]")
        .port(2, "vlan = { access = 10 }\nstorm = { broadcast = 100 }");
    let xdock = world.start();
    world.done("port set h3 --learning off --mac-limit 7 --at-limit pass --bcast-flood off");
    world.done("domain set lan --ageing-s 77 --fdb-full refuse");
    world.done("domain add other --static mac=02:00:00:00:00:08,port=h1");
    world.done("fdb add 02:aa:00:00:00:01 --domain lan --port h1");
    world.done("fdb add 02:aa:00:00:00:02 --domain lan --port h2 --vlan 10");
    world.done("fdb add 02:aa:00:00:00:03 --domain lan --port h2");
    let table = world.done("show fdb");
    for line in [
        "other      -  02:00:00:00:00:08  h1     static, waiting",
        "lan        -  02:00:00:00:00:09  later  static, waiting",
        "lan        -  02:aa:00:00:00:01  h1     static\n",
        "lan       10  02:aa:00:00:00:02  h2     static\n",
        "lan       10  02:aa:00:00:00:03  h2     static\n",
    ] {
        assert!(table.contains(line), "{line}\n{table}");
    }
    let (file, config) = (world.done("show config"), world.show("config"));
    assert!(!file.contains("mtu") && file.contains("mac_limit = 7"), "{file}");
    drop(xdock);
    let _second = world.lab.xdock(&world.switch, &file).unwrap();
    assert_eq!(world.show("config"), config, "{file}");
    assert_eq!(world.done("show config"), file);
    let shown = world.shown("h3");
    let knobs = ["learning", "mac_limit", "at_limit", "locked", "hairpin", "flood", "mcast_flood", "bcast_flood"];
    let expected = json!([false, 7, "pass", false, false, true, true, false]);
    assert_eq!(Value::from_iter(knobs.map(|knob| shown[knob].clone())), expected);
    let port: Value = serde_json::from_str(&world.done("show port h3 --json")).unwrap();
    assert_eq!((&port["addresses"], &port["mac_limit"]), (&json!(0), &json!(7)));
    let page = world.done("show port h3");
    for line in [
        "port:         h3 (tap), up\n",
        "of 7 at most; frames from others pass; learns no more",
        "unknown, multicast\n",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    let metrics = metrics(&world);
    for sample in [
        "xdock_port_mac_limit{port=\"h3\"} 7",
        "xdock_fdb_static_entries{domain=\"lan\"} 4",
        "learning=\"false\",locked=\"false\",hairpin=\"false\",flood=\"true\",mcast_flood=\"true\",bcast_flood=\"false\"",
    ] {
        assert!(metrics.contains(sample), "{sample}\n{metrics}");
    }
    world.done("fdb rm 02:aa:00:00:00:03 --domain lan --vlan 10");
    world.done("port rm h1");
    assert!(world.done("show fdb").contains("02:aa:00:00:00:01  h1     static, waiting"));
}

fn metrics(world: &World) -> String {
    let mut curl = std::process::Command::new("curl");
    curl.args(["-s", "--unix-socket"]).arg(world.socket()).arg("http://xdock/v1/metrics");
    run(&mut curl).unwrap()
}

#[test]
fn a_reload_turns_knobs_and_the_file_decides_on_static_entries() {
    let world = World::new("reknob", 2).domain("static = [{ mac = \"02:aa:00:00:00:01\", port = \"h1\" }]");
    let (base, _xdock) = (world.config(), world.start());
    let index = || run(world.host(1).command("ip").args(["-j", "link", "show", "eth0"])).unwrap();
    let before: Value = serde_json::from_str(&index()).unwrap();
    world.done("fdb add 02:aa:00:00:00:02 --domain lan --port h2");
    let file = base
        .replace("name = \"h1\"\n", "name = \"h1\"\nlearning = false\nlocked = true\n")
        .replace("static = [", "fdb_full = \"refuse\"\nstatic = [{ mac = \"02:aa:00:00:00:03\", port = \"h2\" }, ");
    fs::write(world.lab.path("xdock.toml"), &file).unwrap();
    let done: Value = serde_json::from_str(&world.done("reload --json")).unwrap();
    let changed = json!([
        {"kind": "domain", "name": "lan", "keys": ["fdb_full", "static"]},
        {"kind": "port", "name": "h1", "keys": ["learning", "locked"]},
    ]);
    assert_eq!(done["changed"], changed);
    let after: Value = serde_json::from_str(&index()).unwrap();
    assert_eq!(after[0]["ifindex"], before[0]["ifindex"], "the same interface");
    let fdb = world.show("fdb");
    let fixed = fdb.as_array().unwrap().iter().filter(|entry| entry["static"] == true);
    let fixed: Vec<_> = fixed.map(|entry| entry["mac"].as_str().unwrap().to_owned()).collect();
    assert_eq!(fixed, ["02:aa:00:00:00:01", "02:aa:00:00:00:03"]);
    world.done("fdb flush");
    assert!(!world.pings(1, "10.0.0.2", 1));
    let done: Value = serde_json::from_str(&world.done("reload --json")).unwrap();
    assert_eq!(done["changed"], json!([]));
}

#[test]
fn wrong_wishes_are_refused_in_words() {
    let world = World::new("wishes", 2).domain("vlan_filtering = true");
    let _xdock = world.start();
    let config = world.show("config");
    let cases = [
        ("port set h1", 2, "port set: nothing to change"),
        ("port set h9 --locked", 1, "port set: no port h9"),
        ("port set h1 --mac-limit 1000001", 1, "mac_limit: 1000001 is out of range"),
        ("port set h1 --domain wan", 1, "no domain \"wan\""),
        ("port set h1 --isolated a/b", 2, "\"a/b\" is not a usable name"),
        ("port set h1 --locked perhaps", 2, "true or false"),
        ("domain set lan --fdb-full never", 1, "unknown way \"never\""),
        ("domain set wan --fdb-max 10", 1, "no domain wan"),
        ("domain add wan --static mac=03:00:00:00:00:01,port=h1", 2, "is a multicast address"),
        ("fdb add 03:00:00:00:00:01 --domain lan --port h1", 1, "03:00:00:00:00:01 is a multicast address"),
        ("fdb add 02:00:00:00:00:01 --domain lan --port h9", 1, "no port h9"),
        ("fdb add 02:00:00:00:00:01 --domain wan --port h1", 1, "no domain wan"),
        ("fdb add 02:00:00:00:00:01 --domain lan --port h1 --vlan 7", 1, "port h1 does not carry VLAN 7"),
        ("fdb add 02:00:00:00:00:01 --domain lan --port h1 --vlan 4095", 1, "4095 is out of range"),
        ("fdb rm 02:aa:00:00:00:01 --domain lan", 1, "no address 02:aa:00:00:00:01 in domain lan"),
        ("fdb flush --port h9", 1, "no port h9"),
        ("show port h9", 1, "no port h9"),
    ];
    for (command, code, words) in cases {
        let output = world.xdock(command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.contains(words)), (Some(code), true), "{command}: {stderr}");
    }
    assert_eq!(world.show("config"), config, "nothing of that changed anything");
}

const HOSTS: usize = 5;
const PHASES: usize = 12;
const BURSTS: usize = 10;

/// What is turned at the beginning of a phase: a port's knob, by its name in `bridge link`, on or off.
type Turn = (usize, &'static str, bool);

/// A phase: what is turned, and frames by host.
struct Phase {
    turns: Vec<Turn>,
    bursts: Vec<(usize, Vec<Frame>)>,
}

fn phases(random: &mut Random) -> Vec<Phase> {
    let knobs = ["learning", "hairpin", "flood", "mcast_flood", "bcast_flood", "isolated", "locked"];
    let mut count = 0;
    let mut frame = |random: &mut Random, host: usize| {
        count += 1;
        let destination = match random.below(8) {
            0 => BROADCAST,
            1 => GROUP,
            2 => station(200),
            _ => station(random.below(3 * HOSTS) as u8),
        };
        frame(station((host + HOSTS * random.below(3)) as u8), destination, count)
    };
    let phase = |_| {
        let turns = (0..3).map(|_| {
            let knob = random.pick(&knobs);
            // Mostly as it usually is, so that something passes.
            let usual = !matches!(knob, "hairpin" | "isolated" | "locked");
            (random.below(HOSTS), knob, (random.below(3) > 0) == usual)
        });
        let turns = turns.collect();
        let bursts = (0..BURSTS).map(|_| {
            let host = random.below(HOSTS);
            (host, (0..8).map(|_| frame(random, host)).collect())
        });
        let bursts = bursts.collect();
        Phase { turns, bursts }
    };
    (0..PHASES).map(phase).collect()
}

/// What each host receives in each phase, in order of content.
fn play(hosts: &[Raw], phases: &[Phase], turn: impl Fn(&Turn)) -> Vec<Vec<Vec<Frame>>> {
    let mut received = Vec::new();
    for phase in phases {
        phase.turns.iter().for_each(&turn);
        let mut heard = vec![Vec::new(); hosts.len()];
        for (host, frames) in &phase.bursts {
            frames.iter().for_each(|frame| hosts[*host].send(frame).unwrap());
            hosts.iter().zip(&mut heard).for_each(|(raw, heard)| {
                heard.extend(raw.drain(Duration::from_millis(15)).unwrap());
            });
        }
        heard.iter_mut().for_each(|frames| frames.sort_unstable());
        received.push(heard);
    }
    received
}

fn through_linux(phases: &[Phase]) -> Vec<Vec<Vec<Frame>>> {
    let world = World::silent("knobbr", HOSTS);
    let switch = &world.switch;
    world::silence(switch);
    switch.ip("link add br0 address 02:ee:00:00:00:ff type bridge stp_state 0 mcast_snooping 0").unwrap();
    for (n, host) in world.hosts.iter().enumerate() {
        let peer = format!("peer name eth0 netns {}", host.name());
        switch.ip(&format!("link add p{n} address 02:ee:00:00:00:{n:02x} type veth {peer}")).unwrap();
        switch.ip(&format!("link set p{n} master br0 up")).unwrap();
        host.ip("link set eth0 up").unwrap();
    }
    switch.ip("link set br0 up").unwrap();
    until("all ports forward", || {
        switch.ip("-d -o link show master br0").unwrap().matches("state forwarding").count() == HOSTS
    });
    play(&open(&world), phases, |(port, knob, on)| {
        let mut bridge = switch.command("bridge");
        let (port, on) = (format!("p{port}"), if *on { "on" } else { "off" });
        run(bridge.args(["link", "set", "dev", &port, knob, on])).unwrap();
    })
}

fn through_crossdock(phases: &[Phase]) -> Vec<Vec<Vec<Frame>>> {
    let world = World::silent("knobxd", HOSTS);
    let _xdock = world.start();
    let received = play(&open(&world), phases, |(port, knob, on)| {
        drop(world.done(&format!("port set h{} --{knob} {on}", port + 1)));
    });
    until("all frames are accounted for", || world.at_rest());
    received
}

/// The headers and the number of a frame.
fn summary(frame: Option<&Frame>) -> String {
    frame.map_or("nothing more".into(), |frame| format!("{:02x?}", &frame[..18]))
}

#[test]
fn every_host_receives_what_it_would_from_a_bridge_whose_knobs_are_turned_alike() {
    let phases = phases(&mut Random::seeded());
    let (linux, crossdock) = (through_linux(&phases), through_crossdock(&phases));
    let mut frames = 0;
    for (phase, (linux, crossdock)) in linux.iter().zip(&crossdock).enumerate() {
        for (host, (linux, crossdock)) in linux.iter().zip(crossdock).enumerate() {
            let differs = (0..linux.len().max(crossdock.len())).find(|&n| linux.get(n) != crossdock.get(n));
            if let Some(n) = differs {
                let turned: Vec<_> = phases[..=phase].iter().flat_map(|phase| &phase.turns).collect();
                let (theirs, ours) = (summary(linux.get(n)), summary(crossdock.get(n)));
                panic!("phase {phase}, host {host}, frame {n}: Linux {theirs}, Crossdock {ours}; turned {turned:?}");
            }
            frames += linux.len();
        }
    }
    assert!(frames > PHASES * BURSTS, "{frames} frames received");
}
