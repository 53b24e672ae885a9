//! The virtio-net header (VIRTIO 1.2, section 5.1.6), which precedes every frame of a TAP or packet socket.
//!
//! # Theory of operation
//!
//! ```text
//!  0      1          2         4          6            8             10
//!  | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset |
//! ```
//!
//! Ten bytes: the form without `num_buffers`, which TUN and AF_PACKET use when nobody asks for another, and the
//! two bytes more would carry nothing. Fields are in the byte order of the machine, which both speak unless told
//! otherwise (`tun_is_little_endian` in drivers/net/tun_vnet.h, `vio_le` in net/packet/af_packet.c).
//!
//! A header comes from whoever sent the frame and is hostile until checked against the frame itself. What
//! [`parse`] accepts holds these promises, so that nobody later checks again:
//!
//! * a partial checksum starts behind the Ethernet header and lands inside the frame, and never on a field of the
//!   outermost IP, TCP or UDP header other than its checksum, so completing it cannot change where the frame goes;
//! * a super-frame is an unfragmented TCP or UDP packet of the IP version it claims, its partial checksum is that
//!   protocol's, its header length is measured here and at most [`MAX_HEADERS`], and its segments are no smaller
//!   and no more than the kernel's own senders make.
//!
//! VIRTIO_NET_HDR_F_DATA_VALID is accepted and dropped: it says that nothing is left to do. A super-frame without
//! a partial checksum, as hardware receive offload makes, is refused; Linux makes partial checksums in its own GRO.

use super::ethernet::{HEADER_LEN, IPV4, IPV6, VLAN_TAG_LEN};
use super::transport::{MAX_HEADERS, TCP, Transport, UDP, ipv4, ipv6, network};
use crate::frame::{Csum, Gso, GsoKind, Offload};

/// Bytes of the header.
pub const LEN: usize = 10;
/// Longest frame: an IP packet of 65,535 bytes behind an Ethernet header and two VLAN tags.
pub const MAX_FRAME: usize = 65_535 + HEADER_LEN + 2 * VLAN_TAG_LEN;

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Smallest TCP segment Linux makes (`TCP_MIN_GSO_SIZE`).
const MIN_TCP_SIZE: usize = 8;
/// Most segments of a TCP super-frame: cutting one is work that other ports wait for. 64 KiB in segments of 64 bytes are so many;
/// only a peer that means harm asks for shorter ones (CVE-2019-11479).
const MAX_TCP_SEGMENTS: usize = 1024;
/// Most datagrams Linux puts into one super-frame (`UDP_MAX_SEGMENTS`).
const MAX_UDP_SEGMENTS: usize = 128;

/// The header asks for something that does not fit its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the virtio-net header does not fit its frame")]
pub struct BadVnetHeader;

/// Reads the header of `frame`.
///
/// # Errors
/// When the frame is longer than [`MAX_FRAME`] or breaks one of the promises above.
#[inline]
pub fn parse(header: &[u8; LEN], frame: &[u8]) -> Result<Offload, BadVnetHeader> {
    let [flags, gso_type, ..] = *header;
    let plain = flags & !F_DATA_VALID == 0 && gso_type == GSO_NONE;
    match plain && frame.len() <= MAX_FRAME {
        true => Ok(Offload::default()),
        false => parse_request(header, frame).ok_or(BadVnetHeader),
    }
}

/// Writes the header that says `offload`.
#[inline]
pub fn emit(offload: &Offload) -> [u8; LEN] {
    let mut header = [0; LEN];
    if let Some(csum) = offload.csum {
        header[0] = F_NEEDS_CSUM;
        header[6..8].copy_from_slice(&csum.start.to_ne_bytes());
        header[8..10].copy_from_slice(&csum.offset.to_ne_bytes());
    }
    if let Some(gso) = offload.gso {
        header[1] = gso_type(gso);
        header[2..4].copy_from_slice(&gso.hdr_len.to_ne_bytes());
        header[4..6].copy_from_slice(&gso.size.to_ne_bytes());
    }
    header
}

fn gso_type(gso: Gso) -> u8 {
    let kind = match gso.kind {
        GsoKind::Tcp4 => GSO_TCPV4,
        GsoKind::Tcp6 => GSO_TCPV6,
        GsoKind::Udp => GSO_UDP_L4,
    };
    if gso.ecn { kind | GSO_ECN } else { kind }
}

/// A header with a request in it.
fn parse_request(header: &[u8; LEN], frame: &[u8]) -> Option<Offload> {
    let [flags, gso_type, _, _, s0, s1, c0, c1, o0, o1] = *header;
    let partial = flags & !F_DATA_VALID == F_NEEDS_CSUM;
    if !partial || frame.len() > MAX_FRAME {
        return None;
    }
    let csum = Csum { start: u16::from_ne_bytes([c0, c1]), offset: u16::from_ne_bytes([o0, o1]) };
    let (ethertype, at) = network(frame)?;
    let transport = match ethertype {
        IPV4 => Some(ipv4(frame, at)?),
        IPV6 => Some(ipv6(frame, at)?),
        _ => None,
    };
    if usize::from(csum.start) < at || !lands_well(csum, transport.as_ref(), frame.len()) {
        return None;
    }
    let gso = match gso_type {
        GSO_NONE => None,
        _ => Some(parse_gso(gso_type, u16::from_ne_bytes([s0, s1]), csum, &transport?, frame.len())?),
    };
    Some(Offload { csum: Some(csum), gso })
}

/// Whether the result of a partial checksum lands in the frame, and on nothing that decides where the frame goes.
fn lands_well(csum: Csum, transport: Option<&Transport>, frame_len: usize) -> bool {
    let result = usize::from(csum.start) + usize::from(csum.offset);
    result + 2 <= frame_len && transport.is_none_or(|t| Some(result) == t.checksum() || result >= t.end)
}

fn parse_gso(gso_type: u8, size: u16, csum: Csum, transport: &Transport, frame_len: usize) -> Option<Gso> {
    let ecn = gso_type & GSO_ECN != 0;
    let kind = match (gso_type & !GSO_ECN, transport.ethertype, transport.protocol) {
        (GSO_TCPV4, IPV4, TCP) => GsoKind::Tcp4,
        (GSO_TCPV6, IPV6, TCP) => GsoKind::Tcp6,
        (GSO_UDP_L4, _, UDP) if !ecn => GsoKind::Udp,
        _ => return None,
    };
    let (start, result) = (usize::from(csum.start), usize::from(csum.start) + usize::from(csum.offset));
    let own_checksum = start == transport.start && Some(result) == transport.checksum();
    let payload = frame_len - transport.end;
    if !own_checksum || transport.end > MAX_HEADERS || !size_is_sane(kind, size, payload) {
        return None;
    }
    Some(Gso { size, hdr_len: transport.end as u16, kind, ecn })
}

/// Whether one of the kernel's own senders could have chosen `size`. 0xffff is the kernel's GSO_BY_FRAGS, no size at all.
fn size_is_sane(kind: GsoKind, size: u16, payload: usize) -> bool {
    let bytes = usize::from(size);
    match kind {
        _ if size == 0 || size == u16::MAX => false,
        GsoKind::Tcp4 | GsoKind::Tcp6 => bytes >= MIN_TCP_SIZE && payload <= bytes * MAX_TCP_SEGMENTS,
        GsoKind::Udp => payload <= bytes * MAX_UDP_SEGMENTS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sample::tagged_ip;
    use etherparse::{PacketBuilder, SlicedPacket};
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    struct Shape {
        v6: bool,
        tcp: bool,
        tags: usize,
        payload: usize,
    }

    fn build(shape: Shape) -> Vec<u8> {
        let eth = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = tagged_ip(eth, shape.tags, shape.v6);
        let (mut frame, payload) = (Vec::new(), vec![0x5a; shape.payload]);
        match shape.tcp {
            true => ip.tcp(1, 2, 3, 4).write(&mut frame, &payload).unwrap(),
            false => ip.udp(1, 2).write(&mut frame, &payload).unwrap(),
        }
        frame
    }

    fn header(flags: u8, gso_type: u8, size: u16, start: u16, offset: u16) -> [u8; LEN] {
        let mut header = [flags, gso_type, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
        header[4..6].copy_from_slice(&size.to_ne_bytes());
        header[6..8].copy_from_slice(&start.to_ne_bytes());
        header[8..10].copy_from_slice(&offset.to_ne_bytes());
        header
    }

    const TCP4: Shape = Shape { v6: false, tcp: true, tags: 0, payload: 3000 };

    #[test]
    fn nothing_asked_is_nothing_to_do() {
        for flags in [0, F_DATA_VALID] {
            assert_eq!(parse(&header(flags, 0, 9, 9, 9), &[0; 60]), Ok(Offload::default()));
        }
        assert_eq!(emit(&Offload::default()), [0; LEN]);
    }

    #[test]
    fn frames_linux_sends_are_accepted() {
        let cases = [
            (TCP4, GSO_TCPV4, 34, 16, GsoKind::Tcp4, 54),
            (Shape { tags: 1, ..TCP4 }, GSO_TCPV4, 38, 16, GsoKind::Tcp4, 58),
            (Shape { tags: 2, v6: true, ..TCP4 }, GSO_TCPV6, 62, 16, GsoKind::Tcp6, 82),
            (Shape { tcp: false, ..TCP4 }, GSO_UDP_L4, 34, 6, GsoKind::Udp, 42),
            (Shape { tcp: false, v6: true, ..TCP4 }, GSO_UDP_L4, 54, 6, GsoKind::Udp, 62),
            (Shape { payload: 100, ..TCP4 }, GSO_TCPV4, 34, 16, GsoKind::Tcp4, 54),
        ];
        for (shape, gso_type, start, offset, kind, hdr_len) in cases {
            let offload = parse(&header(F_NEEDS_CSUM, gso_type, 1400, start, offset), &build(shape)).unwrap();
            let gso = Gso { size: 1400, hdr_len, kind, ecn: false };
            assert_eq!(offload, Offload { csum: Some(Csum { start, offset }), gso: Some(gso) }, "{shape:?}");
        }
        let ecn = parse(&header(F_NEEDS_CSUM, GSO_TCPV4 | GSO_ECN, 1448, 34, 16), &build(TCP4)).unwrap();
        assert!(ecn.gso.unwrap().ecn);
    }

    #[test]
    fn partial_checksums_may_be_inside_tunnels_and_options() {
        let udp = build(Shape { tcp: false, ..TCP4 });
        assert!(parse(&header(F_NEEDS_CSUM, 0, 0, 84, 16), &udp).is_ok(), "inside VXLAN");
        let mut options = build(Shape { v6: true, ..TCP4 });
        options[20] = 0;
        options.splice(54..54, [6, 0, 5, 2, 0, 0, 1, 0]);
        let offload = parse(&header(F_NEEDS_CSUM, GSO_TCPV6, 1400, 62, 16), &options).unwrap();
        assert_eq!(offload.gso.unwrap().hdr_len, 82);
    }

    #[test]
    fn hostile_requests_are_refused() {
        let frame = build(TCP4);
        let mut fragment = frame.clone();
        fragment[20] = 0x20;
        let cases: [(&str, [u8; LEN], &[u8]); 21] = [
            ("checksum start beyond the frame", header(1, 0, 0, 0xffff, 16), &frame),
            ("checksum result beyond the frame", header(1, 0, 0, 34, 0xffff), &frame),
            ("checksum one byte beyond the frame", header(1, 0, 0, 34, frame.len() as u16 - 35), &frame),
            ("checksum over the MAC addresses", header(1, 0, 0, 0, 6), &frame),
            ("checksum over the IP destination", header(1, 0, 0, 14, 16), &frame),
            ("checksum over the destination port", header(1, 0, 0, 34, 2), &frame),
            ("checksum of a fragment", header(1, 0, 0, 34, 16), &fragment),
            ("checksum of half an IP header", header(1, 0, 0, 14, 4), &frame[..24]),
            ("checksum of half an Ethernet header", header(1, 0, 0, 0, 2), &frame[..12]),
            ("size 0", header(1, GSO_TCPV4, 0, 34, 16), &frame),
            ("size 1", header(1, GSO_TCPV4, 1, 34, 16), &frame),
            ("size 0xffff", header(1, GSO_TCPV4, 0xffff, 34, 16), &frame),
            ("segments without a checksum", header(0, GSO_TCPV4, 1400, 34, 16), &frame),
            ("segments with another checksum", header(1, GSO_TCPV4, 1400, 54, 16), &frame),
            ("the other IP version", header(1, GSO_TCPV6, 1400, 34, 16), &frame),
            ("the other transport", header(1, GSO_UDP_L4, 1400, 34, 16), &frame),
            ("UDP fragmentation, which nobody offered", header(1, 3, 1400, 34, 16), &frame),
            ("an unknown kind", header(1, 0x40, 1400, 34, 16), &frame),
            ("ECN alone", header(1, GSO_ECN, 1400, 34, 16), &frame),
            ("an unknown flag", header(4, 0, 0, 0, 0), &frame),
            ("a frame of 65,558 bytes", [0; LEN], &[0; MAX_FRAME + 1]),
        ];
        for (what, header, frame) in cases {
            assert_eq!(parse(&header, frame), Err(BadVnetHeader), "{what}");
        }
    }

    #[test]
    fn headers_and_datagrams_of_a_super_frame_are_bounded() {
        let udp = build(Shape { tcp: false, payload: 1290, ..TCP4 });
        assert!(parse(&header(1, GSO_UDP_L4, 10, 34, 6), &udp).is_err());
        assert!(parse(&header(1, GSO_UDP_L4, 11, 34, 6), &udp).is_ok());
        let tcp = build(Shape { payload: 8 * 1024 + 1, ..TCP4 });
        assert!(parse(&header(1, GSO_TCPV4, 8, 34, 16), &tcp).is_err());
        assert!(parse(&header(1, GSO_TCPV4, 9, 34, 16), &tcp).is_ok());
        let mut long = build(Shape { v6: true, ..TCP4 });
        long[20] = 60;
        let options = [[6, 24, 1, 198], [0; 4]].concat();
        long.splice(54..54, options.into_iter().chain([0; 192]));
        assert!(parse(&header(1, GSO_TCPV6, 1400, 254, 16), &long).is_err());
        assert!(parse(&header(1, 0, 0, 254, 16), &long).is_ok(), "alone the checksum is fine");
    }

    fn shape() -> impl Strategy<Value = Shape> {
        let payload = prop_oneof![0..200usize, 1000..9000usize];
        (any::<bool>(), any::<bool>(), 0..3usize, payload).prop_map(|(v6, tcp, tags, payload)| Shape {
            v6,
            tcp,
            tags,
            payload,
        })
    }

    /// Mostly meaningful frames, some with bytes of their headers changed, some cut, some noise.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let edits = prop::collection::vec((0..120usize, any::<u8>()), 0..3);
        let edited = (shape(), edits, any::<bool>(), any::<u16>()).prop_map(|(shape, edits, cut, at)| {
            let mut frame = build(shape);
            edits.into_iter().for_each(|(at, byte)| frame.get_mut(at).into_iter().for_each(|b| *b = byte));
            frame.truncate(if cut { usize::from(at) % 120 } else { frame.len() });
            frame
        });
        prop_oneof![4 => edited, 1 => prop::collection::vec(any::<u8>(), 0..200)]
    }

    /// Mostly headers that could be meant for such frames.
    fn any_header() -> impl Strategy<Value = [u8; LEN]> {
        let gso_type = prop::sample::select(vec![GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, GSO_TCPV4 | GSO_ECN, 3]);
        let start = prop::sample::select(vec![14u16, 34, 38, 42, 54, 58, 62]);
        let offset = prop_oneof![Just(16u16), Just(6), any::<u16>()];
        let likely = (0..4u8, gso_type, prop_oneof![0..2000u16, any::<u16>()], start, offset)
            .prop_map(|(flags, kind, size, start, offset)| header(flags, kind, size, start, offset));
        prop_oneof![8 => likely, 1 => any::<[u8; LEN]>()]
    }

    /// The promises of the module, checked against another parser.
    fn assert_promises(offload: Offload, frame: &[u8]) {
        let Some(csum) = offload.csum else { return assert_eq!(offload.gso, None) };
        assert!(csum.start >= 14 && usize::from(csum.start) + usize::from(csum.offset) + 2 <= frame.len());
        let Some(gso) = offload.gso else { return };
        let packet = SlicedPacket::from_ethernet(frame);
        let transport = packet.ok().and_then(|p| p.transport);
        let (header_len, field) = match &transport {
            Some(etherparse::TransportSlice::Tcp(tcp)) => (tcp.slice().len() - tcp.payload().len(), 16),
            Some(etherparse::TransportSlice::Udp(_)) => (8, 6),
            // Stricter than us about lengths inside the IP header, which segmentation rewrites.
            _ => return,
        };
        assert_eq!((csum.start + header_len as u16, csum.offset), (gso.hdr_len, field));
        assert!(gso.size != 0 && usize::from(gso.hdr_len) <= frame.len().min(MAX_HEADERS));
        assert_eq!(gso.kind == GsoKind::Udp, field == 6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn what_is_accepted_holds_the_promises(header in any_header(), frame in frame()) {
            if let Ok(offload) = parse(&header, &frame) {
                assert_promises(offload, &frame);
                prop_assert_eq!(parse(&emit(&offload), &frame), Ok(offload));
            }
        }

        #[test]
        fn well_formed_requests_are_accepted_and_written_as_they_were(shape in shape(), ecn: bool, size in 72..1500u16) {
            let frame = build(shape);
            let start = (14 + 4 * shape.tags + if shape.v6 { 40 } else { 20 }) as u16;
            let (hdr_len, offset) = if shape.tcp { (start + 20, 16) } else { (start + 8, 6) };
            let kind = match (shape.tcp, shape.v6) {
                (true, false) => GsoKind::Tcp4,
                (true, true) => GsoKind::Tcp6,
                _ => GsoKind::Udp,
            };
            let gso = Gso { size, hdr_len, kind, ecn: ecn && shape.tcp };
            let offload = Offload { csum: Some(Csum { start, offset }), gso: Some(gso) };
            prop_assert_eq!(parse(&emit(&offload), &frame), Ok(offload));
        }
    }
}
