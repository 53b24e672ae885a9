//! Tells from a frame itself what its sender has left undone: that it was left stood in the kernel's description of the
//! frame, which XDP does not pass on.
//!
//! # Theory of operation
//!
//! *Partial checksums.* A veth hands frames over as they lie in the sender's buffers. Where the sender relied on checksum
//! offload, the field of a TCP or UDP header holds only the sum of the pseudo-header. It is told by just that: **the field
//! equals the pseudo-header's sum**.
//!
//! A finished checksum may equal that sum too, once in 65,535 frames. Nothing needs to tell the two apart: let `p` be the
//! pseudo-header's sum, `d` that of the segment without the field. A finished field holds `-(p + d)` in one's complement.
//! If that equals `p`, completing the frame as a partial one sums `p + d` again, and writes the same field. Only a frame
//! that was corrupt before, whose wrong field happens to equal the sum, is taken for unfinished; its chance is 1 in 65,535
//! of corrupt frames, and from outside it is an unfinished frame. UDP's 0, no checksum, is never a sum: the pseudo-header
//! is never all zero.
//!
//! *Super-frames.* In driver mode nobody may send them to us. In generic mode the sender's segmentation offload stays on,
//! and the kernel joins what network cards receive, so that frames longer than the MTU come. How long their segments were
//! is lost. For TCP any length that fits the interface's MTU is as good, unless the path beyond the egress port is
//! narrower than this interface. For UDP the boundaries are the data: such a frame cannot be carried.
//!
//! *Tunnels* that a container builds itself, one deep (`wire/tunnel.rs`). A sender leaves one checksum undone: the inner one,
//! and then it finishes the outer UDP's for what the frame will be (local checksum offload,
//! Documentation/networking/checksum-offloads.rst), or the outer one. Either may look undone by chance as well. The inner one
//! is then completed here, before the outer one, which sums it: done in this order, completing a finished checksum still
//! writes the same field, whichever of the two that is. A super-frame inside a tunnel cannot be carried.
//!
//! *SCTP* has a CRC, which is 0 where it is left undone. It is completed here: nobody behind us could. A finished one may
//! be 0 too, and completing it writes 0 again.

use crate::frame::{Csum, Gso, GsoKind, Offload};
use crate::offload::{complete, complete_sctp, pseudo_header};
use crate::wire::ethernet::IPV4;
use crate::wire::transport::{MAX_HEADERS, SCTP, SCTP_CHECKSUM, TCP, Transport, be16};
use crate::wire::tunnel::inside;

/// Where a TCP header has its flags, and the one that only the first segment keeps (RFC 9293, section 3.1).
const TCP_FLAGS: usize = 13;
const CWR: u8 = 0x80;

/// What is left to be done with a frame that came by an interface of this MTU; `None` when that cannot be known. What
/// nobody else could do is done.
#[inline]
pub(super) fn undone(frame: &mut [u8], mtu: usize) -> Option<Offload> {
    let Some(transport) = Transport::of(frame) else { return Some(Offload::default()) };
    let is_super = |frame: &[u8]| transport.packet_end(frame).is_some_and(|end| end - transport.network > mtu);
    if transport.protocol == SCTP {
        return finish_sctp(frame, &transport, is_super(frame));
    }
    let own = partial(frame, &transport);
    let inner = inside(frame, &transport).and_then(|inner| partial(frame, &inner));
    let gso = match own.or(inner) {
        None => return Some(Offload::default()),
        Some(_) if !is_super(frame) => None,
        Some(_) if inner.is_some() => return None,
        Some(_) => Some(super_frame(frame, &transport, mtu)?),
    };
    if let (Some(_), Some(inner)) = (own, inner) {
        complete(frame, inner).ok()?;
    }
    Some(Offload { csum: own.or(inner), gso })
}

/// The checksum of this packet, if it is left to be done.
#[inline]
fn partial(frame: &[u8], transport: &Transport) -> Option<Csum> {
    let at = transport.checksum()?;
    let end = transport.packet_end(frame)?;
    let len = end.checked_sub(transport.start)?;
    let same = be16(frame, at)? == pseudo_header(frame, transport, len);
    if !same || !only_zeros(frame.get(end..)?) {
        return None;
    }
    Some(Csum { start: transport.start as u16, offset: (at - transport.start) as u16 })
}

/// Completes what the sender of an SCTP packet left undone. Of a super-frame nobody knows where to cut it.
#[cold]
fn finish_sctp(frame: &mut [u8], transport: &Transport, is_super: bool) -> Option<Offload> {
    let at = transport.start + SCTP_CHECKSUM;
    if frame.get(at..at + 4) == Some(&[0; 4]) {
        if is_super {
            return None;
        }
        complete_sctp(frame, transport).ok()?;
    }
    Some(Offload::default())
}

/// How to cut a TCP packet that is longer than the MTU.
#[cold]
fn super_frame(frame: &[u8], transport: &Transport, mtu: usize) -> Option<Gso> {
    let size = mtu.checked_sub(transport.end - transport.network).filter(|size| *size > 0)?;
    if transport.protocol != TCP || transport.end > MAX_HEADERS {
        return None;
    }
    let kind = if transport.ethertype == IPV4 { GsoKind::Tcp4 } else { GsoKind::Tcp6 };
    let ecn = frame.get(transport.start + TCP_FLAGS)? & CWR != 0;
    Some(Gso { size: u16::try_from(size).ok()?, hdr_len: transport.end as u16, kind, ecn })
}

/// Whether summing the padding too makes no difference.
fn only_zeros(padding: &[u8]) -> bool {
    padding.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::{add, sum};
    use crate::wire::sample::{sctp, tagged_ip};
    use etherparse::{IpNumber, PacketBuilder};
    use proptest::prelude::*;

    /// Of a frame outside any tunnel, which is never changed.
    fn partial(frame: &[u8]) -> Option<Csum> {
        let mut seen = frame.to_vec();
        let offload = undone(&mut seen, 1500).unwrap();
        assert_eq!(seen, frame);
        offload.csum
    }

    #[derive(Clone, Debug)]
    struct Shape {
        v6: bool,
        tcp: bool,
        tagged: bool,
        payload: Vec<u8>,
    }

    /// A frame with a finished checksum.
    fn build(shape: &Shape) -> Vec<u8> {
        let eth = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = tagged_ip(eth, shape.tagged.into(), shape.v6);
        let mut frame = Vec::new();
        match shape.tcp {
            true => ip.tcp(1, 2, 3, 4).write(&mut frame, &shape.payload).unwrap(),
            false => ip.udp(1, 2).write(&mut frame, &shape.payload).unwrap(),
        }
        frame
    }

    fn field(frame: &[u8]) -> usize {
        Transport::of(frame).unwrap().checksum().unwrap()
    }

    fn pseudo(frame: &[u8]) -> u16 {
        let transport = Transport::of(frame).unwrap();
        pseudo_header(frame, &transport, frame.len() - transport.start)
    }

    /// Leaves the checksum undone, as Linux does.
    fn undo(frame: &mut [u8]) {
        let (at, sum) = (field(frame), pseudo(frame));
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    fn shape() -> impl Strategy<Value = Shape> {
        (any::<bool>(), any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(v6, tcp, tagged, payload)| Shape { v6, tcp, tagged, payload })
    }

    proptest! {
        #[test]
        fn an_undone_checksum_is_seen_and_completes_to_what_it_was(shape in shape()) {
            let mut finished = build(&shape);
            let mut frame = finished.clone();
            let at = field(&finished);
            if finished[at..at + 2] == [0; 2] {
                // Zero has two forms, and the other one is written.
                finished[at..at + 2].fill(0xff);
            }
            undo(&mut frame);
            let csum = partial(&frame).unwrap();
            prop_assert_eq!(usize::from(csum.start + csum.offset), field(&frame));
            complete(&mut frame, csum).unwrap();
            prop_assert_eq!(frame, finished);
        }

        #[test]
        fn a_finished_checksum_stays_what_it_is_either_way(shape in shape()) {
            let finished = build(&shape);
            let mut frame = finished.clone();
            if let Some(csum) = partial(&frame) {
                complete(&mut frame, csum).unwrap();
            }
            prop_assert_eq!(frame, finished);
        }

        #[test]
        fn a_finished_checksum_that_looks_undone_completes_to_itself(shape in shape()) {
            let mut frame = build(&Shape { payload: [&[0; 2], &shape.payload[..]].concat(), ..shape });
            let word = Transport::of(&frame).unwrap().end;
            look_undone(&mut frame, word);
            let finished = frame.clone();
            let csum = partial(&frame).unwrap();
            complete(&mut frame, csum).unwrap();
            prop_assert_eq!(frame, finished);
        }

        #[test]
        fn any_bytes_at_all_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut bytes = bytes;
            if let Some(csum) = undone(&mut bytes, 1500).and_then(|offload| offload.csum) {
                prop_assert!(usize::from(csum.start) + usize::from(csum.offset) + 2 <= bytes.len());
            }
        }

        #[test]
        fn inside_a_tunnel_the_same_holds(tunnel in tunnel(), outer: [bool; 3], inner in shape()) {
            let [v6, sums, undo_inner] = outer;
            let finished = encapsulate(tunnel, v6, sums, &build(&inner));
            let mut frame = finished.clone();
            if undo_inner {
                undo_at(&mut frame, &inside(&finished, &Transport::of(&finished).unwrap()).unwrap());
            } else if sums && Transport::of(&frame).unwrap().checksum().is_some() {
                undo(&mut frame);
            }
            prop_assert_eq!(finish(frame), finished);
        }

        #[test]
        fn an_undone_checksum_inside_one_that_looks_undone_completes_to_what_it_was(v6: bool, inner in shape()) {
            let mut finished = encapsulate(Tunnel::Vxlan(4789), v6, true, &build(&inner));
            let word = Transport::of(&finished).unwrap().end + 4;
            look_undone(&mut finished, word);
            let mut frame = finished.clone();
            undo_at(&mut frame, &inside(&finished, &Transport::of(&finished).unwrap()).unwrap());
            prop_assert_eq!(finish(frame), finished);
        }

        #[test]
        fn an_undone_checksum_around_one_that_looks_undone_completes_to_what_it_was(v6: bool, inner in shape()) {
            let mut inner = build(&Shape { payload: [&[0; 2], &inner.payload[..]].concat(), ..inner });
            let word = Transport::of(&inner).unwrap().end;
            look_undone(&mut inner, word);
            let finished = encapsulate(Tunnel::Vxlan(4789), v6, true, &inner);
            let mut frame = finished.clone();
            undo(&mut frame);
            prop_assert_eq!(finish(frame), finished);
        }

        #[test]
        fn cut_and_edited_tunnels_do_no_harm(tunnel in tunnel(), v6: bool, inner in shape(), edits in prop::collection::vec((0..140usize, any::<u8>()), 0..4), cut in 0..400usize) {
            let mut frame = encapsulate(tunnel, v6, false, &build(&inner));
            edits.into_iter().for_each(|(at, byte)| frame.get_mut(at).into_iter().for_each(|b| *b = byte));
            frame.truncate(cut);
            if let Some(csum) = undone(&mut frame, 1500).and_then(|offload| offload.csum) {
                prop_assert!(complete(&mut frame, csum).is_ok());
            }
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Tunnel {
        Vxlan(u16),
        /// With so many words of options.
        Geneve(u8),
        /// With checksum, key and sequence number, or none of them.
        Gre(bool),
        IpInIp,
    }

    fn tunnel() -> impl Strategy<Value = Tunnel> {
        prop_oneof![
            prop::sample::select(vec![4789, 8472]).prop_map(Tunnel::Vxlan),
            (0..8u8).prop_map(Tunnel::Geneve),
            any::<bool>().prop_map(Tunnel::Gre),
            Just(Tunnel::IpInIp),
        ]
    }

    /// A tunnel's packet around a frame. `sums`: UDP has a checksum.
    fn encapsulate(tunnel: Tunnel, v6: bool, sums: bool, inner: &[u8]) -> Vec<u8> {
        let ip = tagged_ip(PacketBuilder::ethernet2([2; 6], [4; 6]), 0, v6);
        let mut frame = Vec::new();
        let port = match tunnel {
            Tunnel::Vxlan(port) => port,
            _ => 6081,
        };
        match tunnel {
            Tunnel::Vxlan(_) => {
                let payload = [&[8, 0, 0, 0, 0, 0, 42, 0], inner].concat();
                ip.udp(5000, port).write(&mut frame, &payload).unwrap();
            }
            Tunnel::Geneve(words) => {
                let payload =
                    [&[words, 0, 0x65, 0x58, 0, 0, 42, 0], &vec![7; usize::from(words) * 4][..], inner].concat();
                ip.udp(5000, port).write(&mut frame, &payload).unwrap();
            }
            Tunnel::Gre(all) => {
                let header: &[u8] =
                    if all { &[0xb0, 0, 0x65, 0x58, 1, 2, 0, 0, 3, 3, 3, 3, 4, 4, 4, 4] } else { &[0, 0, 0x65, 0x58] };
                ip.write(&mut frame, IpNumber::GRE, &[header, inner].concat()).unwrap();
            }
            Tunnel::IpInIp => {
                let at = Transport::of(inner).unwrap();
                let number = if at.ethertype == IPV4 { IpNumber::IPV4 } else { IpNumber::IPV6 };
                ip.write(&mut frame, number, &inner[at.network..]).unwrap();
            }
        }
        if let (false, Some(at)) = (sums, Transport::of(&frame).unwrap().checksum()) {
            frame[at..at + 2].fill(0);
        }
        frame
    }

    /// Leaves the checksum of a packet undone.
    fn undo_at(frame: &mut [u8], transport: &Transport) {
        let len = transport.packet_end(frame).unwrap() - transport.start;
        let (at, sum) = (transport.checksum().unwrap(), pseudo_header(frame, transport, len));
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// Chooses a word of the payload so that the finished checksum equals the pseudo-header's sum.
    fn look_undone(frame: &mut [u8], word: usize) {
        let (start, at, own) = (Transport::of(frame).unwrap().start, field(frame), pseudo(frame));
        frame[at..at + 2].copy_from_slice(&own.to_be_bytes());
        frame[word..word + 2].fill(0);
        let rest = add(sum(&frame[start..]), own);
        frame[word..word + 2].copy_from_slice(&(!rest).to_be_bytes());
    }

    /// What arrives behind a port that takes no partial checksums.
    fn finish(mut frame: Vec<u8>) -> Vec<u8> {
        if let Some(csum) = undone(&mut frame, 1500).unwrap().csum {
            complete(&mut frame, csum).unwrap();
        }
        frame
    }

    #[test]
    fn a_super_frame_inside_a_tunnel_cannot_be_carried() {
        let inner = build(&Shape { v6: false, tcp: true, tagged: false, payload: vec![7; 5000] });
        let mut frame = encapsulate(Tunnel::Vxlan(4789), false, false, &inner);
        let transport = inside(&frame, &Transport::of(&frame).unwrap()).unwrap();
        undo_at(&mut frame, &transport);
        assert_eq!(undone(&mut frame.clone(), 1500), None);
        let csum = Csum { start: transport.start as u16, offset: 16 };
        assert_eq!(undone(&mut frame, 9000), Some(Offload { csum: Some(csum), gso: None }));
    }

    #[test]
    fn the_checksum_of_sctp_is_completed_at_once() {
        let finished = sctp(&[9; 33]);
        assert_eq!(finish(finished.clone()), finished);
        let mut frame = finished.clone();
        frame[42..46].fill(0);
        assert_eq!(finish(frame.clone()), finished);
        frame.extend([1; 5]);
        assert_eq!(finish(frame.clone())[..finished.len()], finished, "what is behind the packet is not summed");
        assert_eq!(undone(&mut frame, 60), None, "nobody knows where to cut it");
        let mut cut = finished[..50].to_vec();
        cut[42..46].fill(0);
        assert_eq!(undone(&mut cut, 1500), None, "cut short");
    }

    #[test]
    fn what_is_not_partial() {
        let shape = Shape { v6: false, tcp: false, tagged: false, payload: vec![7; 20] };
        let mut none = build(&shape);
        let at = field(&none);
        none[at..at + 2].fill(0);
        assert_eq!(partial(&none), None, "UDP without a checksum");
        let mut frame = build(&shape);
        undo(&mut frame);
        let mut padded = frame.clone();
        padded.extend([0; 4]);
        assert!(partial(&padded).is_some());
        padded.push(1);
        assert_eq!(partial(&padded), None, "bytes behind the packet would be summed");
        let mut fragment = frame.clone();
        fragment[14 + 6] = 0x20;
        assert_eq!(partial(&fragment), None, "Linux completes before it cuts");
        assert_eq!(partial(&frame[..frame.len() - 1]), None, "cut short");
    }

    #[test]
    fn what_is_longer_than_the_mtu_is_cut_to_fit_it() {
        for v6 in [false, true] {
            let mut frame = build(&Shape { v6, tcp: true, tagged: true, payload: vec![7; 5000] });
            undo(&mut frame);
            let transport = Transport::of(&frame).unwrap();
            frame[transport.start + TCP_FLAGS] |= CWR;
            let offload = undone(&mut frame, 1500).unwrap();
            let gso = offload.gso.unwrap();
            assert_eq!((usize::from(gso.size), gso.ecn), (1500 - (transport.end - transport.network), true));
            assert_eq!(gso.kind, if v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 });
            assert_eq!(crate::wire::vnet::parse(&crate::wire::vnet::emit(&offload), &frame), Ok(offload));
            assert_eq!(undone(&mut frame, 9000).unwrap().gso, None);
        }
    }

    #[test]
    fn a_udp_super_frame_cannot_be_carried() {
        let mut frame = build(&Shape { v6: false, tcp: false, tagged: false, payload: vec![7; 5000] });
        undo(&mut frame);
        assert_eq!(undone(&mut frame, 1500), None);
    }
}
