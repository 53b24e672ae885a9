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
//! Checksums inside tunnels that a container builds itself are not looked for.

use crate::frame::{Csum, Gso, GsoKind, Offload};
use crate::offload::pseudo_header;
use crate::wire::ethernet::IPV4;
use crate::wire::transport::{IPV6_HEADER_LEN, MAX_HEADERS, TCP, Transport, be16};

/// Where a TCP header has its flags, and the one that only the first segment keeps (RFC 9293, section 3.1).
const TCP_FLAGS: usize = 13;
const CWR: u8 = 0x80;

/// What is left to be done with a frame that came by an interface of this MTU; `None` when that cannot be known.
#[inline]
pub(super) fn undone(frame: &[u8], mtu: usize) -> Option<Offload> {
    let Some((transport, csum, end)) = partial(frame) else { return Some(Offload::default()) };
    let gso = if end - transport.network > mtu { Some(super_frame(frame, &transport, mtu)?) } else { None };
    Some(Offload { csum: Some(csum), gso })
}

/// The checksum that is left to be done, and one past the last byte of the IP packet.
#[inline]
fn partial(frame: &[u8]) -> Option<(Transport, Csum, usize)> {
    let transport = Transport::of(frame)?;
    let at = transport.checksum()?;
    let end = packet_end(frame, &transport)?;
    let len = end.checked_sub(transport.start)?;
    let same = be16(frame, at)? == pseudo_header(frame, &transport, len);
    if !same || !only_zeros(frame.get(end..)?) {
        return None;
    }
    Some((transport, Csum { start: transport.start as u16, offset: (at - transport.start) as u16 }, end))
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

/// One past the last byte of the IP packet, by its own word.
fn packet_end(frame: &[u8], transport: &Transport) -> Option<usize> {
    let at = transport.network;
    let len = match transport.ethertype {
        IPV4 => usize::from(be16(frame, at + 2)?),
        _ => IPV6_HEADER_LEN + usize::from(be16(frame, at + 4)?),
    };
    Some(at + len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::complete;
    use crate::wire::sample::tagged_ip;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn partial(frame: &[u8]) -> Option<Csum> {
        undone(frame, 1500).unwrap().csum
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
            let finished = build(&shape);
            let mut frame = finished.clone();
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
        fn a_finished_checksum_that_looks_undone_completes_to_itself(shape in shape(), seed: [u8; 2]) {
            let mut shape = Shape { payload: [&shape.payload[..], &[0; 2], &seed].concat(), ..shape };
            shape.payload.truncate(shape.payload.len() & !1);
            // Choose the last word so that the finished checksum equals the pseudo-header's sum.
            let mut frame = build(&shape);
            let (at, sum, last) = (field(&frame), pseudo(&frame), frame.len() - 2);
            frame[last..].fill(0);
            frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            let transport = Transport::of(&frame).unwrap();
            let rest = crate::offload::add(crate::offload::sum(&frame[transport.start..]), sum);
            frame[last..].copy_from_slice(&(!rest).to_be_bytes());
            let finished = frame.clone();
            let csum = partial(&frame).unwrap();
            complete(&mut frame, csum).unwrap();
            prop_assert_eq!(frame, finished);
        }

        #[test]
        fn any_bytes_at_all_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(csum) = partial(&bytes) {
                prop_assert!(usize::from(csum.start) + usize::from(csum.offset) + 2 <= bytes.len());
            }
        }
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
            let offload = undone(&frame, 1500).unwrap();
            let gso = offload.gso.unwrap();
            assert_eq!((usize::from(gso.size), gso.ecn), (1500 - (transport.end - transport.network), true));
            assert_eq!(gso.kind, if v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 });
            assert_eq!(crate::wire::vnet::parse(&crate::wire::vnet::emit(&offload), &frame), Ok(offload));
            assert_eq!(undone(&frame, 9000).unwrap().gso, None);
        }
    }

    #[test]
    fn a_udp_super_frame_cannot_be_carried() {
        let mut frame = build(&Shape { v6: false, tcp: false, tagged: false, payload: vec![7; 5000] });
        undo(&mut frame);
        assert_eq!(undone(&frame, 1500), None);
    }
}
