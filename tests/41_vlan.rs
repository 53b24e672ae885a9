//! VLANs between real interfaces: the same tagged and untagged frames through `xdock run` and through Open vSwitch's
//! userspace datapath, and TCP over a trunk between two switches. Needs root; everything happens in namespaces made for it.
//!
//! # The comparison
//!
//! Nine hosts, each a port of another kind. First every station speaks in every VLAN that its port can send in, so that both
//! switches know them all and nothing is learned after that; then random frames go in bursts, and what each host has
//! received in the end is compared, whatever its order. Every burst ends with a marker, a broadcast frame: when its witness
//! has it, the burst is through, and no queue overflows. A failure prints its seed; `CROSSDOCK_SEED=n` repeats it.
//!
//! # Where the two are meant to differ, and the corpus does not go
//!
//! * Open vSwitch keeps the drop-eligible bit for itself and clears it; a tunnel's tag gets priority 0 from it, and from
//!   Crossdock the customer's. Here the bit is 0 everywhere and the priority at tunnel ports.
//! * For Open vSwitch VLAN 100 is the same by a customer's tag and by a provider's, so that a customer's tag that a trunk lets
//!   in can end at a tunnel port. Here no number is used by both.
//! * It does not send a frame to an access port that has another tag below its VLAN's; Crossdock and Linux do.
//! * A customer's tag of VLAN 0 without priority is lost in its tunnels.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod ovs;
mod world;

use lab::{Namespace, Process};
use ovs::Ovs;
use serde_json::json;
use std::time::Duration;
use world::raw::Raw;
use world::transfer::transfer;
use world::{PATIENCE, Random, World, damage, number};

/// What each host's port is: in Crossdock's words, in Open vSwitch's, and the tags of the VLANs it can send in.
struct Port {
    xdock: &'static str,
    ovs: &'static str,
    vlans: &'static [Tags],
    /// The port of a host that receives what this one sends to everybody in the first of those VLANs.
    witness: usize,
}

/// Tags of a frame, the outermost first: EtherType and content.
type Tags = &'static [(u16, u16)];
type Frame = Vec<u8>;

const C: u16 = 0x8100;
const S: u16 = 0x88a8;
const UNTAGGED: Tags = &[];
const TEN: Tags = &[(C, 10)];
const TWENTY: Tags = &[(C, 20)];
const SERVICE: Tags = &[(S, 100)];

const PORTS: [Port; 9] = [
    Port { xdock: "{ access = 10 }", ovs: "vlan_mode=access tag=10", vlans: &[UNTAGGED], witness: 2 },
    Port { xdock: "{ access = 20 }", ovs: "vlan_mode=access tag=20", vlans: &[UNTAGGED], witness: 2 },
    Port { xdock: "{ trunk = [10, 20] }", ovs: "vlan_mode=trunk trunks=10,20", vlans: &[TEN, TWENTY], witness: 0 },
    Port {
        xdock: "{ trunk = [10, 20], native = 10 }",
        ovs: "vlan_mode=native-untagged tag=10 trunks=10,20",
        vlans: &[UNTAGGED, TWENTY],
        witness: 2,
    },
    Port {
        xdock: "{ trunk = [10], native = 20, native_tagged = true }",
        ovs: "vlan_mode=native-tagged tag=20 trunks=10",
        vlans: &[UNTAGGED, TEN],
        witness: 2,
    },
    Port { xdock: "{ access = 10 }", ovs: "vlan_mode=access tag=10", vlans: &[UNTAGGED], witness: 2 },
    Port {
        xdock: "{ tunnel = 100 }",
        ovs: "vlan_mode=dot1q-tunnel tag=100 other_config:qinq-ethtype=802.1ad",
        vlans: &[UNTAGGED],
        witness: 7,
    },
    Port { xdock: "{ trunk = [10, 100] }", ovs: "vlan_mode=trunk trunks=10,100", vlans: &[SERVICE, TEN], witness: 6 },
    Port {
        xdock: "{ tunnel = 100 }",
        ovs: "vlan_mode=dot1q-tunnel tag=100 other_config:qinq-ethtype=802.1ad",
        vlans: &[UNTAGGED],
        witness: 7,
    },
];

/// Hosts whose port takes a customer's tags for payload, and the one that has a provider's tags.
const TUNNELS: [usize; 2] = [6, 8];
const PROVIDER: usize = 7;
const BURSTS: usize = 400;
const BURST: usize = 12;
/// Stations of a host.
const STATIONS: u8 = 3;
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
const MARKER: [u8; 2] = [0x88, 0xb6];
const BROADCAST: [u8; 6] = [0xff; 6];

/// Station `n` of a host. The last has the same address at every host that is alone in its VLANs: an access port of 10, one
/// of 20, a tunnel.
fn station(host: usize, n: u8) -> [u8; 6] {
    match (host, n) {
        (0 | 1 | 6, 2) => [0x02, 0xaa, 0, 0, 0xff, 0xff],
        _ => [0x02, 0xaa, 0, 0, host as u8, n],
    }
}

fn frame(destination: [u8; 6], source: [u8; 6], tags: &[(u16, u16)], payload: &[u8]) -> Frame {
    let tags = tags.iter().flat_map(|&(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()].concat());
    [destination.into_iter().chain(source).chain(tags).collect(), payload.to_vec()].concat()
}

/// Random frames of a host.
struct Corpus {
    random: Random,
    count: u32,
}

impl Corpus {
    fn bursts(&mut self) -> Vec<(usize, Vec<Frame>)> {
        let burst = |_| {
            let host = self.random.below(PORTS.len());
            (host, (0..BURST).map(|_| self.frame(host)).collect())
        };
        (0..BURSTS).map(burst).collect()
    }

    fn frame(&mut self, host: usize) -> Frame {
        let destination = match self.random.below(8) {
            0 => BROADCAST,
            1 => [0x01, 0x00, 0x5e, 1, 2, self.random.next() as u8],
            2 => [0x02, 0xcc, 0, 0, 0, self.random.next() as u8],
            _ => station(self.random.below(PORTS.len()), self.random.below(STATIONS.into()) as u8),
        };
        let source = station(host, self.random.below(STATIONS.into()) as u8);
        let tags = self.tags(host);
        self.count += 1;
        let mut payload = self.random.pick(&[EXPERIMENTAL, [0x08, 0x00], [0x86, 0xdd]]).to_vec();
        payload.extend(self.count.to_be_bytes());
        let length = 40 + self.random.below(1300);
        payload.extend(self.random.bytes(length));
        frame(destination, source, &tags, &payload)
    }

    /// Tags that the port knows, and that it must refuse.
    fn tags(&mut self, host: usize) -> Vec<(u16, u16)> {
        let priority = self.random.below(8) as u16 * 0x2000;
        let customer = (C, self.random.pick(&[0, 1, 10, 20, 30, 4095]) | priority);
        let payload = (C, self.random.pick(&[1, 10, 20, 100, 4095]));
        let provider = (S, self.random.pick(&[30, 100, 100, 100, 4095]) | priority);
        match (self.random.below(4), host) {
            (0, _) => vec![],
            (_, host) if TUNNELS.contains(&host) => vec![payload],
            (1, PROVIDER) => vec![provider, payload],
            (2, PROVIDER) => vec![provider],
            (1, _) => vec![provider],
            _ => vec![customer],
        }
    }
}

/// The last frame of a burst.
fn marker(host: usize, burst: usize) -> Frame {
    let payload = [&MARKER[..], &burst.to_be_bytes(), &[0; 46]].concat();
    frame(BROADCAST, station(host, 0), PORTS[host].vlans[0], &payload)
}

/// Whether a received frame carries the marker of a burst, whatever its tags.
fn is_marker(frame: &Frame, burst: usize) -> bool {
    let mark = [&MARKER[..], &burst.to_be_bytes()].concat();
    [12, 16, 20].iter().any(|&at| frame.get(at..at + mark.len()) == Some(&mark))
}

/// Sends a burst and waits until its witness has its marker.
fn send(hosts: &[Raw], received: &mut [Vec<Frame>], host: usize, (burst, frames): (usize, &[Frame])) {
    frames.iter().for_each(|frame| hosts[host].send(frame).unwrap());
    hosts[host].send(&marker(host, burst)).unwrap();
    let witness = PORTS[host].witness;
    loop {
        let frame = hosts[witness].receive(PATIENCE).unwrap();
        received[witness].push(frame.unwrap_or_else(|| panic!("host {witness} lacks the marker of {host}")));
        if received[witness].last().is_some_and(|frame| is_marker(frame, burst)) {
            return;
        }
    }
}

/// Lets every station speak in all VLANs of its host.
fn introduce(hosts: &[Raw], received: &mut [Vec<Frame>]) {
    for (host, port) in PORTS.iter().enumerate() {
        let hello = |tags: &Tags| (0..STATIONS).map(|n| frame(BROADCAST, station(host, n), tags, &[0; 60])).collect();
        let frames: Vec<Vec<Frame>> = port.vlans.iter().map(hello).collect();
        send(hosts, received, host, (usize::MAX - host, &frames.concat()));
    }
    clear(hosts, received);
}

fn clear(hosts: &[Raw], received: &mut [Vec<Frame>]) {
    for (raw, frames) in hosts.iter().zip(received) {
        raw.drain(Duration::from_millis(50)).unwrap();
        frames.clear();
    }
}

/// What each host received of all bursts, in order of content.
fn inject(hosts: &[Raw], bursts: &[(usize, Vec<Frame>)], settle: impl Fn()) -> Vec<Vec<Frame>> {
    let mut received = vec![Vec::new(); hosts.len()];
    for _ in 0..2 {
        introduce(hosts, &mut received);
        settle();
    }
    for (number, (host, frames)) in bursts.iter().enumerate() {
        send(hosts, &mut received, *host, (number, frames));
    }
    for (raw, frames) in hosts.iter().zip(&mut received) {
        frames.extend(raw.drain(Duration::from_millis(200)).unwrap());
        frames.sort_unstable();
    }
    received
}

fn open(world: &World) -> Vec<Raw> {
    let open = |host: &Namespace| {
        host.ip("link set eth0 promisc on").unwrap();
        Raw::open(host, "eth0").unwrap()
    };
    world.hosts.iter().map(open).collect()
}

fn through_ovs(bursts: &[(usize, Vec<Frame>)]) -> Vec<Vec<Frame>> {
    let world = World::silent("ovs", PORTS.len());
    world::silence(&world.switch);
    let ovs = Ovs::start(&world.lab, &world.switch, None, "vlan-limit=2").unwrap();
    for (n, (host, port)) in world.hosts.iter().zip(&PORTS).enumerate() {
        let tap = format!("tap{n}");
        ovs.add_tap(&tap, port.ovs).unwrap();
        world.switch.ip(&format!("link set {tap} netns {}", host.name())).unwrap();
        host.ip(&format!("link set {tap} name eth0 up")).unwrap();
    }
    inject(&open(&world), bursts, || ovs.settle().unwrap())
}

fn through_crossdock(bursts: &[(usize, Vec<Frame>)]) -> Vec<Vec<Frame>> {
    let world = PORTS.iter().enumerate().fold(World::silent("vlan", PORTS.len()), |world, (n, port)| {
        world.port(n + 1, &format!("vlan = {}", port.xdock))
    });
    let _xdock = world.start();
    let received = inject(&open(&world), bursts, || {});
    for reason in ["vlan_filtered", "vlan_invalid"] {
        assert!(world.drops().contains_key(reason), "the corpus lacks {reason}: {:?}", world.drops());
    }
    received
}

/// The headers of a frame.
fn summary(frame: Option<&Frame>) -> String {
    frame.map_or("nothing more".into(), |frame| format!("{} bytes {:02x?}", frame.len(), &frame[..frame.len().min(30)]))
}

/// VL-01 to VL-07
#[test]
fn every_host_receives_what_it_would_from_open_vswitch() {
    let bursts = Corpus { random: Random::seeded(), count: 0 }.bursts();
    let (ovs, crossdock) = (through_ovs(&bursts), through_crossdock(&bursts));
    for (host, (ovs, crossdock)) in ovs.iter().zip(&crossdock).enumerate() {
        let differs = (0..ovs.len().max(crossdock.len())).find(|&n| ovs.get(n) != crossdock.get(n));
        if let Some(n) = differs {
            let (theirs, ours) = (summary(ovs.get(n)), summary(crossdock.get(n)));
            panic!("host {host}, frame {n}: Open vSwitch {theirs}, Crossdock {ours}");
        }
        assert!(crossdock.len() > BURSTS / 4, "host {host} received {} frames", crossdock.len());
    }
}

/// Two switches, each with a host in VLAN 10 and one in VLAN 20, and a trunk between them: a cable between two TAPs.
/// The VLANs have the same addresses, MAC and IP: 1 and 2, at opposite ends.
struct Campus {
    _switches: [Process; 2],
    left: World,
    right: World,
}

impl Campus {
    fn new() -> Campus {
        let trunk = "vlan = { trunk = [10, 20] }";
        let left = World::silent("left", 4)
            .port(1, "address = [\"10.0.0.1/24\"]\nvlan = { access = 10 }")
            .port(2, "address = [\"10.0.0.2/24\"]\nvlan = { access = 20 }")
            .port(3, "address = [\"10.0.0.3/24\"]\nvlan = { access = 20 }")
            .port(4, trunk);
        let right = World::silent("right", 2)
            .port(1, "address = [\"10.0.0.1/24\"]\nvlan = { access = 20 }")
            .port(2, "address = [\"10.0.0.2/24\"]\nvlan = { access = 10 }");
        let cable = left.host(4).name();
        let other_end =
            format!("[[port]]\nname = \"trunk\"\nifname = \"eth1\"\ndomain = \"lan\"\nnetns = \"{cable}\"\n{trunk}\n");
        let first = left.start();
        let second = right.lab.xdock(&right.switch, &(right.config() + &other_end)).unwrap();
        plug(left.host(4));
        Campus { _switches: [first, second], left, right }
    }
}

/// Joins eth0 and eth1: a bridge that learns nothing is a cable.
fn plug(cable: &Namespace) {
    cable.ip("link add cable type bridge stp_state 0 mcast_snooping 0").unwrap();
    for end in ["eth0", "eth1"] {
        cable.ip(&format!("link set {end} master cable")).unwrap();
        cable.ip(&format!("link set {end} type bridge_slave learning off")).unwrap();
    }
    cable.ip("link set cable up").unwrap();
    world::until("the cable carries", || {
        cable.ip("-d -o link show master cable").unwrap().matches("forwarding").count() == 2
    });
}

/// VL-09, VL-10: super-frames with partial checksums get their tag, cross the trunk through a kernel that reads their
/// offsets, and lose it again.
#[test]
fn tcp_is_bit_exact_over_a_trunk_and_vlans_do_not_meet() {
    let campus = Campus::new();
    let (left, right) = (&campus.left, &campus.right);
    assert!(left.pings(1, "10.0.0.2", 3) && right.pings(2, "10.0.0.1", 3), "VLAN 10, over the trunk");
    assert!(right.pings(1, "10.0.0.2", 3) && left.pings(2, "10.0.0.3", 3), "VLAN 20, over the trunk and on one switch");
    assert!(!left.pings(1, "10.0.0.3", 1) && !right.pings(2, "10.0.0.3", 1), "no way from VLAN 10 to VLAN 20");
    let full = left.host(1).command("ping").args(["-c", "1", "-W", "1", "-M", "do", "-s", "1472", "10.0.0.2"]).output();
    assert!(full.unwrap().status.success(), "a full frame and a tag");
    transfer(left.host(1), (right.host(2), "10.0.0.2"), 1024, 10);
    transfer(right.host(1), (left.host(2), "10.0.0.2"), 64, 20);
    let trunk = left.shown("h4");
    let mean = number(&trunk["tx_bytes"]) / number(&trunk["tx_frames"]);
    assert!(mean > 3000, "super-frames cross whole: {mean} bytes a frame");
    for host in [left.host(1), left.host(2), right.host(1), right.host(2)] {
        assert_eq!(damage(host), Vec::<String>::new());
    }
    let fdb = left.show("fdb");
    let place = |vlan: u16, mac: &str| {
        let mut entries = fdb.as_array().unwrap().iter();
        entries.find(|e| e["vlan"] == vlan && e["mac"] == mac).map(|e| e["port"].clone())
    };
    let first = "02:00:00:00:00:01";
    assert_eq!((place(10, first), place(20, first)), (Some(json!("h1")), Some(json!("h4"))), "{fdb}");
}

#[test]
fn vlans_are_configured_shown_and_added_at_run_time() {
    let world = World::new("vlans", 3)
        .domain("vlan_filtering = true")
        .port(1, "vlan = { access = 10 }")
        .port(2, "vlan = { trunk = [\"20-29\", 10], native = 10 }")
        .spare();
    let _xdock = world.start();
    assert_eq!(world.shown("h1")["vlan"], json!({"access": 10}));
    assert_eq!(world.shown("h2")["vlan"], json!({"trunk": [10, "20-29"], "native": 10}));
    assert_eq!(world.shown("h3")["vlan"], json!({"access": 1}), "a port without, in a domain that filters");
    assert!(world.pings(1, "10.0.0.2", 1) && !world.pings(1, "10.0.0.3", 1));
    let netns = world.hosts[3].name();
    let add = format!("port add h4 --domain lan --ifname eth0 --netns {netns} --address 10.0.0.4/24 --vlan");
    world.done(&format!("{add} access=10"));
    assert!(world.pings(1, "10.0.0.4", 1));
    let text = world.done("show ports");
    assert!(text.contains("access 10") && text.contains("trunk 10,20-29 native 10"), "{text}");
    let wrong = world.xdock(&format!("{add} access=4095"));
    let stderr = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!((wrong.status.code(), stderr.contains("4095 is out of range")), (Some(2), true), "{stderr}");
    world.done("port rm h1");
    world.done("port rm h4");
    world.done("port rm h2");
    assert_eq!(world.shown("h3")["vlan"], json!({"access": 1}), "whatever its neighbours are");
}

/// What one port has of VLANs is nobody else's matter.
#[test]
fn a_port_with_vlans_changes_nothing_for_its_neighbours() {
    let world = World::new("vlan-alone", 2).spare();
    let _xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
    let netns = world.hosts[2].name();
    world.done(&format!(
        "port add h3 --domain lan --ifname eth0 --netns {netns} --address 10.0.0.3/24 --vlan access=10"
    ));
    assert_eq!(world.shown("h1")["vlan"], json!(null));
    assert!(world.pings(1, "10.0.0.2", 1) && !world.pings(1, "10.0.0.3", 1));
    world.done("port rm h3");
}
