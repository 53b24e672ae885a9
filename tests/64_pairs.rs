//! Every kind of port against every other: a TAP, a plain TAP, a packet port, AF_XDP in driver and in generic mode; at MTU 1500
//! and 9000, with and without the offloads of the hosts, both directions at once, every byte compared. Needs root;
//! everything happens in namespaces made for it.
//!
//! `XDOCK_PAIRS_MB` says how many MiB go each way in each combination: few here, 1000 in `make proof`.

#![cfg(all(feature = "xdp", feature = "plain-tap"))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use crossdock_engine::Switch;
use crossdock_engine::ports::Port;
use crossdock_engine::ports::packet::{Packet, PacketConfig};
use crossdock_engine::ports::tap::{Tap, TapConfig};
use crossdock_engine::ports::xdp::{Mode, Xdp, XdpConfig};
use crossdock_engine::switch::{Config, Membership, PortStatus};
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::wire::ethernet::{HEADER_LEN, VLAN_TAG_LEN};
use lab::{Lab, Namespace, run};
use std::time::Instant;
use world::transfer::transfer;
use world::{Random, assert_undamaged, silence, until};

/// MiB each way, unless the environment says otherwise.
const MIB: usize = 32;
/// What becomes of frames when a receiver does not keep up, and of those that come before there is a second port.
const EXPECTED: [&str; 4] = ["no_egress", "tx_full", "rx_overrun", "handover_full"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OffloadingTap,
    PlainTap,
    Sockets,
    XdpDriver,
    XdpGeneric,
}

use Kind::{OffloadingTap, PlainTap, Sockets, XdpDriver, XdpGeneric};

/// What is the same for both ports.
#[derive(Clone, Copy, Debug)]
struct Setup {
    mtu: u16,
    /// Whether the hosts leave checksums and segmentation to others.
    offloads: bool,
    queues: usize,
    cores: &'static [usize],
}

/// Two hosts, and a switch between them.
struct Pair {
    switch: Switch,
    hosts: Vec<Namespace>,
    outside: Namespace,
    setup: Setup,
    lab: Lab,
}

impl Pair {
    fn new(kinds: [Kind; 2], setup: Setup) -> Pair {
        let lab = Lab::new("pair").unwrap();
        let outside = lab.namespace("sw").unwrap();
        silence(&outside);
        let switch = Switch::new(Config { cores: setup.cores.to_vec(), ..Config::default() }).unwrap();
        switch.add_domain(Domain::new("lan")).unwrap();
        let mut pair = Pair { switch, hosts: Vec::new(), outside, setup, lab };
        for (n, kind) in (1..).zip(kinds) {
            pair.connect(n, kind);
        }
        pair
    }

    /// Host `n`: `eth0` with `10.0.0.n` and `fd00::n`.
    fn connect(&mut self, n: usize, kind: Kind) {
        self.hosts.push(self.lab.namespace(&format!("h{n}")).unwrap());
        let port = match kind {
            OffloadingTap | PlainTap => self.tap(n, kind == OffloadingTap),
            Sockets => self.packet(n),
            XdpDriver => self.xdp(n, Mode::Driver),
            XdpGeneric => self.xdp(n, Mode::Generic),
        };
        let host = &self.hosts[n - 1];
        if !self.setup.offloads {
            let off = ["-K", "eth0", "tx", "off", "tso", "off", "gso", "off", "gro", "off"];
            run(host.command("ethtool").args(off)).unwrap();
        }
        host.ip("link set eth0 up").unwrap();
        host.ip(&format!("addr add 10.0.0.{n}/24 dev eth0")).unwrap();
        host.ip(&format!("addr add fd00::{n}/64 dev eth0 nodad")).unwrap();
        self.switch.add_port(port, &Membership::of("lan")).unwrap();
    }

    fn tap(&self, n: usize, offload: bool) -> Box<dyn Port> {
        let config = TapConfig {
            netns: Some(self.hosts[n - 1].name().into()),
            mtu: self.setup.mtu,
            queues: self.setup.queues,
            offload,
            ..TapConfig::new(format!("h{n}"), "eth0")
        };
        Box::new(Tap::create(&config).unwrap())
    }

    /// A veth pair between the host and the switch's namespace, where its end is `vn`.
    fn veth(&self, n: usize) -> String {
        let Setup { mtu, queues, .. } = self.setup;
        let (host, both) = (&self.hosts[n - 1], format!("mtu {mtu} numtxqueues {queues} numrxqueues {queues}"));
        let peer = format!("peer name eth0 {both} netns {}", host.name());
        self.outside.ip(&format!("link add v{n} {both} type veth {peer}")).unwrap();
        self.outside.ip(&format!("link set v{n} up")).unwrap();
        format!("v{n}")
    }

    fn packet(&self, n: usize) -> Box<dyn Port> {
        let config = PacketConfig {
            netns: Some(self.outside.name().into()),
            queues: self.setup.queues,
            ..PacketConfig::new(format!("h{n}"), self.veth(n))
        };
        Box::new(Packet::open(&config).unwrap())
    }

    fn xdp(&self, n: usize, mode: Mode) -> Box<dyn Port> {
        let config = XdpConfig {
            netns: Some(self.outside.name().into()),
            mode: Some(mode),
            ..XdpConfig::new(format!("h{n}"), self.veth(n))
        };
        let xdp = Xdp::open(&config).unwrap();
        assert_eq!(xdp.mode(), mode);
        Box::new(xdp)
    }

    /// Transfers both ways at once, `blocks` MiB each, over as many connections each way as there are queues.
    fn exchange(&self, blocks: usize) {
        let [a, b] = &self.hosts[..] else { panic!("two hosts") };
        let (seed, streams) = (Random::seeded().next() >> 1, self.setup.queues);
        std::thread::scope(|scope| {
            for stream in 0..streams as u64 {
                let (to_b, to_a) = if stream % 2 == 0 { ("10.0.0.2", "fd00::1") } else { ("fd00::2", "10.0.0.1") };
                scope.spawn(move || transfer(a, (b, to_b), blocks.div_ceil(streams), seed + stream));
                scope.spawn(move || transfer(b, (a, to_a), blocks.div_ceil(streams), !seed - stream));
            }
        });
    }

    /// Every frame is accounted for, its memory is free, nothing was dropped but in overload, and nothing arrived damaged.
    fn assert_unharmed(&self) {
        until("all frames have left", || self.switch.conservation().in_flight() == 0);
        until("all memory is free", || {
            let worker = self.switch.workers()[0];
            worker.pool_free == worker.pool_total
        });
        let drops = self.switch.drops().into_iter().map(|(reason, count)| (reason.name(), count));
        let unexpected: Vec<_> = drops.filter(|(name, count)| *count > 0 && !EXPECTED.contains(name)).collect();
        assert_eq!(unexpected, []);
        assert_undamaged(&self.hosts);
        if !self.setup.offloads {
            self.switch.ports().iter().for_each(|port| self.assert_wire_size(port));
        }
    }

    /// A host whose offloads are off sends no super-frames.
    fn assert_wire_size(&self, port: &PortStatus) {
        let (bytes, frames) = (port.counters.rx_bytes.get(), port.counters.rx_frames.get());
        let most = u64::from(self.setup.mtu) + (HEADER_LEN + VLAN_TAG_LEN) as u64;
        assert!(bytes <= frames * most, "{}: {frames} frames of {bytes} bytes", port.name);
    }
}

fn megabytes() -> usize {
    std::env::var("XDOCK_PAIRS_MB").map_or(MIB, |text| text.parse().unwrap())
}

fn assert_bit_exact(kinds: [Kind; 2], setup: Setup, blocks: usize) {
    let begin = Instant::now();
    println!("{kinds:?} {setup:?}");
    let pair = Pair::new(kinds, setup);
    pair.exchange(blocks);
    let seconds = begin.elapsed().as_secs_f64();
    pair.assert_unharmed();
    println!("{blocks} MiB each way in {seconds:.1} s, {:?}", pair.switch.conservation());
}

fn assert_bit_exact_every_way(a: Kind, b: Kind) {
    for mtu in [1500, 9000] {
        for offloads in [true, false] {
            assert_bit_exact([a, b], Setup { mtu, offloads, queues: 1, cores: &[] }, megabytes());
        }
    }
}

macro_rules! pairs {
    ($($name:ident: $a:ident, $b:ident;)*) => {
        $(#[test] fn $name() { assert_bit_exact_every_way($a, $b); })*
    };
}

pairs! {
    tap_and_tap: OffloadingTap, OffloadingTap;
    tap_and_plain_tap: OffloadingTap, PlainTap;
    tap_and_packet: OffloadingTap, Sockets;
    tap_and_xdp: OffloadingTap, XdpDriver;
    tap_and_generic_xdp: OffloadingTap, XdpGeneric;
    plain_tap_and_plain_tap: PlainTap, PlainTap;
    plain_tap_and_packet: PlainTap, Sockets;
    plain_tap_and_xdp: PlainTap, XdpDriver;
    plain_tap_and_generic_xdp: PlainTap, XdpGeneric;
    packet_and_packet: Sockets, Sockets;
    packet_and_xdp: Sockets, XdpDriver;
    packet_and_generic_xdp: Sockets, XdpGeneric;
    xdp_and_xdp: XdpDriver, XdpDriver;
    xdp_and_generic_xdp: XdpDriver, XdpGeneric;
    generic_xdp_and_generic_xdp: XdpGeneric, XdpGeneric;
}

/// Two workers. With one queue each port is another worker's, and every frame is handed over; with two, each worker has a queue
/// of each port.
fn assert_bit_exact_with_two_workers(a: Kind, b: Kind) {
    for queues in [1, 2] {
        for (mtu, offloads) in [(1500, true), (9000, false)] {
            assert_bit_exact([a, b], Setup { mtu, offloads, queues, cores: &[0, 1] }, megabytes());
        }
    }
}

#[test]
fn two_workers_between_tap_and_tap() {
    assert_bit_exact_with_two_workers(OffloadingTap, OffloadingTap);
}

#[test]
fn two_workers_between_tap_and_xdp() {
    assert_bit_exact_with_two_workers(OffloadingTap, XdpDriver);
}

#[test]
fn two_workers_between_packet_and_packet() {
    assert_bit_exact_with_two_workers(Sockets, Sockets);
}

#[test]
fn two_workers_between_packet_and_tap() {
    assert_bit_exact_with_two_workers(Sockets, OffloadingTap);
}

#[test]
fn two_workers_between_xdp_and_generic_xdp() {
    assert_bit_exact_with_two_workers(XdpDriver, XdpGeneric);
}
