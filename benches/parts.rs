//! Single parts of the engine, by criterion: for seeing what a change to one of them does. The whole path is measured in
//! ticks by `memory.rs`, and between namespaces by `peers/`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crossdock_engine::clock::Millis;
use crossdock_engine::flow::{Depth, FlowKey, PortId};
use crossdock_engine::frame::{Arena, SUPER_ROOM};
use crossdock_engine::parse::parse;
use crossdock_engine::program::Action;
use crossdock_engine::table::FlowTable;
use crossdock_engine::tables::fdb::Fdb;
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::wire::{Mac, vnet};
use std::hint::black_box;
use std::io;

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
}

criterion_group!(parts, all);
criterion_main!(parts);
