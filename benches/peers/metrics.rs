//! What is measured of a system, and the samples that come of it.

use crate::args::Args;
use crate::systems::{Placement, System};
use crate::testbed::Testbed;
use crate::{cpu, interrupt, packets, rtt, tcp};
use anyhow::Result;
use std::fmt;
use std::time::{Duration, Instant};

/// Share of one CPU that others may use before a sample counts as disturbed.
const TOLERANCE: f64 = 0.06;

/// A round over all systems under one setting of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// As the machine is.
    AsIs,
    /// With the guest's halt polling on.
    HaltPoll,
}

/// One column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Gbit/s at the receiver.
    Tcp1,
    /// Gbit/s at the receiver, four connections.
    Tcp4,
    /// Million 64-byte packets per second at h2.
    Delivered,
    /// Million 64-byte packets per second the source made.
    Offered,
    /// Microseconds.
    RttP50,
    /// Microseconds.
    RttP99,
    /// Nanoseconds of all CPUs per delivered packet.
    Cpu,
    /// Nanoseconds of the switch's process per delivered packet.
    SwitchCpu,
    /// Percent of a core the idle switch uses.
    Idle,
}

/// One measured value.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub pass: Pass,
    /// Of what.
    pub system: System,
    /// Where.
    pub placement: Placement,
    /// What.
    pub metric: Metric,
    /// How much, in the metric's unit.
    pub value: f64,
    /// Whether others used the CPUs meanwhile.
    pub disturbed: bool,
}

impl Metric {
    /// All, in the table's order.
    pub const ALL: [Self; 9] = [
        Self::Tcp1,
        Self::Tcp4,
        Self::Delivered,
        Self::Offered,
        Self::RttP50,
        Self::RttP99,
        Self::Cpu,
        Self::SwitchCpu,
        Self::Idle,
    ];

    /// Those that a ratio of two systems says something about.
    pub const COMPARED: [Self; 7] =
        [Self::Tcp1, Self::Tcp4, Self::Delivered, Self::RttP50, Self::RttP99, Self::Cpu, Self::SwitchCpu];

    /// The column's head, with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp1 => "TCP 1 stream, Gbit/s",
            Self::Tcp4 => "TCP 4 streams, Gbit/s",
            Self::Delivered => "64 B delivered, Mpps",
            Self::Offered => "64 B offered, Mpps",
            Self::RttP50 => "RTT p50, us",
            Self::RttP99 => "RTT p99, us",
            Self::Cpu => "CPU, ns/packet",
            Self::SwitchCpu => "of it the switch's process",
            Self::Idle => "idle switch, % of a core",
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::AsIs => "as the machine is",
            Self::HaltPoll => "halt polling on",
        })
    }
}

/// Measures everything of a system that is up. Four streams are measured in both placements of userspace switches.
pub fn measure(bed: &Testbed, pass: Pass, args: &Args, samples: &mut Vec<Sample>) -> Result<()> {
    let placement = bed.system.placement();
    let mut record = Recorder { bed, pass, samples };
    let tcp = |streams, placement| tcp::measure(bed, placement, streams, args.tcp_time());
    record.one(placement, Metric::Tcp1, || tcp(1, placement))?;
    record.one(placement, Metric::Tcp4, || tcp(4, placement))?;
    if bed.switch.is_some() {
        record.one(Placement::ReceiversCore, Metric::Tcp4, || tcp(4, Placement::ReceiversCore))?;
    }
    record.packets(placement, args)?;
    record.rtt(placement, args)?;
    record.idle(placement, args)
}

/// Appends samples of one system in one pass.
struct Recorder<'a> {
    bed: &'a Testbed,
    pass: Pass,
    samples: &'a mut Vec<Sample>,
}

impl Recorder<'_> {
    fn one(&mut self, placement: Placement, metric: Metric, work: impl FnOnce() -> Result<f64>) -> Result<()> {
        let (value, disturbed) = watched(work)?;
        self.push(placement, metric, value, disturbed);
        Ok(())
    }

    fn packets(&mut self, placement: Placement, args: &Args) -> Result<()> {
        let (rate, disturbed) = watched(|| packets::measure(self.bed, args.packets_time()))?;
        self.push(placement, Metric::Delivered, rate.delivered, disturbed);
        self.push(placement, Metric::Offered, rate.offered, disturbed);
        self.push(placement, Metric::Cpu, rate.cpu, disturbed);
        if let Some(switch_cpu) = rate.switch_cpu {
            self.push(placement, Metric::SwitchCpu, switch_cpu, disturbed);
        }
        Ok(())
    }

    fn rtt(&mut self, placement: Placement, args: &Args) -> Result<()> {
        let (rtt, disturbed) = watched(|| rtt::measure(self.bed, placement, args.rtt_time()))?;
        self.push(placement, Metric::RttP50, rtt.p50, disturbed);
        self.push(placement, Metric::RttP99, rtt.p99, disturbed);
        Ok(())
    }

    /// After the load: what the switch still uses.
    fn idle(&mut self, placement: Placement, args: &Args) -> Result<()> {
        let Some(switch) = &self.bed.switch else { return Ok(()) };
        self.one(placement, Metric::Idle, || {
            let (start, before) = (Instant::now(), cpu::of_process(switch.pid())?);
            interrupt::pause(args.idle_time())?;
            let used = cpu::of_process(switch.pid())? - before;
            Ok(used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0)
        })
    }

    fn push(&mut self, placement: Placement, metric: Metric, value: f64, disturbed: bool) {
        let (pass, system) = (self.pass, self.bed.system);
        self.samples.push(Sample { pass, system, placement, metric, value, disturbed });
    }
}

/// Runs a measurement, and tells whether others used the CPUs meanwhile.
fn watched<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, bool)> {
    interrupt::check()?;
    let (start, before) = (Instant::now(), cpu::of_others());
    let value = work()?;
    let others = cpu::of_others().saturating_sub(before);
    Ok((value, is_disturbing(others, start.elapsed())))
}

fn is_disturbing(others: Duration, elapsed: Duration) -> bool {
    others.as_secs_f64() > TOLERANCE * elapsed.as_secs_f64()
}
