//! The size of a real host: thousands of ports and domains, a million addresses. A flood reaches everybody, and what one thing
//! costs does not grow with all the others.
//!
//! Costs are compared within one run, in turns, and the limits are far from what is usual. The number in front of each test's
//! description is that of the case in the project's list.
#![cfg(test)]

mod support;

use crossdock_engine::Switch;
use crossdock_engine::clock::Millis;
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Arena, Batch, Offload};
use crossdock_engine::ports::{Caps, Io, Port, Queue};
use crossdock_engine::stats::PortCounters;
use crossdock_engine::switch::{Config, Membership};
use crossdock_engine::tables::Tables;
use crossdock_engine::tables::fdb::{Fdb, Learned};
use crossdock_engine::tables::topology::{Change, Domain, DomainId, PortView, Topology};
use crossdock_engine::tables::vlan::Tagging;
use crossdock_engine::wire::Mac;
use crossdock_engine::wire::vlan::Vid;
use crossdock_engine::worker::{Polling, Worker};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::cost::{median, time, times_as_long};
use support::host::{Host, attach, listen, workers};
use support::mesh::Mesh;
use support::{PATIENCE, frame, frame_of, mac, one_domain, plug, receive, until};

/// Ports of a large host.
const MANY: u16 = 4000;
/// How many times as long something may take beside many others as beside few.
const LIMIT: f64 = 3.0;

/// The address of station `n`.
fn station(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([2, 1, a, b, c, d])
}

/// A worker with silent hosts at all ports but the first, whose host says something.
fn town(ports: u16, arena: &Arena, speaker: Host, lends: bool) -> (Worker, Vec<Arc<PortCounters>>) {
    let mut all = workers(1, ports, arena);
    let mut counters = attach(&mut all, 0, 0, speaker);
    let silent = || if lends { Host::silent() } else { Host::silent().that_is_given_copies() };
    counters.extend((1..ports).map(|port| listen(&mut all[0], port, silent())));
    (all.remove(0), counters)
}

/// How long it takes to flood so many frames, which come in one batch, to all other ports of a worker.
fn flood(ports: u16, (frames, len): (usize, usize), lends: bool) -> Duration {
    let arena = Arena::new(8192, 256).unwrap();
    let speaker = Host::repeating(&frame_of(len, mac(1), Mac::BROADCAST), frames);
    let (mut worker, counters) = town(ports, &arena, speaker, lends);
    let spent = time(|| while worker.poll(Millis(1)) > 0 {});
    let lost = |counters: &PortCounters| counters.dropped() > 0 || counters.tx_frames.get() != frames as u64;
    let lost = counters[1..].iter().filter(|counters| lost(counters)).count();
    let (dropped, came) = (counters[0].dropped(), worker.counters().frames.get());
    assert_eq!(
        (lost, dropped, came),
        (0, 0, frames as u64),
        "{frames} frames of {len} bytes to {ports} ports, lent: {lends}"
    );
    spent
}

/// A2
#[test]
fn a_flood_reaches_everybody_whatever_memory_there_is() {
    let floods = [(129, 63, 64), (1000, 64, 64), (MANY, 16, 64), (40, 10, 9000), (300, 10, 9000), (MANY, 2, 9000)];
    for (ports, frames, len) in floods {
        flood(ports, (frames, len), true);
        flood(ports, (frames, len), false);
    }
}

/// A3: the last frame of a full batch fills the batch of every port.
#[test]
fn the_frame_that_fills_every_batch_costs_what_others_cost() {
    let ports = if cfg!(debug_assertions) { 500 } else { MANY };
    for lends in [true, false] {
        let ratio = times_as_long(|| flood(ports, (64, 64), lends), || flood(ports, (63, 64), lends));
        assert!(ratio < LIMIT, "64 frames take {ratio:.1} times as long as 63");
    }
}

/// A3: a copy costs a look at its own port, which the caches hold of few ports and not of many.
#[test]
fn a_copy_of_a_flood_costs_no_look_at_the_other_ports() {
    let few = MANY / 32;
    let per_copy = |ports: u16, lends| flood(ports, (8, 64), lends) / u32::from(ports - 1);
    for lends in [true, false] {
        let ratio = times_as_long(|| per_copy(MANY, lends), || per_copy(few, lends));
        assert!(ratio < 10.0, "{ratio:.1} times as long to 32 times as many ports, lent: {lends}");
    }
}

/// A full forwarding database: most of it is one port's, and each other has an address too. How long a new address takes that
/// is learned on the first.
fn newcomers(ports: u16) -> impl FnMut() -> Duration {
    let mut fdb = Fdb::new(&Domain { fdb_max: 16_384, ..Domain::new("lan") }).unwrap();
    (1..ports).for_each(|port| _ = fdb.learn(station(port.into()), PortId(port), Millis(1)));
    let mut next = 1_000_000..;
    let mut learn = move || fdb.learn(station(next.next().unwrap_or_default()), PortId(0), Millis(2));
    while learn() == Learned::New {}
    move || time(|| (0..1000).for_each(|_| assert_eq!(learn(), Learned::Evicted)))
}

/// A4
#[test]
fn a_new_address_on_a_full_table_costs_the_same_with_few_ports_and_with_many() {
    let ratio = times_as_long(newcomers(MANY), newcomers(2));
    assert!(ratio < LIMIT, "{ratio:.1} times as long");
}

/// Tables of so many domains, of each of which some ports have said something.
fn tables(domains: usize, ports: u16, view: &PortView) -> Tables {
    let domain_of = |port: u16| DomainId((usize::from(port) % domains) as u16);
    let view = |port| Some(PortView { domain: Some(domain_of(port)), ..view.clone() });
    let members = |id: usize| (0..ports).filter(|&port| domain_of(port).index() == id).map(PortId).collect();
    let domain = |id| Some(Domain { members: members(id), ..Domain::new(&format!("d{id}")) });
    let topology = Topology { ports: (0..ports).map(view).collect(), domains: (0..domains).map(domain).collect() };
    let mut tables = Tables::new();
    tables.publish(Arc::new(topology)).unwrap();
    (0..ports).for_each(|port| _ = tables.learn(domain_of(port), station(port.into()), PortId(port), Millis(1)));
    tables
}

/// One domain whose first port has so many addresses.
fn crowd(addresses: u32) -> Tables {
    let domain = Domain { fdb_max: addresses as usize + 1, ageing_s: 300, ..Domain::new("lan") };
    let mut tables = Tables::new();
    tables.publish(Arc::new(one_domain(domain, vec![PortView::default(); 2]))).unwrap();
    (0..addresses).for_each(|n| _ = tables.learn(DomainId(0), station(n), PortId(0), Millis(1)));
    tables
}

/// Addresses of a large table.
const CROWD: u32 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };

/// A5: all of a flood's addresses expire at one moment.
#[test]
fn a_crowd_of_addresses_is_forgotten_a_little_at_a_time() {
    let mut tables = crowd(CROWD);
    let known = |tables: &Tables| tables.fdb(DomainId(0)).map_or(0, Fdb::len);
    let (mut most, mut calls, mut before) = (0, 0, known(&tables));
    assert_eq!(before, CROWD as usize);
    while before > 0 {
        tables.sweep(Millis(400_000 + calls), 1);
        let after = known(&tables);
        (most, calls, before) = (most.max(before - after), calls + 1, after);
        assert!(calls < 5000, "{after} still known after {calls} ms");
    }
    assert!(most < 16_384, "{most} of {CROWD} forgotten in one millisecond");
}

/// A5: nothing expires.
#[test]
fn ageing_looks_at_a_thousandth_of_all_domains_each_millisecond() {
    let mut tables = tables(1000, MANY, &PortView::default());
    let whole = median((0..9).map(|_| time(|| tables.age(Millis(1000))).as_secs_f64()).collect());
    let part = median((0..1000).map(|ms| time(|| _ = tables.sweep(Millis(1000 + ms), 1)).as_secs_f64()).collect());
    assert!(part < whole / 20.0, "{part} s each millisecond, where all of it takes {whole} s");
}

/// A5, A12: whatever changes at one port.
#[test]
fn a_change_of_a_port_costs_the_same_beside_few_ports_and_beside_many() {
    let vids = (10..20).filter_map(Vid::new).collect();
    let trunk = PortView { vlan: Tagging::Trunk { vids, native: None }, ..PortView::default() };
    for view in [PortView::default(), trunk] {
        for domains in [1, 1000] {
            let changes = |ports: u16| {
                let mut tables = tables(domains.min(ports.into()), ports, &view);
                move || time(|| (0..200).for_each(|n| change(&mut tables, PortId(n % 2))))
            };
            let ratio = times_as_long(changes(MANY), changes(2));
            assert!(ratio < LIMIT, "{ratio:.1} times as long, {domains} domains, {:?}", view.vlan);
        }
    }
}

/// Lets the link of a port go down and up again, forgets its addresses, changes it, takes it out and puts it back.
fn change(tables: &mut Tables, port: PortId) {
    tables.set_up(port, false);
    tables.set_up(port, true);
    tables.flush_port(port);
    let view = tables.topology.port(port).cloned();
    let isolated = view.clone().map(|view| PortView { isolated: !view.isolated, ..view });
    for change in [isolated, None, view] {
        tables.apply(Change::Port(port, change)).unwrap();
    }
}

/// C8
#[test]
fn a_link_that_goes_down_costs_the_same_with_few_addresses_and_with_many() {
    let fall = |addresses: u32| {
        let mut tables = crowd(addresses);
        let spent = time(|| tables.set_up(PortId(0), false));
        assert_eq!(tables.fdb(DomainId(0)).map(Fdb::len), Some(0));
        spent
    };
    let ratio = times_as_long(|| fall(CROWD / 10), || fall(CROWD / 10_000));
    assert!(ratio < 100.0, "{ratio:.1} times as long, with 1000 times as many addresses");
}

/// C8: giving memory back to the kernel takes long, and is not the worker's to do.
#[test]
fn a_table_of_another_size_leaves_the_old_one_to_somebody_else() {
    let resize = |addresses: u32| {
        let (mut tables, mut old) = (crowd(addresses), None);
        let domain = Domain { fdb_max: 1000, ..Domain::new("lan") };
        let spent = time(|| old = tables.apply(Change::Domain(DomainId(0), Some(domain))).unwrap());
        assert_eq!(old.map(|fdb| fdb.len()), Some(addresses as usize));
        spent
    };
    let ratio = times_as_long(|| resize(CROWD / 10), || resize(CROWD / 10_000));
    assert!(ratio < 100.0, "{ratio:.1} times as long, with 1000 times as many addresses");
}

/// B7: what one batch brings to a port of another worker.
#[test]
fn large_frames_reach_another_worker_however_many_there_are() {
    for workers in [2, 16, 64] {
        let mut mesh = Mesh::of(Domain::new("lan"), workers, 2, 256);
        mesh.copies(1, &frame(mac(2), Mac::BROADCAST));
        mesh.copies(0, &frame(mac(1), mac(2)));
        (0..7).for_each(|_| mesh.send(0, &frame_of(9000, mac(1), mac(2))));
        mesh.settle();
        assert_eq!((mesh.received(1).len(), mesh.in_flight()), (7, 0), "{workers} workers");
    }
}

/// A2: a flood that takes several visits of the worker that has the ports.
#[test]
fn a_flood_reaches_all_ports_of_another_worker() {
    let arena = Arena::new(8192, 256).unwrap();
    let mut all = workers(2, 1000, &arena);
    attach(&mut all, 0, 0, Host::repeating(&frame(mac(1), Mac::BROADCAST), 10));
    let silent = |port| attach(&mut all, 1, port, Host::silent()).remove(1);
    let counters: Vec<_> = (1..1000).map(silent).collect();
    while all.iter_mut().map(|worker| worker.poll(Millis(1))).sum::<usize>() > 0 {}
    assert_eq!(counters.iter().filter(|counters| counters.tx_frames.get() == 10).count(), 999);
}

/// D1: what a flood has copied is memory that another worker's ports receive into.
#[test]
fn a_flood_at_one_worker_takes_no_memory_from_another() {
    for (ports, len, own) in [(300, 64, 64), (300, 9000, 64), (300, 9000, 9000)] {
        let arena = Arena::new(8192, 256).unwrap();
        let endless = |len: usize, to: Mac| Host::repeating(&frame_of(len, mac(1), to), usize::MAX);
        let (mut flooded, copies) = town(ports, &arena, endless(len, Mac::BROADCAST), false);
        let (mut other, counters) = town(2, &arena, endless(own, mac(2)), false);
        let (is_over, mut polls) = (AtomicBool::new(false), 0);
        std::thread::scope(|scope| {
            let flooding = scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    flooded.poll(Millis(1));
                }
            });
            let (begin, enough) = (Instant::now(), |polls| polls >= 2000 && copies[1].tx_frames.get() >= 100);
            while !enough(polls) {
                other.poll(Millis(1));
                polls += 1;
                assert!(begin.elapsed() < PATIENCE, "no flood");
            }
            is_over.store(true, Relaxed);
            flooding.join().unwrap();
        });
        let (came, lost) = (counters[0].rx_frames.get(), counters[0].dropped());
        assert!(came >= polls, "{came} frames in {polls} rounds");
        assert_eq!(lost, 0, "of {came} frames of {own} bytes, beside a flood of {len}-byte frames to {ports} ports");
    }
}

/// A port at which nothing ever happens, and which counts how often it is looked at.
struct Idle {
    name: String,
    bell: OwnedFd,
    looks: Arc<AtomicU64>,
}

impl Port for Idle {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "idle"
    }

    fn caps(&self) -> Caps {
        Caps { mtu: 1500, ..Caps::default() }
    }

    fn open(self: Box<Self>, _arena: &Arena, _workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        Ok(vec![self])
    }
}

impl Queue for Idle {
    fn receive(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
        self.looks.fetch_add(1, Relaxed);
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        batch.drain().for_each(|frame| io.sent(frame));
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }
}

/// The first row of the list: what passes between two ports costs no look at any other.
#[test]
fn a_port_without_frames_is_not_looked_at() {
    let switch = Switch::new(Config { polling: Polling::Busy, ..Config::default() }).unwrap();
    switch.add_domain(Domain::new("idle")).unwrap();
    switch.add_domain(Domain::new("lan")).unwrap();
    let (looks, idle) = (Arc::new(AtomicU64::new(0)), Membership::of("idle"));
    let port = |n: usize| {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        (Box::new(Idle { name: n.to_string(), bell, looks: looks.clone() }) as Box<dyn Port>, &idle)
    };
    assert!(switch.add_ports((0..250).map(port).collect()).iter().all(Result::is_ok));
    let (mut a, mut b) = (plug(&switch, "a", "lan"), plug(&switch, "b", "lan"));
    until("each was looked at, and found empty", || looks.load(Relaxed) >= 250 * 4);
    let before = looks.load(Relaxed);
    for _ in 0..1000 {
        a.send(&frame(mac(1), mac(2)), Offload::default()).unwrap();
        receive(&mut b);
    }
    assert!(looks.load(Relaxed) <= before + 250, "{before} looks before, {} after", looks.load(Relaxed));
}
