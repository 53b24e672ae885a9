//! The command line.

use crate::systems::System;
use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Load test between two network namespaces: Crossdock beside its peers.
#[derive(Parser, Debug)]
pub struct Args {
    /// Systems to measure, in this order within each repetition.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "direct,bridge,ovs-tap-tso,xdock")]
    pub systems: Vec<System>,
    /// Repetitions; a cell is their median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Short measurements, to see that all works; not for comparing.
    #[arg(long)]
    pub quick: bool,
    /// Measure a second time with the guest's halt polling on (`guest_halt_poll_ns`), restored afterwards.
    #[arg(long)]
    pub halt_poll: bool,
    /// Write every sample to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Given by `cargo bench`; without it (`cargo test --benches`) nothing is measured.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Args {
    /// Measured part of a TCP transfer, after 1 s of warm-up.
    pub fn tcp_time(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 2 })
    }

    /// Counted part of a packet-rate run, after 0.2 s of warm-up.
    pub fn packets_time(&self) -> Duration {
        Duration::from_millis(if self.quick { 300 } else { 1000 })
    }

    /// Duration of a request/response run.
    pub fn rtt_time(&self) -> Duration {
        Duration::from_millis(if self.quick { 300 } else { 1000 })
    }

    /// How long an idle switch is watched.
    pub fn idle_time(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 5 })
    }
}
