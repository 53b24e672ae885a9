//! Idle ports: what two hosts get from a switch that serves many others who have nothing to say, and what those cost.
//!
//! The others are TAPs of another domain, in a few namespaces without a process; one scene has a namespace for each. Every scene
//! starts its switch anew, because how long that takes is one of the questions.

use crate::account;
use crate::args::Args;
use crate::cpu::{of_process, watched};
use crate::grid::{Grid, Values};
use crate::neighbours::Neighbours;
use crate::rtt;
use crate::systems::{Placement, System};
use crate::tcp::{self, Transfer};
use crate::testbed::Testbed;
use crate::{interrupt, lab};
use anyhow::{Context, Result};
use std::fs;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Namespaces of the others, unless a scene has one for each.
const NAMESPACES: usize = 32;
/// Between two requests of the paced round trips: 500 a second.
const PAUSE: Duration = Duration::from_millis(2);
/// After the switch is ready, before it is called idle.
const REST: Duration = Duration::from_millis(300);

const START: &str = "start, s";
const STOP: &str = "stop, s";
const RESIDENT: &str = "resident, MB";
const IDLE: &str = "idle, % of a core";
const TCP: &str = "TCP 1 stream, Gbit/s";
const P50: &str = "RTT p50, us";
const P99: &str = "RTT p99, us";
const PACED_P50: &str = "p50 at 500/s";
const PACED_P99: &str = "p99 at 500/s";
const PACED_CPU: &str = "switch at 500/s, % of a core";

const COLUMNS: [&str; 10] = [TCP, P50, P99, PACED_P50, PACED_P99, PACED_CPU, IDLE, RESIDENT, START, STOP];

const NOTES: &str = "One pair of hosts and, in another domain, so many idle TAPs (with `x`: in so many namespaces). Hosts on CPU 0, switch on CPU 1. \
RTT: one byte of UDP, one at a time without a pause, or 500 a second: then both sides sleep in between. Idle: the switch's threads, no \
traffic at all. Start: to `ready`, from a file. Ratios: of the same run.";

/// How many ports, in how many namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    ports: usize,
    namespaces: usize,
}

impl FromStr for Crowd {
    type Err = String;

    /// `1000`, or `1000x1000` with the number of namespaces.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("{text:?}: no number"));
        let (ports, namespaces) = match text.split_once('x') {
            Some((ports, namespaces)) => (number(ports)?, number(namespaces)?),
            None => (number(text)?, NAMESPACES),
        };
        Ok(Self { ports, namespaces })
    }
}

impl Crowd {
    /// So many ports in so many namespaces.
    pub const fn new(ports: usize, namespaces: usize) -> Self {
        Self { ports, namespaces }
    }

    fn name(self) -> String {
        match self.namespaces {
            NAMESPACES => self.ports.to_string(),
            namespaces => format!("{}x{namespaces}", self.ports),
        }
    }

    /// A switch that serves it beside two hosts.
    pub fn bed(self) -> Result<Testbed> {
        Testbed::among(System::Xdock, |lab, _| {
            let mut neighbours = Neighbours::default();
            neighbours.domain("crowd", "");
            neighbours.idle(lab, "crowd", self.ports, self.namespaces)?;
            Ok(neighbours)
        })
    }
}

/// All crowds in turn, again and again.
pub fn measure(args: &Args) -> Result<Grid> {
    let base = args.crowds.first().context("no crowds")?.name();
    let mut grid = Grid::new("Idle TAP ports beside two hosts", "idle ports", &COLUMNS, NOTES)
        .compare_with(base, &[TCP, P50, P99, PACED_P50, PACED_P99, PACED_CPU, IDLE, RESIDENT]);
    for run in 1..=args.scene_runs() {
        for &crowd in &args.crowds {
            eprintln!("idle ports: run {run} of {}: {}", args.scene_runs(), crowd.name());
            let result = watched(|| scene(crowd, args));
            interrupt::check()?;
            match result {
                Ok((values, disturbed)) => grid.add(run, &crowd.name(), values, disturbed),
                Err(error) => grid.fail(&crowd.name(), format!("{error:#}")),
            }
        }
    }
    Ok(grid)
}

/// One switch from its start to its end.
fn scene(crowd: Crowd, args: &Args) -> Result<Values> {
    let mut bed = crowd.bed()?;
    let mut values = vec![(RESIDENT, resident(&bed)?)];
    values.extend(bed.start.map(|start| (START, start.as_secs_f64())));
    values.push((IDLE, idle(&bed, args.idle_time())?));
    values.extend(traffic(&bed, args)?);
    account::settle(&bed)?;
    values.push((STOP, bed.stop()?.as_secs_f64()));
    Ok(values)
}

fn traffic(bed: &Testbed, args: &Args) -> Result<Values> {
    let placement = Placement::OwnCore;
    let transfer = Transfer { streams: 1, back: false, placement };
    let rate = tcp::measure(bed, transfer, args.tcp_time())?.rate;
    let rtt = rtt::endure(bed, placement, 2 * args.rtt_time(), Duration::ZERO)?;
    let (paced, load) = during(bed, || rtt::endure(bed, placement, 2 * args.rtt_time(), PAUSE))?;
    let paced = [(PACED_P50, paced.p50), (PACED_P99, paced.p99), (PACED_CPU, load)];
    Ok([(TCP, rate), (P50, rtt.p50), (P99, rtt.p99)].into_iter().chain(paced).collect())
}

/// The switch's part of a core while nothing is asked of it, in percent.
fn idle(bed: &Testbed, time: Duration) -> Result<f64> {
    interrupt::pause(REST)?;
    Ok(during(bed, || interrupt::pause(time))?.1)
}

/// Does something, and says what part of a core the switch's threads took meanwhile, in percent.
fn during<T>(bed: &Testbed, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let switch = bed.switch.as_ref().context("no process switches")?.pid();
    let (begin, before) = (Instant::now(), of_process(switch)?);
    let result = work()?;
    let used = of_process(switch)?.saturating_sub(before);
    Ok((result, used.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0))
}

/// Resident memory of the switch, in MB (proc_pid_status(5)).
fn resident(bed: &Testbed) -> Result<f64> {
    let switch: &lab::Process = bed.switch.as_ref().context("no process switches")?;
    let status = fs::read_to_string(format!("/proc/{}/status", switch.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}
