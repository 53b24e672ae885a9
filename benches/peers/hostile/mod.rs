//! A hostile container beside two hosts: what the two, in a domain of their own, keep of their TCP and of their round trips while
//! it does its worst with no more than a container is given (CAP_NET_RAW, and a TAP port of its own domain).
//!
//! Hosts and attacker are on CPU 0, the switch is on CPU 1. So a part of the hosts' loss is only that they share a core with a busy
//! process. How large that is, is measured: the same load goes into a TAP that nobody reads (*elsewhere*). What is lost
//! beyond that is the switch's doing.

mod attack;
mod frames;
mod load;
mod mob;

pub use attack::Attack;

use crate::account;
use crate::args::Args;
use crate::bulk;
use crate::cpu::watched;
use crate::grid::{Grid, Values};
use crate::interrupt;
use crate::rtt::{self, Rtt};
use crate::systems::Placement;
use crate::testbed::Testbed;
use anyhow::{Result, ensure};
use clap::ValueEnum;
use mob::Mob;
use std::time::{Duration, Instant};

/// Between two round trips: 500 a second.
const PAUSE: Duration = Duration::from_millis(2);
/// Frames of the attacker that the switch must at least have read: otherwise it was no attack.
const LEAST: u64 = 50;

/// Before the attack.
pub const ALONE: &str = "TCP alone, Gbit/s";
/// During the attack.
pub const ATTACKED: &str = "attacked";
const ELSEWHERE: &str = "load elsewhere";
const KEPT: &str = "attacked / alone";
const FAIR: &str = "attacked / elsewhere";
/// Before the attack.
pub const P50_ALONE: &str = "RTT p50 alone, us";
/// During the attack.
pub const P50_ATTACKED: &str = "p50 attacked";
const P50_ELSEWHERE: &str = "p50 elsewhere";
const P99_ALONE: &str = "RTT p99 alone, us";
const P99_ATTACKED: &str = "p99 attacked";
const P99_ELSEWHERE: &str = "p99 elsewhere";
const SENT: &str = "frames sent, k/s";
const READ: &str = "read, k/s";

const COLUMNS: [&str; 13] = [
    ALONE,
    ATTACKED,
    ELSEWHERE,
    KEPT,
    FAIR,
    P50_ALONE,
    P50_ATTACKED,
    P50_ELSEWHERE,
    P99_ALONE,
    P99_ATTACKED,
    P99_ELSEWHERE,
    SENT,
    READ,
];

const NOTES: &str = "Hosts and attacker on CPU 0, switch on CPU 1. TCP: one stream between threads, cubic, MTU 1500, at the receiver, after 0.4 s of \
warm-up. RTT: one byte of UDP, 500 a second; no answer within 100 ms counts as that. Elsewhere: the same load into a TAP that nobody \
reads, so what it costs that the hosts share their core. Read: by the switch from the \
attacker's port; the rest found its queue full. Ratios: of the same run.";

/// All attacks in turn, again and again.
pub fn measure(args: &Args) -> Result<Grid> {
    let mut grid = Grid::new("Hostile neighbours", "attack", &COLUMNS, NOTES);
    for run in 1..=args.scene_runs() {
        for &attack in &args.attacks {
            let name = attack.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            eprintln!("hostile neighbours: run {run} of {}: {name}", args.scene_runs());
            let result = watched(|| scene(attack, args.probe_time()));
            interrupt::check()?;
            match result {
                Ok((values, disturbed)) => grid.add(run, &name, values, disturbed),
                Err(error) => grid.fail(&name, format!("{error:#}")),
            }
        }
    }
    Ok(grid)
}

/// One switch that is attacked in one way.
pub fn scene(attack: Attack, time: Duration) -> Result<Values> {
    let mob = Mob::gather(attack)?;
    let alone = probe(&mob.bed, time)?;
    let (elsewhere, _) = mob.elsewhere(|| probe(&mob.bed, time))?;
    // Last: what waits in the attacker's queue is switched for seconds afterwards.
    let (begin, before) = (Instant::now(), mob.received()?);
    let (attacked, sent) = mob.attack(|| probe(&mob.bed, time))?;
    let read = mob.received()? - before;
    let taken = read as f64 / begin.elapsed().as_secs_f64();
    ensure!(read >= LEAST, "of the attacker's {sent:.0} frames a second the switch read {taken:.0}: no attack");
    account::settle(&mob.bed)?;
    let rates = [(SENT, sent / 1e3), (READ, taken / 1e3)];
    Ok(values(&alone, &attacked, &elsewhere).into_iter().chain(rates).collect())
}

/// What the two hosts get.
struct Probe {
    rate: f64,
    rtt: Rtt,
}

fn probe(bed: &Testbed, time: Duration) -> Result<Probe> {
    let rate = bulk::rate(bed, Placement::OwnCore, time)?;
    Ok(Probe { rate, rtt: rtt::endure(bed, Placement::OwnCore, time, PAUSE)? })
}

fn values(alone: &Probe, attacked: &Probe, elsewhere: &Probe) -> Values {
    vec![
        (ALONE, alone.rate),
        (ATTACKED, attacked.rate),
        (ELSEWHERE, elsewhere.rate),
        (KEPT, attacked.rate / alone.rate),
        (FAIR, attacked.rate / elsewhere.rate),
        (P50_ALONE, alone.rtt.p50),
        (P50_ATTACKED, attacked.rtt.p50),
        (P50_ELSEWHERE, elsewhere.rtt.p50),
        (P99_ALONE, alone.rtt.p99),
        (P99_ATTACKED, attacked.rtt.p99),
        (P99_ELSEWHERE, elsewhere.rtt.p99),
    ]
}
