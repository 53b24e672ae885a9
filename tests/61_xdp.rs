//! AF_XDP ports on veth pairs: the hosts' ends are as the kernel makes them, no setting is changed there. Needs root;
//! everything happens in namespaces made for it.

#![cfg(feature = "xdp")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use crossdock_engine::Switch;
use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::{Arena, Batch};
use crossdock_engine::offload::{add, pseudo_header, sum};
use crossdock_engine::ports::tap::{Tap, TapConfig};
use crossdock_engine::ports::xdp::{Mode, Xdp, XdpConfig, XdpError, XdpMemory};
use crossdock_engine::ports::{Io, Port};
use crossdock_engine::stats::PortCounters;
use crossdock_engine::switch::{Config, Membership, PortStatus};
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::wire::transport::{Transport, UDP};
use crossdock_engine::wire::tunnel::inside;
use crossdock_engine::worker::Event;
use etherparse::PacketBuilder;
use lab::{Lab, Namespace, run, xdock_binary};
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use world::raw::Raw;
use world::tagger::tag_all;
use world::transfer::{BLOCKS_PER_GB, transfer};
use world::{PATIENCE, assert_undamaged, silence, until};

const BOTH: [Mode; 2] = [Mode::Driver, Mode::Generic];

/// A switch whose hosts are at the other ends of veth pairs: host `n` (from 1) has `eth0`, the switch's end is `vn`.
struct Rig {
    switch: Switch,
    hosts: Vec<Namespace>,
    outside: Namespace,
    memory: XdpMemory,
    lab: Lab,
}

impl Rig {
    fn new(name: &str, hosts: usize, mtu: usize) -> Rig {
        let lab = Lab::new(name).unwrap();
        let outside = lab.namespace("sw").unwrap();
        silence(&outside);
        let switch = Switch::new(Config::default()).unwrap();
        switch.add_domain(Domain::new("lan")).unwrap();
        let mut rig = Rig { switch, hosts: Vec::new(), outside, memory: XdpMemory::default(), lab };
        (1..=hosts).for_each(|n| rig.wire(n, mtu));
        rig
    }

    /// Makes host `n` and its veth pair.
    fn wire(&mut self, n: usize, mtu: usize) {
        let host = self.lab.namespace(&format!("h{n}")).unwrap();
        let peer = format!("peer name eth0 mtu {mtu} address 02:00:00:00:00:{n:02x} netns {}", host.name());
        self.outside.ip(&format!("link add v{n} mtu {mtu} type veth {peer}")).unwrap();
        self.outside.ip(&format!("link set v{n} up")).unwrap();
        host.ip("link set eth0 up").unwrap();
        host.ip(&format!("addr add 10.0.0.{n}/24 dev eth0")).unwrap();
        host.ip(&format!("addr add fd00::{n}/64 dev eth0 nodad")).unwrap();
        self.hosts.push(host);
    }

    fn host(&self, n: usize) -> &Namespace {
        &self.hosts[n - 1]
    }

    /// The same for `xdock run`.
    fn file(&self, control: &Path) -> String {
        let mut config = format!("[engine]\ncontrol = \"{}\"\n[[domain]]\nname = \"lan\"\n", control.display());
        for n in 1..=self.hosts.len() {
            config += &format!("[[port]]\nname = \"h{n}\"\nkind = \"xdp\"\nifname = \"v{n}\"\ndomain = \"lan\"\n");
            config += &format!("netns = \"{}\"\n", self.outside.name());
        }
        config
    }

    fn config(&self, n: usize) -> XdpConfig {
        let (netns, memory) = (Some(self.outside.name().into()), self.memory.clone());
        XdpConfig { netns, memory, ..XdpConfig::new(format!("h{n}"), format!("v{n}")) }
    }

    /// Connects host `n`, in driver mode or in generic mode.
    fn xdp(&self, n: usize, mode: Mode) {
        let xdp = Xdp::open(&XdpConfig { mode: Some(mode), ..self.config(n) }).unwrap();
        assert_eq!(xdp.mode(), mode);
        self.switch.add_port(Box::new(xdp), &Membership::of("lan")).unwrap();
    }

    fn tap(&mut self, n: usize, mtu: u16) {
        let host = self.lab.namespace(&format!("h{n}")).unwrap();
        let addresses = vec![format!("10.0.0.{n}/24").parse().unwrap(), format!("fd00::{n}/64").parse().unwrap()];
        let config =
            TapConfig { netns: Some(host.name().into()), addresses, mtu, ..TapConfig::new(format!("h{n}"), "eth0") };
        self.switch.add_port(Box::new(Tap::create(&config).unwrap()), &Membership::of("lan")).unwrap();
        self.hosts.push(host);
    }

    /// Two hosts build a tunnel between them: `vx0` with 10.9.0.n in host n. Their own addresses begin with `peers`; `udp`
    /// says something about the outer checksum.
    fn tunnel(&self, peers: &str, udp: &str) {
        for n in 1..=2 {
            let (local, remote) = (format!("{peers}{n}"), format!("{peers}{}", 3 - n));
            let tunnel = format!("type vxlan id 42 dstport 4789 dev eth0 local {local} remote {remote} {udp}");
            self.host(n).ip(&format!("link add vx0 {tunnel}")).unwrap();
            self.host(n).ip(&format!("addr add 10.9.0.{n}/24 dev vx0")).unwrap();
            self.host(n).ip("link set vx0 up").unwrap();
        }
    }

    fn port(&self, name: &str) -> PortStatus {
        self.switch.ports().into_iter().find(|port| port.name == name).unwrap()
    }

    fn pings(&self, n: usize, address: &str, size: usize) -> bool {
        let mut ping = self.host(n).command("ping");
        let size = size.to_string();
        let output =
            ping.args(["-q", "-i", "0.01", "-W", "2", "-c", "20", "-M", "do", "-s", &size, address]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains(" 20 received")
    }

    fn assert_unharmed(&self) {
        assert_undamaged(&self.hosts);
    }
}

#[test]
fn hosts_behind_veth_pairs_ping_each_other() {
    for mode in BOTH {
        let rig = Rig::new("ping", 2, 1500);
        (1..=2).for_each(|n| rig.xdp(n, mode));
        assert!(rig.pings(1, "10.0.0.2", 56) && rig.pings(2, "fd00::1", 1400), "{mode:?}");
        rig.assert_unharmed();
    }
}

/// The hosts leave their checksums undone, and nothing was told to them: what arrives is right all the same.
#[test]
fn a_gigabyte_each_way_arrives_bit_for_bit() {
    for mode in BOTH {
        let rig = Rig::new("giga", 2, 1500);
        (1..=2).for_each(|n| rig.xdp(n, mode));
        std::thread::scope(|scope| {
            scope.spawn(|| transfer(rig.host(1), (rig.host(2), "10.0.0.2"), BLOCKS_PER_GB / 2, 1));
            scope.spawn(|| transfer(rig.host(2), (rig.host(1), "fd00::1"), BLOCKS_PER_GB / 2, 2));
        });
        rig.assert_unharmed();
    }
}

#[test]
fn a_gigabyte_passes_between_xdp_and_tap() {
    for mode in BOTH {
        let mut rig = Rig::new("mixed", 1, 1500);
        rig.xdp(1, mode);
        rig.tap(2, 1500);
        transfer(rig.host(1), (rig.host(2), "10.0.0.2"), BLOCKS_PER_GB, 1);
        transfer(rig.host(2), (rig.host(1), "fd00::1"), BLOCKS_PER_GB, 2);
        rig.assert_unharmed();
    }
}

#[test]
fn large_frames_arrive_whole() {
    for mode in BOTH {
        let rig = Rig::new("jumbo", 2, 9000);
        (1..=2).for_each(|n| rig.xdp(n, mode));
        assert!(rig.pings(1, "10.0.0.2", 8972) && rig.pings(2, "fd00::1", 8952), "{mode:?}");
        transfer(rig.host(1), (rig.host(2), "fd00::2"), 200, 1);
        rig.assert_unharmed();
    }
}

/// A tag that the kernel keeps beside the frame, as for a VLAN interface or `tc` in the container. (In generic mode the
/// kernel does not tell, and the tag is lost: see the port's documentation.)
#[test]
fn a_vlan_tag_beside_the_frame_is_put_back() {
    let rig = Rig::new("vlan", 2, 1500);
    (1..=2).for_each(|n| rig.xdp(n, Mode::Driver));
    let _tagger = tag_all(rig.host(1), "eth0", 5).unwrap();
    let (from, to) = (Raw::open(rig.host(1), "eth0").unwrap(), Raw::open(rig.host(2), "eth0").unwrap());
    for length in [20, 60, 1514] {
        let frame = experimental(length, 0x11);
        from.send(&frame).unwrap();
        let expected = [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
        assert_eq!(arrives(&to, &frame), Some(expected));
    }
}

/// A frame of an EtherType that no host answers, to everybody, from the station `last`.
fn experimental(length: usize, last: u8) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, last], &[0x88, 0xb5]].concat();
    frame.extend((14..length).map(|i| i as u8));
    frame
}

/// The next frame from the same station.
fn arrives(at: &Raw, sent: &[u8]) -> Option<Vec<u8>> {
    std::iter::from_fn(|| at.receive(PATIENCE).unwrap()).find(|frame| frame[6..12] == sent[6..12])
}

/// What a host's stack would not show: it takes the word of a frame that comes by veth. Here every byte is summed.
#[test]
fn every_checksum_on_the_wire_is_right() {
    for mode in BOTH {
        let rig = Rig::new("sums", 2, 1500);
        (1..=2).for_each(|n| rig.xdp(n, mode));
        let wire = Raw::open(rig.host(2), "eth0").unwrap();
        assert!(rig.pings(1, "10.0.0.2", 56));
        for address in ["10.0.0.2", "fd00::2"] {
            let sink = rig.host(2).run(|| UdpSocket::bind((address, 9000)).unwrap()).unwrap();
            let any = if address.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
            let source = rig.host(1).run(|| UdpSocket::bind(any).unwrap()).unwrap();
            sink.set_read_timeout(Some(PATIENCE)).unwrap();
            for length in [0, 1, 2, 17, 1000, 1400] {
                source.send_to(&vec![7; length], (address, 9000)).unwrap();
                assert_eq!(sink.recv(&mut [0; 2000]).unwrap(), length);
            }
            transfer(rig.host(1), (rig.host(2), address), 2, 1);
        }
        let frames = wire.drain(Duration::from_millis(300)).unwrap();
        let transports: Vec<_> = frames.iter().filter_map(|frame| Some((frame, Transport::of(frame)?))).collect();
        let tcp_or_udp: Vec<_> = transports.into_iter().filter(|(_, t)| t.checksum().is_some()).collect();
        assert!(tcp_or_udp.len() > 2000, "{}", tcp_or_udp.len());
        tcp_or_udp.iter().for_each(|(frame, transport)| assert_sum(frame, transport));
        rig.assert_unharmed();
    }
}

#[test]
fn every_queue_of_an_interface_is_served() {
    let lab = Lab::new("queues").unwrap();
    let (outside, host) = (lab.namespace("sw").unwrap(), lab.namespace("h1").unwrap());
    let peer = format!("peer name eth0 numtxqueues 3 numrxqueues 3 netns {}", host.name());
    outside.ip(&format!("link add v1 numtxqueues 3 numrxqueues 3 type veth {peer}")).unwrap();
    outside.ip("link set v1 up").unwrap();
    host.ip("link set eth0 up").unwrap();
    let config = XdpConfig { netns: Some(outside.name().into()), ..XdpConfig::new("h1", "v1") };
    let arena = Arena::new(8, 8).unwrap();
    let queues = |config: &XdpConfig| Box::new(Xdp::open(config).unwrap()).open(&arena, 1).unwrap().len();
    assert_eq!(queues(&config), 3);
    assert_eq!(queues(&XdpConfig { queues: Some(2), ..config }), 2);
}

/// A veth whose switch's end is `v1` in `outside`, each end with its own numbers of queues.
fn uneven(outside: &Namespace, host: &Namespace, (tx, rx): (u32, u32), (peer_tx, peer_rx): (u32, u32)) {
    let peer = format!("peer name eth0 numtxqueues {peer_tx} numrxqueues {peer_rx} netns {}", host.name());
    outside.ip(&format!("link add v1 numtxqueues {tx} numrxqueues {rx} type veth {peer}")).unwrap();
    outside.ip("link set v1 up").unwrap();
    host.ip("link set eth0 up").unwrap();
}

/// The kernel sends nothing that lies in the ring of a queue which only receives, and says nothing.
#[test]
fn no_worker_transmits_on_a_queue_that_only_receives() {
    let lab = Lab::new("uneven").unwrap();
    let (outside, host) = (lab.namespace("sw").unwrap(), lab.namespace("h1").unwrap());
    uneven(&outside, &host, (1, 3), (3, 1));
    let config = XdpConfig { netns: Some(outside.name().into()), ..XdpConfig::new("h1", "v1") };
    let arena = Arena::new(8, 8).unwrap();
    let open = |config: &XdpConfig, workers| Box::new(Xdp::open(config).unwrap()).open(&arena, workers);
    assert_eq!(open(&config, 1).unwrap().len(), 3);
    let refused = open(&config, 2).err().unwrap().to_string();
    assert!(refused.contains("`v1` has 1 transmit queue(s)") && refused.contains("ethtool -L v1 tx 2"), "{refused}");
    assert_eq!(open(&XdpConfig { queues: Some(1), ..config }, 2).unwrap().len(), 1);
}

/// The tag is put back only into frames that come to us: the kernel still has it beside the others.
#[test]
fn a_queue_that_is_left_to_the_kernel_has_its_tags_once() {
    let lab = Lab::new("left").unwrap();
    let (outside, host) = (lab.namespace("sw").unwrap(), lab.namespace("h1").unwrap());
    [&outside, &host].into_iter().for_each(silence);
    uneven(&outside, &host, (2, 2), (2, 2));
    let config = XdpConfig { netns: Some(outside.name().into()), queues: Some(1), ..XdpConfig::new("h1", "v1") };
    let xdp = Xdp::open(&XdpConfig { mode: Some(Mode::Driver), ..config }).unwrap();
    let _tagger = tag_all(&host, "eth0", 5).unwrap();
    let (from, kernel) = (Raw::open(&host, "eth0").unwrap(), Raw::open(&outside, "v1").unwrap());
    let packet = |flow: u16| {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        builder.udp(1000 + flow, 53).write(&mut frame, &flow.to_be_bytes()).unwrap();
        frame
    };
    (0..100).for_each(|flow| from.send(&packet(flow)).unwrap());
    let kept = kernel.drain(Duration::from_millis(300)).unwrap();
    assert!((10..=90).contains(&kept.len()), "{} of 100 flows", kept.len());
    for frame in kept {
        let flow = u16::from_be_bytes([frame[46], frame[47]]);
        let plain = packet(flow);
        assert_eq!(frame, [&plain[..12], &[0x81, 0, 0, 5], &plain[12..]].concat());
    }
    drop(xdp);
}

/// The kernel takes a frame, finds that the device cannot have it, and says EBUSY.
#[test]
fn a_frame_that_the_device_throws_away_is_not_counted_as_sent() {
    let rig = Rig::new("thrown", 1, 9000);
    let arena = Arena::new(256, 64).unwrap();
    let mut queue = Box::new(Xdp::open(&rig.config(1)).unwrap()).open(&arena, 1).unwrap().remove(0);
    let (mut pool, count, mut batch) = (arena.pool(64, 32), PortCounters::default(), Batch::new(32));
    let mut io = Io::new(&mut pool, &count);
    let thrown_away = || count.drops[DropReason::TxFull.index()].get();
    rig.host(1).ip("link set eth0 down").unwrap();
    for len in [60, 5000, 61, 62, 8999, 63] {
        let mut frame = io.pool.alloc(len).unwrap();
        assert!(frame.fill(&experimental(len, 0x11)));
        batch.push(frame).unwrap();
    }
    queue.transmit(&mut io, &mut batch).unwrap();
    until("all are thrown away", || {
        queue.receive(&mut io, &mut batch).unwrap();
        thrown_away() == 6
    });
    assert_eq!((count.tx_frames.get(), count.tx_bytes.get()), (0, 0));
    rig.host(1).ip("link set eth0 up").unwrap();
    until("one is sent", || {
        let mut frame = io.pool.alloc(60).unwrap();
        assert!(frame.fill(&experimental(60, 0x11)));
        batch.push(frame).unwrap();
        queue.transmit(&mut io, &mut batch).unwrap();
        batch.drain().for_each(|frame| io.pool.free(frame));
        count.tx_frames.get() > 0
    });
    assert_eq!(count.tx_bytes.get(), 60 * count.tx_frames.get());
}

/// What a flood lends is copied into the ring. What a port that is closed has not sent is taken back.
#[test]
fn a_frame_that_is_lent_stays_and_its_copies_leave_with_the_next_batch() {
    let rig = Rig::new("lent", 1, 9000);
    let arena = Arena::new(256, 64).unwrap();
    let mut queue = Box::new(Xdp::open(&rig.config(1)).unwrap()).open(&arena, 1).unwrap().remove(0);
    let (mut pool, count, mut none) = (arena.pool(64, 32), PortCounters::default(), Batch::new(32));
    let (mut io, bytes) = (Io::new(&mut pool, &count), experimental(8999, 0x22));
    let dropped = |reason: DropReason| count.drops[reason.index()].get();
    let sink = Raw::open(rig.host(1), "eth0").unwrap();
    let mut frame = io.pool.alloc(bytes.len()).unwrap();
    assert!(frame.fill(&bytes));
    (0..100).for_each(|_| assert!(queue.lend(&mut io, &mut frame).unwrap()));
    queue.transmit(&mut io, &mut none).unwrap();
    let mut arrived = sink.drain(Duration::from_millis(300)).unwrap();
    arrived.retain(|frame| frame == &bytes);
    assert_eq!((arrived.len(), &frame[..]), (100, &bytes[..]));
    rig.outside.ip("link set v1 down").unwrap();
    (0..3).for_each(|_| assert!(queue.lend(&mut io, &mut frame).unwrap()));
    queue.transmit(&mut io, &mut none).unwrap();
    assert_eq!((count.tx_frames.get(), dropped(DropReason::PortDown)), (103, 0), "they wait for the link");
    assert!(queue.lend(&mut io, &mut frame).unwrap() && !queue.has_unsent());
    assert_eq!((count.tx_frames.get(), dropped(DropReason::PortDown)), (103, 1), "behind them is no place");
    queue.close(&mut io);
    assert_eq!((count.tx_frames.get(), dropped(DropReason::PortDown)), (100, 4));
    assert_eq!(count.tx_bytes.get(), 100 * bytes.len() as u64);
    io.pool.free(frame);
}

/// A datagram longer than the MTU would be taken for a super-frame.
#[test]
fn an_mtu_that_grows_is_followed() {
    let rig = Rig::new("grows", 2, 1500);
    rig.xdp(1, Mode::Driver);
    for link in ["v1", "v2"] {
        rig.outside.ip(&format!("link set {link} mtu 9000")).unwrap();
    }
    (1..=2).for_each(|n| drop(rig.host(n).ip("link set eth0 mtu 9000").unwrap()));
    rig.xdp(2, Mode::Driver);
    let sink = rig.host(2).run(|| UdpSocket::bind("10.0.0.2:9000").unwrap()).unwrap();
    let source = rig.host(1).run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    sink.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    until("a long datagram arrives", || {
        source.send_to(&[7; 5000], "10.0.0.2:9000").unwrap();
        sink.recv(&mut [0; 6000]).is_ok_and(|len| len == 5000)
    });
    rig.assert_unharmed();
}

/// A tunnel that the hosts build themselves, over each IP version, with a checksum around the inner one and without.
#[test]
fn every_checksum_inside_a_tunnel_is_right() {
    for (mode, (peers, udp)) in BOTH.into_iter().flat_map(|mode| TUNNELS.map(|tunnel| (mode, tunnel))) {
        let rig = Rig::new("nested", 2, 1500);
        (1..=2).for_each(|n| rig.xdp(n, mode));
        rig.tunnel(peers, udp);
        let wire = Raw::open(rig.host(2), "eth0").unwrap();
        assert!(rig.pings(1, "10.9.0.2", 56), "{mode:?} {peers} {udp}");
        let sink = rig.host(2).run(|| UdpSocket::bind("10.9.0.2:9000").unwrap()).unwrap();
        let source = rig.host(1).run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        sink.set_read_timeout(Some(PATIENCE)).unwrap();
        for length in (0..200).chain(1300..1400) {
            source.send_to(&vec![7; length], "10.9.0.2:9000").unwrap();
            assert_eq!(sink.recv(&mut [0; 2000]).unwrap(), length);
        }
        // In generic mode bulk TCP comes in super-frames, which cannot be carried.
        if mode == Mode::Driver {
            transfer(rig.host(1), (rig.host(2), "10.9.0.2"), 2, 1);
        }
        let frames = wire.drain(Duration::from_millis(300)).unwrap();
        let mut nested = 0;
        for frame in &frames {
            let Some(outer) = Transport::of(frame) else { continue };
            assert_sum(frame, &outer);
            if let Some(inner) = inside(frame, &outer) {
                nested += usize::from(inner.checksum().is_some());
                assert_sum(frame, &inner);
            }
        }
        assert!(nested >= if mode == Mode::Driver { 1700 } else { 300 }, "{nested}");
        rig.assert_unharmed();
    }
}

#[test]
fn a_tunnel_between_a_veth_and_a_tap_carries_bulk_tcp_both_ways() {
    for (peers, udp) in TUNNELS {
        let mut rig = Rig::new("tapnest", 1, 1500);
        rig.xdp(1, Mode::Driver);
        rig.tap(2, 1500);
        rig.tunnel(peers, udp);
        transfer(rig.host(1), (rig.host(2), "10.9.0.2"), 30, 1);
        transfer(rig.host(2), (rig.host(1), "10.9.0.1"), 30, 2);
        rig.assert_unharmed();
        let names = [DropReason::BadVnetHeader, DropReason::OffloadUnfit];
        let dropped = |name| names.map(|reason| rig.port(name).counters.drops[reason.index()].get());
        assert_eq!([dropped("h1"), dropped("h2")], [[0; 2]; 2]);
    }
}

/// The beginning of the hosts' outer addresses, and what is told of the outer checksum.
const TUNNELS: [(&str, &str); 3] = [("10.0.0.", "noudpcsum"), ("10.0.0.", "udpcsum"), ("fd00::", "")];

/// A packet's checksum is right, or absent as UDP's may be.
fn assert_sum(frame: &[u8], transport: &Transport) {
    let Some(at) = transport.checksum() else { return };
    let segment = &frame[transport.start..transport.packet_end(frame).unwrap()];
    let total = add(pseudo_header(frame, transport, segment.len()), sum(segment));
    let absent = transport.protocol == UDP && frame[at..at + 2] == [0; 2];
    assert!(absent || total == 0xffff, "{frame:02x?}");
}

#[test]
fn what_cannot_be_had_is_said_in_one_sentence() {
    let rig = Rig::new("refused", 1, 1500);
    let place = format!("network namespace `{}`", rig.outside.name());
    let error = |config: &XdpConfig| Xdp::open(config).err().unwrap();
    let missing = error(&XdpConfig { ifname: "v9".into(), ..rig.config(1) });
    assert_eq!(missing.to_string(), format!("no interface `v9` in {place}"));
    assert!(!missing.is_refusal());
    let _first = Xdp::open(&rig.config(1)).unwrap();
    let begin = Instant::now();
    let taken = error(&rig.config(1));
    assert!(matches!(taken, XdpError::Taken { .. }) && taken.is_refusal(), "{taken}");
    assert!((900..4000).contains(&begin.elapsed().as_millis()), "waited {:?}", begin.elapsed());
}

/// The kernel lets go of a socket some time after it was closed.
#[test]
fn a_port_is_opened_again_at_once_a_hundred_times() {
    let rig = Rig::new("again", 1, 1500);
    for _ in 0..100 {
        rig.xdp(1, Mode::Driver);
        rig.switch.remove_port("h1").unwrap();
    }
    assert!(!rig.outside.ip("-d link show v1").unwrap().contains("prog/xdp"));
}

#[test]
fn a_deleted_interface_ends_its_port_and_nothing_else() {
    for mode in BOTH {
        let rig = Rig::new("gone", 3, 1500);
        (1..=3).for_each(|n| rig.xdp(n, mode));
        assert!(rig.pings(1, "10.0.0.3", 56));
        rig.outside.ip("link del v3").unwrap();
        // It may be seen to be down before.
        until("the port is gone", || {
            let event = rig.switch.events().recv_timeout(PATIENCE).unwrap();
            matches!(event, Event::PortGone { name, .. } if name == "h3")
        });
        assert!(!rig.port("h3").up);
        assert!(rig.pings(1, "10.0.0.2", 56));
        until("all frames are accounted for", || rig.switch.conservation().in_flight() == 0);
    }
}

#[test]
fn a_link_that_goes_down_comes_back() {
    let rig = Rig::new("down", 2, 1500);
    (1..=2).for_each(|n| rig.xdp(n, Mode::Driver));
    assert!(rig.pings(1, "10.0.0.2", 56));
    rig.outside.ip("link set v2 down").unwrap();
    until("the link is seen down", || !rig.port("h2").up);
    rig.outside.ip("link set v2 up").unwrap();
    until("the link is seen up", || rig.port("h2").up);
    until("it carries frames", || rig.pings(1, "10.0.0.2", 56));
}

/// The same by `xdock run`. The program is held by the process: nothing is left when it is killed.
#[test]
fn a_killed_switch_leaves_nothing_attached_and_starts_again() {
    let rig = Rig::new("killed", 2, 1500);
    let socket = rig.lab.path("control.sock");
    let config = rig.file(&socket);
    let attached = || rig.outside.ip("-d link").unwrap().matches("prog/xdp").count();
    for _ in 0..5 {
        let mut xdock = rig.lab.xdock(&rig.outside, &config).unwrap();
        assert_eq!(attached(), 2);
        assert!(rig.pings(1, "10.0.0.2", 56));
        xdock.signal(rustix::process::Signal::KILL).unwrap();
        xdock.wait(PATIENCE).unwrap();
        until("nothing is attached", || attached() == 0);
    }
    rig.assert_unharmed();
}

/// What the kernel had no room for is counted: every frame that was offered went through or has a name.
#[test]
fn overload_is_counted_and_frames_are_conserved() {
    const OFFERED: u64 = 100_000;
    let rig = Rig::new("overload", 2, 1500);
    (1..=2).for_each(|n| rig.xdp(n, Mode::Driver));
    let from = Raw::open(rig.host(1), "eth0").unwrap();
    let before = rig.port("h1").counters.rx_frames.get();
    let frame = experimental(60, 0x11);
    (0..OFFERED).for_each(|_| from.send_patiently(&frame).unwrap());
    until("all are accounted for", || {
        rig.switch.conservation().in_flight() == 0 && rig.port("h1").counters.rx_frames.get() >= before + OFFERED
    });
    assert!(rig.pings(1, "10.0.0.2", 56));
}

#[test]
fn packet_sockets_serve_an_interface_that_xdp_cannot_and_it_is_said() {
    let rig = Rig::new("instead", 2, 1500);
    let _held = Xdp::open(&rig.config(1)).unwrap();
    let socket = rig.lab.path("control.sock");
    let xdock = rig.lab.xdock(&rig.outside, &rig.file(&socket)).unwrap();
    assert!(
        xdock.stderr().contains("another XDP program or socket holds it; packet sockets serve it"),
        "{}",
        xdock.stderr()
    );
    let mut show = Command::new(xdock_binary().unwrap());
    let shown = run(show.args(["show", "ports", "--json", "--control"]).arg(&socket)).unwrap();
    let ports: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let kinds: Vec<_> = ports.as_array().unwrap().iter().map(|port| port["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["packet", "xdp"]);
}
