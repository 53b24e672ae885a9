//! A super-frame into the frames of a wire.

use super::Unfit;
use super::csum::{add, get, nonzero, pseudo_header, put, seal_ipv4, subtract, sum};
use crate::frame::{Csum, Frame, Gso, GsoKind, Offload, Pool};
use crate::wire::ethernet::{IPV4, IPV6};
use crate::wire::transport::{IPV6_HEADER_LEN, TCP, TCP_CHECKSUM, Transport, UDP, UDP_CHECKSUM};

/// Bits of a TCP header's fourteenth byte (RFC 9293, section 3.1; RFC 3168, section 6.1).
pub(super) mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const URG: u8 = 0x20;
    pub const CWR: u8 = 0x80;
}

/// Who completes the checksums of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Segments leave with checksums complete.
    Complete,
    /// Segments leave with partial checksums, for a port that takes them.
    Partial,
}

/// The segments of one super-frame, made one by one.
pub struct Segments<'a> {
    frame: &'a Frame,
    transport: Transport,
    size: usize,
    checksums: Checksums,
    /// The sum in the checksum field of a segment without its length.
    partial: u16,
    /// Payload bytes that have left.
    done: usize,
    /// Segments that have left.
    count: u32,
}

impl<'a> Segments<'a> {
    /// Looks at a super-frame; nothing in its offload is believed but the segment size and where its checksum is.
    ///
    /// # Errors
    /// [`Unfit`] when it is no super-frame, or no TCP or UDP packet of the kind that its offload says, or another checksum
    /// than that protocol's is partial.
    pub fn of(frame: &'a Frame, checksums: Checksums) -> Result<Segments<'a>, Unfit> {
        let gso = frame.offload.gso.ok_or(Unfit)?;
        let transport = Transport::of(frame).filter(|t| suits(gso, t)).ok_or(Unfit)?;
        let partial = partial(frame, &transport)?;
        Ok(Segments { frame, transport, size: gso.size.into(), checksums, partial, done: 0, count: 0 })
    }

    /// Whether the next segment is the last.
    #[inline]
    pub fn at_last(&self) -> bool {
        self.rest() <= self.size
    }

    /// The next segment; `None` when no memory is free for it, or the last one has left.
    #[inline]
    pub fn next(&mut self, pool: &mut Pool) -> Option<Frame> {
        if self.count > 0 && self.rest() == 0 {
            return None;
        }
        let (headers, len) = (self.transport.end, self.rest().min(self.size));
        let mut segment = pool.alloc(headers + len)?;
        let fits = segment.set_len(headers + len);
        debug_assert!(fits, "a frame of that room was asked for");
        segment[..headers].copy_from_slice(&self.frame[..headers]);
        let from = headers + self.done;
        segment[headers..].copy_from_slice(&self.frame[from..from + len]);
        self.write_headers(&mut segment);
        self.done += len;
        self.count += 1;
        Some(segment)
    }

    fn rest(&self) -> usize {
        self.frame.len() - self.transport.end - self.done
    }

    #[inline]
    fn write_headers(&self, segment: &mut Frame) {
        let len = (segment.len() - self.transport.start) as u16;
        self.write_ip(segment);
        match self.transport.protocol {
            TCP => self.write_tcp(segment),
            _ => put(segment, self.transport.start + 4, len),
        }
        self.write_checksum(segment, len);
    }

    /// Length, identification (one more in each segment, whether or not DF is set) and header checksum.
    #[inline]
    fn write_ip(&self, segment: &mut Frame) {
        let at = self.transport.network;
        let len = segment.len() - at;
        if self.transport.ethertype == IPV6 {
            return put(segment, at + 4, (len - IPV6_HEADER_LEN) as u16);
        }
        put(segment, at + 2, len as u16);
        put(segment, at + 4, get(self.frame, at + 4).wrapping_add(self.count as u16));
        seal_ipv4(segment, at, self.transport.start - at);
    }

    /// Sequence number; FIN and PSH on the last segment only, CWR on the first only.
    #[inline]
    fn write_tcp(&self, segment: &mut Frame) {
        let at = self.transport.start;
        let [a, b, c, d] = [segment[at + 4], segment[at + 5], segment[at + 6], segment[at + 7]];
        let sequence = u32::from_be_bytes([a, b, c, d]).wrapping_add(self.done as u32);
        segment[at + 4..at + 8].copy_from_slice(&sequence.to_be_bytes());
        if !self.at_last() {
            segment[at + 13] &= !(flag::FIN | flag::PSH);
        }
        if self.count > 0 {
            segment[at + 13] &= !flag::CWR;
        }
    }

    /// The pseudo-header's sum with this segment's length, completed unless the port does that. Linux writes a TCP
    /// checksum of 0 as it is, and so does this; in UDP it would mean "none".
    #[inline]
    fn write_checksum(&self, segment: &mut Frame, len: u16) {
        let start = self.transport.start;
        let (offset, is_udp) = match self.transport.protocol {
            UDP => (UDP_CHECKSUM, true),
            _ => (TCP_CHECKSUM, false),
        };
        put(segment, start + offset, add(self.partial, len));
        if self.checksums == Checksums::Partial {
            segment.offload = Offload { csum: Some(Csum { start: start as u16, offset: offset as u16 }), gso: None };
            return;
        }
        let checksum = !sum(&segment[start..]);
        put(segment, start + offset, if is_udp { nonzero(checksum) } else { checksum });
    }
}

fn suits(gso: Gso, transport: &Transport) -> bool {
    let kind = match gso.kind {
        GsoKind::Tcp4 => (transport.protocol, transport.ethertype) == (TCP, IPV4),
        GsoKind::Tcp6 => (transport.protocol, transport.ethertype) == (TCP, IPV6),
        GsoKind::Udp => transport.protocol == UDP,
    };
    kind && gso.size > 0
}

/// The sum in the checksum field less the length in it: for TCP the packet's own, for UDP what its header says, as in
/// Linux. A super-frame without a partial checksum gets a new sum, since a complete one covers no segment.
fn partial(frame: &Frame, transport: &Transport) -> Result<u16, Unfit> {
    let (start, field) = (transport.start, transport.checksum().ok_or(Unfit)?);
    let Some(csum) = frame.offload.csum else { return Ok(pseudo_header(frame, transport, 0)) };
    if (usize::from(csum.start), usize::from(csum.start) + usize::from(csum.offset)) != (start, field) {
        return Err(Unfit);
    }
    let len = match transport.protocol {
        UDP => get(frame, start + 4),
        _ => fold_len(frame.len() - start),
    };
    Ok(subtract(get(frame, field), len))
}

/// A length, or what it adds to a sum.
fn fold_len(len: usize) -> u16 {
    add(len as u16, (len >> 16) as u16)
}
