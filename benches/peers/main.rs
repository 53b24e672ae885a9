//! The load test between two network namespaces: Crossdock beside a veth cable, the Linux bridge, the same with Docker's
//! rules, Open vSwitch and DPDK.
//!
//! ```text
//! cargo bench --bench peers -- [--rows tap,workers,xdp-rate,xdp-rtt,xdp-tap,packet,idle,hostile]
//!                              [--systems bridge,xdock,...] [--crowds 2,250,...] [--attacks refused,...]
//!                              [--runs 5] [--quick] [--halt-poll] [--json FILE]
//! cargo bench --bench peers -- --ci [--record]
//! ```
//!
//! # Theory of operation
//!
//! All systems are measured in one run, interleaved: a repetition sets up one system after the other in fresh
//! namespaces (two hosts and a switch), measures every metric and tears it down, so that drift of the machine hits all
//! alike. A cell of the table is the median of the repetitions with the smallest and largest in brackets.
//!
//! Each question is a table ([`rows::Row`]); a system that several of them ask for is set up once in a repetition, and
//! put under each load ([`metrics::Load`]) once. A system that cannot be started or measured here is reported with the
//! reason, and given up after its second failure.
//!
//! Two tables are about the switch among others: idle ports ([`crowd`]) and hostile neighbours ([`hostile`]). Their lines are scenes
//! with a switch each, interleaved too; what says something is the ratio of two of them in the same run ([`grid`]).
//!
//! `--ci` is another load test with the same parts, two minutes long and judged: see [`ci`].
//!
//! Placement decides such numbers, so each row states it (see [`systems::Placement`]). Kernel systems switch inside the
//! sender's own system call; a userspace switch owns CPU 1, and the hosts either share CPU 0 (`own core`) or the server
//! shares the switch's (`receiver's core`).
//!
//! On a virtual machine waking an idle CPU costs tens of microseconds, and the kernel's figures are then wake-ups.
//! `--halt-poll` therefore measures a second time with the guest's halt polling on, and restores it afterwards.
//!
//! A sample during which processes other than this bench used CPU is marked disturbed, and left out of the median
//! where there are undisturbed ones.
//!
//! It needs root, two CPUs, `ethtool`, `iperf3`, `iproute2`, and of the peers `iptables`, `openvswitch-switch` and
//! `dpdk-dev`. Everything it makes is removed again, on
//! success, error and Ctrl-C; it kills only what it started.

mod account;
mod args;
mod bpf;
mod bulk;
mod cells;
mod ci;
mod connect;
mod cpu;
mod crowd;
mod generator;
mod grid;
mod halt_poll;
mod hostile;
mod interrupt;
#[path = "../../tests/lab/mod.rs"]
mod lab;
mod live;
mod metrics;
mod neighbours;
#[path = "../../tests/ovs/mod.rs"]
mod ovs;
mod packets;
mod report;
mod rows;
mod table;
mod rtt;
mod systems;
mod tcp;
mod testbed;

use anyhow::{Context, Result, ensure};
use args::Args;
use clap::Parser;
use grid::Grid;
use halt_poll::HaltPoll;
use metrics::{Load, Pass, Sample};
use rows::Row;
use std::process::ExitCode;
use std::thread::available_parallelism;
use systems::System;
use testbed::Testbed;

/// Failures after which a system is given up in a pass.
const PATIENCE: usize = 2;

/// All that came of a run.
#[derive(Debug, Default)]
pub struct Results {
    samples: Vec<Sample>,
    failures: Vec<Failure>,
    grids: Vec<Grid>,
}

/// A system that could not be set up or measured.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pass: Pass,
    system: System,
    reason: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.bench {
        println!("peers: a load test, not a test; run it by `cargo bench --bench peers`");
        return ExitCode::SUCCESS;
    }
    match if args.ci { run_ci(&args) } else { run(&args) } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The load test of CI.
fn run_ci(args: &Args) -> Result<()> {
    check(args)?;
    interrupt::install()?;
    ci::run(args)
}

/// Prints what was measured even when a later measurement failed.
fn run(args: &Args) -> Result<()> {
    check(args)?;
    interrupt::install()?;
    let mut results = Results::default();
    let outcome = measure_passes(args, &mut results).and_then(|()| measure_scenes(args, &mut results));
    report::print(args, &results);
    if let Some(file) = &args.json {
        report::write_json(file, &results).with_context(|| format!("{}", file.display()))?;
    }
    outcome?;
    let ours = results.failures.iter().find(|failure| failure.system.is_xdock());
    let ours = ours.map(|failure| (failure.system.name(), failure.reason.clone()));
    let scenes = results.grids.iter().flat_map(|grid| grid.failures()).cloned();
    ours.into_iter().chain(scenes).next().map_or(Ok(()), |(what, reason)| anyhow::bail!("{what} failed: {reason}"))
}

/// What would otherwise fail in the middle of the run.
fn check(args: &Args) -> Result<()> {
    ensure!(available_parallelism()?.get() >= 2, "the load test needs two CPUs");
    let plan = args.plan();
    let scenes = args.rows.iter().any(|row| row.is_scene());
    ensure!(scenes || !plan.is_empty(), "none of these tables has one of these systems");
    if scenes || plan.iter().any(|(system, _)| system.is_xdock()) {
        lab::xdock_binary().context("xdock cannot be measured; choose others by --systems")?;
    }
    Ok(())
}

fn measure_passes(args: &Args, results: &mut Results) -> Result<()> {
    measure_pass(args, Pass::AsIs, results)?;
    if !args.halt_poll {
        return Ok(());
    }
    match HaltPoll::on()? {
        Some(_restored_on_drop) => measure_pass(args, Pass::HaltPoll, results),
        None => {
            eprintln!("--halt-poll skipped: no {} on this machine", halt_poll::FILE);
            Ok(())
        }
    }
}

/// What each of the tables of scenes asks, as the machine is.
fn measure_scenes(args: &Args, results: &mut Results) -> Result<()> {
    if args.rows.contains(&Row::Idle) {
        results.grids.push(crowd::measure(args)?);
    }
    if args.rows.contains(&Row::Hostile) {
        results.grids.push(hostile::measure(args)?);
    }
    Ok(())
}

/// Goes on after a failure, but not after a signal.
fn measure_pass(args: &Args, pass: Pass, results: &mut Results) -> Result<()> {
    let plan = args.plan();
    for run in 1..=args.runs {
        for (system, loads) in plan.iter().filter(|(_, loads)| !loads.is_empty()) {
            if failures(results, pass, *system) >= PATIENCE {
                continue;
            }
            eprintln!("{pass}: run {run} of {}: {}", args.runs, system.name());
            if let Err(error) = measure_system(args, pass, *system, loads, &mut results.samples) {
                interrupt::check()?;
                let reason = format!("{error:#}");
                eprintln!("{}: {reason}", system.name());
                results.failures.push(Failure { pass, system: *system, reason });
            }
        }
    }
    Ok(())
}

fn failures(results: &Results, pass: Pass, system: System) -> usize {
    results.failures.iter().filter(|failure| (failure.pass, failure.system) == (pass, system)).count()
}

fn measure_system(args: &Args, pass: Pass, system: System, loads: &[Load], samples: &mut Vec<Sample>) -> Result<()> {
    let bed = Testbed::new(system).context("setting it up")?;
    for &load in loads {
        metrics::measure(&bed, load, pass, args, samples).with_context(|| format!("under the load {load:?}"))?;
    }
    Ok(())
}
