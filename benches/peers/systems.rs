//! What is compared, and where its parts run.

use clap::ValueEnum;

/// A way for frames to get from h1 to h2.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// One veth pair, no switch: the bar that no switch passes.
    Direct,
    /// The Linux bridge with two veth pairs.
    Bridge,
    /// The same with Docker's rules: br_netfilter, iptables' FORWARD chain, conntrack.
    Docker,
    /// Open vSwitch's userspace datapath on TAP ports, with TCP segmentation offload.
    OvsTapTso,
    /// The same on AF_XDP ports, a polling thread of its own.
    OvsAfxdp,
    /// From a TAP to a veth behind a packet socket (`type=system`), with TCP segmentation offload.
    OvsTapSystemTso,
    /// From a TAP to an AF_XDP port; it has no segmentation offload then.
    OvsTapAfxdp,
    /// DPDK's testpmd between two AF_XDP ports: forwards blindly.
    Testpmd,
    /// Crossdock on TAP ports, `poll = "adaptive"`.
    Xdock,
    /// Crossdock with `poll = "busy"`.
    XdockBusy,
    /// Crossdock with `poll = "interrupt"`.
    XdockInterrupt,
    /// Crossdock on TAP ports while `xdock capture` writes every frame, in and out, to /dev/null.
    XdockCaptured,
    /// Crossdock on TAP ports of two queues, with two workers.
    XdockTwoWorkers,
    /// Crossdock on AF_XDP ports.
    XdockXdp,
    /// The same with `poll = "busy"`: its peers there never sleep either.
    XdockXdpBusy,
    /// Crossdock from a TAP to an AF_XDP port.
    XdockTapXdp,
    /// Crossdock on packet ports.
    XdockPacket,
}

/// How a system holds the cable of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The host's `eth0` is a TAP, made by the switch.
    Tap,
    /// The host's `eth0` is one end of a veth, whose other end the switch serves through AF_XDP.
    Xdp,
    /// The same through a packet socket.
    Packet,
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
    /// Server on CPU 1, one worker of the switch on each CPU.
    BothCores,
}

impl System {
    /// Its name on the command line and in the table.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The value of `poll` in Crossdock's configuration.
    pub fn poll(self) -> Option<&'static str> {
        match self {
            Self::Xdock
            | Self::XdockCaptured
            | Self::XdockTwoWorkers
            | Self::XdockXdp
            | Self::XdockTapXdp
            | Self::XdockPacket => Some("adaptive"),
            Self::XdockBusy | Self::XdockXdpBusy => Some("busy"),
            Self::XdockInterrupt => Some("interrupt"),
            _ => None,
        }
    }

    /// The ports of h1 and h2, for userspace switches.
    pub fn ports(self) -> [Port; 2] {
        match self {
            Self::OvsAfxdp | Self::Testpmd | Self::XdockXdp | Self::XdockXdpBusy => [Port::Xdp; 2],
            Self::OvsTapAfxdp | Self::XdockTapXdp => [Port::Tap, Port::Xdp],
            Self::OvsTapSystemTso => [Port::Tap, Port::Packet],
            Self::XdockPacket => [Port::Packet; 2],
            _ => [Port::Tap; 2],
        }
    }

    /// Whether it is Crossdock.
    pub fn is_xdock(self) -> bool {
        self.poll().is_some()
    }

    /// Whether the tables divide its figures by another's: a capture's by those without, others by every peer's.
    pub fn is_compared_with(self, other: Self) -> bool {
        match self {
            Self::XdockCaptured => other == Self::Xdock,
            _ => self.is_xdock() && !other.is_xdock(),
        }
    }

    /// Whether the kernel switches.
    pub fn is_in_kernel(self) -> bool {
        matches!(self, Self::Direct | Self::Bridge | Self::Docker)
    }

    /// The placement in which everything is measured.
    pub fn placement(self) -> Placement {
        match self {
            Self::XdockTwoWorkers => Placement::BothCores,
            system if system.is_in_kernel() => Placement::InKernel,
            _ => Placement::OwnCore,
        }
    }
}

impl Placement {
    /// The switch's CPU, for userspace switches of one thread.
    pub const SWITCH: usize = 1;
    /// The CPU of the client and of the packet generator.
    pub const CLIENT: usize = 0;

    /// The server's CPU.
    pub fn server(self) -> usize {
        match self {
            Self::OwnCore => 0,
            Self::InKernel | Self::ReceiversCore | Self::BothCores => 1,
        }
    }

    /// The CPUs of Crossdock's workers.
    pub fn workers(self) -> &'static [usize] {
        match self {
            Self::BothCores => &[0, 1],
            _ => &[Self::SWITCH],
        }
    }

    /// Its words in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::InKernel => "client 0, server 1",
            Self::OwnCore => "own core",
            Self::ReceiversCore => "receiver's core",
            Self::BothCores => "both cores",
        }
    }
}
