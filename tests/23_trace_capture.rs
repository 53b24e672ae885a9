//! `xdock trace` and `xdock capture` against a running switch with real traffic. Needs root.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::{Process, run, xdock_binary};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use world::paced::Paced;
use world::raw::Raw;
use world::{PATIENCE, World, number, until};

/// The address of host `n`.
fn mac(n: u8) -> String {
    format!("02:00:00:00:00:{n:02x}")
}

/// A frame between two addresses, of an EtherType that nobody minds; 60 bytes.
fn frame(source: [u8; 6], destination: [u8; 6]) -> Vec<u8> {
    let mut frame = [&destination[..], &source, &[0x88, 0xb5]].concat();
    frame.resize(60, 0);
    frame
}

/// `xdock trace --json`.
fn trace(world: &World, arguments: &str) -> Value {
    serde_json::from_str(&world.done(&format!("trace --json {arguments}"))).unwrap()
}

/// Starts a capture; from here on every frame is in it.
fn capture(world: &World, name: &str, arguments: &str) -> Process {
    let mut command = Command::new(xdock_binary().unwrap());
    command.arg("capture").args(arguments.split_whitespace()).arg("--control").arg(world.socket());
    let mut process = world.lab.spawn(name, &mut command).unwrap();
    until("the capture begins", || process.stderr().contains("Ctrl-C ends it"));
    assert!(process.signal(Signal::CONT).is_ok(), "it runs");
    process
}

/// Ends a capture as Ctrl-C does; frames captured and missed, as it says.
fn end(mut process: Process) -> (u64, u64) {
    process.signal(Signal::INT).unwrap();
    tally(&mut process)
}

fn tally(process: &mut Process) -> (u64, u64) {
    let status = process.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    let told = process.stderr();
    let last = told.lines().last().unwrap();
    let counts: Vec<u64> = last.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (counts[0], counts[1])
}

/// What tcpdump reads in a capture file: a line a frame, without the bytes of those it cannot explain.
fn tcpdump(file: &PathBuf) -> Vec<String> {
    let lines = run(Command::new("tcpdump").args(["-e", "-n", "-tt", "--nano", "-r"]).arg(file)).unwrap();
    lines.lines().filter(|line| !line.starts_with('\t')).map(str::to_owned).collect()
}

/// A packet of a pcapng file: interface, flags, comment, and the bytes that were kept of how many.
struct Kept {
    interface: String,
    flags: u32,
    comment: String,
    len: usize,
    bytes: Vec<u8>,
}

/// Reads interfaces and packets of a capture file by the letter of the draft, apart from the code that wrote it.
fn pcapng(file: &PathBuf) -> Vec<Kept> {
    let file = std::fs::read(file).unwrap();
    let (mut rest, mut names, mut packets) = (&file[..], Vec::new(), Vec::new());
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
        let len = word(4);
        assert_eq!(word(len - 4), len);
        match word(0) {
            1 => names.push(String::from_utf8(option(&rest[16..len - 4], 2)).unwrap()),
            6 => {
                let (kept, options) = rest[28..len - 4].split_at(word(20).next_multiple_of(4));
                packets.push(Kept {
                    interface: names[word(8)].clone(),
                    flags: u32::from_le_bytes(option(options, 2).try_into().unwrap()),
                    comment: String::from_utf8(option(options, 1)).unwrap(),
                    len: word(24),
                    bytes: kept[..word(20)].to_vec(),
                });
            }
            kind => assert_eq!(kind, 0x0a0d_0d0a),
        }
        rest = &rest[len..];
    }
    packets
}

/// The value of an option; empty where there is none.
fn option(mut options: &[u8], wanted: u16) -> Vec<u8> {
    while options.len() >= 4 {
        let [code, len] = [0, 2].map(|at| u16::from_le_bytes([options[at], options[at + 1]]));
        if code == wanted {
            return options[4..4 + usize::from(len)].to_vec();
        }
        options = &options[4 + usize::from(len).next_multiple_of(4)..];
    }
    Vec::new()
}

#[test]
fn a_trace_explains_and_changes_nothing() {
    let world = World::silent("trace", 3);
    let _xdock = world.start();
    let (unknown, known) = (format!("--port h1 src={} dst={}", mac(1), mac(2)), format!("--port h2 src={}", mac(2)));
    let flood = trace(&world, &unknown);
    let stages: Vec<_> = flood["stages"].as_array().unwrap().iter().map(|stage| &stage["stage"]).collect();
    assert_eq!(stages, ["vlan", "learn", "isolate", "forward"]);
    assert_eq!(flood["stages"][3]["why"], json!(["destination unknown: floods"]));
    assert_eq!(flood["program"], json!(["output:h2", "output:h3"]));
    assert_eq!((&flood["caching"], &flood["cached"]), (&json!("once"), &Value::Null));
    assert_eq!(flood["departures"][1]["port"], "h3");

    let raw = [1, 2, 3].map(|n| Raw::open(world.host(n), "eth0").unwrap());
    raw[1].send(&frame([2, 0, 0, 0, 0, 2], [0xff; 6])).unwrap();
    until("h2 is known", || !world.learned("h2").is_empty());
    assert_eq!(trace(&world, &known)["stages"][1]["why"], json!(["source known here"]));
    let direct = trace(&world, &unknown);
    assert_eq!((&direct["program"], &direct["caching"]), (&json!(["output:h2"]), &json!("once")));
    assert_eq!(direct["stages"][1]["once"], true, "the first frame of a new address");
    assert_eq!(world.learned("h1"), Vec::<String>::new(), "h1 never spoke");
    assert_eq!(number(&world.shown("h1")["rx_frames"]), 0);
    assert_eq!(world.show("flows"), json!([]));
    assert!(raw[2].drain(Duration::from_millis(100)).unwrap().len() <= 1, "nothing was sent but the broadcast");

    let text = world.done(&format!("trace {unknown} len=2000"));
    assert!(text.contains("destination known on h2\n      -> h2\n"), "{text}");
    assert!(text.contains("Dropped: at h2: too_big: longer than the egress port's MTU allows"), "{text}");
    assert_eq!(world.drops().get("too_big"), None);
    let wrong = world.xdock("trace --port h9 dst=02:00:00:00:00:01");
    assert_eq!(String::from_utf8_lossy(&wrong.stderr).lines().next(), Some("xdock: trace: no port h9"));
    assert_eq!(world.xdock("trace --port h1").status.code(), Some(2), "no frame at all");
}

#[test]
fn a_captured_frame_can_be_traced() {
    let world = World::silent("retrace", 2);
    let _xdock = world.start();
    let file = world.lab.path("one.pcapng");
    let mut capture = capture(&world, "capture", &format!("-c 1 -s 0 --port h1 -w {}", file.display()));
    let raw = Raw::open(world.host(1), "eth0").unwrap();
    raw.send(&frame([2, 0, 0, 0, 0, 1], [1, 0x80, 0xc2, 0, 0, 0])).unwrap();
    assert_eq!(tally(&mut capture), (1, 0));
    let said = trace(&world, &format!("--port h1 --pcap {}", file.display()));
    assert_eq!((&said["dropped"]["reason"], &said["program"]), (&json!("reserved"), &json!(["drop:reserved"])));
    let hex = pcapng(&file)[0].bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(trace(&world, &format!("--port h1 --hex {hex}")), said);
    assert_eq!(world.xdock(&format!("trace --port h1 --frame 2 --pcap {}", file.display())).status.code(), Some(1));
    let raw_ip = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 101, 0, 0, 4, 4, 0x45].map(u32::to_le_bytes).concat();
    std::fs::write(&file, raw_ip).unwrap();
    let refused = world.xdock(&format!("trace --port h1 --pcap {}", file.display()));
    let expected = format!("xdock: {}: its packets are RAW, not Ethernet frames\n", file.display());
    assert_eq!((refused.status.code(), String::from_utf8(refused.stderr).unwrap()), (Some(1), expected));
}

#[test]
fn a_capture_shows_both_ways_and_drops_with_their_reason() {
    let world = World::silent("capture", 2);
    let _xdock = world.start();
    let (all, drops) = (world.lab.path("all.pcapng"), world.lab.path("drops.pcapng"));
    let everything = capture(&world, "all", &format!("-w {}", all.display()));
    let only_drops = capture(&world, "drops", &format!("--drops -w {}", drops.display()));
    let raw = Raw::open(world.host(1), "eth0").unwrap();
    let (broadcast, reserved) =
        (frame([2, 0, 0, 0, 0, 1], [0xff; 6]), frame([2, 0, 0, 0, 0, 1], [1, 0x80, 0xc2, 0, 0, 3]));
    raw.send(&broadcast).unwrap();
    raw.send(&reserved).unwrap();
    until("both came", || number(&world.shown("h1")["rx_frames"]) == 2);
    assert_eq!((end(everything), end(only_drops)), ((4, 0), (1, 0)));

    let seen: Vec<_> = pcapng(&all).into_iter().map(|p| (p.interface, p.flags, p.comment, p.bytes)).collect();
    let reason = "dropped: reserved: sent to a link-local group (01:80:c2:00:00:0x) that a bridge never forwards";
    let record = |port: &str, flags, comment: &str, bytes: &[u8]| (port.into(), flags, comment.into(), bytes.to_vec());
    let (come, go) = (1, 2);
    let mut expected = vec![
        record("h1", come, "", &broadcast),
        record("h1", come, "", &reserved),
        record("h1", come, reason, &reserved),
        record("h2", go, "", &broadcast),
    ];
    let sort = |mut records: Vec<(String, u32, String, Vec<u8>)>| {
        records.sort();
        records
    };
    assert_eq!(sort(seen), sort(std::mem::take(&mut expected)));
    let dropped: Vec<_> = pcapng(&drops).into_iter().map(|p| (p.interface, p.comment, p.len)).collect();
    assert_eq!(dropped, [("h1".into(), reason.into(), 60)]);
    let lines = tcpdump(&all);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("02:00:00:00:00:01 > ") && line.contains("length 60")), "{lines:?}");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let then: f64 = lines[0].split(' ').next().unwrap().parse().unwrap();
    assert!((now - then).abs() < 60.0, "{then} is not {now}");
}

#[test]
fn a_capture_as_text_ends_by_count_and_picks_by_fields() {
    let world = World::new("text", 2);
    let _xdock = world.start();
    let mut picked = capture(&world, "picked", "-c 4 proto=icmp host=10.0.0.2");
    let mut port = capture(&world, "port", "-c 2 --port h2 proto=icmp");
    assert!(world.pings(1, "10.0.0.2", 3));
    assert_eq!((tally(&mut picked), tally(&mut port)), ((4, 0), (2, 0)));
    let lines = picked.stdout();
    let told: Vec<_> = lines.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let request = "02:00:00:00:00:01 > 02:00:00:00:00:02, IP 10.0.0.1 > 10.0.0.2: ICMP echo request, 98 bytes";
    let reply = "02:00:00:00:00:02 > 02:00:00:00:00:01, IP 10.0.0.2 > 10.0.0.1: ICMP echo reply, 98 bytes";
    let expected = [("h1 in  ", request), ("h2 out ", request), ("h2 in  ", reply), ("h1 out ", reply)];
    assert_eq!(told, expected.map(|(place, told)| format!("{place} {told}")));
    assert_eq!(port.stdout().lines().count(), 2);
    let wrong = world.xdock("capture colour=red");
    assert!(String::from_utf8_lossy(&wrong.stderr).starts_with("xdock: capture: no field \"colour\""));
}

#[test]
fn a_file_is_opened_by_a_capture_that_begins_and_named_where_it_fails() {
    let world = World::silent("file", 1);
    let _xdock = world.start();
    let file = world.lab.path("old.pcapng");
    std::fs::write(&file, "old").unwrap();
    let said = |arguments: &str| String::from_utf8(world.xdock(arguments).stderr).unwrap();
    let refused = said(&format!("capture --port h9 -w {}", file.display()));
    assert!(refused.starts_with("xdock: capture: no port h9\n"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    let full = said("capture -w /dev/full");
    assert!(full.contains("xdock: /dev/full: No space left on device"), "{full}");
    let nowhere = said("capture -w /proc/nowhere/file");
    assert!(nowhere.starts_with("xdock: /proc/nowhere/file: No such file"), "{nowhere}");
}

#[test]
fn super_frames_are_whole_and_say_so() {
    let world = World::new("super", 2);
    let _xdock = world.start();
    let _server = world.iperf_server(2);
    let file = world.lab.path("super.pcapng");
    let capture = capture(&world, "super", &format!("-s 0 --port h1 proto=tcp -w {}", file.display()));
    run(world.host(1).command("iperf3").args(["-c", "10.0.0.2", "-n", "8M"])).unwrap();
    let (captured, _) = end(capture);
    let packets = pcapng(&file);
    assert_eq!(packets.len() as u64, captured);
    let longest = packets.iter().max_by_key(|packet| packet.len).unwrap();
    assert!(longest.len > 20_000 && longest.bytes.len() == longest.len, "{}", longest.len);
    assert!(longest.comment.starts_with("super-frame: segments of 14"), "{}", longest.comment);
    assert_eq!(tcpdump(&file).len() as u64, captured);
}

/// A reader that is stopped misses copies; the traffic misses nothing.
#[test]
fn a_reader_that_stands_still_costs_the_traffic_nothing() {
    let world = World::new("slow", 3);
    let _xdock = world.start();
    let _server = world.iperf_server(3);
    let file = world.lab.path("slow.pcapng");
    let mut reader = capture(&world, "slow", &format!("-s 0 -w {}", file.display()));
    reader.signal(Signal::STOP).unwrap();
    let stream = Paced::start(world.host(1), world.host(2), "10.0.0.2");
    run(world.host(1).command("iperf3").args(["-c", "10.0.0.3", "-n", "300M"])).unwrap();
    assert!(stream.finish() > 0);
    reader.signal(Signal::CONT).unwrap();
    let (captured, missed) = end(reader);
    assert!(captured > 0 && missed > 0, "{captured} captured, {missed} missed");
    assert_eq!(pcapng(&file).len() as u64, captured, "whole to the last block");
}

#[test]
fn a_reader_that_is_killed_ends_its_capture() {
    let world = World::new("killed", 2);
    let _xdock = world.start();
    let mut readers: Vec<_> = (0..8).map(|n| capture(&world, &format!("reader{n}"), "")).collect();
    let ninth = world.xdock("capture");
    assert!(String::from_utf8_lossy(&ninth.stderr).starts_with("xdock: capture: 8 captures are under way"));
    for reader in &mut readers {
        reader.signal(Signal::KILL).unwrap();
        reader.wait(PATIENCE).unwrap();
    }
    until("the places are free", || {
        let mut again = Command::new(xdock_binary().unwrap());
        let again = again.args(["capture", "--control"]).arg(world.socket());
        let refused = world.lab.spawn("again", again).unwrap().wait(Duration::from_millis(300));
        refused.is_err()
    });
}

#[test]
fn a_switch_that_ends_ends_its_captures() {
    let world = World::new("ends", 2);
    let mut xdock = world.start();
    let mut reader = capture(&world, "reader", "");
    xdock.signal(Signal::TERM).unwrap();
    assert_eq!(xdock.wait(Duration::from_secs(3)).unwrap().code(), Some(0));
    assert_eq!(reader.wait(PATIENCE).unwrap().code(), Some(1));
    assert!(reader.stderr().contains("xdock: capture: the switch gave no answer"), "{}", reader.stderr());
}
