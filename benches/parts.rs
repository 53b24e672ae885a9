//! Single parts of the engine, by criterion: for seeing what a change to one of them does. The whole path is measured in
//! ticks by `memory.rs`, and between namespaces by `peers/`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crossdock_engine::clock::Millis;
use crossdock_engine::flow::{Depth, FlowKey, PortId};
use crossdock_engine::frame::{Arena, Batch, Csum, Frame, Gso, GsoKind, Offload, Pool, SUPER_ROOM};
use crossdock_engine::offload::{Checksums, Coalescer, Segments, complete};
use crossdock_engine::parse::parse;
use crossdock_engine::program::Action;
use crossdock_engine::table::FlowTable;
use crossdock_engine::tables::fdb::Fdb;
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::wire::{Mac, vnet};
use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

/// An IPv4 UDP frame of 60 bytes.
const FRAME: [u8; 60] = {
    let mut frame = [0; 60];
    (frame[0], frame[6], frame[12], frame[14], frame[23], frame[17]) = (2, 4, 8, 0x45, 17, 46);
    frame
};

fn mac(n: u64) -> Mac {
    Mac::from_u64(n << 16 | 2)
}

fn parsing(c: &mut Criterion) {
    for (name, depth) in [("l2", Depth::L2), ("l3", Depth::L3), ("l4", Depth::L4)] {
        c.bench_function(&format!("parse/{name}"), |b| b.iter(|| parse(black_box(&FRAME), PortId(1), depth)));
    }
    c.bench_function("vnet/plain", |b| b.iter(|| vnet::parse(black_box(&[0; vnet::LEN]), black_box(&FRAME))));
}

fn frames(c: &mut Criterion) -> io::Result<()> {
    let arena = Arena::new(256, 32)?;
    let mut pool = arena.pool(256, 32);
    c.bench_function("pool/alloc and free", |b| b.iter(|| pool.alloc(60).map(|frame| pool.free(frame))));
    let mut group = c.benchmark_group("pool/copy");
    for len in [60, 1514, SUPER_ROOM] {
        let Some(mut frame) = pool.alloc(len) else { continue };
        assert!(frame.set_len(len));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(len.to_string(), |b| b.iter(|| pool.copy(&frame).map(|copy| pool.free(copy))));
        pool.free(frame);
    }
    group.finish();
    Ok(())
}

fn flows(c: &mut Criterion) -> io::Result<()> {
    let mut table = FlowTable::new(1 << 16, Depth::L2)?;
    let keys: Vec<FlowKey> = (0..1 << 16).map(|n| FlowKey { eth_src: mac(n), ..FlowKey::default() }).collect();
    let hashes: Vec<u64> = keys.iter().map(|key| table.hasher().hash(&key.words()[..3])).collect();
    for (key, &hash) in keys.iter().zip(&hashes) {
        table.insert(key, hash, &[Action::Output(PortId(1))], 1, Millis(0));
    }
    let mut n = 0usize;
    c.bench_function("flows/hit, 64 k, one by one", |b| {
        b.iter(|| {
            n = n.wrapping_mul(5).wrapping_add(1) % keys.len();
            let candidate = table.candidate(hashes[n]);
            table.hit(candidate, &keys[n], 1, (60, Millis(1))).map(<[Action]>::len)
        });
    });
    Ok(())
}

fn addresses(c: &mut Criterion) -> io::Result<()> {
    let domain = Domain::new("lan");
    let mut fdb = Fdb::new(&domain)?;
    (1..=1 << 15).for_each(|n| _ = fdb.learn(mac(n), PortId(1), Millis(0)));
    let mut n = 0;
    c.bench_function("fdb/lookup, 32 k", |b| {
        b.iter(|| {
            n = (n * 5 + 1) % (1 << 15);
            fdb.lookup(mac(n + 1))
        });
    });
    let fill = |mut fdb: Fdb| (1..=1000).for_each(|n| _ = fdb.learn(mac(n), PortId(1), Millis(0)));
    c.bench_function("fdb/learn 1000 new", |b| {
        b.iter_batched(
            || Fdb::new(&Domain { fdb_max: 1000, ..Domain::new("lan") }),
            |fdb| fdb.map(fill),
            BatchSize::SmallInput,
        );
    });
    Ok(())
}

/// TCP over IPv4 with 12 bytes of options: bytes of headers, bytes of a full segment's payload, where the checksum is.
const HEADERS: usize = 66;
const SIZE: usize = 1448;
const TCP_CSUM: Csum = Csum { start: 34, offset: 16 };

/// As many full segments as an IP packet holds, as one super-frame.
fn super_frame(pool: &mut Pool) -> Option<Frame> {
    let mut frame = pool.alloc(SUPER_ROOM)?;
    let len = HEADERS + 45 * SIZE;
    assert!(frame.set_len(len));
    frame[..HEADERS].fill(0);
    (frame[0], frame[6], frame[12], frame[14], frame[23], frame[46], frame[47]) = (2, 4, 8, 0x45, 6, 0x80, 0x10);
    frame[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
    let pseudo = (len - 34) as u16 + 6;
    frame[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let gso = Gso { size: SIZE as u16, hdr_len: HEADERS as u16, kind: GsoKind::Tcp4, ecn: false };
    frame.offload = Offload { csum: Some(TCP_CSUM), gso: Some(gso) };
    Some(frame)
}

fn cut(frame: &Frame, checksums: Checksums, pool: &mut Pool, mut take: impl FnMut(Frame, &mut Pool)) {
    let Ok(mut segments) = Segments::of(frame, checksums) else { return };
    while let Some(segment) = segments.next(pool) {
        take(segment, pool);
    }
}

fn offloads(c: &mut Criterion) -> io::Result<()> {
    let arena = Arena::new(512, 32)?;
    let mut pool = arena.pool(512, 32);
    let Some(whole) = super_frame(&mut pool) else { return Ok(()) };
    let mut bytes = [0x5a; 1514];
    c.bench_function("offload/complete 1500", |b| b.iter(|| complete(black_box(&mut bytes), TCP_CSUM)));
    for (name, checksums) in [("complete", Checksums::Complete), ("partial", Checksums::Partial)] {
        c.bench_function(&format!("offload/segment 45 x 1448, {name}"), |b| {
            b.iter(|| cut(&whole, checksums, &mut pool, |segment, pool| pool.free(segment)));
        });
        join(c, name, (&whole, checksums), &mut pool);
    }
    pool.free(whole);
    let mut small = Batch::new(64);
    while small.room() > 0 {
        let Some(mut frame) = pool.alloc(60) else { break };
        assert!(frame.fill(&FRAME) && small.push(frame).is_ok());
    }
    let mut coalescer = Coalescer::new(64);
    c.bench_function("offload/coalesce 64 x 60, nothing to do", |b| b.iter(|| coalescer.join(&mut small, &mut pool)));
    small.drain().for_each(|frame| pool.free(frame));
    Ok(())
}

/// Joins the segments of a super-frame. Only joining is timed: cutting them anew each time is not.
fn join(c: &mut Criterion, name: &str, (whole, checksums): (&Frame, Checksums), pool: &mut Pool) {
    let (mut coalescer, mut batch) = (Coalescer::new(64), Batch::new(64));
    c.bench_function(&format!("offload/coalesce 45 x 1448, {name}"), |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                cut(whole, checksums, pool, |segment, pool| _ = batch.push(segment).map_err(|frame| pool.free(frame)));
                let begin = Instant::now();
                coalescer.join(&mut batch, pool);
                spent += begin.elapsed();
                assert_eq!(batch.len(), 1);
                batch.drain().for_each(|frame| pool.free(frame));
            }
            spent
        });
    });
}

/// A bench that finds no memory has nothing to measure.
fn or_say(name: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        eprintln!("{name}: {error}");
    }
}

fn all(c: &mut Criterion) {
    parsing(c);
    or_say("frames", frames(c));
    or_say("flows", flows(c));
    or_say("addresses", addresses(c));
    or_say("offloads", offloads(c));
}

criterion_group!(parts, all);
criterion_main!(parts);
