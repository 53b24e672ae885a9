//! Packets for tests.

use etherparse::{Ethernet2Header, IpHeaders, PacketBuilderStep, VlanId};

/// IPv4 or IPv6 behind 0, 1 or 2 VLAN tags; a transport is to follow.
pub(crate) fn tagged_ip(
    eth: PacketBuilderStep<Ethernet2Header>,
    tags: usize,
    v6: bool,
) -> PacketBuilderStep<IpHeaders> {
    let id = VlanId::try_new(7).unwrap();
    match (tags, v6) {
        (0, false) => eth.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
        (0, true) => eth.ipv6([1; 16], [2; 16], 64),
        (1, false) => eth.single_vlan(id).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
        (1, true) => eth.single_vlan(id).ipv6([1; 16], [2; 16], 64),
        (_, false) => eth.double_vlan(id, id).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
        (_, true) => eth.double_vlan(id, id).ipv6([1; 16], [2; 16], 64),
    }
}
