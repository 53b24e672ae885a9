//! Where the headers of a frame are: Ethernet, VLAN tags, IP with its options or extensions, TCP or UDP.
//!
//! Everything found lies inside the frame. Lengths that the IP and UDP headers state are not looked at, but for
//! [`Transport::packet_end`].

use super::ethernet::{HEADER_LEN, IPV4, IPV6, VLAN_TAG_LEN};
use super::vlan::Tpid;

/// Most bytes of headers, Ethernet to TCP or UDP, that a super-frame's segments may repeat.
pub const MAX_HEADERS: usize = 256;

/// Most VLAN tags that are looked through, as Linux does (`VLAN_MAX_DEPTH`): a customer may have two, and each switch on the way
/// push one.
const MAX_TAGS: usize = 8;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of SCTP.
pub const SCTP: u8 = 132;
/// Where a TCP header has its checksum (RFC 9293, section 3.1).
pub const TCP_CHECKSUM: usize = 16;
/// Where a UDP header has its checksum (RFC 768).
pub const UDP_CHECKSUM: usize = 6;
/// Where an SCTP header has its checksum of four bytes, no Internet checksum (RFC 9260, section 3.1).
pub const SCTP_CHECKSUM: usize = 8;

/// Bytes of an IPv6 header without extensions (RFC 8200, section 3).
pub const IPV6_HEADER_LEN: usize = 40;

const UDP_HEADER_LEN: usize = 8;

/// The header behind the IP header, inside the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// EtherType of the IP version.
    pub ethertype: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// First byte of the IP header.
    pub network: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte: of TCP and UDP; other protocols are not looked into and end where they start.
    pub end: usize,
}

impl Transport {
    /// The transport of an unfragmented IP packet; `None` for anything else.
    #[inline]
    pub fn of(frame: &[u8]) -> Option<Transport> {
        let (ethertype, at) = network(frame)?;
        match ethertype {
            IPV4 => ipv4(frame, at),
            IPV6 => ipv6(frame, at),
            _ => None,
        }
    }

    fn new(ethertype: u16, network: usize, (protocol, start): (u8, usize), frame: &[u8]) -> Option<Transport> {
        let header_len = match protocol {
            TCP => usize::from(*frame.get(start + 12)? >> 4) * 4,
            UDP => UDP_HEADER_LEN,
            _ => 0,
        };
        let end = start + header_len;
        let complete = end <= frame.len() && (protocol != TCP || header_len >= 20);
        complete.then_some(Transport { ethertype, protocol, network, start, end })
    }

    /// One past the last byte of the IP packet, by its own word: it may lie outside the frame.
    #[inline]
    pub fn packet_end(&self, frame: &[u8]) -> Option<usize> {
        let len = match self.ethertype {
            IPV4 => usize::from(be16(frame, self.network + 2)?),
            _ => IPV6_HEADER_LEN + usize::from(be16(frame, self.network + 4)?),
        };
        Some(self.network + len)
    }

    /// Where the frame holds this protocol's Internet checksum.
    #[inline]
    pub fn checksum(&self) -> Option<usize> {
        match self.protocol {
            TCP => Some(self.start + TCP_CHECKSUM),
            UDP => Some(self.start + UDP_CHECKSUM),
            _ => None,
        }
    }
}

/// The EtherType behind the VLAN tags, and where its header starts.
#[inline]
pub fn network(frame: &[u8]) -> Option<(u16, usize)> {
    for at in (HEADER_LEN..).step_by(VLAN_TAG_LEN).take(MAX_TAGS + 1) {
        let ethertype = be16(frame, at - 2)?;
        if Tpid::of(ethertype) == Tpid::NONE {
            return Some((ethertype, at));
        }
    }
    None
}

/// The transport of a complete IPv4 packet (RFC 791); a fragment has none, and Linux completes checksums before it cuts.
pub fn ipv4(frame: &[u8], at: usize) -> Option<Transport> {
    let first = *frame.get(at)?;
    let header_len = usize::from(first & 0x0f) * 4;
    let fragment = be16(frame, at + 6)? & 0x3fff != 0;
    if first >> 4 != 4 || header_len < 20 || fragment {
        return None;
    }
    Transport::new(IPV4, at, (*frame.get(at + 9)?, at + header_len), frame)
}

/// The transport of a complete IPv6 packet (RFC 8200) behind hop-by-hop, routing and destination options.
pub fn ipv6(frame: &[u8], at: usize) -> Option<Transport> {
    const OPTIONS: [u8; 3] = [0, 43, 60];
    const FRAGMENT: u8 = 44;
    if frame.get(at)? >> 4 != 6 {
        return None;
    }
    let (mut next, mut start) = (*frame.get(at + 6)?, at + IPV6_HEADER_LEN);
    while OPTIONS.contains(&next) && start <= MAX_HEADERS {
        let len = usize::from(*frame.get(start + 1)?);
        next = *frame.get(start)?;
        start += (len + 1) * 8;
    }
    let found = next != FRAGMENT && !OPTIONS.contains(&next);
    found.then(|| Transport::new(IPV6, at, (next, start), frame)).flatten()
}

/// The 16-bit number at a position.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}
