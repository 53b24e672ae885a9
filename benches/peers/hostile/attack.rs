//! What a container may do to others.

use super::frames;
use clap::ValueEnum;

/// One way to attack.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Super-frames of 60 kB that are fragments, which no virtio-net header may say: the switch refuses each after reading it.
    Refused,
    /// Super-frames of 60 kB in segments of 8 bytes to a port that takes none: the switch would have to cut 7500.
    #[value(name = "cut-8")]
    Cut8,
    /// The same in segments of 88 bytes.
    #[value(name = "cut-88")]
    Cut88,
    /// The same in segments as they should be.
    #[value(name = "cut-1448")]
    Cut1448,
    /// Broadcasts to 300 idle ports as fast as it can.
    Broadcasts,
    /// 5000 broadcasts a second to 300 idle ports.
    #[value(name = "broadcasts-5000")]
    PacedBroadcasts,
    /// Ever new source addresses on a forwarding database that is full of them.
    MacFlood,
    /// The smallest packets as fast as it can to a neighbour that never reads them.
    DeafNeighbour,
    /// A bridge between two ports of its own, and a few broadcasts of two stations, which then go round.
    Loop,
    /// Super-frames of IPv6 with thousands of extension headers.
    Extensions,
}

impl Attack {
    /// What it sends.
    pub fn frames(self) -> Vec<Vec<u8>> {
        match self {
            Self::Refused => vec![frames::fragment()],
            Self::Cut8 => vec![frames::super_frame(8)],
            Self::Cut88 => vec![frames::super_frame(88)],
            Self::Cut1448 => vec![frames::super_frame(1448)],
            Self::Broadcasts | Self::PacedBroadcasts => vec![frames::broadcast(1)],
            Self::MacFlood => vec![frames::datagram(); crate::generator::BATCH],
            Self::DeafNeighbour => vec![frames::datagram()],
            Self::Loop => vec![frames::broadcast(8), frames::broadcast(9)],
            Self::Extensions => vec![frames::extensions()],
        }
    }

    /// Whether its frames follow a virtio-net header.
    pub fn has_header(self) -> bool {
        matches!(self, Self::Refused | Self::Cut8 | Self::Cut88 | Self::Cut1448 | Self::Extensions)
    }

    /// Whether every frame comes from an address of its own.
    pub fn changes_sources(self) -> bool {
        self == Self::MacFlood
    }

    /// Frames a second, where it is not as many as it can.
    pub fn pace(self) -> Option<u32> {
        match self {
            Self::PacedBroadcasts => Some(5000),
            Self::Loop => Some(100),
            _ => None,
        }
    }

    /// Whether its neighbour is a port that takes no super-frames.
    pub fn cuts(self) -> bool {
        matches!(self, Self::Cut8 | Self::Cut88 | Self::Cut1448)
    }

    /// Idle ports of its domain.
    pub fn idle_ports(self) -> usize {
        match self {
            Self::Broadcasts | Self::PacedBroadcasts => 300,
            _ => 0,
        }
    }
}
