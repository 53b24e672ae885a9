//! Why a frame went no further: one list, which is the counter list, the command's output, the metric
//! label and the oracle of the tests.

/// Declares the reasons once: variant, name and sentence cannot drift apart.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $meaning:literal;)*) => {
        /// Why a frame was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(zerocopy::FromZeros, zerocopy::Immutable, zerocopy::KnownLayout)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $meaning] $variant,)* }

        impl DropReason {
            /// Every reason, in the order of [`DropReason::index`].
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)*];

            /// The snake_case name: JSON key, metric label.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(DropReason::$variant => $meaning,)* }
            }
        }
    };
}

drop_reasons! {
    Runt = "runt", "shorter than an Ethernet header (14 bytes)";
    BadVnetHeader = "bad_vnet_header", "the sender's offload request (virtio-net header) does not fit the frame";
    SourceInvalid = "source_invalid", "the source MAC is a group address or all zero";
    SourceOwn = "source_own", "the source MAC is the bridge domain's own address";
    Reserved = "reserved", "sent to a link-local group (01:80:c2:00:00:0x) that a bridge never forwards";
    SamePort = "same_port", "the destination was learned on the port the frame came from";
    Isolated = "isolated", "both ports are isolated from each other";
    VlanFiltered = "vlan_filtered", "the port does not carry the frame's VLAN, or admits no such frame: a tag on an access port, none on a trunk";
    VlanInvalid = "vlan_invalid", "the VLAN tag is cut short, or names the reserved VLAN 4095";
    MacFlapping = "mac_flapping", "a flood from a source MAC that jumps between ports faster than a host can move: a loop outside, or an address used twice";
    Loop = "loop", "the port is blocked because it leads back to the switch by another port, or this is a probe of the switch that came back";
    MacLimit = "mac_limit", "the source MAC is new, and the port has as many addresses as it may (mac_limit)";
    Locked = "locked", "the port is locked, and the source MAC is not known on it";
    Guard = "guard", "the port's guard does not let this source address pass: MAC, IP, ARP or ND";
    StormBroadcast = "storm_broadcast", "above the port's cap on broadcast frames";
    StormMulticast = "storm_multicast", "above the port's cap on multicast frames";
    StormUnknown = "storm_unknown", "above the port's cap on unicast frames to unknown destinations";
    NoEgress = "no_egress", "the domain has no other port that is up and carries the frame's VLAN";
    NoDomain = "no_domain", "the ingress port belongs to no bridge domain";
    TooBig = "too_big", "longer than the egress port's MTU allows, or than frame memory holds";
    PortDown = "port_down", "the egress port is down or gone";
    RxOverrun = "rx_overrun", "the kernel's queue in front of the port overflowed: the switch does not keep up";
    TxFull = "tx_full", "the egress port's queue is full: the receiver does not keep up";
    HandoverFull = "handover_full", "the worker that owns the egress port does not keep up with what the others hand over";
    Fault = "fault", "dropped by a fault that the configuration injects at the port";
    TxError = "tx_error", "the egress port could not take the frame: the kernel refused it";
    OffloadUnfit = "offload_unfit", "the frame's checksum cannot be completed, or the super-frame not cut: its offload does not fit its headers";
    PoolEmpty = "pool_empty", "no free frame memory for a copy, a segment or a received frame";
    NoHeadroom = "no_headroom", "no room in front of the frame for another header";
    Malformed = "malformed", "a header is truncated or contradicts itself, or there are too many";
    Denied = "denied", "refused by a stage that the embedding program added";
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Position in a counter array.
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_snake_case_and_indexed() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i);
            assert!(reason.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }
}
