//! Pcap ports and injected faults, through `xdock run`. Needs root; everything happens in namespaces made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use crossdock_engine::pcapng::{Packet, Writer};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGReader};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use world::raw::{Raw, is_probe};
use world::transfer::transfer;
use world::{PATIENCE, World, number, until};

/// For local experiments (IEEE 802, clause 9.2.3): no host answers it.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

/// A broadcast frame that knows its number.
fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 0x99], &EXPERIMENTAL, &number.to_be_bytes()].concat();
    frame.resize(len, number as u8);
    frame
}

/// Writes a capture file with a frame every `gap`.
fn capture_file(path: &Path, frames: impl Iterator<Item = Vec<u8>>, gap: Duration) {
    let mut writer = Writer::new(Vec::new(), "test").unwrap();
    let interface = writer.interface("a").unwrap();
    for (n, data) in (0..).zip(frames) {
        let time = Duration::from_secs(1_700_000_000) + gap * n;
        writer
            .packet(&Packet { interface, time, data: &data, len: data.len(), direction: None, comment: None })
            .unwrap();
    }
    fs::write(path, writer.into_inner()).unwrap();
}

/// The frames of a capture file, as another program reads them.
fn recorded(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapNGReader::new(1 << 20, fs::File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    loop {
        match reader.next() {
            Ok((used, block)) => {
                if let PcapBlockOwned::NG(Block::EnhancedPacket(packet)) = block {
                    frames.push(packet.packet_data().to_vec());
                }
                reader.consume(used);
            }
            Err(PcapError::Eof) => return frames,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_file_is_played_to_a_host_and_what_the_host_sends_is_recorded() {
    let world = World::silent("pcap", 1);
    let (replay, record) = (world.lab.path("in.pcapng"), world.lab.path("out.pcapng"));
    capture_file(&replay, (0..500).map(|n| frame(n, 60 + n as usize * 2)), Duration::ZERO);
    let _xdock = world.start();
    let host = Raw::open(world.host(1), "eth0").unwrap();
    let (replay, record) = (replay.display(), record.display());
    world
        .done(&format!("port add p --kind pcap --domain lan --replay {replay} --record {record} --pace max --times 2"));
    let heard = host.drain(Duration::from_millis(700)).unwrap();
    let played: Vec<_> = (0..500).chain(0..500).map(|n| frame(n, 60 + n as usize * 2)).collect();
    assert!(heard == played, "{} of {} frames", heard.len(), played.len());
    let told: Vec<_> = (0..300).map(|n| frame(n, 100)).collect();
    told.iter().for_each(|frame| host.send(frame).unwrap());
    // One or two probes for loops besides, as the port has played much to all.
    until("all are sent to the port", || (300..=302).contains(&number(&world.shown("p")["tx_frames"])));
    let shown = world.shown("p");
    assert_eq!((shown["kind"].as_str(), shown["ifname"].as_str()), (Some("pcap"), Some("")));
    assert_eq!((number(&shown["rx_frames"]), number(&shown["mtu"])), (1000, 65_521));
    world.done("port rm p");
    let recorded = recorded(&world.lab.path("out.pcapng")).into_iter().filter(|frame| !is_probe(frame));
    assert!(recorded.eq(told));
}

#[test]
fn a_file_keeps_its_own_time_or_the_rate_that_is_asked_for() {
    let world = World::silent("pcappace", 1);
    let replay = world.lab.path("in.pcapng");
    capture_file(&replay, (0..10).map(|n| frame(n, 60)), Duration::from_millis(50));
    let _xdock = world.start();
    let host = Raw::open(world.host(1), "eth0").unwrap();
    // Ten frames 50 ms apart last 450 ms, and at 20 a second as long; at 100 a second 90 ms.
    for (pace, least) in [("original", 440), ("20", 440), ("100", 85)] {
        let begin = Instant::now();
        world.done(&format!("port add p --kind pcap --domain lan --replay {} --pace {pace}", replay.display()));
        for n in 0..10 {
            assert_eq!(host.receive(PATIENCE).unwrap(), Some(frame(n, 60)), "{pace}");
        }
        let took = begin.elapsed().as_millis();
        assert!((least..least + 8000).contains(&took), "{pace}: {took} ms");
        world.done("port rm p");
    }
}

#[test]
fn a_recording_is_whole_when_the_switch_has_ended() {
    let world = World::silent("pcapend", 1);
    let record = world.lab.path("out.pcapng");
    let mut xdock = world.start();
    let host = Raw::open(world.host(1), "eth0").unwrap();
    world.done(&format!("port add p --kind pcap --domain lan --record {}", record.display()));
    (0..1000).for_each(|n| host.send(&frame(n, 1000)).unwrap());
    until("all are sent to the port", || number(&world.shown("p")["tx_frames"]) + drops(&world) == 1000);
    let dropped = drops(&world);
    xdock.signal(rustix::process::Signal::TERM).unwrap();
    assert!(xdock.wait(PATIENCE).unwrap().success());
    assert_eq!(recorded(&record).len() as u64, 1000 - dropped);
}

/// Frames dropped at port `p`.
fn drops(world: &World) -> u64 {
    world.shown("p")["drops"].as_object().unwrap().values().map(number).sum()
}

#[test]
fn files_that_cannot_be_used_are_refused_with_their_names() {
    let world = World::silent("pcapno", 0);
    let _xdock = world.start();
    fs::write(world.lab.path("text"), "no capture file at all, just some text").unwrap();
    for (flag, what) in [("replay", "neither pcap nor pcapng"), ("record", "No such file or directory")] {
        let file = world.lab.path(if flag == "replay" { "text" } else { "no/out.pcapng" });
        let output = world.xdock(&format!("port add p --kind pcap --domain lan --{flag} {}", file.display()));
        let said = String::from_utf8(output.stderr).unwrap();
        let named = said.contains(what) && said.contains(&file.display().to_string());
        assert!(!output.status.success() && named, "{said}");
    }
}

#[test]
fn the_share_of_lost_frames_is_the_one_asked_for_and_each_has_a_name() {
    const SENT: u64 = 5000;
    let world =
        World::silent("faultdrop", 2).port(1, "storm = false\nfault = { drop = 0.1, seed = 7, direction = \"in\" }");
    let _xdock = world.start();
    let (from, to) = (Raw::open(world.host(1), "eth0").unwrap(), Raw::open(world.host(2), "eth0").unwrap());
    let mut arrived = 0;
    for burst in 0..SENT / 100 {
        (0..100).for_each(|n| from.send_patiently(&frame(burst as u32 * 100 + n, 60)).unwrap());
        arrived += to.drain(Duration::from_millis(20)).unwrap().len() as u64;
    }
    arrived += to.drain(Duration::from_millis(300)).unwrap().len() as u64;
    let port = world.shown("h1");
    let lost = number(&port["drops"]["fault"]);
    assert_eq!((number(&port["rx_frames"]), arrived + lost), (SENT, SENT));
    // Four times the square root of 5000 * 0.1 * 0.9.
    assert!(lost.abs_diff(SENT / 10) < 85, "{lost} of {SENT}");
}

#[test]
fn delayed_frames_arrive_in_time_although_the_worker_sleeps() {
    for poll in ["interrupt", "adaptive"] {
        let world =
            World::new("faultdelay", 2).engine(&format!("poll = \"{poll}\"")).port(1, "fault = { delay_ms = 20 }");
        let _xdock = world.start();
        assert!(world.pings(1, "10.0.0.2", 1));
        let mut ping = world.host(1).command("ping");
        let output = ping.args(["-q", "-i", "0.05", "-c", "20", "10.0.0.2"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let times: Vec<f64> = text.rsplit("= ").next().unwrap().split('/').flat_map(|ms| ms.parse()).collect();
        let (least, mean) = (times[0], times[1]);
        // Two ways of 20 ms. A worker that slept on would answer after a second; one on a busy machine may be late.
        assert!((40.0..60.0).contains(&least) && mean < 300.0, "{poll}: {text}");
        assert!(text.contains("20 received"), "{text}");
    }
}

#[test]
fn tcp_through_a_bad_wire_is_bit_exact_and_frames_are_conserved() {
    let bad =
        "drop = 0.002, duplicate = 0.01, reorder = 0.01, corrupt = 0.005, delay_ms = 1, rate_mbit = 2000, seed = 3";
    let world = World::new("faulttcp", 3).veth(1, "packet", 1500).every_port(&format!("fault = {{ {bad} }}"));
    let _xdock = world.start();
    let seed = world::Random::seeded().next();
    for (from, to, address) in [(2, 3, "10.0.0.3"), (3, 1, "fd00::1"), (1, 2, "10.0.0.2")] {
        transfer(world.host(from), (world.host(to), address), 8, seed);
    }
    world.hosts.iter().for_each(|host| _ = host.ip("link set eth0 down").unwrap());
    let sum =
        |ports: &serde_json::Value, key: &str| ports.as_array().unwrap().iter().map(|p| number(&p[key])).sum::<u64>();
    let mut told = String::new();
    until("no frame is under way", || {
        let ports = world.show("ports");
        let dropped: u64 = world.drops().values().sum();
        let (came, went) = (sum(&ports, "rx_frames") + sum(&ports, "generated"), sum(&ports, "tx_frames") + dropped);
        told = format!("{came} came, {went} went");
        came == went
    });
    let drops = world.drops();
    assert!(drops["fault"] > 0 && sum(&world.show("ports"), "generated") > 0, "{drops:?}; {told}");
}
