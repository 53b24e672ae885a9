//! The same frames through a bridge of Linux and through `xdock run`: what every host receives is compared, frame by
//! frame and in order. Needs root; everything happens in namespaces made for it.
//!
//! The corpus is random. A failure prints its seed; `CROSSDOCK_SEED=n cargo test --test 40_differential` repeats it.
//!
//! # How order is made certain
//!
//! Frames are injected in bursts of one host each. A burst ends with a marker, a broadcast frame; when all other hosts
//! have received it, everything the burst caused has happened, since neither switch reorders what one port sends to
//! another. Only then the next host sends.
//!
//! # Where the two are meant to differ
//!
//! * 01:80:c2:00:00:00 (the bridge group): without STP, Linux forwards it, so that loops through it can be seen by
//!   others. 802.1Q, clause 8.6.3, forwards none of the reserved addresses, and Crossdock follows it.
//! * 01:80:c2:00:00:01 (PAUSE): Linux throws it away before it learns the source, Crossdock after. Its sources here
//!   are nobody's destination, so that what was learned cannot matter.
//! * A tagged frame of 1501 to 1504 bytes behind its tag: Linux takes the tag out on the way in, so it does not count
//!   it. 802.3 does (clause 3.2.7), and so does Crossdock: the frame is too long for an MTU of 1500.
//! * Linux believes every move of an address; Crossdock pins one that moves more than eight times a second. No address
//!   here moves as often.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::{Namespace, pin_thread};
use std::io::ErrorKind;
use std::time::Duration;
use world::raw::Raw;
use world::{PATIENCE, Random, World, number};

const HOSTS: usize = 4;
const BURSTS: usize = 1000;
/// The host whose interface takes jumbo frames, and may therefore send them.
const JUMBO: usize = HOSTS - 1;
/// Most bytes of a frame for the others: MTU, header, one VLAN tag.
const LONGEST: usize = 1518;
/// Moves of an address in all: a test may well take less than a second.
const MOVES: usize = 8;

const BROADCAST: [u8; 6] = [0xff; 6];
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
const MARKER: [u8; 2] = [0x88, 0xb6];
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

type Frame = Vec<u8>;
/// What each host received.
type Received = Vec<Vec<Frame>>;

struct Burst {
    host: usize,
    frames: Vec<Frame>,
}

/// A station of the corpus.
fn station(n: usize) -> [u8; 6] {
    [0x02, 0xaa, 0, 0, 0, n as u8]
}

/// The source of a host's markers, and of its PAUSE frames: never a destination.
fn silent_station(host: usize) -> [u8; 6] {
    [0x02, 0xbb, 0, 0, 0, host as u8]
}

/// Makes random frames, and remembers where the stations are.
struct Corpus {
    random: Random,
    home: Vec<usize>,
    moves: Vec<usize>,
    count: u32,
}

impl Corpus {
    fn new(random: Random) -> Corpus {
        let home: Vec<usize> = (0..5 * HOSTS).map(|n| n % HOSTS).collect();
        Corpus { random, moves: vec![0; home.len()], home, count: 0 }
    }

    fn bursts(&mut self) -> Vec<Burst> {
        let one = |_| {
            let host = self.random.below(HOSTS);
            let frames = (0..=self.random.below(6)).map(|_| self.frame(host)).collect();
            Burst { host, frames }
        };
        (0..BURSTS).map(one).collect()
    }

    fn frame(&mut self, host: usize) -> Frame {
        let destination = self.destination();
        let source = match destination {
            [1, 0x80, 0xc2, 0, 0, 1] => silent_station(host),
            _ => self.source(host),
        };
        let mut frame = [destination, source].concat();
        let length = self.length(host);
        if length >= 20 && self.random.below(4) == 0 {
            frame.extend(self.random.pick(&TAGS));
            frame.extend(self.random.bytes(2));
        }
        frame.extend(self.random.pick(&[EXPERIMENTAL, [0x08, 0x00], [0x86, 0xdd], [0x08, 0x06], [0x00, 0x10]]));
        self.count += 1;
        frame.extend(self.count.to_be_bytes());
        let filling = self.random.bytes(length.saturating_sub(frame.len()));
        frame.extend(filling);
        frame.truncate(length);
        frame
    }

    /// Known and unknown stations, groups, and the reserved groups.
    fn destination(&mut self) -> [u8; 6] {
        match self.random.below(16) {
            0..9 => station(self.random.below(self.home.len())),
            9 => [0x02, 0xcc, 0, 0, 0, self.random.next() as u8],
            10 => BROADCAST,
            11 => [0x01, 0x00, 0x5e, 1, 2, self.random.next() as u8],
            12 => [0x33, 0x33, 0, 0, 0, self.random.next() as u8],
            13 => [0x01, 0x80, 0xc2, 0, 0, 0x10 + self.random.below(0x20) as u8],
            14 => [0x01, 0x80, 0xc2, 0, 0, self.random.below(0x10) as u8],
            _ => [0; 6],
        }
    }

    /// A station that is here, or comes here now; or what no station can be.
    fn source(&mut self, host: usize) -> [u8; 6] {
        match self.random.below(16) {
            0 => [0x01, 0x00, 0x5e, 9, 9, 9],
            1 => [0; 6],
            2 => self.comes(host),
            _ => {
                let here: Vec<usize> = (0..self.home.len()).filter(|&n| self.home[n] == host).collect();
                if here.is_empty() { self.comes(host) } else { station(self.random.pick(&here)) }
            }
        }
    }

    fn comes(&mut self, host: usize) -> [u8; 6] {
        let movable: Vec<usize> = (0..self.home.len()).filter(|&n| self.moves[n] < MOVES).collect();
        if movable.is_empty() {
            return silent_station(host);
        }
        let n = self.random.pick(&movable);
        self.moves[n] += usize::from(self.home[n] != host);
        self.home[n] = host;
        station(n)
    }

    fn length(&mut self, host: usize) -> usize {
        match self.random.below(8) {
            0 => 14 + self.random.below(46),
            1 => 1500 + self.random.below(15),
            2 if host == JUMBO => LONGEST - 8 + self.random.below(16),
            3 if host == JUMBO => LONGEST + self.random.below(7000),
            _ => 60 + self.random.below(1455),
        }
    }
}

/// Injects the bursts one after another, and collects what each host receives in between.
fn inject(hosts: &[Raw], bursts: &[Burst]) -> Received {
    let mut received = vec![Vec::new(); hosts.len()];
    for (number, burst) in bursts.iter().enumerate() {
        for frame in &burst.frames {
            hosts[burst.host].send(frame).unwrap();
        }
        let marker = marker(burst.host, number);
        hosts[burst.host].send(&marker).unwrap();
        for (host, raw) in hosts.iter().enumerate().filter(|(host, _)| *host != burst.host) {
            collect(raw, &marker, &mut received[host]);
        }
    }
    for (raw, frames) in hosts.iter().zip(&mut received) {
        frames.extend(raw.drain(Duration::from_millis(100)).unwrap());
    }
    received
}

fn marker(host: usize, number: usize) -> Frame {
    let mut marker = [BROADCAST, silent_station(host)].concat();
    marker.extend(MARKER);
    marker.extend(number.to_be_bytes());
    marker
}

/// Takes frames up to the marker and with it.
fn collect(raw: &Raw, marker: &Frame, frames: &mut Vec<Frame>) {
    while frames.last() != Some(marker) {
        frames.push(raw.receive(PATIENCE).unwrap().unwrap_or_else(|| panic!("no marker {marker:02x?}")));
    }
}

fn open(world: &World) -> Vec<Raw> {
    world.hosts.iter().map(|host| Raw::open(host, "eth0").unwrap()).collect()
}

/// Where a machine hands what it bridges to its firewall (the module br_netfilter), that drops what is no sound IP packet.
fn pass_by_the_firewall(switch: &Namespace) {
    for calls in ["iptables", "ip6tables", "arptables"] {
        let file = format!("/proc/sys/net/bridge/bridge-nf-call-{calls}");
        let off = switch.run(|| std::fs::write(file, "0")).unwrap();
        assert!(off.is_ok() || off.is_err_and(|error| error.kind() == ErrorKind::NotFound));
    }
}

/// Through a bridge that neither filters VLANs, nor snoops, nor speaks STP, and whose own addresses nobody uses.
fn through_linux(bursts: &[Burst]) -> Received {
    let world = World::silent("bridge", HOSTS);
    let switch = &world.switch;
    world::silence(switch);
    pass_by_the_firewall(switch);
    switch.ip("link add br0 address 02:ee:00:00:00:ff type bridge stp_state 0 mcast_snooping 0").unwrap();
    for (n, host) in world.hosts.iter().enumerate() {
        let mtu = if n == JUMBO { 9000 } else { 1500 };
        let peer = format!("peer name eth0 netns {} mtu {mtu}", host.name());
        switch.ip(&format!("link add p{n} mtu {mtu} address 02:ee:00:00:00:{n:02x} type veth {peer}")).unwrap();
        switch.ip(&format!("link set p{n} master br0")).unwrap();
        switch.ip(&format!("link set p{n} up")).unwrap();
        host.ip("link set eth0 promisc on up").unwrap();
    }
    switch.ip("link set br0 up").unwrap();
    world::until("all ports forward", || {
        let links = switch.ip("-d -o link show master br0").unwrap();
        links.matches("state forwarding").count() == HOSTS
    });
    inject(&open(&world), bursts)
}

fn through_crossdock(bursts: &[Burst]) -> Received {
    let world = World::silent("xdock", HOSTS).port(JUMBO + 1, "mtu = 9000");
    let _xdock = world.start();
    for host in &world.hosts {
        host.ip("link set eth0 promisc on").unwrap();
    }
    let received = inject(&open(&world), bursts);
    let sent: usize = bursts.iter().map(|burst| burst.frames.len() + 1).sum();
    let ports = world.show("ports");
    assert_eq!(ports.as_array().unwrap().iter().map(|port| number(&port["rx_frames"])).sum::<u64>(), sent as u64);
    for reason in ["reserved", "source_invalid", "same_port", "too_big"] {
        assert!(world.drops().contains_key(reason), "the corpus lacks {reason}: {:?}", world.drops());
    }
    received
}

/// Frames that Linux alone delivers, for the reasons at the top.
fn only_linux_delivers(frame: &Frame, host: usize) -> bool {
    let tagged = TAGS.iter().any(|tag| frame[12..14] == *tag);
    let tag_uncounted = tagged && host != JUMBO && (LONGEST + 1..=LONGEST + 4).contains(&frame.len());
    frame[..6] == [1, 0x80, 0xc2, 0, 0, 0] || tag_uncounted
}

/// The length and the headers of a frame.
fn summary(frame: &Frame) -> String {
    format!("{} bytes {:02x?}", frame.len(), &frame[..frame.len().min(24)])
}

#[test]
fn every_host_receives_what_it_would_from_a_bridge_of_linux() {
    // On one CPU, the frames of one sender cannot overtake each other inside the kernel.
    pin_thread(0).unwrap();
    let bursts = Corpus::new(Random::seeded()).bursts();
    let (linux, crossdock) = (through_linux(&bursts), through_crossdock(&bursts));
    for (host, (linux, crossdock)) in linux.into_iter().zip(crossdock).enumerate() {
        let all = linux.len();
        let expected: Vec<Frame> = linux.into_iter().filter(|frame| !only_linux_delivers(frame, host)).collect();
        assert!(expected.len() < all, "no frame for which the two are meant to differ");
        let differs = expected.iter().zip(&crossdock).position(|(linux, crossdock)| linux != crossdock);
        if let Some(n) = differs {
            panic!("host {host}, frame {n}: Linux {}, Crossdock {}", summary(&expected[n]), summary(&crossdock[n]));
        }
        assert_eq!(crossdock.len(), expected.len(), "host {host}");
        assert!(expected.len() > BURSTS, "host {host} received more than markers");
    }
}
