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
use world::raw::Raw;
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
    until("all are sent to the port", || number(&world.shown("p")["tx_frames"]) == 300);
    let shown = world.shown("p");
    assert_eq!((shown["kind"].as_str(), shown["ifname"].as_str()), (Some("pcap"), Some("")));
    assert_eq!((number(&shown["rx_frames"]), number(&shown["mtu"])), (1000, 65_521));
    world.done("port rm p");
    assert!(recorded(&world.lab.path("out.pcapng")) == told);
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
        assert!(took >= least && took < least + 1500, "{pace}: {took} ms");
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
