//! Packet ports: interfaces that somebody else made, through `xdock run`. Needs root; everything happens in namespaces
//! made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::{Arena, Batch, Csum, Gso, GsoKind, Offload, Pool};
use crossdock_engine::ports::packet::{Packet, PacketConfig};
use crossdock_engine::ports::{Io, Port, Queue};
use crossdock_engine::stats::PortCounters;
use etherparse::PacketBuilder;
use lab::{Namespace, run};
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use world::raw::Raw;
use world::transfer::{BLOCKS_PER_GB, transfer};
use world::{Random, World, assert_undamaged, number, until};

#[test]
fn hosts_behind_veths_ping_each_other_and_tcp_passes_in_super_frames() {
    let world = World::new("pkt", 2).veth(1, "packet", 1500).veth(2, "packet", 1500);
    let _xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 50) && world.pings(2, "fd00::1", 50));
    let port = world.shown("h1");
    assert_eq!((port["kind"].as_str(), port["ifname"].as_str()), (Some("packet"), Some("veth1")));
    assert_eq!((number(&port["mtu"]), port["up"].as_bool()), (1500, Some(true)));
    assert!(port["offload"]["csum"].as_bool().unwrap() && port["offload"]["tso"].as_bool().unwrap());
    let again = world.xdock("port add again --kind packet --ifname veth1 --domain lan");
    assert!(String::from_utf8_lossy(&again.stderr).contains("interface \"veth1\" is port h1 already"), "{again:?}");
    let before = world.shown("h1");
    transfer(world.host(1), (world.host(2), "10.0.0.2"), 256, Random::seeded().next());
    let after = world.shown("h1");
    let grown = |key: &str| number(&after[key]) - number(&before[key]);
    let per_frame = grown("rx_bytes") / grown("rx_frames");
    assert!(per_frame > 5_000, "{per_frame} bytes a frame: super-frames were cut");
    assert!(number(&after["tx_frames"]) > 0);
    world.assert_unharmed();
}

#[test]
fn a_gigabyte_arrives_bit_exact_both_ways_between_packet_ports_and_with_a_tap() {
    for mtu in [1500, 9000] {
        let world =
            World::new("pktgb", 3).veth(1, "packet", mtu).veth(2, "packet", mtu).port(3, &format!("mtu = {mtu}"));
        let _xdock = world.start();
        let seed = Random::seeded().next();
        for (from, to, address) in [(1, 2, "10.0.0.2"), (2, 1, "fd00::1"), (1, 3, "fd00::3"), (3, 1, "10.0.0.1")] {
            transfer(world.host(from), (world.host(to), address), BLOCKS_PER_GB, seed);
        }
        assert_undamaged(&world.hosts);
    }
}

/// The kernel takes the outermost tag of what a veth receives out of the frame, whoever put it in.
#[test]
fn tags_that_the_kernel_keeps_beside_a_frame_arrive_inside_it() {
    let world = World::silent("pkttag", 2).veth(1, "packet", 1500);
    let _xdock = world.start();
    let (near, far) = (Raw::open(world.host(1), "eth0").unwrap(), Raw::open(world.host(2), "eth0").unwrap());
    // The longest payload that the kernel lets a packet socket send with these tags.
    let cases: [(&[u8], usize); 4] = [
        (&[0x81, 0, 0xe0, 7], 1500),
        (&[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5], 1492),
        (&[0x81, 0, 0, 9, 0x81, 0, 0, 5], 1496),
        (&[0x81, 0, 0, 0], 1500),
    ];
    let frame = |from: u8, tags: &[u8], len| {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        [&[0xff; 6][..], &[2, 0, 0, 0, 0, from], tags, &[0x88, 0xb5], &payload].concat()
    };
    for (tags, most) in cases {
        for len in [46, most] {
            near.send(&frame(1, tags, len)).unwrap();
            assert_eq!(far.receive(world::PATIENCE).unwrap(), Some(frame(1, tags, len)), "{tags:02x?}");
            far.send(&frame(2, tags, len)).unwrap();
            assert_eq!(near.receive(world::PATIENCE).unwrap(), Some(frame(2, tags, len)), "{tags:02x?}");
        }
    }
    world.assert_unharmed();
}

/// A virtio-net header has words for one layer only.
#[test]
fn a_tunnel_of_the_hosts_passes_and_its_super_frames_are_dropped_by_name() {
    let world = World::new("pktnest", 2).veth(1, "packet", 1500).veth(2, "packet", 1500);
    let _xdock = world.start();
    for n in 1..=2 {
        let remote = 3 - n;
        let tunnel = format!("type vxlan id 42 dstport 4789 dev eth0 local 10.0.0.{n} remote 10.0.0.{remote}");
        world.host(n).ip(&format!("link add vx0 {tunnel}")).unwrap();
        world.host(n).ip(&format!("addr add 10.9.0.{n}/24 dev vx0")).unwrap();
        world.host(n).ip("link set vx0 up").unwrap();
    }
    assert!(world.pings(1, "10.9.0.2", 20));
    let sink = world.host(2).run(|| UdpSocket::bind("10.9.0.2:9000").unwrap()).unwrap();
    let source = world.host(1).run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    sink.set_read_timeout(Some(world::PATIENCE)).unwrap();
    for length in [0, 1, 2, 1000, 1400] {
        source.send_to(&vec![7; length], "10.9.0.2:9000").unwrap();
        assert_eq!(sink.recv(&mut [0; 2000]).unwrap(), length);
    }
    let dropped = || world.shown("h1")["drops"]["bad_vnet_header"].as_u64().unwrap_or(0);
    assert_eq!(dropped(), 0);
    let _listener = world.host(2).run(|| TcpListener::bind("10.9.0.2:9000").unwrap()).unwrap();
    let mut stream = world.host(1).run(|| TcpStream::connect("10.9.0.2:9000").unwrap()).unwrap();
    assert_eq!(stream.write(&[7; 30_000]).unwrap(), 30_000, "into the socket's buffer");
    until("a super-frame was dropped", || dropped() > 0);
    drop(stream);
    let off = ["tx-udp_tnl-segmentation", "off", "tx-udp_tnl-csum-segmentation", "off"];
    for host in &world.hosts {
        run(host.command("ethtool").args(["-K", "eth0"]).args(off)).unwrap();
    }
    let before = dropped();
    transfer(world.host(1), (world.host(2), "10.9.0.2"), 20, Random::seeded().next());
    assert_eq!(dropped(), before, "a host that is told makes no more of them");
    assert_undamaged(&world.hosts);
}

/// One end of a veth as an embedding program has it.
struct End {
    queues: Vec<Box<dyn Queue>>,
    pool: Pool,
    count: PortCounters,
    batch: Batch,
}

impl End {
    fn open(netns: &Namespace, ifname: &str, queues: usize) -> End {
        let arena = Arena::new(1024, 64).unwrap();
        let config = PacketConfig { netns: Some(netns.name().into()), queues, ..PacketConfig::new("p", ifname) };
        let queues = Box::new(Packet::open(&config).unwrap()).open(&arena, queues).unwrap();
        End { queues, pool: arena.pool(64, 32), count: PortCounters::default(), batch: Batch::new(32) }
    }

    fn send(&mut self, bytes: &[u8], offload: Offload) {
        let mut frame = self.pool.alloc(bytes.len()).unwrap();
        assert!(frame.fill(bytes));
        frame.offload = offload;
        self.batch.push(frame).unwrap();
        let mut io = Io::new(&mut self.pool, &self.count);
        self.queues[0].transmit(&mut io, &mut self.batch).unwrap();
    }

    /// The frames that wait in one queue.
    fn receive(&mut self, queue: usize) -> Vec<(Vec<u8>, Offload)> {
        let mut io = Io::new(&mut self.pool, &self.count);
        self.queues[queue].receive(&mut io, &mut self.batch).unwrap();
        let frames: Vec<_> = self.batch.iter().map(|frame| (frame.to_vec(), frame.offload)).collect();
        self.batch.drain().for_each(|frame| self.pool.free(frame));
        frames
    }
}

#[test]
fn a_tagged_super_frame_crosses_whole_with_its_offsets() {
    let world = World::silent("pktsuper", 1).veth(1, "packet", 1500);
    let (mut near, mut far) = (End::open(world.host(1), "eth0", 1), End::open(&world.switch, "veth1", 1));
    for (tags, csum_start) in [(&[][..], 34), (&[0x81, 0, 0, 7][..], 38), (&[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5], 42)] {
        let (frame, offload) = super_frame(tags, csum_start);
        near.send(&frame, offload);
        let mut arrived = Vec::new();
        until("the frame is there", || {
            arrived.extend(far.receive(0));
            !arrived.is_empty()
        });
        assert!(arrived == [(frame, offload)], "{:?} became {:?}", offload, arrived[0].1);
    }
}

/// A TCP segment of 20,000 bytes whose checksum holds the sum of the pseudo-header.
fn super_frame(tags: &[u8], csum_start: u16) -> (Vec<u8>, Offload) {
    let mut plain = Vec::new();
    let payload: Vec<u8> = (0..20_000_u32).map(|i| (i >> 3) as u8).collect();
    let builder =
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.tcp(1, 2, 3, 4).write(&mut plain, &payload).unwrap();
    let gso = Gso { size: 1400, hdr_len: csum_start + 20, kind: GsoKind::Tcp4, ecn: false };
    let offload = Offload { csum: Some(Csum { start: csum_start, offset: 16 }), gso: Some(gso) };
    ([&plain[..12], tags, &plain[12..]].concat(), offload)
}

#[test]
fn flows_are_spread_over_the_queues_and_each_frame_comes_once() {
    let world = World::silent("pktfan", 1).veth(1, "packet", 1500);
    let near = Raw::open(world.host(1), "eth0").unwrap();
    let mut far = End::open(&world.switch, "veth1", 2);
    let packet = |flow: u16| {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        builder.udp(1000 + flow, 53).write(&mut frame, &[flow as u8; 30]).unwrap();
        frame
    };
    (0..200).for_each(|flow| near.send(&packet(flow)).unwrap());
    let mut queues = [Vec::new(), Vec::new()];
    until("all are there", || {
        for (queue, frames) in queues.iter_mut().enumerate() {
            frames.extend(far.receive(queue).into_iter().map(|(frame, _)| frame));
        }
        queues[0].len() + queues[1].len() >= 200
    });
    assert!(queues.iter().all(|frames| frames.len() > 40), "{} and {}", queues[0].len(), queues[1].len());
    let mut all = queues.concat();
    all.sort();
    let mut sent: Vec<_> = (0..200).map(packet).collect();
    sent.sort();
    assert!(all == sent);
}

#[test]
fn what_finds_no_room_is_counted_by_name() {
    let world = World::silent("pktover", 1).veth(1, "packet", 1500);
    let near = Raw::open(world.host(1), "eth0").unwrap();
    let mut far = End::open(&world.switch, "veth1", 1);
    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 46]].concat();
    const SENT: u64 = 60_000;
    (0..SENT).for_each(|_| near.send_patiently(&frame).unwrap());
    let mut received = 0;
    until("the queue is empty", || {
        let frames = far.receive(0).len() as u64;
        received += frames;
        frames == 0
    });
    assert!(far.queues[0].is_up());
    assert!(far.receive(0).is_empty());
    let lost = far.count.drops[DropReason::RxOverrun.index()].get();
    assert!(lost > 0 && received > 1000, "{received} received");
    assert_eq!(received + lost, SENT);
}

#[test]
fn our_own_frames_do_not_come_back_and_those_of_other_interfaces_do_not_come_in() {
    let world = World::silent("pktown", 2).veth(1, "packet", 1500).veth(2, "packet", 1500);
    world.switch.ip("link add other type veth peer name other1").unwrap();
    world.switch.ip("link set other up").unwrap();
    world.switch.ip("link set other1 up").unwrap();
    let _xdock = world.start();
    let (one, two) = (Raw::open(world.host(1), "eth0").unwrap(), Raw::open(world.host(2), "eth0").unwrap());
    let elsewhere = Raw::open(&world.switch, "other1").unwrap();
    let frame = |n: u8| [&[0xff; 6][..], &[2, 0, 0, 0, 0, n], &[0x88, 0xb5], &[n; 46]].concat();
    elsewhere.send(&frame(9)).unwrap();
    (0..100).for_each(|_| one.send(&frame(1)).unwrap());
    let there = two.drain(Duration::from_millis(500)).unwrap();
    assert_eq!(there, vec![frame(1); 100]);
    assert_eq!(one.drain(Duration::from_millis(100)).unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!((number(&world.shown("h1")["rx_frames"]), number(&world.shown("h2")["rx_frames"])), (100, 0));
}

#[test]
fn an_interface_that_goes_down_comes_back_and_one_that_is_deleted_is_gone() {
    let world = World::new("pktdown", 2).veth(1, "packet", 1500).veth(2, "packet", 1500);
    let xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 3));
    world.switch.ip("link set veth2 down").unwrap();
    until("the port is down", || world.shown("h2")["up"] == false);
    world.switch.ip("link set veth2 up").unwrap();
    until("the port is up again", || world.shown("h2")["up"] == true);
    until("frames pass again", || world.pings(1, "10.0.0.2", 3));
    world.switch.ip("link set veth2 down").unwrap();
    world.switch.ip("link set veth2 name renamed up").unwrap();
    assert_eq!(world.shown("h2")["ifname"], "renamed");
    until("frames pass under another name", || world.pings(1, "10.0.0.2", 3));
    world.switch.ip("link del renamed").unwrap();
    until("the port is gone", || xdock.stderr().contains("its interface or its namespace was deleted"));
    until("and shown as down", || world.shown("h2")["up"] == false);
    world.done("port rm h2");
}

/// Processor time of a process (proc_pid_stat(5), fields 14 and 15), in hundredths of a second.
fn processor_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn an_idle_or_dead_interface_costs_no_time() {
    let world =
        World::silent("pktidle", 2).engine("poll = \"interrupt\"").veth(1, "packet", 1500).veth(2, "packet", 1500);
    let xdock = world.start();
    world.switch.ip("link set veth1 down").unwrap();
    world.switch.ip("link del veth2").unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let before = processor_ticks(xdock.pid());
    std::thread::sleep(Duration::from_secs(2));
    let spent = processor_ticks(xdock.pid()) - before;
    assert!(spent < 10, "{spent} hundredths of a second in two seconds of nothing");
}

#[test]
fn refusals_say_what_would_be_right() {
    let world = World::silent("pktno", 0);
    let _xdock = world.start();
    for (flags, what, hint) in [
        ("p --kind packet --ifname nowhere", "port p: no interface `nowhere` in this network namespace", "ip link"),
        ("p --kind packet --ifname lo", "carries no Ethernet frames", "a veth"),
        ("p --kind packet --netns xd-nowhere", "no namespace \"xd-nowhere\"", "ip netns add"),
        ("p --kind packet --mtu 1400", "mtu: makes no sense for kind \"packet\"", "somebody else's"),
    ] {
        let output = world.xdock(&format!("port add {flags} --domain lan"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(what) && said.contains(hint), "{said}");
    }
}
