//! The table, the ratios and the JSON file.

use crate::args::Args;
use crate::metrics::{Metric, Pass, Sample};
use crate::systems::{Placement, System};
use crate::{halt_poll, lab};
use anyhow::Result;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// One line of the table.
type Row = (System, Placement);

/// Prints what was measured, as Markdown.
pub fn print(args: &Args, samples: &[Sample]) {
    if samples.is_empty() {
        return;
    }
    println!("\nBetween two namespaces: median [min-max] of {} runs, all systems interleaved.\n", args.runs);
    println!("{}", machine());
    for pass in [Pass::AsIs, Pass::HaltPoll] {
        let samples: Vec<Sample> = samples.iter().filter(|sample| sample.pass == pass).copied().collect();
        if !samples.is_empty() {
            println!("\n**{pass}**\n");
            print_table(&samples);
            print_ratios(&samples);
        }
    }
    print_notes(args, samples);
}

/// Writes every sample.
pub fn write_json(file: &Path, samples: &[Sample]) -> Result<()> {
    let samples: Vec<Value> = samples.iter().map(sample_json).collect();
    let document = json!({ "machine": machine(), "samples": samples });
    Ok(fs::write(file, format!("{document:#}\n"))?)
}

fn sample_json(sample: &Sample) -> Value {
    json!({
        "pass": sample.pass.to_string(),
        "system": sample.system.name(),
        "placement": sample.placement.name(),
        "metric": sample.metric.name(),
        "value": sample.value,
        "disturbed": sample.disturbed,
    })
}

/// Kernel, processors and peer that the numbers belong to.
fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let polling = halt_poll::value().unwrap_or_else(|_| "absent".to_owned());
    let model = model.trim_start_matches([':', '\t', ' ']);
    let ovs = lab::run(Command::new("ovs-vswitchd").arg("--version")).unwrap_or_default();
    let ovs = ovs.lines().next().unwrap_or("no Open vSwitch");
    format!("Linux {}, {count} x {model}, guest_halt_poll_ns {polling}; {ovs}", kernel.trim())
}

fn print_head(first: &str, metrics: &[Metric]) {
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name()).collect();
    println!("| {first} | placement | {} |", names.join(" | "));
    println!("|---|---|{}", "---|".repeat(metrics.len()));
}

fn print_table(samples: &[Sample]) {
    print_head("system", &Metric::ALL);
    for row in rows(samples) {
        let cells = Metric::ALL.map(|metric| format!(" {} |", cell(&of(samples, row, metric))));
        println!("| {} | {} |{}", row.0.name(), row.1.name(), cells.concat());
    }
}

/// Crossdock against the bridge, and against Open vSwitch in the same placement.
fn print_ratios(samples: &[Sample]) {
    let rows = rows(samples);
    let ours: Vec<Row> = rows.iter().filter(|(system, _)| system.is_xdock()).copied().collect();
    if ours.is_empty() {
        return;
    }
    println!();
    print_head("ratio", &Metric::COMPARED);
    for ours in ours {
        let peers = [(System::Bridge, Placement::InKernel), (System::OvsTapTso, ours.1)];
        for peer in peers.into_iter().filter(|peer| rows.contains(peer)) {
            let cells = Metric::COMPARED.map(|metric| format!(" {} |", ratio(samples, ours, peer, metric))).concat();
            println!("| {} / {} | {} |{cells}", ours.0.name(), peer.0.name(), ours.1.name());
        }
    }
}

/// The quotient of the medians, empty where one of the two was not measured.
fn ratio(samples: &[Sample], ours: Row, theirs: Row, metric: Metric) -> String {
    let of = |row| median(&clean(&of(samples, row, metric)));
    of(ours).zip(of(theirs)).map_or_else(String::new, |(ours, theirs)| format!("{:.2}", ours / theirs))
}

fn print_notes(args: &Args, samples: &[Sample]) {
    let (tcp, packets, rtt) = (args.tcp_time(), args.packets_time(), args.rtt_time());
    let disturbed = samples.iter().filter(|sample| sample.disturbed).count();
    println!(
        "
Placement: client and generator on CPU 0; `own core`: server on CPU 0 too, switch on CPU 1; `receiver's core`: server and
switch on CPU 1; `client 0, server 1`: no switch process. TCP: iperf3, cubic, MTU 1500, {tcp:?} after 1 s of warm-up, at the
receiver. Packets: 60 bytes without FCS, one IPv4/UDP flow, AF_PACKET sendmmsg without qdisc, {packets:?} after 0.2 s of
warm-up, counted at h2's interface and dropped by its stack (foreign MAC that the switch has learned). RTT: one byte of UDP,
blocking sockets, {rtt:?}. The bridge runs without br_netfilter. CPU: busy time of the machine, source and sink included, per delivered packet.
Disturbed by other processes: {disturbed} of {} samples; left out where there are others, marked `!` where not.",
        samples.len()
    );
    if args.quick {
        println!("Quick run: shortened, not for comparing.");
    }
}

/// Systems and placements that were measured, in the order of their first sample.
fn rows(samples: &[Sample]) -> Vec<Row> {
    let mut rows = Vec::new();
    for sample in samples {
        let row = (sample.system, sample.placement);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}

fn of(samples: &[Sample], (system, placement): Row, metric: Metric) -> Vec<Sample> {
    let key = (system, placement, metric);
    samples.iter().filter(|sample| (sample.system, sample.placement, sample.metric) == key).copied().collect()
}

/// Sorted values of the undisturbed samples; of all where every one was disturbed.
fn clean(samples: &[Sample]) -> Vec<f64> {
    let all_disturbed = samples.iter().all(|sample| sample.disturbed);
    let chosen = samples.iter().filter(|sample| all_disturbed || !sample.disturbed);
    let mut values: Vec<f64> = chosen.map(|sample| sample.value).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

fn cell(samples: &[Sample]) -> String {
    let values = clean(samples);
    let (Some(median), Some(&least), Some(&most)) = (median(&values), values.first(), values.last()) else {
        return String::new();
    };
    let mark = if samples.iter().all(|sample| sample.disturbed) { " !" } else { "" };
    format!("{} [{}-{}]{mark}", digits(median), digits(least), digits(most))
}

/// Three digits, at most two of them behind the point.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
