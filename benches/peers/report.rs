//! The tables, what could not be measured, the notes, and the JSON file.

use crate::args::Args;
use crate::grid::Grid;
use crate::metrics::{Pass, Sample};
use crate::table::Table;
use crate::{Failure, Results, halt_poll, lab};
use anyhow::Result;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Prints what was measured, as Markdown.
pub fn print(args: &Args, results: &Results) {
    println!("\nBetween two namespaces: median [min-max] of {} runs, all systems interleaved.\n", args.runs);
    println!("{}", machine());
    for pass in [Pass::AsIs, Pass::HaltPoll] {
        let samples: Vec<&Sample> = results.samples.iter().filter(|sample| sample.pass == pass).collect();
        if !samples.is_empty() {
            println!("\n**{pass}**");
            args.rows.iter().for_each(|&row| Table::new(row, &args.systems_of(row), &samples).print());
        }
        print_failures(&results.failures, pass);
    }
    if !results.samples.is_empty() {
        print_notes(args, &results.samples);
    }
    results.grids.iter().for_each(Grid::print);
    if args.quick {
        println!("\nQuick run: shortened, not for comparing.");
    }
}

/// What failed for the same reason twice is said once.
fn print_failures(failures: &[Failure], pass: Pass) {
    let first = |index: usize| !failures[..index].contains(&failures[index]);
    for (_, failure) in failures.iter().enumerate().filter(|(index, failure)| failure.pass == pass && first(*index)) {
        println!("\nNot measured here ({pass}): {}: {}", failure.system.name(), failure.reason);
    }
}

/// Writes every sample.
pub fn write_json(file: &Path, results: &Results) -> Result<()> {
    let samples: Vec<Value> = results.samples.iter().map(sample_json).collect();
    let failures: Vec<Value> = results.failures.iter().map(failure_json).collect();
    let document = json!({
        "machine": machine(),
        "samples": samples,
        "failures": failures,
        "scenes": results.grids.iter().map(Grid::json).collect::<Vec<_>>(),
    });
    Ok(fs::write(file, format!("{document:#}\n"))?)
}

fn sample_json(sample: &Sample) -> Value {
    json!({
        "pass": sample.pass.to_string(),
        "system": sample.system.name(),
        "placement": sample.placement.name(),
        "load": format!("{:?}", sample.metric.load),
        "metric": sample.metric.name(),
        "value": sample.value,
        "disturbed": sample.disturbed,
    })
}

fn failure_json(failure: &Failure) -> Value {
    json!({ "pass": failure.pass.to_string(), "system": failure.system.name(), "reason": failure.reason })
}

/// Kernel, processors and peers that the numbers belong to.
fn machine() -> String {
    let ovs = version(&["ovs-vswitchd", "--version"], "no Open vSwitch");
    let dpdk = version(&["dpkg-query", "-W", "-f=DPDK ${Version}", "dpdk-dev"], "no DPDK");
    format!("{}; {ovs}; {dpdk}", host())
}

/// Kernel and processors.
pub fn host() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let polling = halt_poll::value().unwrap_or_else(|_| "absent".to_owned());
    let model = model.trim_start_matches([':', '\t', ' ']);
    format!("Linux {}, {count} x {model}, guest_halt_poll_ns {polling}", kernel.trim())
}

/// The first line that a command prints.
fn version(command: &[&str], otherwise: &str) -> String {
    let output = lab::run(Command::new(command[0]).args(&command[1..])).unwrap_or_default();
    output.lines().next().unwrap_or(otherwise).to_owned()
}

fn print_notes(args: &Args, samples: &[Sample]) {
    let (tcp, packets, rtt) = (args.tcp_time(), args.packets_time(), args.rtt_time());
    let disturbed = samples.iter().filter(|sample| sample.disturbed).count();
    println!(
        "
Placement: client and generator on CPU 0; `own core`: server on CPU 0 too, switch on CPU 1; `receiver's core`: server and
switch on CPU 1; `both cores`: server on CPU 1, a worker on each; `client 0, server 1`: no switch process. TCP: iperf3,
cubic, MTU 1500, {tcp:?} after 1 s of warm-up, at the receiver. Packets: 60 bytes without FCS, one IPv4/UDP flow, {packets:?}
after 0.2 s of warm-up, counted at h2's interface and dropped there by a program at its traffic control; from AF_PACKET sendmmsg without qdisc or, in overload, from XDP live frames that the kernel makes on CPU 0, which is where h1's
end is received too. RTT: one byte of UDP, blocking sockets, {rtt:?}. `bridge` runs without br_netfilter, `docker` with it,
with Docker's chains and conntrack.
CPU: time all CPUs were busy (user, system, interrupts), client, server, source and sink included, per delivered packet or
transferred Gbit. Of it interrupts: the time the kernel accounts to hard and soft interrupts, wherever they belong; it
counts by ticks. Of it the switch's process: run time of all its threads, user and system, with the interrupts that were
served on top of them; a thread that polls counts whole. A switch in the kernel has no process: its time is the
sender's and the interrupts'.
Disturbed by other processes: {disturbed} of {} samples; left out where there are others, marked `!` where not.",
        samples.len()
    );
}
