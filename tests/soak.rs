//! A switch at full load for ten minutes, on bad wires, while it is looked into, reloaded and reshaped: in the end every frame is
//! accounted for, its memory is free, and the process is no larger. Needs root; everything happens in namespaces made
//! for it.
//!
//! `make soak` runs it; `SOAK_SECONDS` says for how long.
//!
//! | host | port | faults |
//! |---|---|---|
//! | 1 | TAP, VLAN 10 | drop, duplicate |
//! | 2 | packet, trunk of VLANs 10 (native) and 20 | reorder, delay |
//! | 3 | AF_XDP, VLAN 10 | |
//! | 4 | TAP of two queues, trunk of VLANs 10 (native) and 20 | |
//! | 5 | TAP, VLAN 20 | drop, corrupt, duplicate |
//! | 6 | AF_XDP, VLAN 20 | rate, reorder |
//! | 7 | AF_XDP, trunk of VLANs 10 (native) and 20 | duplicate, drop |
//! | 8 | TAP, VLAN 20, comes and goes | |
//!
//! Hosts 1, 2 and 7 send whatever they can; the others exchange TCP, every byte of which is compared.

#![cfg(feature = "xdp")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::{Namespace, Process};
use rustix::process::Signal;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;
use world::raw::Raw;
use world::transfer::transfer;
use world::{PATIENCE, Random, World, until_within};

/// How long, unless the environment says otherwise.
const SECONDS: u64 = 600;
/// How much larger the process may become in the second half, in KiB.
const GROWTH: u64 = 2048;
/// Longer than any frame waits for a slow wire.
const REST: Duration = Duration::from_secs(30);
/// Between two operations.
const PAUSE: Duration = Duration::from_millis(500);
/// What hosts and faults of this test cannot cause.
const IMPOSSIBLE: [&str; 5] = ["bad_vnet_header", "offload_unfit", "source_own", "no_domain", "no_headroom"];

/// What all threads look at.
#[derive(Debug, Default)]
struct Progress {
    /// Nothing more is to be begun.
    over: AtomicBool,
    /// Nobody waits for a frame any more.
    quiet: AtomicBool,
    frames: AtomicU64,
    transfers: AtomicU64,
}

impl Progress {
    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    fn is_quiet(&self) -> bool {
        self.quiet.load(Relaxed)
    }
}

fn world() -> World {
    let (access, trunk) = (|vlan| format!("vlan = {{ access = {vlan} }}"), "vlan = { trunk = [10, 20], native = 10 }");
    let fault = |vlan: &str, faults: &str| format!("{vlan}\nfault = {{ {faults} }}");
    World::new("soak", 8)
        .engine("cores = [0, 1]\nframes = 2048\nsuper_frames = 128\nflows_max = 4096")
        .veth(2, "packet", 1500)
        .veth(3, "xdp", 1500)
        .veth(6, "xdp", 1500)
        .veth(7, "xdp", 1500)
        .port(1, &fault(&access(10), "drop = 0.002, duplicate = 0.01, seed = 1"))
        .port(2, &fault(trunk, "reorder = 0.01, delay_ms = 1, seed = 2"))
        .port(3, &access(10))
        .port(4, &format!("queues = 2\n{trunk}"))
        .port(5, &fault(&access(20), "drop = 0.002, corrupt = 0.002, duplicate = 0.01, seed = 5"))
        .port(6, &fault(&access(20), "rate_mbit = 50, reorder = 0.05, seed = 6"))
        .port(7, &fault(trunk, "duplicate = 0.01, drop = 0.002, seed = 7"))
        .port(8, &access(20))
}

/// Sends all sorts of frames as fast as the interface takes them.
fn blast(progress: &Progress, host: &Namespace, n: u8, seed: u64) {
    let (raw, mut random) = (Raw::open(host, "eth0").unwrap(), Random(seed));
    let noise = random.bytes(4096);
    while !progress.is_quiet() {
        // Refused while the queue is full.
        let sent = (0..100).filter(|_| raw.send(&frame(&mut random, n, &noise)).is_ok()).count() as u64;
        progress.frames.fetch_add(sent, Relaxed);
    }
}

/// Mostly to a host that is known; of any length, now and then tagged, to everybody, to nobody, or no frame at all.
fn frame(random: &mut Random, from: u8, noise: &[u8]) -> Vec<u8> {
    let length = random.pick(&[60, 60, 60, 200, 1514]);
    let start = random.below(noise.len() - length);
    let mut frame = noise[start..start + length].to_vec();
    let kind = random.below(200);
    let to = match kind {
        0 => [0xff; 6],
        1 => [2, 0, 0, 0, 1, random.next() as u8],
        _ => [2, 0, 0, 0, 0, random.pick(&[1, 2, 7, 8])],
    };
    if kind == 2 {
        // Not ever new addresses: the tables would grow until they are full.
        frame[6..11].fill(from);
    } else {
        frame[..6].copy_from_slice(&to);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, if kind == 3 { 2 } else { 0 }, from]);
        frame[12..14].copy_from_slice(if kind < 40 { &[0x81, 0x00] } else { &[0x88, 0xb5] });
        frame[14..16].copy_from_slice(&[0, random.pick(&[0, 10, 20, 20, 30])]);
    }
    frame
}

/// Transfers 2 MiB again and again, every byte compared.
fn exchange(progress: &Progress, from: &Namespace, to: (&Namespace, &str)) {
    while !progress.is_over() {
        transfer(from, to, 2, progress.transfers.fetch_add(1, Relaxed));
    }
}

/// Looks into the switch and reshapes it in rounds; how large the process was after each, in KiB.
fn operate(progress: &Progress, world: &World, xdock: &Process) -> Vec<u64> {
    let mut sizes = Vec::new();
    let (config, file) = (world.config(), world.lab.path("xdock.toml"));
    let (last, capture) = (config.rfind("[[port]]").unwrap(), world.lab.path("capture.pcapng"));
    let capped = config.replace("name = \"h1\"\n", "name = \"h1\"\nstorm = { broadcast = 900 }\n");
    let reload = |config: &str| {
        fs::write(&file, config).unwrap();
        world.done("reload");
    };
    while !progress.is_over() {
        reload(&config[..last]);
        world.done("capture -c 2000");
        reload(&capped);
        world.done(&format!("capture --drops -c 200 -w {}", capture.display()));
        world.done("port rm h8");
        let traced = world.done("trace --port h4 --hex 0200000000050200000000048100001408004500001c");
        assert!(traced.contains("vlan"), "{traced}");
        reload(&config);
        ["ports", "domains", "fdb", "flows", "drops", "workers"].iter().for_each(|what| _ = world.show(what));
        world.host(2).ip("link set eth0 down").unwrap();
        world.host(2).ip("link set eth0 up").unwrap();
        sleep(PAUSE);
        sizes.push(resident(xdock));
    }
    sizes
}

/// Resident memory, in KiB (proc_pid_status(5)).
fn resident(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// By how much the process is larger in the last fifth of the rounds than in the middle one, in KiB. Each is at the same point
/// of its round: what captures and ports take while they are there does not count.
fn growth(rounds: &[u64]) -> u64 {
    let fifth = (rounds.len() / 5).max(1);
    let least = |part: &[u64]| part.iter().copied().min().unwrap();
    least(&rounds[rounds.len() - fifth..]).saturating_sub(least(&rounds[2 * fifth..][..fifth]))
}

#[test]
#[ignore = "it takes ten minutes: make soak"]
fn every_frame_of_a_long_day_is_accounted_for() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let (world, progress, seed) = (world(), Progress::default(), Random::seeded().next());
    let mut xdock = world.start();
    let sizes = std::thread::scope(|scope| {
        for n in [1, 2, 7] {
            let (progress, host) = (&progress, world.host(n));
            scope.spawn(move || blast(progress, host, n as u8, seed ^ n as u64));
        }
        for (from, to, address) in [(3, 4, "10.0.0.4"), (4, 3, "fd00::3"), (5, 6, "10.0.0.6"), (6, 5, "fd00::5")] {
            let (progress, from, to) = (&progress, world.host(from), world.host(to));
            scope.spawn(move || exchange(progress, from, (to, address)));
        }
        let operator = scope.spawn(|| operate(&progress, &world, &xdock));
        sleep(Duration::from_secs(seconds));
        progress.over.store(true, Relaxed);
        // A capture that has begun ends when enough frames were seen.
        let operated = operator.join();
        progress.quiet.store(true, Relaxed);
        operated.unwrap()
    });
    world.hosts.iter().take(7).for_each(|host| _ = host.ip("link set eth0 down").unwrap());
    let told = format!("{progress:?}; KiB after each round {sizes:?}; {:?}", world.drops());
    println!("{seconds} s: {told}");
    until_within(REST, &told, || world.at_rest());
    assert!(progress.transfers.load(Relaxed) > 3 && progress.frames.load(Relaxed) > 10_000 * seconds, "{told}");
    let impossible: Vec<_> = world.drops().into_keys().filter(|name| IMPOSSIBLE.contains(&name.as_str())).collect();
    assert_eq!(impossible, Vec::<String>::new());
    // The size goes up and down by a tenth with what comes and goes: a few rounds say nothing of growth.
    assert!(seconds < SECONDS / 2 || growth(&sizes) <= GROWTH, "{told}");
    xdock.signal(Signal::TERM).unwrap();
    assert!(xdock.wait(PATIENCE).unwrap().success());
    assert!(!xdock.stderr().contains("panic"), "{}", xdock.stderr());
}
