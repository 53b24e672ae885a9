//! Cutting, joining, and what stands between a batch and a port.

use super::*;
use crate::drop::DropReason;
use crate::frame::{Arena, Batch, Csum, Frame, Gso, GsoKind, Offload, Pool};
use crate::ports::{Caps, Io, Queue};
use crate::stats::PortCounters;
use crate::wire::sample::tagged_ip;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use std::io;

/// A super-frame to be built.
#[derive(Clone, Debug)]
struct Shape {
    v6: bool,
    tcp: bool,
    tags: usize,
    /// Words of TCP options.
    options: usize,
    flags: u8,
    sequence: u32,
    id: u16,
    source_port: u16,
    payload: usize,
    size: u16,
}

const SHAPE: Shape = Shape {
    v6: false,
    tcp: true,
    tags: 0,
    options: 3,
    flags: 0x10,
    sequence: 0xffff_ff00,
    id: 0xfffe,
    source_port: 4000,
    payload: 5000,
    size: 1448,
};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const URG: u8 = 32;
const CWR: u8 = 128;

impl Shape {
    /// Bytes up to the end of TCP or UDP.
    fn headers(&self) -> usize {
        self.start() + if self.tcp { 20 + 4 * self.options } else { 8 }
    }

    fn start(&self) -> usize {
        14 + 4 * self.tags + if self.v6 { 40 } else { 20 }
    }

    fn ip(&self) -> usize {
        14 + 4 * self.tags
    }

    fn bytes(&self) -> Vec<u8> {
        let eth = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip = tagged_ip(eth, self.tags, self.v6);
        let (mut frame, payload) = (Vec::new(), payload(self.payload));
        match self.tcp {
            true => {
                let tcp = ip.tcp(self.source_port, 80, self.sequence, 4000).ack(77);
                tcp.options_raw(&[1, 1, 8, 10, 9, 8, 7, 6].repeat(5)[..4 * self.options])
                    .unwrap()
                    .write(&mut frame, &payload)
                    .unwrap();
                frame[self.start() + 13] = self.flags;
            }
            false => ip.udp(self.source_port, 80).write(&mut frame, &payload).unwrap(),
        }
        if !self.v6 {
            csum::put(&mut frame, self.ip() + 4, self.id);
            csum::seal_ipv4(&mut frame, self.ip(), 20);
        }
        self.make_partial(&mut frame);
        frame
    }

    fn make_partial(&self, frame: &mut [u8]) {
        let transport = crate::wire::transport::Transport::of(frame).unwrap();
        let partial = pseudo_header(frame, &transport, frame.len() - self.start());
        csum::put(frame, self.start() + self.offset(), partial);
    }

    fn offset(&self) -> usize {
        if self.tcp { 16 } else { 6 }
    }

    fn offload(&self) -> Offload {
        let kind = match (self.tcp, self.v6) {
            (true, false) => GsoKind::Tcp4,
            (true, true) => GsoKind::Tcp6,
            _ => GsoKind::Udp,
        };
        let gso = Gso { size: self.size, hdr_len: self.headers() as u16, kind, ecn: self.flags & CWR != 0 };
        let csum = Csum { start: self.start() as u16, offset: self.offset() as u16 };
        Offload { csum: Some(csum), gso: Some(gso) }
    }

    fn frame(&self, pool: &mut Pool) -> Frame {
        frame_of(&self.bytes(), self.offload(), pool)
    }
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn frame_of(bytes: &[u8], offload: Offload, pool: &mut Pool) -> Frame {
    let mut frame = pool.alloc(bytes.len()).unwrap();
    assert!(frame.fill(bytes));
    frame.offload = offload;
    frame
}

thread_local! {
    /// Mapped once a thread, and whole again after every case.
    static ARENA: Arena = Arena::new(512, 16).unwrap();
}

/// Runs with a pool, and sees that all its frames come home.
fn with_pool<T>(work: impl FnOnce(&mut Pool) -> T) -> T {
    let arena = ARENA.with(Arena::clone);
    let mut pool = arena.pool(0, 0);
    let result = work(&mut pool);
    drop(pool);
    assert_eq!(arena.free(), arena.total());
    result
}

fn cut(frame: Frame, checksums: Checksums, pool: &mut Pool) -> Vec<Frame> {
    let mut segments = Segments::of(&frame, checksums).unwrap();
    let all = std::iter::from_fn(|| segments.next(pool)).collect();
    pool.free(frame);
    all
}

fn join(frames: Vec<Frame>, pool: &mut Pool) -> Vec<Frame> {
    let mut batch = Batch::new(256);
    let n = frames.len();
    frames.into_iter().for_each(|frame| batch.push(frame).unwrap());
    let coalesced = Coalescer::new(256).join(&mut batch, pool);
    assert_eq!(batch.len() + coalesced, n);
    batch.drain().collect()
}

fn bytes_of(frames: Vec<Frame>, pool: &mut Pool) -> Vec<Vec<u8>> {
    let copy = |frame: Frame| {
        let bytes = frame.to_vec();
        pool.free(frame);
        bytes
    };
    frames.into_iter().map(copy).collect()
}

/// Cuts super-frames and completes checksums.
fn cut_all(frames: Vec<Frame>, pool: &mut Pool) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for mut frame in frames {
        match (frame.offload.gso, frame.offload.csum.filter(|_| frame.offload.gso.is_none())) {
            (Some(_), _) => all.extend(cut(frame, Checksums::Complete, pool)),
            (None, Some(csum)) => {
                complete(&mut frame, csum).unwrap();
                all.push(frame);
            }
            (None, None) => all.push(frame),
        }
    }
    bytes_of(all, pool)
}

/// What another parser finds in a segment; its checksums are right.
fn dissect(frame: &[u8]) -> (Option<u16>, u32, u8, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let id = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
            Some(ip.header().identification())
        }
        _ => None,
    };
    let (source, destination): (Vec<u8>, Vec<u8>) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => (ip.header().source().into(), ip.header().destination().into()),
        NetSlice::Ipv6(ip) => (ip.header().source().into(), ip.header().destination().into()),
        _ => unreachable!(),
    };
    match packet.transport.unwrap() {
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            let expected = match id {
                Some(_) => header.calc_checksum_ipv4_raw(
                    source.try_into().unwrap(),
                    destination.try_into().unwrap(),
                    tcp.payload(),
                ),
                None => header.calc_checksum_ipv6_raw(
                    source.try_into().unwrap(),
                    destination.try_into().unwrap(),
                    tcp.payload(),
                ),
            };
            assert_eq!(Ok(tcp.checksum()), expected);
            (id, tcp.sequence_number(), tcp.slice()[13], tcp.payload().to_vec())
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let expected = match id {
                Some(_) => header.calc_checksum_ipv4_raw(
                    source.try_into().unwrap(),
                    destination.try_into().unwrap(),
                    udp.payload(),
                ),
                None => header.calc_checksum_ipv6_raw(
                    source.try_into().unwrap(),
                    destination.try_into().unwrap(),
                    udp.payload(),
                ),
            };
            assert_eq!(Ok(udp.checksum()), expected);
            assert_eq!(usize::from(udp.length()), 8 + udp.payload().len());
            (id, 0, 0, udp.payload().to_vec())
        }
        _ => unreachable!(),
    }
}

#[test]
fn flags_numbers_and_lengths_of_segments() {
    let shape = Shape { flags: 0x10 | FIN | PSH | CWR, ..SHAPE };
    let segments = with_pool(|pool| {
        let frame = shape.frame(pool);
        cut_all(vec![frame], pool)
    });
    let seen: Vec<_> = segments.iter().map(|s| dissect(s)).collect();
    assert_eq!(seen.iter().map(|s| s.0).collect::<Vec<_>>(), [0xfffe, 0xffff, 0, 1].map(Some));
    assert_eq!(seen.iter().map(|s| s.1).collect::<Vec<_>>(), [0xffff_ff00, 0x4a8, 0xa50, 0xff8]);
    assert_eq!(seen.iter().map(|s| s.2).collect::<Vec<_>>(), [0x10 | CWR, 0x10, 0x10, 0x10 | FIN | PSH]);
    assert_eq!(seen.iter().map(|s| s.3.len()).collect::<Vec<_>>(), [1448, 1448, 1448, 656]);
}

#[test]
fn a_super_frame_that_fits_one_segment_is_that_segment() {
    for payload in [0, 1, 1448] {
        let shape = Shape { payload, flags: 0x10 | FIN, ..SHAPE };
        let segments = with_pool(|pool| {
            let frame = shape.frame(pool);
            cut_all(vec![frame], pool)
        });
        assert_eq!(segments.len(), 1);
        assert_eq!(dissect(&segments[0]).3.len(), payload);
    }
}

#[test]
fn a_wrong_partial_sum_is_not_repaired() {
    let shape = Shape { tags: 1, ..SHAPE };
    let segments = with_pool(|pool| {
        let mut bytes = shape.bytes();
        bytes[shape.start() + 16] ^= 0x55;
        let frame = frame_of(&bytes, shape.offload(), pool);
        cut_all(vec![frame], pool)
    });
    for segment in segments {
        let transport = crate::wire::transport::Transport::of(&segment).unwrap();
        let len = segment.len() - transport.start;
        assert_ne!(add(pseudo_header(&segment, &transport, len), sum(&segment[transport.start..])), 0xffff);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let tcp = SHAPE.offload();
    let gso = |change: fn(&mut Gso)| {
        let mut gso = tcp.gso;
        gso.as_mut().into_iter().for_each(change);
        Offload { gso, ..tcp }
    };
    let cases = [
        ("no super-frame", Offload { gso: None, ..tcp }),
        ("size 0", gso(|g| g.size = 0)),
        ("the other IP version", gso(|g| g.kind = GsoKind::Tcp6)),
        ("the other transport", gso(|g| g.kind = GsoKind::Udp)),
        ("another checksum", Offload { csum: Some(Csum { start: 34, offset: 18 }), ..tcp }),
        ("a checksum elsewhere", Offload { csum: Some(Csum { start: 54, offset: 16 }), ..tcp }),
        ("a checksum beyond", Offload { csum: Some(Csum { start: 0xffff, offset: 0xffff }), ..tcp }),
    ];
    with_pool(|pool| {
        for (what, offload) in cases {
            let frame = frame_of(&SHAPE.bytes(), offload, pool);
            assert!(Segments::of(&frame, Checksums::Complete).is_err(), "{what}");
            pool.free(frame);
        }
    });
}

/// A change to the second of three segments, after which its checksums are made right again.
type Change = fn(&mut Vec<u8>);

#[test]
fn a_segment_that_differs_is_not_joined_and_nothing_overtakes_it() {
    let changes: [(&str, Change); 19] = [
        ("source MAC", |f| f[6] = 4),
        ("type of service", |f| f[15] = 4),
        ("congestion experienced", |f| f[15] = 3),
        ("identification", |f| f[19] ^= 2),
        ("do not fragment", |f| f[20] ^= 0x40),
        ("time to live", |f| f[22] -= 1),
        ("sequence number", |f| f[41] ^= 1),
        ("acknowledgement", |f| f[45] ^= 1),
        ("reserved bits", |f| f[46] |= 1),
        ("SYN", |f| f[47] |= SYN),
        ("RST", |f| f[47] |= RST),
        ("URG", |f| f[47] |= URG),
        ("ACK", |f| f[47] &= !0x10),
        ("CWR", |f| f[47] |= CWR),
        ("window", |f| f[48] ^= 1),
        ("urgent pointer", |f| f[52] ^= 1),
        ("options", |f| f[60] ^= 1),
        ("longer than the first", |f| f.push(9)),
        ("no payload", |f| f.truncate(66)),
    ];
    for (what, change) in changes {
        let (before, after) = with_pool(|pool| {
            let mut frames = {
                let frame = Shape { payload: 3 * 1448, ..SHAPE }.frame(pool);
                cut_all(vec![frame], pool)
            };
            change(&mut frames[1]);
            repair(&mut frames[1]);
            let batch = frames.iter().map(|f| frame_of(f, Offload::default(), pool)).collect();
            let joined = join(batch, pool);
            assert!(joined.len() >= 2, "{what}");
            assert!(joined[0].offload.gso.is_none() || what == "source MAC", "{what}");
            (frames, cut_all(joined, pool))
        });
        assert_eq!(before, after, "{what}");
    }
}

/// Makes lengths and checksums right.
fn repair(frame: &mut [u8]) {
    csum::put(frame, 16, (frame.len() - 14) as u16);
    csum::seal_ipv4(frame, 14, 20);
    let transport = crate::wire::transport::Transport::of(frame).unwrap();
    let partial = pseudo_header(frame, &transport, frame.len() - transport.start);
    csum::put(frame, transport.start + 16, partial);
    complete(frame, Csum { start: transport.start as u16, offset: 16 }).unwrap();
}

#[test]
fn frames_with_wrong_checksums_or_lengths_stay_alone_as_they_are() {
    let changes: [(&str, Change); 5] = [
        ("payload", |f| f[100] ^= 1),
        ("TCP checksum", |f| f[51] ^= 1),
        ("IP checksum", |f| f[25] ^= 1),
        ("padding behind the packet", |f| f.extend([0; 4])),
        ("IP length", |f| f[17] ^= 1),
    ];
    for (what, change) in changes {
        for victim in 0..3 {
            let (before, after, n) = with_pool(|pool| {
                let frame = Shape { payload: 3 * 1448, ..SHAPE }.frame(pool);
                let mut frames = cut_all(vec![frame], pool);
                change(&mut frames[victim]);
                let batch = frames.iter().map(|f| frame_of(f, Offload::default(), pool)).collect();
                let joined = join(batch, pool);
                let n = joined.len();
                (frames, cut_all(joined, pool), n)
            });
            assert_eq!(before, after, "{what} of {victim}");
            assert_eq!(n, if victim == 1 { 3 } else { 2 }, "{what} of {victim}");
        }
    }
}

#[test]
fn streams_are_told_apart_and_joined_side_by_side() {
    with_pool(|pool| {
        let stream = |port, pool: &mut Pool| {
            let frame = Shape { source_port: port, payload: 4 * 1448, ..SHAPE }.frame(pool);
            cut(frame, Checksums::Complete, pool)
        };
        let (a, b) = (stream(1, pool), stream(2, pool));
        let mixed = a.into_iter().zip(b).flat_map(|(a, b)| [a, b]).collect();
        let joined = join(mixed, pool);
        assert_eq!(joined.iter().map(|f| f.len()).collect::<Vec<_>>(), [66 + 4 * 1448; 2]);
        assert_eq!(joined[1][34..36], [0, 2]);
        joined.into_iter().for_each(|f| pool.free(f));
    });
}

#[test]
fn more_streams_than_may_be_open_are_joined_as_far_as_possible() {
    with_pool(|pool| {
        let mut frames = Vec::new();
        for port in 1..=40 {
            let frame = Shape { source_port: port, payload: 2 * 1448, ..SHAPE }.frame(pool);
            frames.extend(cut(frame, Checksums::Complete, pool));
        }
        let joined = join(frames, pool);
        let supers = joined.iter().filter(|f| f.offload.gso.is_some()).count();
        joined.into_iter().for_each(|f| pool.free(f));
        assert_eq!(supers, 16, "as many as there are large chunks");
    });
}

#[test]
fn a_super_frame_ends_at_the_longest_ip_packet() {
    with_pool(|pool| {
        let mut frames = Vec::new();
        let mut shape = Shape { payload: 30 * 1448, ..SHAPE };
        for _ in 0..2 {
            let frame = shape.frame(pool);
            frames.extend(cut(frame, Checksums::Partial, pool));
            shape = Shape { sequence: shape.sequence.wrapping_add(30 * 1448), id: shape.id.wrapping_add(30), ..shape };
        }
        let joined = join(frames, pool);
        assert_eq!(joined.iter().map(|f| f.len()).collect::<Vec<_>>(), [66 + 45 * 1448, 66 + 15 * 1448]);
        joined.into_iter().for_each(|f| pool.free(f));
    });
}

fn shape() -> impl Strategy<Value = Shape> {
    let flags = prop::sample::select(vec![0x10, 0x10 | PSH, 0x10 | FIN, 0x10 | CWR, 0x10 | FIN | PSH | CWR]);
    let form = (any::<bool>(), 0..3usize, 0..=10usize, flags);
    (form, any::<u32>(), any::<u16>(), 64..1600u16, 1..40_000usize).prop_map(
        |((v6, tags, options, flags), sequence, id, size, payload)| {
            let payload = payload.min(usize::from(size) * 200);
            Shape { v6, tags, options, flags, sequence, id, size, payload, ..SHAPE }
        },
    )
}

/// A change to one byte of a header or to the length, and whether checksums are made right afterwards.
type Edit = (usize, usize, u8, bool);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn segments_are_sound(shape in shape(), tcp: bool) {
        let shape = Shape { tcp, ..shape };
        let segments = with_pool(|pool| { let frame = shape.frame(pool); cut_all(vec![frame], pool) });
        let seen: Vec<_> = segments.iter().map(|s| dissect(s)).collect();
        prop_assert_eq!(seen.iter().flat_map(|s| s.3.clone()).collect::<Vec<_>>(), payload(shape.payload));
        let (_, full) = seen.split_last().unwrap();
        prop_assert!(full.iter().all(|s| s.3.len() == usize::from(shape.size)));
        for (i, (id, sequence, ..)) in seen.iter().enumerate() {
            prop_assert_eq!(id.is_none_or(|id| id == shape.id.wrapping_add(i as u16)), true);
            prop_assert!(!tcp || *sequence == shape.sequence.wrapping_add((i * usize::from(shape.size)) as u32));
        }
    }

    #[test]
    fn what_is_cut_joins_to_what_it_was(shape in shape(), partial: bool) {
        prop_assume!(shape.payload > usize::from(shape.size));
        let checksums = if partial { Checksums::Partial } else { Checksums::Complete };
        let (bytes, offload) = with_pool(|pool| {
            let frame = shape.frame(pool);
            let segments = cut(frame, checksums, pool);
            let mut joined = join(segments, pool);
            let one = joined.remove(0);
            assert!(joined.is_empty(), "one super-frame");
            let seen = (one.to_vec(), one.offload);
            pool.free(one);
            seen
        });
        prop_assert!(bytes == shape.bytes());
        prop_assert_eq!(offload, shape.offload());
    }

    #[test]
    fn whatever_is_joined_cuts_to_the_frames_that_came(
        streams in prop::collection::vec(shape(), 1..4),
        order in prop::collection::vec(0..4usize, 60),
        edits in prop::collection::vec((0..60usize, 0..100usize, any::<u8>(), any::<bool>()), 0..6),
    ) {
        let (mut before, mut after) = with_pool(|pool| {
            let mut queues: Vec<_> = streams.iter().enumerate().map(|(n, shape)| {
                let shape = Shape { source_port: n as u16, payload: shape.payload.min(40 * usize::from(shape.size)), ..shape.clone() };
                let frame = shape.frame(pool);
                cut_all(vec![frame], pool).into_iter()
            }).collect();
            let mut frames: Vec<_> = order.iter().filter_map(|&n| queues.get_mut(n)?.next()).collect();
            edits.iter().for_each(|edit| apply(&mut frames, *edit));
            let batch = frames.iter().map(|f| frame_of(f, Offload::default(), pool)).collect();
            let joined = join(batch, pool);
            (frames, cut_all(joined, pool))
        });
        // Streams may overtake each other; within one, order is kept.
        before.sort_by_key(|f| stream_of(f));
        after.sort_by_key(|f| stream_of(f));
        prop_assert!(before == after);
    }

    #[test]
    fn no_frame_or_offload_panics(
        (shape, tcp, edits) in (shape(), any::<bool>(), prop::collection::vec((0..120usize, any::<u8>()), 0..4)),
        (cut_at, kind, size, start, offset) in (0..200usize, 0..4usize, any::<u16>(), any::<u16>(), any::<u16>()),
        (near, caps) in (any::<bool>(), 0..4usize),
    ) {
        let shape = Shape { tcp, payload: shape.payload % 4000, ..shape };
        let mut bytes = shape.bytes();
        edits.into_iter().for_each(|(at, byte)| bytes.get_mut(at).into_iter().for_each(|b| *b = byte));
        bytes.truncate(if cut_at < 120 { cut_at } else { bytes.len() });
        let (start, offset) = if near { (shape.start() as u16, shape.offset() as u16) } else { (start, offset) };
        let kinds = [Some(GsoKind::Tcp4), Some(GsoKind::Tcp6), Some(GsoKind::Udp), None];
        let gso = kinds[kind].map(|kind| Gso { size: size % 2000, hdr_len: size, kind, ecn: false });
        let caps = [(false, false), (true, false), (true, true), (false, true)][caps];
        with_pool(|pool| {
            let frames = (0..3).map(|_| frame_of(&bytes, Offload { csum: Some(Csum { start, offset }), gso }, pool)).collect();
            let outcome = send(frames, caps, true, pool);
            assert_eq!(3 + outcome.generated, outcome.sent.len() as u64 + outcome.coalesced + outcome.dropped);
        });
    }
}

fn stream_of(frame: &[u8]) -> Vec<u8> {
    match crate::wire::transport::Transport::of(frame) {
        Some(t) if t.protocol == 6 => {
            let addresses =
                if t.ethertype == 0x800 { t.network + 12..t.network + 20 } else { t.network + 8..t.network + 40 };
            [&frame[..t.network], &frame[addresses], &frame[t.start..t.start + 4]].concat()
        }
        // No stream: these keep their order among each other.
        _ => Vec::new(),
    }
}

fn apply(frames: &mut [Vec<u8>], (which, at, byte, right): Edit) {
    let Some(frame) = frames.get_mut(which) else { return };
    match at {
        0..4 => frame.truncate(frame.len() - usize::from(byte) % 60),
        4..6 => frame.extend([0; 4]),
        _ => frame.get_mut(at).into_iter().for_each(|b| *b = byte),
    }
    let whole = |t: &crate::wire::transport::Transport| t.protocol == 6 && t.start - t.network == 20;
    if right && frame[12..14] == [8, 0] && crate::wire::transport::Transport::of(frame).is_some_and(|t| whole(&t)) {
        repair(frame);
    }
}

/// A port that remembers what it was given.
#[derive(Default)]
struct Port {
    sent: Vec<(Vec<u8>, Offload)>,
    batches: Vec<usize>,
}

impl Queue for Port {
    fn receive(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        self.batches.push(batch.len());
        for frame in batch.drain() {
            self.sent.push((frame.to_vec(), frame.offload));
            io.sent(frame);
        }
        Ok(())
    }
}

/// What became of a batch.
struct Outcome {
    sent: Vec<(Vec<u8>, Offload)>,
    batches: Vec<usize>,
    generated: u64,
    coalesced: u64,
    dropped: u64,
    count: PortCounters,
}

/// Sends frames to a port that takes partial checksums, super-frames or neither.
fn send(frames: Vec<Frame>, (csum, supers): (bool, bool), wire_size: bool, pool: &mut Pool) -> Outcome {
    let caps = Caps { mtu: 1500, csum, tso: supers, uso: supers, ..Caps::default() };
    let (mut port, count, mut batch) = (Port::default(), PortCounters::default(), Batch::new(64));
    frames.into_iter().for_each(|frame| batch.push(frame).unwrap());
    let mut io = Io::new(pool, &count);
    Outbound::new(64).transmit(Takes::of(&caps), &mut port, &mut io, &mut batch, wire_size).unwrap();
    assert!(batch.is_empty());
    let Port { sent, batches } = port;
    let (generated, coalesced, dropped) = (count.generated.get(), count.coalesced.get(), count.dropped());
    Outcome { sent, batches, generated, coalesced, dropped, count }
}

#[test]
fn each_port_gets_what_it_takes() {
    with_pool(|pool| {
        let shape = Shape { payload: 100 * 200, size: 200, ..SHAPE };
        let outcome = send(vec![shape.frame(pool)], (true, true), false, pool);
        assert_eq!(outcome.sent, [(shape.bytes(), shape.offload())], "as it is");
        let partial = Offload { gso: None, ..shape.offload() };
        let outcome = send(vec![shape.frame(pool)], (true, false), false, pool);
        assert!(outcome.sent.iter().all(|(_, offload)| *offload == partial), "cut, not completed");
        assert_eq!((outcome.batches, outcome.generated), (vec![64, 36], 99));
        let outcome = send(vec![shape.frame(pool)], (false, false), false, pool);
        assert!(
            outcome.sent.iter().all(|(bytes, offload)| dissect(bytes).3.len() == 200 && *offload == Offload::default())
        );
        let alone = Shape { payload: 999, ..SHAPE };
        let frame = frame_of(&alone.bytes(), Offload { gso: None, ..alone.offload() }, pool);
        let outcome = send(vec![frame], (false, false), false, pool);
        assert_eq!((dissect(&outcome.sent[0].0).3.len(), outcome.generated), (999, 0), "completed");
    });
}

#[test]
fn only_frames_of_wire_size_are_joined() {
    with_pool(|pool| {
        for (wire_size, sent) in [(true, 1), (false, 4)] {
            let frame = SHAPE.frame(pool);
            let segments = cut(frame, Checksums::Partial, pool);
            let outcome = send(segments, (true, true), wire_size, pool);
            assert_eq!((outcome.sent.len(), outcome.coalesced), (sent, 4 - sent as u64));
        }
    });
}

#[test]
fn order_is_kept_between_frames_that_are_cut_and_others() {
    with_pool(|pool| {
        let plain = |n: u8, pool: &mut Pool| frame_of(&[n; 60], Offload::default(), pool);
        let frames = vec![plain(1, pool), SHAPE.frame(pool), plain(2, pool)];
        let outcome = send(frames, (false, false), false, pool);
        let lengths: Vec<_> = outcome.sent.iter().map(|(bytes, _)| bytes.len()).collect();
        assert_eq!(lengths, [60, 1514, 1514, 1514, 722, 60]);
    });
}

#[test]
fn what_cannot_be_finished_is_dropped_by_name() {
    with_pool(|pool| {
        let beyond = Offload { csum: Some(Csum { start: 60, offset: 0 }), gso: None };
        let unfit = Offload { csum: None, gso: SHAPE.offload().gso };
        let frames = vec![frame_of(&[1; 60], beyond, pool), frame_of(&[1; 60], unfit, pool)];
        let outcome = send(frames, (false, false), false, pool);
        assert_eq!(outcome.count.drops[DropReason::OffloadUnfit.index()].get(), 2);
        assert_eq!((outcome.sent.len(), outcome.generated), (0, 0));
    });
}

#[test]
fn segments_without_memory_are_one_named_drop() {
    with_pool(|pool| {
        let shape = Shape { payload: 60_000, size: 1000, ..SHAPE };
        let frame = shape.frame(pool);
        let taken: Vec<_> = (0..480).map(|_| pool.alloc(60).unwrap()).collect();
        let outcome = send(vec![frame], (false, false), false, pool);
        assert_eq!(outcome.count.drops[DropReason::PoolEmpty.index()].get(), 1);
        assert_eq!((outcome.sent.len(), outcome.generated), (32, 32));
        taken.into_iter().for_each(|f| pool.free(f));
    });
}
