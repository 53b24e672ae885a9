//! The questions, each a table of its own: which systems answer it, under which load, by which columns.

use crate::metrics::{Load, Metric, Value};
use crate::systems::System;
use clap::ValueEnum;

/// A table.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// Everything over TAP ports.
    Tap,
    /// Four TCP streams over TAP ports, by where the switch runs.
    Workers,
    /// 64-byte packets over AF_XDP ports, more than any switch can take.
    XdpRate,
    /// Round-trip times over AF_XDP ports.
    XdpRtt,
    /// TCP between a TAP and an AF_XDP port, both ways.
    XdpTap,
    /// TCP between two packet ports.
    Packet,
    /// TAPs that have nothing to say beside two hosts: scenes of their own, see `crowd`.
    Idle,
    /// A hostile container beside two hosts: scenes of their own, see `hostile`.
    Hostile,
}

const KERNEL: [System; 2] = [System::Direct, System::Bridge];

impl Row {
    /// The table's head.
    pub fn title(self) -> &'static str {
        match self {
            Self::Tap => "TAP ports",
            Self::Workers => "Four TCP streams over TAP ports, by worker placement",
            Self::XdpRate => "64-byte packets over AF_XDP ports, in overload",
            Self::XdpRtt => "Latency over AF_XDP ports",
            Self::XdpTap => "TCP between a TAP (h1) and an AF_XDP port (h2)",
            Self::Packet => "TCP between packet ports",
            Self::Idle => "Idle ports",
            Self::Hostile => "Hostile neighbours",
        }
    }

    /// The systems that answer it, unless others are asked for.
    pub fn systems(self) -> Vec<System> {
        let userspace = match self {
            Self::Tap => vec![System::OvsTapTso, System::Xdock, System::XdockCaptured],
            Self::Workers => vec![System::OvsTapTso, System::Xdock, System::XdockTwoWorkers],
            Self::XdpRate => {
                vec![System::Docker, System::OvsAfxdp, System::Testpmd, System::XdockXdp, System::XdockXdpBusy]
            }
            Self::XdpRtt => vec![System::OvsAfxdp, System::Testpmd, System::XdockXdp, System::XdockXdpBusy],
            Self::XdpTap => vec![System::OvsTapSystemTso, System::OvsTapAfxdp, System::XdockTapXdp],
            Self::Packet => vec![System::XdockPacket],
            Self::Idle | Self::Hostile => Vec::new(),
        };
        let kernel = match self {
            Self::Tap => &KERNEL[..],
            Self::XdpRate | Self::XdpRtt | Self::Packet => &KERNEL[1..],
            Self::Workers | Self::XdpTap | Self::Idle | Self::Hostile => &[],
        };
        [kernel, &userspace].concat()
    }

    /// Whether a system can answer it: the usual ones, and Crossdock's other ways to poll.
    pub fn takes(self, system: System) -> bool {
        let other_way = matches!(system, System::XdockBusy | System::XdockInterrupt);
        self.systems().contains(&system) || self == Self::Tap && other_way
    }

    /// Whether it is measured in scenes of its own.
    pub fn is_scene(self) -> bool {
        matches!(self, Self::Idle | Self::Hostile)
    }

    /// What is done to each system.
    pub fn loads(self) -> &'static [Load] {
        match self {
            Self::Tap => &[Load::Tcp1, Load::Tcp4, Load::Packets, Load::Rtt, Load::Idle],
            Self::Workers => &[Load::Tcp4, Load::Tcp4ReceiversCore],
            Self::XdpRate => &[Load::Overload],
            Self::XdpRtt => &[Load::Rtt],
            Self::XdpTap => &[Load::Tcp1, Load::TcpBack],
            Self::Packet => &[Load::Tcp1, Load::Tcp4],
            Self::Idle | Self::Hostile => &[],
        }
    }

    /// The columns.
    pub fn metrics(self) -> Vec<Metric> {
        self.loads().iter().flat_map(|load| load.values().iter().map(|&value| Metric { load: *load, value })).collect()
    }
}

impl Load {
    /// What comes of it.
    pub fn values(self) -> &'static [Value] {
        match self {
            Self::Tcp1 | Self::Tcp4 | Self::TcpBack => &[Value::Rate, Value::Cpu, Value::SwitchCpu],
            Self::Tcp4ReceiversCore => &[],
            Self::Packets | Self::Overload => {
                &[Value::Rate, Value::Offered, Value::Cpu, Value::Softirq, Value::SwitchCpu]
            }
            Self::Rtt => &[Value::P50, Value::P99],
            Self::Idle => &[Value::SwitchCpu],
        }
    }
}
