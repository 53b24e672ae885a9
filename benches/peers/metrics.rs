//! What is measured of a system, and the samples that come of it.

use crate::args::Args;
use crate::cpu::Usage;
use crate::systems::{Placement, System};
use crate::tcp::Transfer;
use crate::testbed::Testbed;
use crate::{cpu, interrupt, packets, rtt, tcp};
use anyhow::Result;
use std::fmt;
use std::time::{Duration, Instant};

/// A round over all systems under one setting of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// As the machine is.
    AsIs,
    /// With the guest's halt polling on.
    HaltPoll,
}

/// What is done to a system, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// One connection from h1 to h2.
    Tcp1,
    /// Four connections.
    Tcp4,
    /// Four connections, with the server on the switch's core.
    Tcp4ReceiversCore,
    /// One connection from h2 to h1.
    TcpBack,
    /// 64-byte packets from a process.
    Packets,
    /// 64-byte packets from the kernel, more than can be taken.
    Overload,
    /// One byte there and back.
    Rtt,
    /// Nothing.
    Idle,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Gbit/s or million packets per second at the receiver.
    Rate,
    /// Million packets per second the source made.
    Offered,
    /// Time of all CPUs: ms per Gbit, ns per delivered packet.
    Cpu,
    /// The part of it in interrupts.
    Softirq,
    /// The part of it in the switch's process; of an idle one, percent of a core.
    SwitchCpu,
    /// Microseconds.
    P50,
    /// Microseconds.
    P99,
}

/// One column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// What is done.
    pub load: Load,
    /// What is looked at.
    pub value: Value,
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

impl Load {
    /// Whether it makes sense for a system: what looks at the switch's process needs one.
    pub fn suits(self, system: System) -> bool {
        match self {
            Self::Tcp4ReceiversCore => system.placement() == Placement::OwnCore,
            Self::Idle => !system.is_in_kernel(),
            _ => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp1 => "TCP 1 stream",
            Self::Tcp4 | Self::Tcp4ReceiversCore => "TCP 4 streams",
            Self::TcpBack => "TCP h2 to h1",
            Self::Packets | Self::Overload => "64 B",
            Self::Rtt => "RTT",
            Self::Idle => "idle",
        }
    }

    fn unit_of_cost(self) -> &'static str {
        match self {
            Self::Packets | Self::Overload => "ns/packet",
            _ => "ms/Gbit",
        }
    }
}

impl Metric {
    /// The column's head, with the unit.
    pub fn name(self) -> String {
        let (load, cost) = (self.load.name(), self.load.unit_of_cost());
        match (self.load, self.value) {
            (Load::Packets | Load::Overload, Value::Rate) => format!("{load} delivered, Mpps"),
            (_, Value::Rate) => format!("{load}, Gbit/s"),
            (_, Value::Offered) => format!("{load} offered, Mpps"),
            (_, Value::Cpu) => format!("CPU, {cost}"),
            (_, Value::Softirq) => "of it interrupts".to_owned(),
            (Load::Idle, Value::SwitchCpu) => "idle switch, % of a core".to_owned(),
            (_, Value::SwitchCpu) => "of it the switch's process".to_owned(),
            (_, Value::P50) => format!("{load} p50, us"),
            (_, Value::P99) => format!("{load} p99, us"),
        }
    }

    /// Whether a ratio of two systems says something about it.
    pub fn is_compared(self) -> bool {
        self.load != Load::Idle && !matches!(self.value, Value::Offered | Value::Softirq)
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

/// Puts a system that is up under a load.
pub fn measure(bed: &Testbed, load: Load, pass: Pass, args: &Args, samples: &mut Vec<Sample>) -> Result<()> {
    let placement = match load {
        Load::Tcp4ReceiversCore => Placement::ReceiversCore,
        _ => bed.system.placement(),
    };
    interrupt::check()?;
    let ((load, values), disturbed) = cpu::watched(|| work(bed, load, placement, args))?;
    samples.extend(values.into_iter().map(|(value, number)| {
        let metric = Metric { load, value };
        Sample { pass, system: bed.system, placement, metric, value: number, disturbed }
    }));
    Ok(())
}

type Values = Vec<(Value, f64)>;

/// What came of it, and under which load's name it goes.
fn work(bed: &Testbed, load: Load, placement: Placement, args: &Args) -> Result<(Load, Values)> {
    let tcp = |streams, back| tcp_values(bed, Transfer { streams, back, placement }, args.tcp_time());
    Ok(match load {
        Load::Tcp1 => (load, tcp(1, false)?),
        Load::TcpBack => (load, tcp(1, true)?),
        Load::Tcp4 | Load::Tcp4ReceiversCore => (Load::Tcp4, tcp(4, false)?),
        Load::Packets => (load, packet_values(&packets::measure(bed, args.packets_time())?)),
        Load::Overload => (load, packet_values(&packets::overload(bed, args.packets_time())?)),
        Load::Rtt => (load, rtt_values(bed, placement, args.rtt_time())?),
        Load::Idle => (load, idle_values(bed, args.idle_time())?),
    })
}

fn tcp_values(bed: &Testbed, transfer: Transfer, time: Duration) -> Result<Values> {
    let throughput = tcp::measure(bed, transfer, time)?;
    let millis_per_gbit = |time: Duration| time.as_secs_f64() * 1e3 / throughput.volume;
    let mut values = vec![(Value::Rate, throughput.rate)];
    values.extend(costs(&throughput.usage, millis_per_gbit));
    Ok(values)
}

fn packet_values(rate: &packets::PacketRate) -> Values {
    let nanos_per_packet = |time: Duration| time.as_secs_f64() * 1e9 / rate.packets;
    let mut values = vec![(Value::Rate, rate.delivered), (Value::Offered, rate.offered)];
    values.extend(costs(&rate.usage, nanos_per_packet));
    values
}

fn costs(usage: &Usage, per_unit: impl Fn(Duration) -> f64) -> Values {
    let mut values = vec![(Value::Cpu, per_unit(usage.busy)), (Value::Softirq, per_unit(usage.softirq))];
    values.extend(usage.switch.map(|time| (Value::SwitchCpu, per_unit(time))));
    values
}

fn rtt_values(bed: &Testbed, placement: Placement, time: Duration) -> Result<Values> {
    let rtt = rtt::measure(bed, placement, time)?;
    Ok(vec![(Value::P50, rtt.p50), (Value::P99, rtt.p99)])
}

/// After the load: what the switch still uses.
fn idle_values(bed: &Testbed, time: Duration) -> Result<Values> {
    let Some(switch) = &bed.switch else { return Ok(Vec::new()) };
    let (start, before) = (Instant::now(), cpu::of_process(switch.pid())?);
    interrupt::pause(time)?;
    let used = cpu::of_process(switch.pid())?.saturating_sub(before);
    Ok(vec![(Value::SwitchCpu, used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0)])
}
