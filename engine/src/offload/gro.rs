//! Consecutive segments of a TCP stream into a super-frame.
//!
//! # Theory of operation
//!
//! [`Coalescer::join`] goes once over a batch. A segment that others may follow is *open*: it stands in the new batch, and
//! what continues it is appended to it there, so a super-frame takes the place of its first segment. A frame of the same
//! stream that does not continue it closes it and comes behind it: within a stream nothing is overtaken. Between streams a
//! segment may overtake, as in Linux. A batch of short frames costs one comparison each.
//!
//! A segment continues an open one when (`tcp_gro_receive` in net/ipv4/tcp_offload.c, `inet_gro_receive` in
//! net/ipv4/af_inet.c, `ipv6_gro_receive` in net/ipv6/ip6_offload.c):
//!
//! * Ethernet header, VLAN tags and IP headers are the same but for length, identification and header checksum; there are
//!   no IPv4 options, no fragments and no padding, and the header checksum is right;
//! * the TCP header is the same but for sequence number, checksum, FIN, PSH and CWR, options included;
//! * it has the next sequence number and, in IPv4, the next identification. Linux also accepts one that stays the same
//!   under DF; a virtio-net header cannot say so, and cutting would not give it back;
//! * it has payload, no more than the first segment. A shorter one, PSH and FIN end the super-frame, SYN, RST and URG
//!   never enter one, and CWR only on the first segment;
//! * the IP packet stays within 65,535 bytes;
//! * the checksums of both are right: found so, or partial with the right sum.

use super::csum::{add, get, pseudo_header, put, seal_ipv4, sum};
use super::gso::flag;
use crate::frame::{Batch, Csum, Frame, Gso, GsoKind, Offload, Pool, SUPER_ROOM};
use crate::wire::ethernet::IPV4;
use crate::wire::transport::{IPV6_HEADER_LEN, MAX_HEADERS, TCP, TCP_CHECKSUM, Transport};

/// Streams that may be open at once: the oldest is closed for the next.
const STREAMS: usize = 16;
/// Least payload of a first segment: joining smaller ones saves less than it costs.
const LEAST_PAYLOAD: usize = 64;
/// Least length of a first segment: Ethernet, IPv4 and TCP headers, and [`LEAST_PAYLOAD`].
const LEAST_LEN: usize = 14 + 20 + 20 + LEAST_PAYLOAD;
/// Longest IP packet.
const LONGEST: usize = 65_535;

/// Joins what can be joined, batch by batch.
pub struct Coalescer {
    joined: Batch,
    open: Vec<Open>,
}

/// A frame of the new batch that may be continued.
struct Open {
    /// Its position.
    at: usize,
    headers: Transport,
    /// TCP ports, as they stand in the header.
    ports: [u8; 4],
    /// Payload bytes of the first segment.
    size: usize,
    /// Segments so far.
    count: u16,
    /// The sequence number that comes next.
    next: u32,
}

impl Coalescer {
    /// For batches of at most `limit` frames.
    pub fn new(limit: usize) -> Coalescer {
        Coalescer { joined: Batch::new(limit), open: Vec::with_capacity(STREAMS) }
    }

    /// Joins the segments of `batch` in place; says how many frames went into others.
    #[inline]
    pub fn join(&mut self, batch: &mut Batch, pool: &mut Pool) -> usize {
        let before = batch.len();
        if before > 1 && batch.iter().any(|frame| frame.len() >= LEAST_LEN) {
            batch.consume(|_, frame| self.take(frame, pool));
            while !self.open.is_empty() {
                self.close(0);
            }
            std::mem::swap(batch, &mut self.joined);
        }
        before - batch.len()
    }

    #[inline]
    fn take(&mut self, frame: Frame, pool: &mut Pool) {
        if self.open.is_empty() && frame.len() < LEAST_LEN {
            return self.joined.push_within(frame);
        }
        match Transport::of(&frame).filter(|t| t.protocol == TCP) {
            Some(headers) => self.take_segment(frame, headers, pool),
            None => self.joined.push_within(frame),
        }
    }

    fn take_segment(&mut self, frame: Frame, headers: Transport, pool: &mut Pool) {
        let ports = ports(&frame, &headers);
        let stream =
            (0..self.open.len()).find(|&i| self.open[i].ports == ports && self.same_stream(i, &frame, &headers));
        match stream {
            Some(i) if self.continues(i, &frame, &headers) && self.append(i, &frame, pool) => {
                self.end_stream_if_last(i, &frame);
                pool.free(frame);
            }
            Some(i) => {
                self.close(i);
                self.begin(frame, headers);
            }
            None => self.begin(frame, headers),
        }
    }

    /// Whether the frame is of the same addresses, in the same VLAN, as an open one of the same ports.
    fn same_stream(&self, i: usize, frame: &[u8], headers: &Transport) -> bool {
        let (open, first) = (&self.open[i].headers, &self.joined[self.open[i].at]);
        let addresses = |t: &Transport| match t.ethertype {
            IPV4 => t.network + 12..t.network + 20,
            _ => t.network + 8..t.network + IPV6_HEADER_LEN,
        };
        (open.ethertype, open.network) == (headers.ethertype, headers.network)
            && first[..open.network] == frame[..open.network]
            && first[addresses(open)] == frame[addresses(headers)]
    }

    /// Puts a frame into the batch, open if something may follow it.
    fn begin(&mut self, frame: Frame, headers: Transport) {
        let size = frame.len() - headers.end;
        let flags = frame[headers.start + 13] & (flag::FIN | flag::SYN | flag::RST | flag::PSH | flag::URG);
        if size >= LEAST_PAYLOAD && flags == 0 && headers.end <= MAX_HEADERS && is_whole(&frame, &headers) {
            if self.open.len() == STREAMS {
                self.close(0);
            }
            let next = sequence(&frame, &headers).wrapping_add(size as u32);
            let (at, ports) = (self.joined.len(), ports(&frame, &headers));
            self.open.push(Open { at, headers, ports, size, count: 1, next });
        }
        self.joined.push_within(frame);
    }

    /// Whether a frame of the same stream continues an open one: see the theory of operation.
    fn continues(&self, i: usize, frame: &Frame, headers: &Transport) -> bool {
        let open = &self.open[i];
        let first = &self.joined[open.at];
        let payload = frame.len() - headers.end;
        *headers == open.headers
            && (1..=open.size).contains(&payload)
            && first.len() - headers.network + payload <= LONGEST
            && sequence(frame, headers) == open.next
            && is_whole(frame, headers)
            && same_ip(first, frame, headers, open.count)
            && same_tcp(&first[headers.start..headers.end], &frame[headers.start..headers.end])
            && (open.count > 1 || has_right_checksum(first, headers))
            && has_right_checksum(frame, headers)
    }

    /// Appends a frame's payload to an open one, which moves into a super chunk first. False without memory for that.
    fn append(&mut self, i: usize, frame: &Frame, pool: &mut Pool) -> bool {
        let open = &mut self.open[i];
        let first = &mut self.joined[open.at];
        if !first.is_super() && !enlarge(first, pool) {
            return false;
        }
        let (payload, end) = (&frame[open.headers.end..], first.len());
        if !first.set_len(end + payload.len()) {
            return false;
        }
        first[end..].copy_from_slice(payload);
        open.next = open.next.wrapping_add(payload.len() as u32);
        open.count += 1;
        true
    }

    /// Closes an open frame after a segment that ends it; its FIN and PSH are the super-frame's.
    fn end_stream_if_last(&mut self, i: usize, segment: &[u8]) {
        let (at, headers, size) = (self.open[i].at, self.open[i].headers, self.open[i].size);
        let flags = segment[headers.start + 13] & (flag::FIN | flag::PSH);
        self.joined[at][headers.start + 13] |= flags;
        if flags != 0 || segment.len() - headers.end < size {
            self.close(i);
        }
    }

    /// Nothing follows any more: a frame that was continued gets the headers and the offload of a super-frame.
    fn close(&mut self, i: usize) {
        let open = self.open.remove(i);
        if open.count > 1 {
            finish(&mut self.joined[open.at], &open);
        }
    }
}

/// Moves a frame into a super chunk.
fn enlarge(frame: &mut Frame, pool: &mut Pool) -> bool {
    let Some(mut large) = pool.alloc(SUPER_ROOM) else { return false };
    let fits = large.fill(frame);
    debug_assert!(fits, "a small frame in a super chunk");
    large.offload = frame.offload;
    pool.free(std::mem::replace(frame, large));
    true
}

fn finish(frame: &mut Frame, open: &Open) {
    let t = open.headers;
    let len = frame.len() - t.network;
    if t.ethertype == IPV4 {
        put(frame, t.network + 2, len as u16);
        seal_ipv4(frame, t.network, t.start - t.network);
    } else {
        put(frame, t.network + 4, (len - IPV6_HEADER_LEN) as u16);
    }
    let partial = pseudo_header(frame, &t, frame.len() - t.start);
    put(frame, t.start + TCP_CHECKSUM, partial);
    let kind = if t.ethertype == IPV4 { GsoKind::Tcp4 } else { GsoKind::Tcp6 };
    let ecn = frame[t.start + 13] & flag::CWR != 0;
    let gso = Gso { size: open.size as u16, hdr_len: t.end as u16, kind, ecn };
    frame.offload = Offload { csum: Some(partial_at(&t)), gso: Some(gso) };
}

/// Where the partial checksum of a TCP segment is.
fn partial_at(headers: &Transport) -> Csum {
    Csum { start: headers.start as u16, offset: TCP_CHECKSUM as u16 }
}

fn ports(frame: &[u8], headers: &Transport) -> [u8; 4] {
    let at = headers.start;
    [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]
}

fn sequence(frame: &[u8], headers: &Transport) -> u32 {
    let at = headers.start + 4;
    u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}

/// Whether the IP header counts the frame's bytes exactly, is right, and has neither IPv4 options nor the reserved flag.
fn is_whole(frame: &[u8], headers: &Transport) -> bool {
    const MORE_AND_RESERVED: u16 = 0xa000;
    let (at, len) = (headers.network, frame.len() - headers.network);
    if headers.ethertype != IPV4 {
        return usize::from(get(frame, at + 4)) + IPV6_HEADER_LEN == len;
    }
    headers.start - at == 20
        && usize::from(get(frame, at + 2)) == len
        && get(frame, at + 6) & MORE_AND_RESERVED == 0
        && sum(&frame[at..at + 20]) == 0xffff
}

/// Whether the IP header is the one of the first segment, `count` segments later.
fn same_ip(first: &[u8], frame: &[u8], headers: &Transport, count: u16) -> bool {
    let (at, end) = (headers.network, headers.start);
    if headers.ethertype != IPV4 {
        return first[at..at + 4] == frame[at..at + 4] && first[at + 6..end] == frame[at + 6..end];
    }
    first[at..at + 2] == frame[at..at + 2]
        && get(first, at + 4).wrapping_add(count) == get(frame, at + 4)
        && first[at + 6..at + 10] == frame[at + 6..at + 10]
        && first[at + 12..end] == frame[at + 12..end]
}

/// Whether a TCP header may follow the first one's: the sequence number is compared elsewhere.
fn same_tcp(first: &[u8], next: &[u8]) -> bool {
    const MAY_DIFFER: u8 = flag::FIN | flag::PSH | flag::CWR;
    first[8..13] == next[8..13]
        && (first[13] ^ next[13]) & !MAY_DIFFER == 0
        && next[13] & flag::CWR == 0
        && first[14..16] == next[14..16]
        && first[18..] == next[18..]
}

/// Whether the TCP checksum is right, or partial and right so far.
fn has_right_checksum(frame: &Frame, headers: &Transport) -> bool {
    let start = headers.start;
    let pseudo = pseudo_header(frame, headers, frame.len() - start);
    match frame.offload {
        Offload { csum: None, gso: None } => add(pseudo, sum(&frame[start..])) == 0xffff,
        Offload { csum: Some(csum), gso: None } => {
            csum == partial_at(headers) && get(frame, start + TCP_CHECKSUM) == pseudo
        }
        _ => false,
    }
}
