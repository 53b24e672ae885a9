//! Ports that stay themselves: what vanishes under a port and comes back is its interface again, and meanwhile everybody
//! is told why not. Needs root; everything happens in namespaces made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::{Namespace, Process};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;
use world::raw::Raw;
use world::{World, number, silence, until};

/// How a port is shown: its state and the reason.
fn state(world: &World, port: &str) -> (String, String) {
    let shown = world.shown(port);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(shown["up"], json!(shown["state"] == "up"), "{shown}");
    (text(&shown["state"]), text(&shown["reason"]))
}

fn is_up(world: &World, port: &str) -> bool {
    state(world, port).0 == "up"
}

/// How often the log says something about a port.
fn told(xdock: &Process, port: &str, words: &str) -> usize {
    let log = xdock.stderr();
    log.lines().filter(|line| line.contains(&format!("port=\"{port}\"")) && line.contains(words)).count()
}

/// Deletes the namespace of host `n`, and nothing else of it.
fn delete_host(world: &mut World, n: usize) {
    drop(world.hosts.remove(n - 1));
}

/// Makes the namespace of host `n` again, under its old name.
fn make_host(world: &mut World, n: usize) {
    let host = world.lab.namespace(&format!("h{n}")).unwrap();
    world.hosts.insert(n - 1, host);
}

/// Tells when a namespace no longer exists, and not only its name: the kernel then deletes the other end of a cable to it.
struct Canary {
    cage: Namespace,
}

impl Canary {
    fn new(world: &World, watched: &Namespace) -> Canary {
        let cage = world.lab.namespace("cage").unwrap();
        silence(&cage);
        cage.ip(&format!("link add canary type veth peer name canary netns {}", watched.name())).unwrap();
        Canary { cage }
    }

    fn lives(&self) -> bool {
        self.cage.ip("-o link").unwrap().contains("canary")
    }
}

#[test]
fn a_namespace_that_is_made_again_gets_its_port_back() {
    let mut world = World::new("again", 3);
    let xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 3));
    let before = number(&world.shown("h2")["rx_frames"]);
    for round in 1..=2 {
        let canary = Canary::new(&world, world.host(2));
        let reason = format!("its namespace \"{}\" does not exist", world.host(2).name());
        delete_host(&mut world, 2);
        until("the port is gone", || state(&world, "h2") == ("gone".into(), reason.clone()));
        until("so is the namespace", || !canary.lives());
        assert!(world.done("show ports").contains(&reason));
        let absent = world.done("reload");
        assert!(absent.contains("4 unchanged"), "what is missing is waited for: {absent}");
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(told(&xdock, "h2", "port gone"), round, "{}", xdock.stderr());
        make_host(&mut world, 2);
        until("the port is back", || is_up(&world, "h2"));
        until("it carries frames", || world.pings(1, "10.0.0.2", 1));
        assert_eq!(told(&xdock, "h2", "port open again"), round);
    }
    assert!(!world.done("show ports").contains("REASON"), "there is nothing to explain");
    assert!(number(&world.shown("h2")["rx_frames"]) > before, "it counts on");
    assert_eq!(told(&xdock, "h2", "cannot be opened"), 0, "{}", xdock.stderr());
    assert!(world.pings(1, "10.0.0.3", 3));
    until("all frames are accounted for", || world.at_rest());
}

#[test]
fn a_namespace_without_a_name_keeps_its_port_while_somebody_runs_in_it() {
    let mut world = World::new("unnamed", 2);
    let xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
    let canary = Canary::new(&world, world.host(2));
    // The command holds the namespace; the process alone is to.
    let mut runs = {
        let mut ping = world.host(2).command("ping");
        world.lab.spawn("ping", ping.args(["-q", "-i", "0.1", "10.0.0.1"])).unwrap()
    };
    delete_host(&mut world, 2);
    std::thread::sleep(Duration::from_millis(2500));
    assert!(is_up(&world, "h2") && canary.lives());
    let frames = || number(&world.shown("h2")["rx_frames"]);
    let before = frames();
    until("it still talks", || frames() > before + 3);
    runs.signal(rustix::process::Signal::KILL).unwrap();
    runs.wait(Duration::from_secs(3)).unwrap();
    until("then it is gone", || state(&world, "h2").0 == "gone");
    until("and the namespace too", || !canary.lives());
    assert_eq!(told(&xdock, "h2", "port gone"), 1);
}

/// As Docker moves the interface that it is given.
#[test]
fn a_tap_that_was_moved_outlives_its_first_namespace() {
    let mut world = World::new("moved", 2);
    let xdock = world.start();
    let second = world.lab.namespace("second").unwrap();
    world.host(2).ip(&format!("link set eth0 netns {}", second.name())).unwrap();
    second.ip("addr add 10.0.0.2/24 dev eth0").unwrap();
    second.ip("link set eth0 up").unwrap();
    until("it works where it is", || is_up(&world, "h2") && world.pings(1, "10.0.0.2", 1));
    delete_host(&mut world, 2);
    std::thread::sleep(Duration::from_millis(2500));
    assert!(world.pings(1, "10.0.0.2", 3) && is_up(&world, "h2"));
    assert_eq!((world.shown("h2")["netns"].as_str(), told(&xdock, "h2", "port gone")), (Some(second.name()), 0));
    drop(second);
    until("with the second it is gone", || state(&world, "h2").0 == "gone");
}

#[test]
fn a_namespace_that_is_replaced_moves_its_port() {
    let mut world = World::new("swap", 2);
    let xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
    let canary = Canary::new(&world, world.host(2));
    delete_host(&mut world, 2);
    make_host(&mut world, 2);
    until("it is open again", || told(&xdock, "h2", "port open again") == 1);
    until("in the new one", || is_up(&world, "h2") && world.pings(1, "10.0.0.2", 1));
    until("the old one is gone", || !canary.lives());
}

#[test]
fn a_tap_that_is_deleted_is_made_again() {
    let world = World::new("deleted", 2);
    let xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
    world.host(2).ip("link del eth0").unwrap();
    until("the loss is told of", || told(&xdock, "h2", "port gone") == 1);
    until("it is back", || is_up(&world, "h2") && world.pings(1, "10.0.0.2", 1));
    assert_eq!(told(&xdock, "h2", "port open again"), 1);
    world.host(2).ip("link set eth0 down").unwrap();
    let down = ("down".to_owned(), "its interface \"eth0\" is set down".to_owned());
    until("it is down", || state(&world, "h2") == down);
    world.host(2).ip("link set eth0 up").unwrap();
    until("it is up", || is_up(&world, "h2"));
}

/// An interface of somebody else, through packet sockets or AF_XDP.
fn foreign_interface(kind: &'static str) {
    let world = World::new(&format!("back{kind}"), 2).veth(2, kind, 1500);
    let xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
    world.switch.ip("link del veth2").unwrap();
    until("the port is gone", || state(&world, "h2").0 == "gone");
    until("why is said", || state(&world, "h2").1.starts_with("no interface `veth2` in this network namespace"));
    std::thread::sleep(Duration::from_millis(1500));
    let peer = format!("peer name eth0 netns {} address 02:00:00:00:00:02", world.host(2).name());
    world.switch.ip(&format!("link add veth2 type veth {peer}")).unwrap();
    world.host(2).ip("addr add 10.0.0.2/24 dev eth0").unwrap();
    world.host(2).ip("link set eth0 up").unwrap();
    until("it is open again", || told(&xdock, "h2", "port open again") == 1);
    let down = "its interface \"veth2\" is set down, or has no carrier";
    until("but not up", || state(&world, "h2") == ("down".into(), down.into()));
    world.switch.ip("link set veth2 up").unwrap();
    until("it carries frames", || world.pings(1, "10.0.0.2", 1));
    assert_eq!((told(&xdock, "h2", "port gone"), told(&xdock, "h2", "cannot be opened")), (1, 1), "{}", xdock.stderr());
    assert_eq!(world.shown("h2")["kind"], kind);
    until("all frames are accounted for", || world.at_rest());
}

#[test]
fn a_packet_port_comes_back_with_its_interface() {
    foreign_interface("packet");
}

#[cfg(feature = "xdp")]
#[test]
fn an_xdp_port_comes_back_with_its_interface() {
    foreign_interface("xdp");
}

/// A packet port's sockets hold the namespace of its interface, as a TAP's file does.
#[test]
fn a_packet_port_does_not_outlive_its_namespace() {
    let world = World::new("abroad", 1);
    let far = world.lab.namespace("far").unwrap();
    far.ip("link add veth9 type veth peer name other").unwrap();
    let _xdock = world.start();
    world.done(&format!("port add p9 --kind packet --ifname veth9 --domain lan --netns {}", far.name()));
    let (canary, name) = (Canary::new(&world, &far), far.name().to_owned());
    drop(far);
    until("the port is gone", || {
        state(&world, "p9") == ("gone".into(), format!("its namespace \"{name}\" does not exist"))
    });
    until("and the namespace", || !canary.lives());
    world.done("port rm p9");
}

#[test]
fn a_tap_without_an_address_of_its_own_always_gets_the_same() {
    let mut world = World::new("mac", 3);
    // Two without, one with.
    let config = ["1", "2"]
        .iter()
        .fold(world.config(), |config, n| config.replace(&format!("mac = \"02:00:00:00:00:0{n}\"\n"), ""));
    let mut xdock = world.lab.xdock(&world.switch, &config).unwrap();
    let macs = |world: &World| ["h1", "h2", "h3"].map(|port| world.shown(port)["mac"].as_str().unwrap().to_owned());
    let inside = |world: &World, n: usize| world.host(n).ip("-o link show eth0").unwrap();
    let before = macs(&world);
    assert!(before[0] != before[1] && before[2] == "02:00:00:00:00:03", "{before:?}");
    for (n, mac) in (1..).zip(&before) {
        let first = u8::from_str_radix(&mac[..2], 16).unwrap();
        assert!(first & 3 == 2 && inside(&world, n).contains(mac), "{mac}: {}", inside(&world, n));
    }
    let index = inside(&world, 1).split(':').next().unwrap().to_owned();
    fs::write(world.lab.path("xdock.toml"), config.replace("name = \"h1\"\n", "name = \"h1\"\nmtu = 1400\n")).unwrap();
    assert!(world.done("reload").contains("recreated"));
    assert!(!inside(&world, 1).starts_with(&format!("{index}:")), "another interface");
    delete_host(&mut world, 2);
    until("the port is gone", || state(&world, "h2").0 == "gone");
    make_host(&mut world, 2);
    until("the port is back", || is_up(&world, "h2"));
    assert_eq!(macs(&world), before);
    xdock.signal(rustix::process::Signal::TERM).unwrap();
    xdock.wait(Duration::from_secs(3)).unwrap();
    let _again = world.lab.xdock(&world.switch, &config).unwrap();
    assert_eq!(macs(&world), before);
    assert!(inside(&world, 2).contains(&before[1]));
}

/// The address that host 1 has of a neighbour.
fn neighbour(world: &World, address: &str) -> String {
    let shown = world.host(1).ip(&format!("-o neigh show {address} dev eth0")).unwrap();
    shown.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap_or_default().to_owned()
}

#[test]
fn another_address_is_known_to_the_neighbours_at_once() {
    let mut world = World::new("announce", 3);
    let config = world.config();
    let _xdock = world.start();
    let known = |world: &World| ["10.0.0.2", "fd00::2"].map(|address| neighbour(world, address));
    assert!(world.pings(1, "10.0.0.2", 1) && world.pings(1, "fd00::2", 1));
    assert_eq!(known(&world), ["02:00:00:00:00:02"; 2]);
    let other = config.replace("mac = \"02:00:00:00:00:02\"", "mac = \"02:00:00:00:02:02\"\nmtu = 1400");
    fs::write(world.lab.path("xdock.toml"), &other).unwrap();
    world.done("reload");
    let news = ["02:00:00:00:02:02"; 2].map(str::to_owned);
    world::until_within(Duration::from_secs(2), "both addresses are announced", || known(&world) == news);
    assert!(world.learned("h2").contains(&news[0]), "the switch knows too where it is");
    assert!(world.pings(1, "10.0.0.2", 3) && world.pings(1, "fd00::2", 3), "nothing is lost");
    delete_host(&mut world, 2);
    until("the port is gone", || state(&world, "h2").0 == "gone");
    assert!(world.learned("h2").is_empty());
    make_host(&mut world, 2);
    until("the port is back", || is_up(&world, "h2"));
    until("and known", || world.learned("h2").contains(&news[0]));
    until("all frames are accounted for", || world.at_rest());
    assert_eq!(world.shown("h2")["drops"], json!({}));
}

/// What is announced twice, and no more, in one VLAN.
#[test]
fn announcements_are_few_and_stay_in_their_vlan() {
    let world = World::silent("gratuitous", 4).port(3, "vlan = { access = 10 }").port(4, "vlan = { access = 20 }");
    let _xdock = world.start();
    let [inside, outside] = [3, 4].map(|n| Raw::open(world.host(n), "eth0").unwrap());
    let place = format!("--ifname eth1 --netns {}", world.host(1).name());
    world.done(&format!("port add new --domain lan {place} --address 10.0.0.9/24 --vlan access=10"));
    let mac = world.shown("new")["mac"].as_str().unwrap().to_owned();
    std::thread::sleep(Duration::from_millis(3500));
    let arp = |frame: &Vec<u8>| frame[12..14] == [8, 6] && frame[28..32] == [10, 0, 0, 9];
    let heard = |raw: &Raw| {
        let frames = raw.drain(Duration::from_millis(100)).unwrap();
        frames.into_iter().filter(arp).collect::<Vec<_>>()
    };
    let announced = heard(&inside);
    assert_eq!(announced.len(), 2, "{announced:?}");
    let source: Vec<String> = announced[0][6..12].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((source.join(":"), heard(&outside).len()), (mac, 0));
    assert_eq!(number(&world.shown("new")["generated"]), 2);
    until("all frames are accounted for", || world.at_rest());
}

#[test]
fn ports_that_are_gone_can_be_changed_and_removed() {
    let mut world = World::new("change", 3);
    let config = world.config();
    let _xdock = world.start();
    delete_host(&mut world, 3);
    until("the port is gone", || state(&world, "h3").0 == "gone");
    let reload = |config: &str| -> Value {
        fs::write(world.lab.path("xdock.toml"), config).unwrap();
        serde_json::from_str(&world.done("reload --json")).unwrap()
    };
    let isolated = config.replace("name = \"h3\"\n", "name = \"h3\"\nisolated = true\n");
    let done = reload(&isolated);
    assert_eq!(done["changed"], json!([{"kind": "port", "name": "h3", "keys": ["isolated"]}]), "{done}");
    assert_eq!(state(&world, "h3").0, "gone");
    let without = config.split("[[port]]").filter(|table| !table.contains("name = \"h3\"")).collect::<Vec<_>>();
    let done = reload(&without.join("[[port]]"));
    assert_eq!(done["removed"], json!([{"kind": "port", "name": "h3"}]), "{done}");
    assert!(world.pings(1, "10.0.0.2", 1));
}
