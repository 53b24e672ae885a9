//! A worker that is warm allocates nothing, whatever frames bring.
#![cfg(test)]
#![expect(unsafe_code, reason = "an allocator that counts")]

mod support;

use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::{Arena, Offload};
use crossdock_engine::tables::topology::{Domain, PortView};
use crossdock_engine::wire::Mac;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::{Rig, Setup, frame, frame_of, mac, one_domain, scenario, super_frame};

/// Counts what the thread asks of the system's allocator.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    CALLS.with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's duties are the same, and `p` came from the system's allocator.
        unsafe { System.dealloc(p, layout) }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's duties are the same, and `p` came from the system's allocator.
        unsafe { System.realloc(p, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls to the allocator while `work` runs.
fn calls(work: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(calls(|| drop(std::hint::black_box(Box::new(1)))), 2);
    assert_eq!(calls(|| ()), 0);
}

fn station(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([6, 1, a, b, c, d])
}

/// Four ports, a table of `fdb_max` addresses that are forgotten after 10 seconds, and stages that filter, rewrite and answer.
fn rig(fdb_max: usize) -> Rig {
    let isolated = PortView { isolated: true, ..PortView::default() };
    let ports = vec![PortView::default(), PortView::default(), isolated.clone(), isolated];
    let topology = one_domain(Domain { fdb_max, ageing_s: 10, ..Domain::new("lan") }, ports);
    Rig::build(Setup { stages: scenario::stages(), arena: Arena::new(8192, 1024).unwrap(), ..Setup::new(topology) })
}

/// What the worker asks of the allocator while it handles these frames, sent one by one, and the second after them.
fn cost(rig: &mut Rig, frames: impl Iterator<Item = (usize, Vec<u8>, Offload)>) -> u64 {
    let mut sum = 0;
    for (port, bytes, offload) in frames {
        assert!(rig.offer(port, &bytes, offload));
        sum += calls(|| rig.settle());
        rig.drain();
    }
    sum + calls(|| rig.advance(1000))
}

fn plain(port: usize, bytes: Vec<u8>) -> (usize, Vec<u8>, Offload) {
    (port, bytes, Offload::default())
}

/// Every kind of frame once: stations and groups, drops of all kinds, answers, rewritten and super-frames.
fn every_kind() -> impl Iterator<Item = (usize, Vec<u8>, Offload)> {
    let destinations = [mac(1), mac(2), mac(9), Mac::BROADCAST, scenario::ASKED, scenario::VIRTUAL, mac(0xf0)];
    let reserved = [Mac([1, 0x80, 0xc2, 0, 0, 0]), Mac([1, 0x80, 0xc2, 0, 0, 0x20])];
    let sources = [mac(1), mac(2), Mac::ZERO, Mac::BROADCAST];
    let pairs = sources.into_iter().flat_map(move |s| destinations.into_iter().chain(reserved).map(move |d| (s, d)));
    let frames = pairs.enumerate().flat_map(|(i, (source, destination))| {
        let whole = frame(source, destination);
        let cut = |len: usize| plain(i % 4, whole[..len].to_vec());
        let large = frame_of(9000, source, destination);
        [cut(64), cut(64), cut(10), cut(20), (i % 4, large.clone(), super_frame(1400)), plain(i % 4, large)]
    });
    frames.collect::<Vec<_>>().into_iter()
}

#[test]
fn frames_of_every_kind_cost_nothing() {
    let mut rig = rig(1024);
    (0..2).for_each(|_| _ = cost(&mut rig, every_kind()));
    for _ in 0..5 {
        assert_eq!(cost(&mut rig, every_kind()), 0);
    }
}

#[test]
fn batches_cost_nothing() {
    let mut rig = rig(1024);
    for round in 0..10 {
        every_kind().for_each(|(port, bytes, offload)| assert!(rig.offer(port, &bytes, offload)));
        let calls = calls(|| rig.settle());
        assert!(round < 2 || calls == 0, "{calls} in round {round}");
        rig.drain();
    }
}

#[test]
fn new_addresses_moves_and_evictions_cost_nothing() {
    // 896 is exactly what a hash table of 1024 buckets holds.
    for fdb_max in [896, 1024] {
        let mut rig = rig(fdb_max);
        cost(&mut rig, every_kind());
        let new = |range: std::ops::Range<u32>| range.map(|n| plain(n as usize % 2, frame(station(n), mac(1))));
        for second in 0..8 {
            assert_eq!(cost(&mut rig, new(second * 500..(second + 1) * 500)), 0, "table of {fdb_max}, second {second}");
        }
        assert_eq!(rig.known(), fdb_max);
        let moves = (0..500).map(|n| plain(n as usize % 4, frame(station(n % 20), mac(1))));
        assert_eq!(cost(&mut rig, moves), 0);
    }
}

#[test]
fn ageing_and_flushing_cost_nothing() {
    let mut rig = rig(1024);
    cost(&mut rig, every_kind());
    for _ in 0..3 {
        let stations = (0..1000).map(|n| plain(n as usize % 4, frame(station(n), mac(1))));
        assert_eq!(cost(&mut rig, stations), 0);
        assert!(rig.known() >= 1000);
        rig.pull(0);
        assert_eq!(calls(|| rig.advance(1000)), 0);
        assert!(rig.known() < 900);
        assert_eq!(calls(|| rig.advance(20_000)), 0);
        assert_eq!(rig.known(), 0);
        rig.set_link(0, true);
    }
}

#[test]
fn full_rings_and_empty_pools_cost_nothing() {
    let setup = Setup::new(one_domain(Domain::new("lan"), vec![PortView::default(); 4]));
    let mut rig = Rig::build(Setup { ring: 64, arena: Arena::new(1024, 32).unwrap(), ..setup });
    let mut pool = rig.arena.pool(0, 0);
    for round in 0..20 {
        let taken = (0..60).filter(|_| rig.offer(0, &frame(mac(1), Mac::BROADCAST), Offload::default())).count();
        // Somebody else has all of it every now and then.
        let held: Vec<_> = (0..).take_while(|_| round % 3 == 2).map_while(|_| pool.alloc(60)).collect();
        let calls = calls(|| rig.settle());
        assert!(round < 4 || calls == 0, "{calls} for {taken} frames");
        held.into_iter().for_each(|frame| pool.free(frame));
        if round % 4 == 3 {
            rig.drain();
        }
    }
    assert!(rig.dropped(DropReason::PoolEmpty) > 0 && rig.dropped(DropReason::TxFull) > 0);
}
