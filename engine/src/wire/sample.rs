//! Packets for tests.

use etherparse::{Ethernet2Header, IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep, VlanId};

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

/// An SCTP packet over IPv4 with these bytes behind its header, whose checksum a slow way has made.
pub(crate) fn sctp(chunks: &[u8]) -> Vec<u8> {
    let mut packet = [&[0, 1, 0, 2, 0, 0, 0, 3][..], &[0; 4], chunks].concat();
    let crc = packet.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    });
    packet[8..12].copy_from_slice(&(!crc).to_le_bytes());
    let mut frame = Vec::new();
    let ip = tagged_ip(PacketBuilder::ethernet2([2; 6], [4; 6]), 0, false);
    ip.write(&mut frame, IpNumber::SCTP, &packet).unwrap();
    frame
}
