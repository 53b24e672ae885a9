//! What a round measures, by name, and which of it is divided by which.

use crate::account;
use crate::bulk;
use crate::crowd::Crowd;
use crate::grid::Values;
use crate::hostile::{self, Attack};
use crate::packets;
use crate::rtt;
use crate::systems::{Placement, System};
use crate::testbed::Testbed;
use anyhow::{Context, Result};
use crossdock::bench::memory::{Bench, Pattern, pin_to_last_core};
use std::collections::BTreeMap;
use std::time::Duration;

/// By name.
pub type Figures = BTreeMap<&'static str, f64>;
/// Measures some of them.
type Part = fn() -> Result<Values>;

/// Counted part of a TCP transfer.
const TCP_TIME: Duration = Duration::from_millis(500);
/// Counted part of a packet-rate run.
const PACKETS_TIME: Duration = Duration::from_millis(400);
/// Of a run of round trips.
const RTT_TIME: Duration = Duration::from_millis(400);
/// Frames a batch in memory.
const BATCH: usize = 64;
/// Stations that fit a cache, and that do not.
const FEW: usize = 64;
const MANY: usize = 1 << 16;
/// Idle ports.
const IDLE: Crowd = Crowd::new(250, 32);
/// The attack.
const ATTACK: Attack = Attack::Refused;

const FEW_PAIRS: &str = "in memory, pairs of 64: ticks";
const MANY_PAIRS: &str = "in memory, pairs of 64 k: ticks";
const MESH: &str = "in memory, mesh of 64 k, other pairs in each pass: ticks";
const NEW: &str = "in memory, new address: ticks";
const PLAIN_FEW: &str = "plain switch, pairs of 64: ticks";
const PLAIN_MANY: &str = "plain switch, pairs of 64 k: ticks";
const PLAIN_MESH: &str = "plain switch, mesh of 64 k: ticks";
const BRIDGE_TCP: &str = "bridge: TCP, Gbit/s";
const BRIDGE_PACKETS: &str = "bridge: 64 B, Mpps";
const BRIDGE_RTT: &str = "bridge: RTT p50, us";
const XDOCK_TCP: &str = "xdock: TCP, Gbit/s";
const XDOCK_PACKETS: &str = "xdock: 64 B, Mpps";
const XDOCK_RTT: &str = "xdock: RTT p50, us";
const IDLE_TCP: &str = "xdock, 250 idle ports: TCP, Gbit/s";
const IDLE_RTT: &str = "xdock, 250 idle ports: RTT p50, us";
const ALONE_TCP: &str = "xdock, before an attack: TCP, Gbit/s";
const ATTACKED_TCP: &str = "xdock, attacked: TCP, Gbit/s";
const ALONE_RTT: &str = "xdock, before an attack: RTT p50, us";
const ATTACKED_RTT: &str = "xdock, attacked: RTT p50, us";

/// All figures, in the order of the table.
pub const FIGURES: [&str; 19] = [
    FEW_PAIRS,
    MANY_PAIRS,
    MESH,
    NEW,
    PLAIN_FEW,
    PLAIN_MANY,
    PLAIN_MESH,
    BRIDGE_TCP,
    BRIDGE_PACKETS,
    BRIDGE_RTT,
    XDOCK_TCP,
    XDOCK_PACKETS,
    XDOCK_RTT,
    IDLE_TCP,
    IDLE_RTT,
    ALONE_TCP,
    ATTACKED_TCP,
    ALONE_RTT,
    ATTACKED_RTT,
];

/// A name, and the two figures whose quotient it is: the larger the better.
pub const COMPARISONS: [(&str, &str, &str); 11] = [
    ("in memory, pairs of 64: plain switch / xdock", PLAIN_FEW, FEW_PAIRS),
    ("in memory, pairs of 64 k: plain switch / xdock", PLAIN_MANY, MANY_PAIRS),
    ("in memory, mesh of 64 k: plain switch / xdock", PLAIN_MESH, MESH),
    ("in memory: pairs of 64 / new address", FEW_PAIRS, NEW),
    ("TCP: xdock / bridge", XDOCK_TCP, BRIDGE_TCP),
    ("64 B: xdock / bridge", XDOCK_PACKETS, BRIDGE_PACKETS),
    ("RTT p50: bridge / xdock", BRIDGE_RTT, XDOCK_RTT),
    ("TCP: 250 idle ports / none", IDLE_TCP, XDOCK_TCP),
    ("RTT p50: no idle ports / 250", XDOCK_RTT, IDLE_RTT),
    ("TCP: attacked / before", ATTACKED_TCP, ALONE_TCP),
    ("RTT p50: before / attacked", ALONE_RTT, ATTACKED_RTT),
];

/// Everything once.
pub fn measure() -> Result<Figures> {
    let parts: [(&str, Part); 5] = [
        ("in memory", in_memory),
        ("the bridge", bridge),
        ("xdock", xdock),
        ("xdock with idle ports", among_idle_ports),
        ("xdock under attack", under_attack),
    ];
    let measured = parts.into_iter().map(|(what, part)| part().context(what));
    Ok(measured.collect::<Result<Vec<Values>>>()?.into_iter().flatten().collect())
}

/// On a thread of its own, that stays on one core.
fn in_memory() -> Result<Values> {
    let ticks = || {
        pin_to_last_core();
        let mut bench = Bench::new(true);
        Ok(vec![
            (FEW_PAIRS, bench.hit(Pattern::Pairs, FEW, BATCH)?),
            (PLAIN_FEW, bench.yardstick(Pattern::Pairs, FEW, BATCH)),
            (MANY_PAIRS, bench.hit(Pattern::Pairs, MANY, BATCH)?),
            (PLAIN_MANY, bench.yardstick(Pattern::Pairs, MANY, BATCH)),
            (MESH, bench.fresh(MANY, BATCH)?),
            (PLAIN_MESH, bench.yardstick(Pattern::Mesh, MANY, BATCH)),
            (NEW, bench.new_macs(BATCH)?),
        ])
    };
    std::thread::spawn(ticks).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Both hosts on one core for TCP, where its rate is steady; on two for round trips, as these are made of wake-ups on both sides.
fn bridge() -> Result<Values> {
    let bed = Testbed::new(System::Bridge)?;
    Ok(vec![
        (BRIDGE_TCP, tcp(&bed)?),
        (BRIDGE_PACKETS, packets::measure(&bed, PACKETS_TIME)?.delivered),
        (BRIDGE_RTT, rtt(&bed, Placement::InKernel)?),
    ])
}

fn xdock() -> Result<Values> {
    let bed = Testbed::new(System::Xdock)?;
    let [rate, rtt] = tcp_and_rtt(&bed)?;
    let packets = packets::measure(&bed, PACKETS_TIME)?.delivered;
    account::settle(&bed)?;
    Ok(vec![(XDOCK_TCP, rate), (XDOCK_RTT, rtt), (XDOCK_PACKETS, packets)])
}

fn among_idle_ports() -> Result<Values> {
    let bed = IDLE.bed()?;
    let [rate, rtt] = tcp_and_rtt(&bed)?;
    account::settle(&bed)?;
    Ok(vec![(IDLE_TCP, rate), (IDLE_RTT, rtt)])
}

fn under_attack() -> Result<Values> {
    let scene = hostile::scene(ATTACK, TCP_TIME)?;
    let names = [
        (hostile::ALONE, ALONE_TCP),
        (hostile::ATTACKED, ATTACKED_TCP),
        (hostile::P50_ALONE, ALONE_RTT),
        (hostile::P50_ATTACKED, ATTACKED_RTT),
    ];
    let renamed = |(column, value)| names.iter().find(|(known, _)| *known == column).map(|(_, name)| (*name, value));
    Ok(scene.into_iter().filter_map(renamed).collect())
}

fn tcp_and_rtt(bed: &Testbed) -> Result<[f64; 2]> {
    Ok([tcp(bed)?, rtt(bed, Placement::OwnCore)?])
}

/// The better of two samples: what else the machine does can only take away.
fn tcp(bed: &Testbed) -> Result<f64> {
    let sample = || bulk::rate(bed, Placement::OwnCore, TCP_TIME);
    Ok(sample()?.max(sample()?))
}

/// The median; on a machine that is busy with something else it may be of few.
fn rtt(bed: &Testbed, placement: Placement) -> Result<f64> {
    Ok(rtt::endure(bed, placement, RTT_TIME, Duration::ZERO)?.p50)
}
