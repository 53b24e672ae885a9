//! What is compared, and where its parts run.

use clap::ValueEnum;

/// A way for frames to get from h1 to h2.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// One veth pair, no switch: the bar that no switch passes.
    Direct,
    /// The Linux bridge with two veth pairs.
    Bridge,
    /// Open vSwitch's userspace datapath on TAP ports, with TCP segmentation offload.
    OvsTapTso,
    /// Crossdock on TAP ports, `poll = "adaptive"`.
    Xdock,
    /// Crossdock with `poll = "busy"`.
    XdockBusy,
    /// Crossdock with `poll = "interrupt"`.
    XdockInterrupt,
}

/// Where hosts and switch run. The client and the packet generator are always on CPU 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Kernel systems: server on CPU 1, the switch inside the sender's system call.
    InKernel,
    /// Both hosts on CPU 0, the switch alone on CPU 1.
    OwnCore,
    /// Server and switch on CPU 1.
    ReceiversCore,
}

impl System {
    /// Its name on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Bridge => "bridge",
            Self::OvsTapTso => "ovs-tap-tso",
            Self::Xdock => "xdock",
            Self::XdockBusy => "xdock-busy",
            Self::XdockInterrupt => "xdock-interrupt",
        }
    }

    /// The value of `poll` in Crossdock's configuration.
    pub fn poll(self) -> Option<&'static str> {
        match self {
            Self::Direct | Self::Bridge | Self::OvsTapTso => None,
            Self::Xdock => Some("adaptive"),
            Self::XdockBusy => Some("busy"),
            Self::XdockInterrupt => Some("interrupt"),
        }
    }

    /// Whether it is Crossdock.
    pub fn is_xdock(&self) -> bool {
        self.poll().is_some()
    }

    /// The placement in which every metric is measured.
    pub fn placement(self) -> Placement {
        match self {
            Self::Direct | Self::Bridge => Placement::InKernel,
            _ => Placement::OwnCore,
        }
    }
}

impl Placement {
    /// The switch's CPU, for userspace switches.
    pub const SWITCH: usize = 1;
    /// The CPU of the client and of the packet generator.
    pub const CLIENT: usize = 0;

    /// The server's CPU.
    pub fn server(self) -> usize {
        match self {
            Self::OwnCore => 0,
            Self::InKernel | Self::ReceiversCore => 1,
        }
    }

    /// Its words in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::InKernel => "client 0, server 1",
            Self::OwnCore => "own core",
            Self::ReceiversCore => "receiver's core",
        }
    }
}
