//! Bytes to [`FlowKey`], no deeper than asked.
//!
//! The key is built in words that are stored whole: fields written one by one and then read as words, to be hashed, would
//! stall the processor. The first three words hold all of layer 2 and need two loads, a third for a VLAN tag.
//!
//! At most two VLAN tags are looked through. One that is cut short is none: its EtherType stays in the key.

use crate::drop::DropReason;
use crate::flow::{Depth, FlowKey, PortId};
use crate::tables::fdb::Station;
use crate::tables::vlan::Vlan;
use crate::wire::ethernet::{HEADER_LEN, IPV4, IPV6, VLAN_TAG_LEN};
use crate::wire::vlan::{TagStack, Tpid};
use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice};

/// Where the first byte of an EtherType lies in the word of source and type: this bit of it is set in every VLAN tag's, and
/// in neither IPv4's nor ARP's.
const PERHAPS_TAG: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0x80, 0]);

/// The flow key of a frame from `port`.
///
/// # Errors
/// [`DropReason::Runt`] below 14 bytes; [`DropReason::Malformed`] when a header asked for is cut short.
#[inline]
pub fn parse(frame: &[u8], port: PortId, depth: Depth) -> Result<FlowKey, DropReason> {
    let layer2 = layer2(frame, port).ok_or(DropReason::Runt)?;
    let mut deeper = Deeper::default();
    if depth > Depth::L2 {
        deeper.read(frame, depth).map_err(|Unreadable| DropReason::Malformed)?;
    }
    Ok(deeper.key(layer2))
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
    if source_and_type & PERHAPS_TAG == 0 {
        return Some([ingress, source_and_type, destination]);
    }
    Some(match Tags::of(frame) {
        None => [ingress, source_and_type, destination],
        Some(tags) => [ingress | tags.outer, source_and_type & MAC | tags.ethertype, destination],
    })
}

/// The stations that a frame goes between in a VLAN: from and to. Of a runt, nobody.
#[inline(always)]
pub(crate) fn stations(frame: &[u8], vlan: Vlan) -> (Station, Station) {
    let Some(header) = frame.first_chunk::<HEADER_LEN>() else { return (Station::NOBODY, Station::NOBODY) };
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (to, from) = (word(header.first_chunk()), word(header.last_chunk()));
    (Station::of_bits(vlan, from), Station::of_bits(vlan, to))
}

/// What the tags of a frame put into its key.
struct Tags {
    /// In the first word: the outermost tag.
    outer: u64,
    /// In the second word: the EtherType behind all.
    ethertype: u64,
}

impl Tags {
    /// In an EtherType as it lies in a frame: what all kinds of tags have and few others do. (Asked of the two bytes together,
    /// which are then loaded together.)
    const HIGH_BIT: u16 = u16::from_ne_bytes([0x80, 0]);

    /// `None` where the EtherType is no tag's, or the tag is cut short.
    #[inline(always)]
    fn of(frame: &[u8]) -> Option<Tags> {
        let &[_, _, _, _, p, q, t, u, c, d] = frame.get(8..)?.first_chunk()?;
        let tpid = Tpid::of(u16::from_be_bytes([p, q]));
        if tpid == Tpid::NONE {
            return None;
        }
        let mut inner = u16::from_ne_bytes([c, d]);
        let is_nested = inner & Tags::HIGH_BIT != 0 && Tpid::of(u16::from_be(inner)) != Tpid::NONE;
        if is_nested {
            let second = frame.get(HEADER_LEN + VLAN_TAG_LEN + 2..).and_then(|rest| rest.first_chunk());
            inner = second.map_or(inner, |&bytes| u16::from_ne_bytes(bytes));
        }
        let tag = field(u16::from_be_bytes([t, u]), 2)
            | field(u16::from_ne_bytes([TagStack::new(tpid, is_nested).code(), 0]), 4);
        Some(Tags { outer: tag, ethertype: field(inner, 6) })
    }
}

/// A field of two bytes in a word of the key, `at` bytes from its begin. By arithmetic: bytes put together in memory would
/// stall the load of the word.
#[inline(always)]
const fn field(value: u16, at: u32) -> u64 {
    let shift = if cfg!(target_endian = "little") { 8 * at } else { 48 - 8 * at };
    (value as u64) << shift
}

/// The EtherType that ends at `end`; 0, which is none, behind the frame's end.
#[inline(always)]
fn ethertype_at(frame: &[u8], end: usize) -> u16 {
    frame.get(end - 2..end).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// A header ends after the frame, or there are more extension headers than [`MAX_EXTENSIONS`].
struct Unreadable;

/// Most IPv6 extension headers that are walked. Real packets have one or two; a host may refuse more than 8 of one kind
/// (RFC 8504, section 5.3), and without a bound one frame could have a thousand.
pub const MAX_EXTENSIONS: usize = 8;

/// What the key holds beyond layer 2, until it is put together.
#[derive(Default)]
struct Deeper {
    src: [u8; 16],
    dst: [u8; 16],
    ports: [u16; 2],
    proto: u8,
    tos: u8,
    fragment: bool,
    inner_tpid: u8,
    inner_vlan: u16,
}

impl Deeper {
    /// The whole key.
    #[inline]
    fn key(&self, [a, b, c]: [u64; 3]) -> FlowKey {
        let ip = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, self.proto, self.tos]);
        let [d, e] = halves(self.src);
        let [f, g] = halves(self.dst);
        let [[h, i], [j, k]] = self.ports.map(u16::to_ne_bytes);
        let [l, m] = self.inner_vlan.to_ne_bytes();
        let last = u64::from_ne_bytes([h, i, j, k, u8::from(self.fragment), self.inner_tpid, l, m]);
        FlowKey::from_words([a, b, c | ip, d, e, f, g, last])
    }

    /// Reads what lies behind the Ethernet header: a second tag, then IP.
    fn read(&mut self, frame: &[u8], depth: Depth) -> Result<(), Unreadable> {
        let mut at = HEADER_LEN;
        if Tpid::of(ethertype_at(frame, at)) != Tpid::NONE && frame.len() >= at + VLAN_TAG_LEN {
            at += VLAN_TAG_LEN;
            let tpid = Tpid::of(ethertype_at(frame, at));
            if tpid != Tpid::NONE && frame.len() >= at + VLAN_TAG_LEN {
                (self.inner_tpid, self.inner_vlan) = (tpid.code(), ethertype_at(frame, at + 2));
                at += VLAN_TAG_LEN;
            }
        }
        match ethertype_at(frame, at) {
            IPV4 => self.ipv4(&frame[at..], depth),
            IPV6 => self.ipv6(&frame[at..], depth),
            _ => Ok(()),
        }
    }

    fn ipv4(&mut self, packet: &[u8], depth: Depth) -> Result<(), Unreadable> {
        let ip = Ipv4HeaderSlice::from_slice(packet).map_err(|_| Unreadable)?;
        (self.src, self.dst) = (in_last_four(ip.source()), in_last_four(ip.destination()));
        (self.proto, self.tos) = (ip.protocol().0, packet[1]);
        self.fragment = ip.is_fragmenting_payload();
        self.read_ports(&packet[ip.slice().len()..], depth)
    }

    fn ipv6(&mut self, packet: &[u8], depth: Depth) -> Result<(), Unreadable> {
        let ip = Ipv6HeaderSlice::from_slice(packet).map_err(|_| Unreadable)?;
        (self.src, self.dst) = (ip.source(), ip.destination());
        self.tos = ip.traffic_class();
        let payload = self.skip_extensions(ip.next_header(), &packet[ip.slice().len()..])?;
        self.read_ports(payload, depth)
    }

    /// Walks hop-by-hop, routing, destination and fragment headers (RFC 8200, section 4).
    fn skip_extensions<'a>(&mut self, first: IpNumber, mut rest: &'a [u8]) -> Result<&'a [u8], Unreadable> {
        let mut next = first;
        for _ in 0..=MAX_EXTENSIONS {
            let len = match next {
                IpNumber::IPV6_FRAGMENTATION_HEADER => {
                    self.fragment = true;
                    let &[_, _, high, low] = rest.first_chunk().ok_or(Unreadable)?;
                    if u16::from_be_bytes([high, low]) >> 3 != 0 {
                        // Not the first fragment: what follows is payload.
                        self.proto = rest[0];
                        return Ok(rest);
                    }
                    8
                }
                _ if Ipv6RawExtHeaderSlice::header_type_supported(next) => {
                    Ipv6RawExtHeaderSlice::from_slice(rest).map_err(|_| Unreadable)?.slice().len()
                }
                _ => {
                    self.proto = next.0;
                    return Ok(rest);
                }
            };
            next = IpNumber(*rest.first().ok_or(Unreadable)?);
            rest = rest.get(len..).ok_or(Unreadable)?;
        }
        Err(Unreadable)
    }

    fn read_ports(&mut self, segment: &[u8], depth: Depth) -> Result<(), Unreadable> {
        let has_ports = matches!(IpNumber(self.proto), IpNumber::TCP | IpNumber::UDP);
        if depth < Depth::L4 || !has_ports || self.fragment {
            return Ok(());
        }
        let &[a, b, c, d] = segment.first_chunk().ok_or(Unreadable)?;
        self.ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        Ok(())
    }
}

fn halves(address: [u8; 16]) -> [u64; 2] {
    zerocopy::transmute!(address)
}

/// Where the key has an IPv4 address.
fn in_last_four([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Mac;
    use crate::wire::vlan::{Tag, Tci};
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

    /// A UDP datagram behind so many headers of options, eight bytes each.
    fn udp6(options: usize) -> Vec<u8> {
        let mut frame = [&DST[..], &SRC, &[0x86, 0xdd]].concat();
        let udp = [0x0f, 0xa0, 0, 53, 0, 8, 0, 0];
        frame.extend([0x60, 0, 0, 0, 0, 8 * (options as u8 + 1), if options == 0 { 17 } else { 60 }, 64]);
        frame.extend([0xfd; 16]);
        frame.extend([0xfe; 16]);
        (1..=options).for_each(|n| frame.extend([if n == options { 17 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]));
        frame.extend(udp);
        frame
    }

    #[test]
    fn ipv6_extension_headers_are_walked_up_to_a_bound() {
        for options in 0..=MAX_EXTENSIONS {
            let frame = udp6(options);
            let key = parse(&frame, PortId(1), Depth::L4).unwrap();
            assert_eq!((key.ip_proto, key.l4_src, key.l4_dst), (17, 4000, 53));
            assert_eq!(parse(&frame[..frame.len() - 5], PortId(1), Depth::L4), Err(DropReason::Malformed));
        }
        assert_eq!(parse(&udp6(MAX_EXTENSIONS + 1), PortId(1), Depth::L3), Err(DropReason::Malformed));
        assert!(parse(&udp6(MAX_EXTENSIONS + 1), PortId(1), Depth::L2).is_ok(), "nobody asked");
    }

    const TAGS: [[u8; 4]; 3] = [[0x81, 0, 0x60, 10], [0x88, 0xa8, 0, 100], [0x91, 0, 0xf0, 1]];

    fn tagged(tags: &[[u8; 4]]) -> Vec<u8> {
        let frame = udp4();
        [&frame[..12], &tags.concat(), &frame[12..]].concat()
    }

    #[test]
    fn two_tags_are_looked_through() {
        let plain = parse(&udp4(), PortId(7), Depth::L4).unwrap();
        for outer in TAGS {
            let tag = Tag::new(
                Tpid::of(u16::from_be_bytes([outer[0], outer[1]])),
                Tci(u16::from_be_bytes([outer[2], outer[3]])),
            );
            let vlan = tag.tci();
            let tags = |is_nested| TagStack::new(tag.tpid(), is_nested);
            for depth in [Depth::L2, Depth::L3, Depth::L4] {
                let key = parse(&tagged(&[outer]), PortId(7), depth).unwrap();
                assert_eq!((key.tag(), key.ethertype()), (Some(tag), IPV4));
            }
            let key = parse(&tagged(&[outer]), PortId(7), Depth::L4).unwrap();
            assert_eq!(key, FlowKey { vlan, tags: tags(false), ..plain });
            let key = parse(&tagged(&[outer, TAGS[0]]), PortId(7), Depth::L4).unwrap();
            let (inner_vlan, inner_tpid) = (Tci(0x600a), Tpid::CUSTOMER);
            assert_eq!(key, FlowKey { vlan, tags: tags(true), inner_vlan, inner_tpid, ..plain });
            let key = parse(&tagged(&[outer, TAGS[0]]), PortId(7), Depth::L2).unwrap();
            assert_eq!((key.tag(), key.ethertype(), key.inner_tpid), (Some(tag), IPV4, Tpid::NONE));
            assert!(key.tags.is_nested());
        }
    }

    #[test]
    fn a_third_tag_is_payload_and_half_a_tag_none() {
        let key = parse(&tagged(&TAGS), PortId(7), Depth::L4).unwrap();
        assert_eq!(
            (key.tags.outer(), key.inner_tpid, key.ethertype(), key.l4_dst),
            (Tpid::CUSTOMER, Tpid::SERVICE, 0x9100, 0)
        );
        for depth in [Depth::L2, Depth::L4] {
            let half = parse(&tagged(&TAGS)[..17], PortId(7), depth).unwrap();
            assert_eq!((half.tag(), half.ethertype()), (None, 0x8100));
            let half = parse(&tagged(&TAGS)[..21], PortId(7), depth).unwrap();
            assert_eq!((half.tags.outer(), half.inner_tpid, half.ethertype()), (Tpid::CUSTOMER, Tpid::NONE, 0x88a8));
        }
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
            for ethertype in [IPV4, IPV6, 0x8100] {
                let mut ip = [&DST[..], &SRC, &ethertype.to_be_bytes()].concat();
                ip.extend(&noise);
                let _ = parse(&ip, PortId(0), depth);
            }
        }
    }
}
