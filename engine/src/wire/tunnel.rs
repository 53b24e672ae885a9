//! Where the packet inside a tunnel's packet is: VXLAN (RFC 7348), Geneve (RFC 8926), GRE (RFC 2784, 2890), IP in IP (RFC 2003,
//! 4213). VXLAN and Geneve are known by the UDP port they are sent to, and only by the usual ones.

use super::ethernet::{IPV4, IPV6};
use super::transport::{Transport, UDP, be16, ipv4, ipv6, network};

/// IP protocol numbers of IPv4, IPv6 and GRE inside an IP packet.
const IPV4_INSIDE: u8 = 4;
const IPV6_INSIDE: u8 = 41;
const GRE: u8 = 47;
/// UDP ports: VXLAN's, the one that Linux gave it before, and Geneve's.
const VXLAN: u16 = 4789;
const VXLAN_OF_LINUX: u16 = 8472;
const GENEVE: u16 = 6081;
/// EtherType of an Ethernet frame inside (`ETH_P_TEB`).
const ETHERNET: u16 = 0x6558;

const UDP_HEADER_LEN: usize = 8;
const VXLAN_HEADER_LEN: usize = 8;
const GENEVE_HEADER_LEN: usize = 8;
const GRE_HEADER_LEN: usize = 4;

/// The transport of the IP packet inside a packet, one tunnel deep; `None` when there is no tunnel, or nothing known inside.
#[inline]
pub fn inside(frame: &[u8], outer: &Transport) -> Option<Transport> {
    let (ethertype, at) = match outer.protocol {
        UDP => udp(frame, outer.start)?,
        GRE => gre(frame, outer.start)?,
        IPV4_INSIDE => (IPV4, outer.start),
        IPV6_INSIDE => (IPV6, outer.start),
        _ => return None,
    };
    let (ethertype, at) = match ethertype {
        ETHERNET => network(frame.get(at..)?).map(|(ethertype, behind)| (ethertype, at + behind))?,
        _ => (ethertype, at),
    };
    match ethertype {
        IPV4 => ipv4(frame, at),
        IPV6 => ipv6(frame, at),
        _ => None,
    }
}

/// What is inside a UDP packet, and where it starts.
#[inline]
fn udp(frame: &[u8], at: usize) -> Option<(u16, usize)> {
    let behind = at + UDP_HEADER_LEN;
    match be16(frame, at + 2)? {
        VXLAN | VXLAN_OF_LINUX => Some((ETHERNET, behind + VXLAN_HEADER_LEN)),
        GENEVE => {
            let options = usize::from(*frame.get(behind)? & 0x3f) * 4;
            Some((be16(frame, behind + 2)?, behind + GENEVE_HEADER_LEN + options))
        }
        _ => None,
    }
}

/// What is inside a GRE packet, behind checksum, key and sequence number.
fn gre(frame: &[u8], at: usize) -> Option<(u16, usize)> {
    let flags = be16(frame, at)?;
    let fields = [0x8000, 0x2000, 0x1000].into_iter().filter(|bit| flags & bit != 0).count();
    Some((be16(frame, at + 2)?, at + GRE_HEADER_LEN + 4 * fields))
}
