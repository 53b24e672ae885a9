//! What the engine does to frames that a port cannot take, against what the kernel does; and transfers between ports that
//! differ. Needs root; everything happens in namespaces made for it.
//!
//! The corpus is random. A failure prints its seed; `CROSSDOCK_SEED=n cargo test --test 60_offload` repeats it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use crossdock_engine::Switch;
use crossdock_engine::frame::{Arena, Batch, Csum, Frame, Gso, GsoKind, Offload, Pool};
use crossdock_engine::offload::{Checksums, Outbound, Segments, Takes, pseudo_header, sum};
use crossdock_engine::ports::tap::{Tap, TapConfig};
use crossdock_engine::ports::{Io, Port};
use crossdock_engine::stats::PortCounters;
use crossdock_engine::switch::{Config, Membership};
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::wire::transport::Transport;
use crossdock_engine::wire::vnet;
use lab::{Lab, Namespace, run};
use std::net::UdpSocket;
use std::time::Duration;
use world::raw::{Raw, segment};
use world::transfer::transfer;
use world::{PATIENCE, Random, assert_undamaged, silence, until};

const CASES: usize = 1000;
const MTU: usize = 1500;
/// A frame that has not come by then is lost.
const LOST: Duration = Duration::from_secs(1);
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A cable between two namespaces: what goes into `eth0` of the first comes out of `eth0` of the second.
struct Cable {
    sender: Raw,
    receiver: Raw,
    _ends: [Namespace; 2],
    _lab: Lab,
}

impl Cable {
    /// `features` are what the near end leaves to be done later, in the words of ethtool(8).
    fn new(name: &str, features: &str) -> Cable {
        let lab = Lab::new(name).unwrap();
        let (near, far) = (lab.namespace("a").unwrap(), lab.namespace("b").unwrap());
        [&near, &far].into_iter().for_each(silence);
        near.ip(&format!("link add eth0 type veth peer name eth0 netns {}", far.name())).unwrap();
        run(near.command("ethtool").args(["-K", "eth0"]).args(features.split_whitespace())).unwrap();
        // Room for two VLAN tags: a bridge or veth leaves it for one.
        [&near, &far].into_iter().for_each(|end| _ = end.ip("link set eth0 mtu 1600 up").unwrap());
        let sender = Raw::with_vnet_header(&near, "eth0").unwrap();
        let receiver = Raw::open(&far, "eth0").unwrap();
        let cable = Cable { sender, receiver, _ends: [near, far], _lab: lab };
        // A link that is just coming up swallows frames and says nothing.
        until("the link passes frames", || cable.carry(&[0xff; 60], Offload::default(), 1).len() == 1);
        while cable.receiver.receive(Duration::from_millis(50)).unwrap().is_some() {}
        cable
    }

    /// What the kernel makes of a frame: at most `count` frames.
    fn carry(&self, frame: &[u8], offload: Offload, count: usize) -> Vec<Vec<u8>> {
        self.sender.send(&[&vnet::emit(&offload)[..], frame].concat()).unwrap();
        (0..count).map_while(|_| self.receiver.receive(LOST).unwrap()).collect()
    }
}

/// A super-frame, and where its headers are.
struct Super {
    bytes: Vec<u8>,
    offload: Offload,
    what: String,
}

impl Super {
    fn segments(&self) -> usize {
        let gso = self.offload.gso.unwrap();
        (self.bytes.len() - usize::from(gso.hdr_len)).div_ceil(gso.size.into())
    }
}

/// Makes random super-frames that Linux would accept.
struct Corpus(Random);

impl Corpus {
    fn super_frame(&mut self) -> Super {
        let (v6, tcp) = (self.0.below(2) == 0, self.0.below(3) > 0);
        let mut bytes = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]].concat();
        let tags = self.tags(&mut bytes);
        bytes.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        let network = bytes.len();
        if v6 {
            self.ipv6(&mut bytes, tcp)
        } else {
            self.ipv4(&mut bytes, tcp)
        }
        let start = bytes.len();
        if tcp {
            self.tcp(&mut bytes)
        } else {
            bytes.extend(self.0.bytes(8))
        }
        let hdr_len = bytes.len();
        let size = self.size(MTU - (hdr_len - network));
        let most = if tcp { 60_000 } else { size * 100 };
        let payload = size + 1 + self.0.below((most - size).min(size * 40));
        bytes.extend(self.0.bytes(payload));
        self.lengths(&mut bytes, network, start, v6, tcp);
        let kind = match (tcp, v6) {
            (true, false) => GsoKind::Tcp4,
            (true, true) => GsoKind::Tcp6,
            _ => GsoKind::Udp,
        };
        let csum = Csum { start: start as u16, offset: if tcp { 16 } else { 6 } };
        self.partial(&mut bytes, csum);
        let ecn = tcp && self.0.below(2) == 0;
        let gso = Gso { size: size as u16, hdr_len: hdr_len as u16, kind, ecn };
        let what = format!("{kind:?}, {tags} tags, headers {network} {start} {hdr_len}, {payload} in {size}");
        Super { bytes, offload: Offload { csum: Some(csum), gso: Some(gso) }, what }
    }

    /// One of TCP whose segments may be joined: a plain ACK without IPv4 options, and segments worth it.
    fn joinable(&mut self) -> Super {
        loop {
            let mut frame = self.super_frame();
            let (gso, transport) = (frame.offload.gso.unwrap(), Transport::of(&frame.bytes).unwrap());
            frame.bytes[transport.start + 13] = 0x10;
            let sum = pseudo_header(&frame.bytes, &transport, frame.bytes.len() - transport.start);
            let at = transport.start + 16;
            frame.bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            let options = gso.kind == GsoKind::Tcp4 && transport.start - transport.network > 20;
            if transport.protocol == TCP && gso.size >= 64 && !options {
                return frame;
            }
        }
    }

    /// None mostly, 802.1Q, 802.1ad, or both.
    fn tags(&mut self, bytes: &mut Vec<u8>) -> usize {
        let tags: &[[u8; 2]] = match self.0.below(8) {
            0 => &[[0x81, 0x00]],
            1 => &[[0x88, 0xa8]],
            2 => &[[0x88, 0xa8], [0x81, 0x00]],
            _ => &[],
        };
        for tag in tags {
            bytes.extend(tag);
            bytes.extend([self.0.next() as u8, 1 + self.0.below(200) as u8]);
        }
        tags.len()
    }

    fn ipv4(&mut self, bytes: &mut Vec<u8>, tcp: bool) {
        let options = self.0.pick(&[0, 0, 0, 1, 3, 10]);
        bytes.extend([0x45 + options as u8, self.0.next() as u8, 0, 0]);
        let id: u16 = self.0.pick(&[0, 0xfffe, 0x1234]);
        bytes.extend([id.to_be_bytes(), self.0.pick(&[[0, 0], [0x40, 0]])].concat());
        bytes.extend([1 + self.0.below(255) as u8, if tcp { TCP } else { UDP }, 0, 0]);
        bytes.extend([10, 0, 0, 1, 10, 0, self.0.next() as u8, 2]);
        bytes.extend(std::iter::repeat_n(1, 4 * options));
    }

    fn ipv6(&mut self, bytes: &mut Vec<u8>, tcp: bool) {
        let (last, options) = (if tcp { TCP } else { UDP }, self.0.below(6) == 0);
        bytes.extend([0x60, self.0.next() as u8, self.0.next() as u8, 7, 0, 0]);
        bytes.extend([if options { 60 } else { last }, 1 + self.0.below(255) as u8]);
        bytes.extend([[0xfd; 16], [0xfd; 16]].concat());
        if options {
            bytes.extend([last, 0, 1, 4, 0, 0, 0, 0]);
        }
    }

    /// All flags, window and urgent pointer at random; options that look like what Linux sends, or none.
    fn tcp(&mut self, bytes: &mut Vec<u8>) {
        let options = self.0.pick(&[0, 3, 3, 5, 10]);
        bytes.extend(self.0.bytes(12));
        bytes.extend([((5 + options) << 4) as u8, self.0.next() as u8]);
        bytes.extend(self.0.bytes(6));
        bytes.extend([1, 1, 8, 10].iter().copied().cycle().take(4 * options));
    }

    fn size(&mut self, most: usize) -> usize {
        match self.0.below(3) {
            0 => most,
            1 => 64 + self.0.below(most - 64),
            _ => 8 + self.0.below(200),
        }
    }

    fn lengths(&mut self, bytes: &mut [u8], network: usize, start: usize, v6: bool, tcp: bool) {
        let len = bytes.len() as u16;
        let (at, ip_len) =
            if v6 { (network + 4, len - network as u16 - 40) } else { (network + 2, len - network as u16) };
        bytes[at..at + 2].copy_from_slice(&ip_len.to_be_bytes());
        if !tcp {
            bytes[start + 4..start + 6].copy_from_slice(&(len - start as u16).to_be_bytes());
        }
        if !v6 {
            let checksum = !sum(&bytes[network..start]);
            bytes[network + 10..network + 12].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    /// The pseudo-header's sum, which is wrong now and then; or one by which the first segment's checksum is 0.
    fn partial(&mut self, bytes: &mut [u8], csum: Csum) {
        let (start, transport) = (usize::from(csum.start), Transport::of(bytes).unwrap());
        let field = start + usize::from(csum.offset);
        let partial = match self.0.below(8) {
            0 => self.0.next() as u16 | 1,
            _ => pseudo_header(bytes, &transport, bytes.len() - start),
        };
        bytes[field..field + 2].copy_from_slice(&partial.to_be_bytes());
    }
}

/// Changes two bytes of payload so that the checksum of the first segment is 0: all else sums to all ones.
fn make_first_checksum_zero(frame: &mut Super, pool: &mut Pool) {
    let (gso, csum) = (frame.offload.gso.unwrap(), frame.offload.csum.unwrap());
    let at = usize::from(gso.hdr_len) + usize::from(gso.hdr_len - csum.start) % 2;
    frame.bytes[at..at + 2].fill(0);
    let first = &segments(frame, Checksums::Partial, pool)[0];
    let missing = !sum(&first[csum.start.into()..]);
    frame.bytes[at..at + 2].copy_from_slice(&missing.to_be_bytes());
    let first = &segments(frame, Checksums::Partial, pool)[0];
    assert_eq!(sum(&first[csum.start.into()..]), 0xffff);
}

/// What the engine makes of a super-frame.
fn segments(frame: &Super, checksums: Checksums, pool: &mut Pool) -> Vec<Vec<u8>> {
    let mut whole: Frame = pool.alloc(frame.bytes.len()).unwrap();
    assert!(whole.fill(&frame.bytes));
    whole.offload = frame.offload;
    let mut cut = Segments::of(&whole, checksums).unwrap();
    let mut all = Vec::new();
    while let Some(segment) = cut.next(pool) {
        all.push(segment.to_vec());
        pool.free(segment);
    }
    pool.free(whole);
    all
}

/// The same super-frames through the kernel, which cuts them for an interface that cannot, and through the engine.
fn assert_cut_alike(cable: &Cable, checksums: Checksums) {
    let mut corpus = Corpus(Random::seeded());
    let mut pool = Arena::new(64, 8).unwrap().pool(64, 8);
    for case in 0..CASES {
        let mut frame = corpus.super_frame();
        if case % 16 == 0 {
            make_first_checksum_zero(&mut frame, &mut pool);
        }
        let parsed = vnet::parse(&vnet::emit(&frame.offload), &frame.bytes);
        assert_eq!(parsed, Ok(frame.offload), "{}", frame.what);
        let cut = segments(&frame, checksums, &mut pool);
        let theirs = cable.carry(&frame.bytes, frame.offload, cut.len());
        assert_eq!(theirs.len(), cut.len(), "{}", frame.what);
        for (n, (ours, theirs)) in cut.iter().zip(&theirs).enumerate() {
            let first = ours.iter().zip(theirs).position(|(a, b)| a != b);
            assert!(
                ours == theirs,
                "{}: segment {n} differs at {first:?}, {} {}",
                frame.what,
                ours.len(),
                theirs.len()
            );
        }
    }
    assert_eq!(cable.receiver.drain(Duration::from_millis(100)).unwrap(), Vec::<Vec<u8>>::new(), "segments too many");
}

#[test]
fn segments_with_checksums_are_those_of_the_kernel() {
    assert_cut_alike(&Cable::new("cut", "tso off gso off tx off"), Checksums::Complete);
}

#[test]
fn segments_with_partial_checksums_are_those_of_the_kernel() {
    assert_cut_alike(&Cable::new("part", "tso off gso off tx-udp-segmentation off tx on"), Checksums::Partial);
}

/// The same unfinished checksums through the kernel and through the engine.
#[test]
fn checksums_are_completed_as_by_the_kernel() {
    let cable = Cable::new("sum", "tx off");
    let mut random = Random::seeded();
    for case in 0..CASES {
        let len = 64 + random.below(1440);
        let mut frame = [[2; 12].as_slice(), &[0x88, 0xb5], &random.bytes(len - 14)].concat();
        // Linux wants at least the room of an IP header before and behind.
        let start = 34 + random.below(len - 60);
        let offset = random.below(len - start - 1);
        if case % 8 == 0 && offset > 2 && offset.is_multiple_of(2) {
            frame[start..start + 2].fill(0);
            let missing = !sum(&frame[start..]);
            frame[start..start + 2].copy_from_slice(&missing.to_be_bytes());
        }
        let csum = Csum { start: start as u16, offset: offset as u16 };
        let theirs = cable.carry(&frame, Offload { csum: Some(csum), gso: None }, 1);
        crossdock_engine::offload::complete(&mut frame, csum).unwrap();
        assert_eq!(theirs, [frame], "{start} + {offset} of {len}");
    }
}

/// Segments of a wire leave by a TAP as the super-frame they were cut from, and the kernel takes it: plain, tagged, behind
/// extension headers.
#[test]
fn the_kernel_takes_what_was_joined() {
    let lab = Lab::new("join").unwrap();
    let host = lab.namespace("h1").unwrap();
    silence(&host);
    let arena = Arena::new(128, 16).unwrap();
    let config = TapConfig { netns: Some(host.name().into()), ..TapConfig::new("h1", "eth0") };
    let tap = Tap::create(&config).unwrap();
    let (mut pool, mut batch, count) = (arena.pool(128, 16), Batch::new(64), PortCounters::default());
    let (mut outbound, takes) = (Outbound::new(64), Takes::of(&tap.caps()));
    let mut queues = Box::new(tap).open(&arena, 1).unwrap();
    let receiver = Raw::open(&host, "eth0").unwrap();
    let mut corpus = Corpus(Random::seeded());
    let joinable = std::iter::repeat_with(|| corpus.joinable()).filter(|frame| frame.segments() <= 64).take(300);
    for frame in joinable {
        for segment in segments(&frame, Checksums::Complete, &mut pool) {
            let mut copy = pool.alloc(segment.len()).unwrap();
            assert!(copy.fill(&segment) && batch.push(copy).is_ok());
        }
        let mut io = Io::new(&mut pool, &count);
        outbound.transmit(takes, queues[0].as_mut(), &mut io, &mut batch, true).unwrap();
        assert_eq!(count.dropped(), 0, "{}", frame.what);
        assert!(receiver.receive(PATIENCE).unwrap() == Some(frame.bytes), "{}", frame.what);
    }
    assert_eq!(count.tx_frames.get(), 300);
}

/// Host 1 behind a TAP with offloads, host 2 behind a plain one, and a switch between them.
struct Mixed {
    switch: Switch,
    hosts: Vec<Namespace>,
    _lab: Lab,
}

impl Mixed {
    fn new(name: &str, mtu: u16) -> Mixed {
        let lab = Lab::new(name).unwrap();
        let hosts: Vec<_> = (1..=2).map(|n| lab.namespace(&format!("h{n}")).unwrap()).collect();
        let switch = Switch::new(Config::default()).unwrap();
        switch.add_domain(Domain::new("lan")).unwrap();
        for (n, host) in (1..).zip(&hosts) {
            let addresses = [format!("10.0.0.{n}/24"), format!("fd00::{n}/64")];
            let tap = Tap::create(&TapConfig {
                netns: Some(host.name().into()),
                mtu,
                addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
                offload: n == 1,
                ..TapConfig::new(format!("h{n}"), "eth0")
            });
            switch.add_port(Box::new(tap.unwrap()), &Membership::of("lan")).unwrap();
        }
        Mixed { switch, hosts, _lab: lab }
    }

    /// Frames cut for the plain TAP, and joined for the other.
    fn adapted(&self) -> (u64, u64) {
        let ports = self.switch.ports();
        let count = |n: usize| &ports[n].counters;
        (count(1).generated.get(), count(0).coalesced.get())
    }

    fn assert_unharmed(&self) {
        until("all frames have left", || self.switch.conservation().in_flight() == 0);
        let harmful =
            self.switch.drops().into_iter().filter(|(r, n)| *n > 0 && !matches!(r.name(), "no_egress" | "tx_full"));
        assert_eq!(harmful.collect::<Vec<_>>(), []);
        assert_undamaged(&self.hosts);
    }
}

#[test]
fn transfers_between_a_tap_with_offloads_and_a_plain_one_are_bit_exact() {
    for (mtu, seed) in [(1500, 1), (9000, 2)] {
        let mixed = Mixed::new("mixed", mtu);
        let [a, b] = &mixed.hosts[..] else { panic!("two hosts") };
        for (address, other) in [("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1")] {
            transfer(a, (b, address), 40, seed);
            transfer(b, (a, other), 40, seed);
        }
        let (cut, joined) = mixed.adapted();
        assert!(cut > 1000 && joined > 1000, "{cut} cut, {joined} joined at MTU {mtu}");
        mixed.assert_unharmed();
    }
}

/// UDP segmentation offload towards a host whose TAP has none.
#[test]
fn udp_super_frames_reach_a_plain_tap_as_their_datagrams() {
    let mixed = Mixed::new("uso", 1500);
    let [a, b] = &mixed.hosts[..] else { panic!("two hosts") };
    for (address, any) in [("10.0.0.2:9000", "0.0.0.0:0"), ("[fd00::2]:9000", "[::]:0")] {
        let receiver = b.run(|| UdpSocket::bind(address).unwrap()).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = a.run(|| UdpSocket::bind(any).unwrap()).unwrap();
        segment(&sender, 1400).unwrap();
        let sent = Random(7).bytes(20 * 1400 + 1);
        sender.send_to(&sent, address).unwrap();
        let mut received: Vec<u8> = Vec::new();
        let mut datagram = [0; 2000];
        while received.len() < sent.len() {
            let length = receiver.recv(&mut datagram).unwrap();
            assert_eq!(length, 1400.min(sent.len() - received.len()));
            received.extend(&datagram[..length]);
        }
        assert!(received == sent);
    }
    assert!(mixed.adapted().0 >= 40);
    mixed.assert_unharmed();
}
