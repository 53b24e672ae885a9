//! Real traffic through `xdock run`: ping, iperf3, bit-exact transfers, raw frames. Needs root; everything happens in
//! namespaces made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::run;
use serde_json::Value;
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use world::raw::{Raw, segment};
use world::transfer::{BLOCKS_PER_GB, transfer};
use world::{Random, World, assert_undamaged, damage, number, until};

/// For local experiments (IEEE 802, clause 9.2.3): no host answers it.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

fn bits_per_second(end: &Value) -> f64 {
    end["sum_received"]["bits_per_second"].as_f64().unwrap()
}

#[test]
fn every_ping_is_answered_and_tcp_flows_in_every_way_of_polling() {
    for poll in ["adaptive", "busy", "interrupt"] {
        let world = World::new(poll, 2).engine(&format!("poll = \"{poll}\""));
        let _xdock = world.start();
        assert!(world.pings(1, "10.0.0.2", 50) && world.pings(1, "fd00::2", 50), "{poll}");
        let _server = world.iperf_server(2);
        assert!(bits_per_second(&world.iperf(1, "-c 10.0.0.2 -t 1")) > 1e8, "{poll}");
        world.assert_unharmed();
    }
}

#[test]
fn iperf3_tcp_passes_both_ways_over_two_queues() {
    let world = World::new("tcp", 2).every_port("queues = 2");
    let _xdock = world.start();
    let _server = world.iperf_server(2);
    for way in ["", "-P 4", "-R", "-P 4 -R", "--bidir", "-6 -P 4"] {
        let address = if way.starts_with("-6") { "fd00::2" } else { "10.0.0.2" };
        let end = world.iperf(1, &format!("-c {address} -t 1 {way}"));
        assert!(bits_per_second(&end) > 1e8, "{way}: {end}");
        if way == "--bidir" {
            assert!(end["sum_received_bidir_reverse"]["bits_per_second"].as_f64().unwrap() > 1e8, "{end}");
        }
    }
    assert_undamaged(&world.hosts);
}

#[test]
fn iperf3_udp_at_a_pace_loses_nothing() {
    let world = World::new("udp", 2);
    let _xdock = world.start();
    let _server = world.iperf_server(2);
    for load in ["-b 1M -l 64", "-b 20M -l 1400", "-b 50M -l 16000", "-b 10M -l 1400 -R"] {
        let end = world.iperf(1, &format!("-u -c 10.0.0.2 -t 1 {load}"));
        assert!(number(&end["sum"]["packets"]) > 500 || load.contains("16000"), "{load}: {end}");
        assert_eq!(number(&end["sum"]["lost_packets"]), 0, "{load}: {end}");
    }
    world.assert_unharmed();
}

/// What the kernel hands over as one super-frame (UDP segmentation offload) arrives as the datagrams it stands for.
#[test]
fn udp_super_frames_arrive_as_their_datagrams() {
    const SEGMENT: usize = 1400;
    let world = World::new("uso", 2);
    let _xdock = world.start();
    assert!(world.shown("h1")["offload"]["uso"].as_bool().unwrap(), "this kernel has it");
    assert!(world.pings(1, "10.0.0.2", 1));
    let receiver = world.host(2).run(|| UdpSocket::bind("10.0.0.2:9000").unwrap()).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let sender = world.host(1).run(|| UdpSocket::bind("10.0.0.1:0").unwrap()).unwrap();
    segment(&sender, SEGMENT).unwrap();
    let before = number(&world.shown("h1")["rx_frames"]);
    let data = Random(7).bytes(30 * SEGMENT + 100);
    for _ in 0..3 {
        sender.send_to(&data, "10.0.0.2:9000").unwrap();
        for expected in data.chunks(SEGMENT) {
            let mut datagram = [0; 2000];
            let length = receiver.recv(&mut datagram).unwrap();
            assert!(datagram[..length] == *expected);
        }
    }
    assert!(number(&world.shown("h1")["rx_frames"]) - before < 93, "they crossed the switch as super-frames");
    world.assert_unharmed();
}

/// Between TAPs checksums stay partial: the sender leaves them out, the receiver takes the frame's word for it, and
/// nobody computes one. What proves the data is that every byte is compared; the counters prove that no frame's claim
/// about its checksum was lost on the way, since the receiver then computes what the sender left out, and complains.
#[test]
fn a_gigabyte_each_way_arrives_bit_for_bit() {
    let world = World::new("giga", 2);
    let _xdock = world.start();
    std::thread::scope(|scope| {
        scope.spawn(|| transfer(world.host(1), (world.host(2), "10.0.0.2"), BLOCKS_PER_GB, 1));
        scope.spawn(|| transfer(world.host(2), (world.host(1), "fd00::1"), BLOCKS_PER_GB, 2));
    });
    for port in ["h1", "h2"] {
        let shown = world.shown(port);
        assert!(number(&shown["rx_bytes"]) > 1_000_000_000, "{shown}");
        assert!(number(&shown["rx_frames"]) < 400_000, "as super-frames: {shown}");
    }
    assert_undamaged(&world.hosts);
}

#[test]
fn jumbo_frames_carry_a_transfer_bit_for_bit() {
    let world = World::new("jumbo", 2).every_port("mtu = 9000");
    let _xdock = world.start();
    run(world.host(1).command("ping").args(["-c", "1", "-M", "do", "-s", "8972", "10.0.0.2"])).unwrap();
    transfer(world.host(1), (world.host(2), "10.0.0.2"), 96, 3);
    transfer(world.host(2), (world.host(1), "10.0.0.1"), 96, 4);
    assert_undamaged(&world.hosts);
}

/// A host without offloads sends complete checksums, which the receiver's kernel verifies one by one; the other way,
/// super-frames with partial checksums reach a host whose own offloads are off.
#[test]
fn a_host_without_offloads_exchanges_bits_exactly() {
    let world = World::new("plain", 2);
    let _xdock = world.start();
    run(world.host(1).command("ethtool").args(["-K", "eth0", "tx", "off", "tso", "off", "gso", "off"])).unwrap();
    let before = number(&world.shown("h1")["rx_frames"]);
    transfer(world.host(1), (world.host(2), "10.0.0.2"), 48, 5);
    transfer(world.host(2), (world.host(1), "10.0.0.1"), 48, 6);
    assert!(number(&world.shown("h1")["rx_frames"]) - before > 48 * 700, "they came as frames of the MTU");
    assert_undamaged(&world.hosts);
    assert!(world.pings(2, "10.0.0.1", 1));
    // The oracle can fail: a datagram with a wrong checksum is seen by the receiver's kernel, and counted there.
    Raw::open(world.host(1), "eth0").unwrap().send(&datagram_with_wrong_checksum()).unwrap();
    until("the damage is counted", || damage(world.host(2)).iter().any(|entry| entry == "Udp:InCsumErrors=1"));
}

/// From host 1 to port 9 of host 2.
fn datagram_with_wrong_checksum() -> Vec<u8> {
    let addresses = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [10, 0, 0, 1], [10, 0, 0, 2]);
    let mut frame = [addresses.1, addresses.0].concat();
    frame.extend([0x08, 0x00, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([addresses.2, addresses.3].concat());
    let sum: u32 = frame[14..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&folded.to_be_bytes());
    frame.extend([0, 9, 0, 9, 0, 12, 0xde, 0xad, 1, 2, 3, 4]);
    frame
}

#[test]
fn raw_frames_of_every_length_arrive_bit_for_bit() {
    let world = World::silent("raw", 2);
    let _xdock = world.start();
    let [sender, receiver] = [1, 2].map(|n| Raw::open(world.host(n), "eth0").unwrap());
    let mut random = Random::seeded();
    let frames: Vec<Vec<u8>> = (14..=1514).map(|length| frame_of(length, &mut random)).collect();
    for batch in frames.chunks(100) {
        batch.iter().for_each(|frame| sender.send_patiently(frame).unwrap());
        for expected in batch {
            let frame = receiver.receive(Duration::from_secs(5)).unwrap();
            assert!(frame.as_ref() == Some(expected), "{} bytes: {frame:02x?}", expected.len());
        }
    }
    assert_eq!(receiver.drain(Duration::from_millis(50)).unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(number(&world.shown("h2")["tx_bytes"]), frames.iter().map(|frame| frame.len() as u64).sum::<u64>());
    world.assert_unharmed();
}

/// A frame from host 1 to host 2 with random contents.
fn frame_of(length: usize, random: &mut Random) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(EXPERIMENTAL);
    frame.extend(random.bytes(length - 14));
    frame
}

#[test]
fn isolated_ports_reach_only_promiscuous_ones() {
    let world = World::new("isolate", 3).port(1, "isolated = true").port(2, "isolated = true");
    let _xdock = world.start();
    assert!(world.pings(1, "10.0.0.3", 3) && world.pings(3, "10.0.0.2", 3));
    assert!(!world.pings(1, "10.0.0.2", 1), "not by flooding");
    let mac = "02:00:00:00:00:02";
    world.host(1).ip(&format!("neigh replace 10.0.0.2 lladdr {mac} dev eth0")).unwrap();
    assert!(!world.pings(1, "10.0.0.2", 1), "nor to a known address");
    assert!(world.drops()["isolated"] >= 1);
}

#[test]
fn a_broadcast_storm_is_held_to_its_cap() {
    const CAP: u64 = 1000;
    /// A TAP's queue holds twice as many.
    const BURST: u64 = 500;
    const SENT: u64 = 40 * BURST;
    let world = World::silent("storm", 3).port(1, &format!("storm = {{ broadcast = {CAP} }}"));
    let _xdock = world.start();
    let [sender, receiver, third] = [1, 2, 3].map(|n| Raw::open(world.host(n), "eth0").unwrap());
    let mut frame = frame_of(60, &mut Random(9));
    frame[..6].fill(0xff);
    let begin = Instant::now();
    for burst in 1..=SENT / BURST {
        (0..BURST).for_each(|_| sender.send(&frame).unwrap());
        until("the burst is received", || number(&world.shown("h1")["rx_frames"]) == burst * BURST);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let dropped = world.drops()["storm_broadcast"];
    let delivered = receiver.drain(Duration::from_millis(100)).unwrap().len() as u64;
    assert_eq!((delivered + dropped, third.drain(Duration::from_millis(100)).unwrap().len() as u64), (SENT, delivered));
    let most = (CAP as f64 * (seconds + 1.0)) as u64 + 1;
    assert!((CAP..=most).contains(&delivered), "{delivered} within {seconds} s");
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    third.send(&frame).unwrap();
    assert!(receiver.receive(Duration::from_secs(5)).unwrap().is_some(), "the others are not capped");
}

#[test]
fn what_is_shown_has_the_keys_that_were_promised() {
    let world = World::new("shape", 2);
    let _xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 3));
    let flows_shown = || !world.show("flows").as_array().unwrap().is_empty();
    until("a flow is cached", flows_shown);
    let promised = [
        ("ports", "name kind ifname netns domain up mtu mac rx_frames rx_bytes tx_frames tx_bytes drops offload"),
        ("domains", "name ageing_s fdb_max mac vlan_filtering ports"),
        ("fdb", "domain vlan mac port age_s static"),
        ("flows", "worker in_port key program frames bytes idle_s"),
        ("workers", "core batches frames idle_fraction cycles_per_frame flow_entries pool_free pool_total"),
    ];
    for (what, keys) in promised {
        let shown = world.show(what);
        assert!(!shown.as_array().unwrap().is_empty(), "{what}");
        for item in shown.as_array().unwrap() {
            let missing: Vec<&str> = keys.split(' ').filter(|key| item.get(key).is_none()).collect();
            assert!(missing.is_empty(), "{what}: no {missing:?} in {item}");
        }
    }
    let offload = &world.shown("h1")["offload"];
    assert!(["csum", "tso", "uso", "tunnel"].iter().all(|key| offload[key].is_boolean()), "{offload}");
    let drops = world.show("drops");
    assert!(drops.as_object().unwrap().values().all(|drop| drop["count"].is_u64() && drop["meaning"].is_string()));
}
