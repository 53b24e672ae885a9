//! Bytes to [`FlowKey`], no deeper than asked.
//!
//! VLAN tags are not looked through yet: a tagged frame is switched by its MAC addresses, as by a bridge without
//! VLAN filtering, and its key ends at the EtherType of the tag.

use crate::drop::DropReason;
use crate::flow::{Depth, FlowKey, PortId};
use crate::wire::ethernet::{HEADER_LEN, IPV4, IPV6};
use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice};

/// The flow key of a frame from `port`.
///
/// # Errors
/// [`DropReason::Runt`] below 14 bytes; [`DropReason::Malformed`] when a header asked for is cut short.
#[inline]
pub fn parse(frame: &[u8], port: PortId, depth: Depth) -> Result<FlowKey, DropReason> {
    let l2 = layer2(frame, port).ok_or(DropReason::Runt)?;
    let mut key = FlowKey::from_layer2(l2);
    if depth > Depth::L2 {
        parse_ip(&mut key, &frame[HEADER_LEN..], depth).map_err(|Truncated| DropReason::Malformed)?;
    }
    Ok(key)
}

/// The first three words of the key, straight from the frame: two loads. `None` for a runt.
#[inline(always)]
pub(crate) fn layer2(frame: &[u8], port: PortId) -> Option<[u64; 3]> {
    const MAC: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    let header = frame.first_chunk::<HEADER_LEN>()?;
    let [p, q] = port.0.to_ne_bytes();
    let ingress = u64::from_ne_bytes([p, q, 0, 0, 0, 0, 0, 0]);
    let destination = u64::from_ne_bytes(*header.first_chunk()?) & MAC;
    let source_and_type = u64::from_ne_bytes(*header.last_chunk()?);
    Some([ingress, source_and_type, destination])
}

/// A header ends after the frame.
struct Truncated;

fn parse_ip(key: &mut FlowKey, packet: &[u8], depth: Depth) -> Result<(), Truncated> {
    match key.ethertype() {
        IPV4 => parse_ipv4(key, packet, depth),
        IPV6 => parse_ipv6(key, packet, depth),
        _ => Ok(()),
    }
}

fn parse_ipv4(key: &mut FlowKey, packet: &[u8], depth: Depth) -> Result<(), Truncated> {
    let ip = Ipv4HeaderSlice::from_slice(packet).map_err(|_| Truncated)?;
    key.ip_src[12..].copy_from_slice(&ip.source());
    key.ip_dst[12..].copy_from_slice(&ip.destination());
    key.ip_proto = ip.protocol().0;
    key.ip_tos = packet[1];
    key.fragment = u8::from(ip.is_fragmenting_payload());
    parse_ports(key, &packet[ip.slice().len()..], depth)
}

fn parse_ipv6(key: &mut FlowKey, packet: &[u8], depth: Depth) -> Result<(), Truncated> {
    let ip = Ipv6HeaderSlice::from_slice(packet).map_err(|_| Truncated)?;
    key.ip_src = ip.source();
    key.ip_dst = ip.destination();
    key.ip_tos = ip.traffic_class();
    let payload = skip_extensions(key, ip.next_header(), &packet[ip.slice().len()..])?;
    parse_ports(key, payload, depth)
}

/// Walks hop-by-hop, routing, destination and fragment headers (RFC 8200, section 4).
fn skip_extensions<'a>(key: &mut FlowKey, first: IpNumber, mut rest: &'a [u8]) -> Result<&'a [u8], Truncated> {
    let mut next = first;
    loop {
        let len = match next {
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                key.fragment = 1;
                let &[_, _, high, low] = rest.first_chunk().ok_or(Truncated)?;
                if u16::from_be_bytes([high, low]) >> 3 != 0 {
                    // Not the first fragment: what follows is payload.
                    next = IpNumber(rest[0]);
                    break;
                }
                8
            }
            _ if Ipv6RawExtHeaderSlice::header_type_supported(next) => {
                Ipv6RawExtHeaderSlice::from_slice(rest).map_err(|_| Truncated)?.slice().len()
            }
            _ => break,
        };
        next = IpNumber(*rest.first().ok_or(Truncated)?);
        rest = rest.get(len..).ok_or(Truncated)?;
    }
    key.ip_proto = next.0;
    Ok(rest)
}

fn parse_ports(key: &mut FlowKey, segment: &[u8], depth: Depth) -> Result<(), Truncated> {
    let has_ports = matches!(IpNumber(key.ip_proto), IpNumber::TCP | IpNumber::UDP);
    if depth < Depth::L4 || !has_ports || key.fragment != 0 {
        return Ok(());
    }
    let &[a, b, c, d] = segment.first_chunk().ok_or(Truncated)?;
    key.l4_src = u16::from_be_bytes([a, b]);
    key.l4_dst = u16::from_be_bytes([c, d]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Mac;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    const SRC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const DST: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn udp4() -> Vec<u8> {
        let mut frame = Vec::new();
        let packet = PacketBuilder::ethernet2(SRC, DST).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(4000, 53);
        packet.write(&mut frame, b"payload").unwrap();
        frame
    }

    #[test]
    fn each_depth_fills_its_fields_and_no_more() {
        let frame = udp4();
        let l2 = parse(&frame, PortId(7), Depth::L2).unwrap();
        assert_eq!((l2.port, l2.eth_src, l2.eth_dst, l2.ethertype()), (PortId(7), Mac(SRC), Mac(DST), IPV4));
        assert_eq!((l2.ip_proto, l2.ip_src, l2.l4_dst), (0, [0; 16], 0));
        let l3 = parse(&frame, PortId(7), Depth::L3).unwrap();
        assert_eq!((l3.ip_proto, &l3.ip_src[12..], l3.l4_dst), (17, &[10, 0, 0, 1][..], 0));
        let l4 = parse(&frame, PortId(7), Depth::L4).unwrap();
        assert_eq!((l4.l4_src, l4.l4_dst), (4000, 53));
    }

    #[test]
    fn ipv6_extension_headers_are_walked() {
        let mut frame = [&DST[..], &SRC, &[0x86, 0xdd]].concat();
        let udp = [0x0f, 0xa0, 0, 53, 0, 8, 0, 0];
        frame.extend([0x60, 0, 0, 0, 0, 16, 0, 64]);
        frame.extend([0xfd; 16]);
        frame.extend([0xfe; 16]);
        frame.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        frame.extend(udp);
        let key = parse(&frame, PortId(1), Depth::L4).unwrap();
        assert_eq!((key.ip_proto, key.l4_src, key.l4_dst), (17, 4000, 53));
        assert_eq!(parse(&frame[..60], PortId(1), Depth::L4), Err(DropReason::Malformed));
    }

    #[test]
    fn runts_are_named() {
        assert_eq!(parse(&[0; 13], PortId(0), Depth::L2), Err(DropReason::Runt));
        assert!(parse(&[0; 14], PortId(0), Depth::L4).is_ok());
    }

    proptest! {
        #[test]
        fn a_cut_frame_never_panics(cut in 0usize..64, noise in proptest::collection::vec(any::<u8>(), 0..120), deep: bool) {
            let depth = if deep { Depth::L4 } else { Depth::L2 };
            let frame = udp4();
            let _ = parse(&frame[..cut.min(frame.len())], PortId(0), depth);
            let _ = parse(&noise, PortId(0), depth);
            for ethertype in [IPV4, IPV6] {
                let mut ip = [&DST[..], &SRC, &ethertype.to_be_bytes()].concat();
                ip.extend(&noise);
                let _ = parse(&ip, PortId(0), depth);
            }
        }
    }
}
