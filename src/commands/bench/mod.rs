//! `xdock bench`: what this build does on this machine, in memory and between namespaces.
//!
//! In memory it is the pipeline alone, in ticks of the time-stamp counter per frame. Between namespaces it is the demo's scene:
//! real TAPs, real TCP, and the kernel at both ends. The hosts share the machine with the switch, so the figures say what
//! containers on this machine get, not what a switch alone could do.

mod namespaces;

use std::io::{self, Write};
use std::thread;

use crossdock::bench::memory::{Bench, Pattern, SIZES, pin_to_last_core};
use crossdock::machine;
use serde::Serialize;
use serde_json::json;

use crate::cli::BenchArgs;
use crate::failure::Failure;
use crate::table::Table;
use namespaces::Between;

/// Frames per batch, as in a busy switch.
const BATCH: usize = 64;

/// Ticks per 60-byte frame.
#[derive(Debug, Serialize)]
struct Cell {
    case: &'static str,
    stations: &'static str,
    ticks: f64,
}

pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let memory = thread::scope(|scope| scope.spawn(|| memory(args.quick)).join());
    let memory = memory.unwrap_or_else(|_| Err(io::Error::other("panicked")));
    let memory = memory.map_err(|error| Failure::new("bench: in memory", error, None))?;
    if !args.json {
        write_memory(&memory)?;
    }
    let between = namespaces::measure(args.quick)?;
    if args.json {
        return Ok(write_json(args.quick, &memory, &between)?);
    }
    Ok(write_between(&between)?)
}

/// Every case, on a thread that stays on one core.
fn memory(quick: bool) -> io::Result<Vec<Cell>> {
    pin_to_last_core();
    let mut bench = Bench::new(quick);
    let sizes = if quick { &SIZES[..3] } else { &SIZES[..] };
    let mut cells = Vec::new();
    for (case, pattern) in [("cached flow", Pattern::Pairs), ("everybody with everybody", Pattern::Mesh)] {
        for (stations, count) in sizes {
            cells.push(Cell { case, stations, ticks: bench.hit(pattern, *count, BATCH)? });
        }
    }
    cells.push(Cell { case: "new address", stations: "64 k", ticks: bench.new_macs(BATCH)? });
    Ok(cells)
}

fn write_memory(cells: &[Cell]) -> io::Result<()> {
    let mut table = Table::new(&["IN MEMORY", "STATIONS", "TICKS/FRAME"]);
    for cell in cells {
        table.row([cell.case.into(), cell.stations.into(), format!("{:.1}", cell.ticks)]);
    }
    table.write(&mut io::stdout().lock())
}

fn write_between(between: &Between) -> io::Result<()> {
    let mut table = Table::new(&["BETWEEN NAMESPACES", "MEDIAN", "LEAST", "MOST"]);
    let rates = [("TCP, one stream, Gbit/s", &between.tcp_gbit_s), ("64-byte frames, M/s", &between.packets_mpps)];
    for (what, rate) in rates {
        table.row([
            what.to_owned(),
            format!("{:.2}", rate.median),
            format!("{:.2}", rate.min),
            format!("{:.2}", rate.max),
        ]);
    }
    let mut out = io::stdout().lock();
    writeln!(out)?;
    table.write(&mut out)?;
    let round = &between.round_trip_us;
    writeln!(out, "\nRound trip (ICMP echo, {} times): p50 {:.1} us, p99 {:.1} us", round.count, round.p50, round.p99)?;
    writeln!(out, "{}", between.placement)?;
    if cfg!(debug_assertions) { writeln!(out, "This is a debug build: the figures say nothing.") } else { Ok(()) }
}

fn write_json(quick: bool, memory: &[Cell], between: &Between) -> io::Result<()> {
    let machine = json!({
        "kernel": rustix::system::uname().release().to_string_lossy(),
        "cores": machine::cores().map(|cores| cores.len()).unwrap_or(0),
    });
    let report = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "debug_build": cfg!(debug_assertions),
        "quick": quick,
        "machine": machine,
        "memory": {"unit": "ticks of the time-stamp counter per 60-byte frame", "batch": BATCH, "cells": memory},
        "namespaces": between,
    });
    writeln!(io::stdout().lock(), "{report:#}")
}
