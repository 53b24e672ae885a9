//! The load test between two network namespaces: Crossdock beside a veth cable, the Linux bridge and Open vSwitch.
//!
//! ```text
//! cargo bench --bench peers -- [--systems direct,bridge,ovs-tap-tso,xdock] [--runs 5] [--quick] [--halt-poll] [--json FILE]
//! ```
//!
//! # Theory of operation
//!
//! All systems are measured in one run, interleaved: a repetition sets up one system after the other in fresh
//! namespaces (two hosts and a switch), measures every metric and tears it down, so that drift of the machine hits all
//! alike. A cell of the table is the median of the repetitions with the smallest and largest in brackets.
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
//! It needs root, two CPUs, `iperf3`, `iproute2` and `openvswitch-switch`. Everything it makes is removed again, on
//! success, error and Ctrl-C; it kills only what it started.

mod args;
mod cpu;
mod generator;
mod halt_poll;
mod interrupt;
#[path = "../../tests/lab/mod.rs"]
mod lab;
mod metrics;
#[path = "../../tests/ovs/mod.rs"]
mod ovs;
mod packets;
mod report;
mod rtt;
mod systems;
mod tcp;
mod testbed;

use anyhow::{Context, Result, ensure};
use args::Args;
use clap::Parser;
use halt_poll::HaltPoll;
use metrics::{Pass, Sample};
use std::process::ExitCode;
use std::thread::available_parallelism;
use systems::System;
use testbed::Testbed;

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.bench {
        println!("peers: a load test, not a test; run it by `cargo bench --bench peers`");
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was measured even when a later measurement failed.
fn run(args: &Args) -> Result<()> {
    check(args)?;
    interrupt::install()?;
    let mut samples = Vec::new();
    let outcome = measure_passes(args, &mut samples);
    report::print(args, &samples);
    if let Some(file) = &args.json {
        report::write_json(file, &samples).with_context(|| format!("{}", file.display()))?;
    }
    outcome
}

/// What would otherwise fail in the middle of the run.
fn check(args: &Args) -> Result<()> {
    ensure!(available_parallelism()?.get() >= 2, "the load test needs two CPUs");
    if args.systems.iter().any(System::is_xdock) {
        lab::xdock_binary().context("xdock cannot be measured; choose others by --systems")?;
    }
    Ok(())
}

fn measure_passes(args: &Args, samples: &mut Vec<Sample>) -> Result<()> {
    measure_pass(args, Pass::AsIs, samples)?;
    if !args.halt_poll {
        return Ok(());
    }
    match HaltPoll::on()? {
        Some(_restored_on_drop) => measure_pass(args, Pass::HaltPoll, samples),
        None => {
            eprintln!("--halt-poll skipped: no {} on this machine", halt_poll::FILE);
            Ok(())
        }
    }
}

fn measure_pass(args: &Args, pass: Pass, samples: &mut Vec<Sample>) -> Result<()> {
    for run in 1..=args.runs {
        for &system in &args.systems {
            eprintln!("{pass}: run {run} of {}: {}", args.runs, system.name());
            let bed = Testbed::new(system).with_context(|| format!("setting up {}", system.name()))?;
            metrics::measure(&bed, pass, args, samples).with_context(|| format!("measuring {}", system.name()))?;
        }
    }
    Ok(())
}
