//! The command line.

use crate::crowd::Crowd;
use crate::hostile::Attack;
use crate::metrics::Load;
use crate::rows::Row;
use crate::systems::System;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Load test between two network namespaces: Crossdock beside its peers.
#[derive(Parser, Debug)]
pub struct Args {
    /// Tables to measure.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "tap,workers,xdp-rate,xdp-rtt,xdp-tap,packet,idle,hostile"
    )]
    pub rows: Vec<Row>,
    /// Only these systems; otherwise those that each table asks for.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub systems: Vec<System>,
    /// Of the table `idle`: how many ports are idle, with `x` in how many namespaces.
    #[arg(long, value_delimiter = ',', default_value = "2,250,1000,1000x1000,4000")]
    pub crowds: Vec<Crowd>,
    /// Of the table `hostile`: what is done.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Attack::value_variants().iter().copied())]
    pub attacks: Vec<Attack>,
    /// Repetitions; a cell is their median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Short measurements, to see that all works; not for comparing.
    #[arg(long)]
    pub quick: bool,
    /// Measure a second time with the guest's halt polling on (`guest_halt_poll_ns`), restored afterwards.
    #[arg(long)]
    pub halt_poll: bool,
    /// The load test of CI instead: two minutes, judged by the ratios in `benches/recorded.toml`.
    #[arg(long)]
    pub ci: bool,
    /// Write those ratios anew.
    #[arg(long, requires = "ci")]
    pub record: bool,
    /// Write every sample to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Given by `cargo bench`; without it (`cargo test --benches`) nothing is measured.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Args {
    /// The systems of a table, by default or by choice.
    pub fn systems_of(&self, row: Row) -> Vec<System> {
        match &self.systems[..] {
            [] => row.systems(),
            chosen => chosen.iter().copied().filter(|system| row.takes(*system)).collect(),
        }
    }

    /// Every system that some table needs, in a fixed order, each with what is to be done to it, once.
    pub fn plan(&self) -> Vec<(System, Vec<Load>)> {
        let mut plan: Vec<(System, Vec<Load>)> = Vec::new();
        for (row, system) in self.rows.iter().flat_map(|&row| self.systems_of(row).into_iter().map(move |s| (row, s))) {
            let index = plan.iter().position(|(known, _)| *known == system).unwrap_or_else(|| {
                plan.push((system, Vec::new()));
                plan.len() - 1
            });
            let loads = &mut plan[index].1;
            loads.extend(row.loads().iter().filter(|load| load.suits(system)));
            loads.sort_unstable();
            loads.dedup();
        }
        plan
    }

    /// Repetitions of a scene: at most three, since each has many measurements.
    pub fn scene_runs(&self) -> u32 {
        self.runs.min(3)
    }

    /// Counted part of each probe beside an attacker, of TCP and of round trips.
    pub fn probe_time(&self) -> Duration {
        Duration::from_millis(if self.quick { 500 } else { 1500 })
    }

    /// Measured part of a TCP transfer, after 1 s of warm-up.
    pub fn tcp_time(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Counted part of a packet-rate run, after 0.2 s of warm-up.
    pub fn packets_time(&self) -> Duration {
        Duration::from_millis(if self.quick { 300 } else { 700 })
    }

    /// Duration of a request/response run.
    pub fn rtt_time(&self) -> Duration {
        Duration::from_millis(if self.quick { 300 } else { 500 })
    }

    /// How long an idle switch is watched.
    pub fn idle_time(&self) -> Duration {
        Duration::from_secs(1)
    }
}
