//! Hostile neighbours: who sends what nobody should, holds what others need, or claims to be somebody else, costs the others
//! little and nothing for good.
//!
//! The number in front of each test's description is that of the case in the project's list. What a container can ask for in a
//! virtio-net header is bounded where that is read (`src/wire/vnet.rs`).
#![cfg(test)]

mod support;

use crossbeam::channel::unbounded;
use crossdock_engine::Switch;
use crossdock_engine::clock::Millis;
use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::{Depth, Flow, PortId, Verdict};
use crossdock_engine::frame::{Arena, Batch, Csum, Offload, SUPER_ROOM};
use crossdock_engine::ports::channel::Channel;
use crossdock_engine::ports::fault::{FaultConfig, Faults, Faulty};
use crossdock_engine::ports::{Caps, Io, Port, Queue};
use crossdock_engine::stages::Stage;
use crossdock_engine::stats::PortCounters;
use crossdock_engine::switch::{Config, Membership};
use crossdock_engine::tables::topology::{Domain, DomainId, PortView, Topology};
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::{Attachment, Command, Event, Lines, Polling, Sleeper, WithoutCache, WorkerConfig};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use support::cost::{median, spent, time, times_as_long};
use support::host::{Host, attach, attach_queue, workers};
use support::mesh::Mesh;
use support::{PATIENCE, Rig, Setup, frame, frame_of, mac, numbered, one_domain, super_frame};

/// The address of station `n`.
fn station(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([2, 1, a, b, c, d])
}

/// Ordinary ports with channels of `ring` frames that carry large frames too, and the memory of a small switch.
fn channels(ports: usize, ring: usize) -> Rig {
    let setup = Setup::new(one_domain(Domain::new("lan"), vec![PortView::default(); ports]));
    Rig::build(Setup { ring, mtus: vec![9000; ports], arena: Arena::new(8192, 256).unwrap(), ..setup })
}

/// Whether a TAP of another worker finds memory to receive a frame into.
fn others_can_receive(arena: &Arena) -> bool {
    let mut pool = arena.pool(0, 0);
    [60, SUPER_ROOM].into_iter().all(|room| pool.alloc(room).map(|frame| pool.free(frame)).is_some())
}

/// B1: each worker's pool keeps some super-frames, of which there are few.
#[test]
fn pools_of_workers_leave_super_frames_to_each_other() {
    for (count, supers) in [(2, 16), (4, 16), (8, 32), (16, 64), (24, 256), (32, 256)] {
        let arena = Arena::new(8192, supers).unwrap();
        let mut all = workers(count, count as u16, &arena);
        let hosts: Vec<_> = (0..count)
            .map(|number| {
                let (host, says) = Host::prompted();
                (says, attach(&mut all, number, number as u16, host))
            })
            .collect();
        let mut say = |number: usize, bytes: Vec<u8>| {
            hosts[number].0.lock().unwrap().push_back(bytes);
            while all.iter_mut().map(|worker| worker.poll(Millis(1))).sum::<usize>() > 0 {}
        };
        (0..count).for_each(|number| say(number, frame(mac(number as u8), Mac::BROADCAST)));
        let rounds = 1000;
        (0..rounds).for_each(|n| say(0, frame_of(9000, mac(0), mac(1 + (n % (count - 1)) as u8))));
        let each = |count: fn(&PortCounters) -> u64| {
            hosts.iter().flat_map(|(_, counters)| counters).map(|counters| count(counters)).sum::<u64>()
        };
        let heard = rounds + count * (count - 1);
        assert_eq!((each(PortCounters::dropped), each(|c| c.tx_frames.get())), (0, heard as u64), "{count} workers");
    }
}

/// B2
#[test]
fn far_ends_of_channels_keep_no_memory_that_others_need() {
    let mut rig = channels(41, 256);
    (0..41).for_each(|port| rig.introduce(port, mac(port as u8 + 1)));
    for round in 0..5 {
        for port in 0..41 {
            let to = if port == 0 { 2 } else { 1 };
            assert!(rig.offer(port, &frame_of(9000, mac(port as u8 + 1), mac(to)), Offload::default()), "{round}");
            rig.settle();
            assert_eq!(rig.received(usize::from(to) - 1).len(), 1);
        }
    }
    assert!(others_can_receive(&rig.arena));

    let mut rig = channels(130, 256);
    for round in 0..80 {
        assert!(rig.copies(0, &numbered(mac(1), Mac::BROADCAST, round))[1..].iter().all(|&copies| copies == 1));
    }
    assert!(others_can_receive(&rig.arena));
}

/// B3
#[test]
fn receivers_that_do_not_read_leave_memory_to_the_others() {
    for len in [64, 9000] {
        let mut rig = channels(40, 256);
        for n in 0..300 {
            assert!(
                rig.offer(0, &frame_of(len, mac(1), Mac::BROADCAST), Offload::default()),
                "frame {n} of {len} bytes"
            );
            rig.settle();
            assert_eq!(rig.received(1).len(), 1, "frame {n} of {len} bytes");
        }
        assert_eq!(rig.dropped(DropReason::PoolEmpty), 0);
        assert!(rig.dropped_at(39, DropReason::TxFull) > 0, "who does not read loses frames");
        assert!(others_can_receive(&rig.arena));
    }
}

/// B4
#[test]
fn slow_wires_leave_memory_to_the_others() {
    let arena = Arena::new(8192, 256).unwrap();
    let mut all = workers(1, 11, &arena);
    attach(&mut all, 0, 0, Host::repeating(&frame_of(9000, mac(1), Mac::BROADCAST), 40));
    let listener = attach(&mut all, 0, 1, Host::silent().that_is_given_copies());
    let _ends: Vec<_> = (2..11)
        .map(|port| {
            let (channel, end) = Channel::pair("slow", 1024, 9000, &arena).unwrap();
            let transmit = Faults { delay: Duration::from_secs(10), ..Faults::default() };
            let slow = Faulty::new(Box::new(channel), FaultConfig { transmit, ..FaultConfig::default() });
            let (caps, queue) = (slow.caps(), Box::new(slow).open(&arena, 1).unwrap().remove(0));
            attach_queue(&mut all, 0, port, (queue, caps));
            end
        })
        .collect();
    (0..100).for_each(|_| _ = all[0].poll(Millis(1)));
    assert_eq!(listener[0].tx_frames.get(), 40);
    assert!(others_can_receive(&arena));
}

/// A TCP super-frame of 60 kB from one address to another, in segments of `size` bytes.
fn bulk(size: u16, source: Mac, destination: Mac) -> (Vec<u8>, Offload) {
    let mut bytes = Vec::new();
    let packet = etherparse::PacketBuilder::ethernet2(source.0, destination.0).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    packet.tcp(1, 2, 3, 4).write(&mut bytes, &[7; 60_000]).unwrap();
    (bytes, Offload { csum: Some(Csum { start: 34, offset: 16 }), ..super_frame(size) })
}

/// A host that says the same for ever, and tells how many frames it was asked for in each 50 ms that its worker had a processor.
fn counted(bytes: Vec<u8>) -> (Host, Receiver<u32>) {
    let (tell, told) = channel();
    let (mut frames, mut since) = (0, None);
    let host = Host::saying(move || {
        frames += 1;
        let now = if frames % 64 == 1 { spent() } else { Duration::ZERO };
        if now.saturating_sub(*since.get_or_insert(now)) > Duration::from_millis(50) {
            let _ = tell.send(std::mem::take(&mut frames));
            since = None;
        }
        Some(bytes.clone())
    });
    (host, told)
}

/// How many frames a victim's host sends in a while through a switch of one worker, to a neighbour in a domain of their own, while
/// hosts of another domain do what they do.
fn passed(others: Vec<Host>) -> f64 {
    let switch = Switch::new(Config { polling: Polling::Busy, ..Config::default() }).unwrap();
    switch.add_domain(Domain::new("good")).unwrap();
    switch.add_domain(Domain::new("evil")).unwrap();
    let [good, evil] = ["good", "evil"].map(Membership::of);
    let (victim, told) = counted(frame_of(1500, mac(1), mac(2)));
    let named = |(n, host): (usize, Host)| (Box::new(host.named(&n.to_string())) as Box<dyn Port>, &evil);
    let mut ports: Vec<(Box<dyn Port>, _)> = others.into_iter().enumerate().map(named).collect();
    ports.push((Box::new(Host::repeating(&frame(mac(2), mac(1)), 1).named("neighbour")), &good));
    ports.push((Box::new(victim.named("victim")), &good));
    assert!(switch.add_ports(ports).iter().all(Result::is_ok));
    // All have begun by the third time.
    (0..3).map(|_| told.recv_timeout(PATIENCE).unwrap()).fold(0.0, |_, frames| f64::from(frames))
}

/// B6, and what else one port can do: whatever its frames cost is charged to it.
#[test]
fn an_attacker_takes_no_more_than_its_share_of_the_time() {
    let endless = |bytes: Vec<u8>, offload| Host::asking(move || Some((bytes.clone(), offload)));
    let cut = |size| {
        move || {
            let (bytes, offload) = bulk(size, mac(11), mac(12));
            let says = Host::repeating(&frame(mac(12), mac(11)), 1).without_offloads();
            vec![endless(bytes, offload), says]
        }
    };
    let flood = || {
        let silent = std::iter::repeat_with(Host::silent).take(50);
        std::iter::once(endless(frame(mac(11), Mac::BROADCAST), Offload::default())).chain(silent).collect()
    };
    let strangers = || {
        let mut n = 0..;
        let says = Host::saying(move || Some(frame(station(n.next().unwrap_or_default()), mac(12))));
        vec![says, Host::silent()]
    };
    let attacks: [(&str, &dyn Fn() -> Vec<Host>); 5] = [
        ("segments of 59 bytes, as many as may be", &cut(59)),
        ("segments of 536 bytes", &cut(536)),
        ("segments of 1448 bytes", &cut(1448)),
        ("broadcasts", &flood),
        ("new addresses", &strangers),
    ];
    for (what, attack) in attacks {
        // As many hosts as the attacker has, so that looking at those costs the same.
        let quiet = || attack().into_iter().map(|_| Host::silent()).collect();
        let share = median((0..3).map(|_| passed(attack()) / passed(quiet())).collect());

        assert!(share > 0.3, "{what}: {share:.2} of the victim's frames still pass");
    }
}

/// B8: two domains, in one of which somebody does what voids cached decisions.
#[test]
fn what_happens_in_one_domain_voids_nothing_in_another() {
    let view = |domain| Some(PortView { domain: Some(DomainId(domain)), ..PortView::default() });
    let domain = |name, members| Some(Domain { members, fdb_max: 1000, ..Domain::new(name) });
    let (evil, good) = (domain("evil", vec![PortId(0), PortId(1)]), domain("good", vec![PortId(2), PortId(3)]));
    let topology = Topology { ports: vec![view(0), view(0), view(1), view(1)], domains: vec![evil, good] };
    // New addresses on a full table, and addresses that two ports claim in turn.
    let attacks: [fn(u32) -> (usize, u32); 2] = [|n| (0, 5000 + n), |n| ((n / 600 % 2) as usize, n % 600)];
    for attack in attacks {
        let config = WorkerConfig { direct: WithoutCache::Never, ..WorkerConfig::default() };
        let mut rig = Rig::build(Setup { config, ..Setup::new(topology.clone()) });
        rig.introduce(2, mac(2));
        rig.introduce(3, mac(3));
        (0..1000).for_each(|n| _ = rig.copies(0, &frame(station(n), mac(9))));
        rig.copies(2, &frame(mac(2), mac(3)));
        let before = rig.worker.counters().misses.get();
        let (mut evil, moves) = (0, rig.worker.tables().moves());
        for n in 0..2000 {
            let (port, who) = attack(n);
            let misses = rig.worker.counters().misses.get();
            rig.copies(port, &frame(station(who), mac(9)));
            evil += rig.worker.counters().misses.get() - misses;
            assert_eq!(rig.copies(2, &frame(mac(2), mac(3))), [0, 0, 0, 1]);
        }
        assert!(
            evil == 2000 && (attack(1).1 == 5001 || rig.worker.tables().moves() > moves),
            "it does what it is to do"
        );
        assert_eq!(rig.worker.counters().misses.get() - before - evil, 0, "frames of the other domain that missed");
    }
}

/// An address as Docker gives them: they differ in their last bytes only.
fn container(n: u32) -> Mac {
    Mac([0x02, 0x42, 0xac, 0x11, (n >> 8) as u8, n as u8])
}

/// Stations at port 0 that each say something to all every 10 ms, while a cable outside joins the other two ports. How many frames
/// leave by those two in each millisecond beyond what the stations say.
fn going_round(stations: u32, ms: u32) -> (Rig, Vec<usize>) {
    let setup = Setup::new(one_domain(Domain::new("lan"), vec![PortView::default(); 3]));
    let mut rig = Rig::build(Setup { ring: 32_768, arena: Arena::new(262_144, 16).unwrap(), ..setup });
    let mut extra = Vec::new();
    for now in 0..ms {
        let talking: Vec<_> = (0..stations).filter(|n| n % 10 == now % 10).collect();
        talking.iter().for_each(|&n| rig.send(0, &numbered(container(n), Mac::BROADCAST, now)));
        rig.settle();
        let (one, two) = (rig.received(1), rig.received(2));
        rig.received(0);
        extra.push(one.len() + two.len() - 2 * talking.len());
        one.iter().for_each(|(frame, _)| rig.send(2, frame));
        two.iter().for_each(|(frame, _)| rig.send(1, frame));
        rig.advance(1);
    }
    (rig, extra)
}

/// C1: more stations than any table of fixed size holds. As long as there is a loop, each address is let go every five seconds, to
/// see whether there is one still.
#[test]
fn a_loop_outside_dies_out_however_many_stations_there_are() {
    for (stations, ms) in [(1, 12_000), (2, 12_000), (10, 12_000), (200, 1200), (1000, 1200)] {
        let (mut rig, extra) = going_round(stations, ms);
        let (sum, tries) = (extra.iter().sum::<usize>(), ms as usize / 5000 + 1);
        assert!(sum <= 32 * tries * stations as usize, "{sum} frames of {stations} stations went round");
        let later = &extra[500..extra.len().min(4500)];
        assert!(
            later.iter().all(|&frames| frames == 0),
            "{stations} stations: they still go round after half a second"
        );
        let is_lost = |n: &u32| rig.port_of(container(*n)) != Some(0);
        assert_eq!((0..stations).find(is_lost), None, "of {stations}, one that cannot be reached");
        assert!(rig.dropped(DropReason::MacFlapping) > 0, "and the end has a name");
    }
}

/// What became of what an address's owner said and was sent, while another host says now and then that the address is its own.
#[derive(Debug, Default)]
struct Duel {
    said: usize,
    heard: usize,
    sent: usize,
    reached: usize,
}

/// The owner (port 0) talks to a third host (port 2) at 100 frames a second, and to all twice a second; the spoofer (port 1) says 10
/// frames a second, every other to all. After 10 of 20 seconds the owner's link fails for half a second, in which the spoofer goes on.
fn duel(station: Option<Mac>) -> [Duel; 2] {
    let owner = PortView { station, ..PortView::default() };
    let mut rig = Rig::of(Domain::new("lan"), vec![owner, PortView::default(), PortView::default()]);
    rig.introduce(0, mac(1));
    rig.introduce(2, mac(3));
    let mut duels = [Duel::default(), Duel::default()];
    for now in 0..20_000 {
        rig.advance(1);
        let is_down = (10_000..10_500).contains(&now);
        if [10_000, 10_500].contains(&now) {
            rig.set_link(0, !is_down);
        }
        let duel = &mut duels[usize::from(now >= 10_500)];
        let to = if now % 500 == 100 { Mac::BROADCAST } else { mac(3) };
        if now % 10 == 0 && !is_down {
            (duel.said, duel.heard) = (duel.said + 1, duel.heard + rig.copies(0, &numbered(mac(1), to, now))[2]);
        }
        if now % 100 == 3 {
            let to = if now % 200 == 3 { mac(3) } else { Mac::BROADCAST };
            rig.copies(1, &numbered(mac(1), to, now));
        }
        if now % 10 == 6 && !is_down {
            (duel.sent, duel.reached) =
                (duel.sent + 1, duel.reached + rig.copies(2, &numbered(mac(3), mac(1), now))[0]);
        }
    }
    duels
}

/// C2, C2b
#[test]
fn a_spoofer_does_not_silence_an_owner_that_is_not_known() {
    for duel in duel(None) {
        assert!(duel.said >= 950 && duel.heard + 10 >= duel.said, "{duel:?}");
    }
}

/// C2, C2b: the owner is the host whose TAP has the address.
#[test]
fn a_spoofer_takes_nothing_from_an_owner_that_is_known() {
    for duel in duel(Some(mac(1))) {
        assert!(duel.said >= 950 && duel.heard == duel.said, "{duel:?}");
        assert!(duel.reached * 100 >= duel.sent * 95, "{duel:?}");
    }
}

/// C3: a worker that had no turn while an address jumped at another judges as that does.
#[test]
fn workers_agree_on_addresses_that_jump() {
    let (x, y) = (station(1), station(2));
    let mut mesh = Mesh::new(2, 6);
    // Ports 0, 2 and 4 are worker 0's; 1, 3 and 5 worker 1's.
    mesh.copies(0, &frame(x, Mac::BROADCAST));
    mesh.copies(1, &frame(y, Mac::BROADCAST));
    for n in 0..9 {
        mesh.send([2, 4][n % 2], &frame(x, mac(200)));
        mesh.poll(0);
    }
    mesh.send(3, &frame(y, mac(200)));
    mesh.poll(1);
    mesh.settle();
    assert_eq!(mesh.places(x), [Some(PortId(0)); 2], "pinned where it was at first");
    assert_eq!(mesh.places(y), [Some(PortId(3)); 2], "another has only moved");
    let floods = (0..40).filter(|_| mesh.copies(3, &frame(x, mac(200)))[4] > 0).count();
    assert_eq!(floods, 16, "pinned at the other worker too, which lets a few through from elsewhere");
    assert_eq!(mesh.places(x), [Some(PortId(0)); 2]);
    for _ in 0..30 {
        mesh.advance(1000);
        mesh.copies(3, &frame(x, mac(201)));
    }
    assert_eq!(mesh.places(x), [Some(PortId(3)); 2], "released everywhere");
}

/// A port that fails when it is to transmit.
struct Broken;

impl Queue for Broken {
    fn receive(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        batch.drain().for_each(|frame| io.discard(frame, DropReason::PortDown));
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

/// C4: a frame for a port that has failed, its removal and a new port of its number come to a worker in one round.
#[test]
fn a_new_port_is_not_buried_for_an_old_one_of_its_number() {
    let arena = Arena::new(512, 16).unwrap();
    let mut all = workers(2, 2, &arena);
    let (host, says) = Host::prompted();
    attach(&mut all, 0, 0, host);
    attach_queue(&mut all, 1, 1, (Box::new(Broken), Caps { mtu: 1500, ..Caps::default() }));
    says.lock().unwrap().push_back(frame(mac(1), Mac::BROADCAST));
    all[0].poll(Millis(1));

    let (commands, mailbox) = unbounded();
    let ((gone, detached), (done, opened)) = (unbounded(), unbounded());
    let fresh: Vec<Box<dyn Queue>> = vec![Box::new(Host::silent())];
    let (counters, view) = (Arc::<PortCounters>::default(), all[1].tables().topology.port(PortId(1)).cloned());
    let new = Attachment {
        port: PortId(1),
        name: "new".into(),
        queues: fresh,
        owners: [1].into(),
        counters: counters.clone(),
        up: Arc::new(AtomicBool::new(true)),
        caps: Caps { mtu: 1500, ..Caps::default() },
    };
    commands.send(Command::Detach(PortId(1), gone)).unwrap();
    commands.send(Command::Attach(new, view.map(Box::new), done.clone())).unwrap();
    commands.send(Command::Serve(PortId(1), done)).unwrap();
    let ((events, told), (graveyard, graves)) = (unbounded(), unbounded());
    let mut sleeper = Sleeper::new().unwrap();
    assert!(all[1].obey(&mailbox, &mut sleeper));
    all[1].bury(&Lines { began: Instant::now(), commands: mailbox, events, graveyard }, &mut sleeper);
    assert_eq!((detached.len(), opened.len(), graves.len()), (1, 2, 0));
    assert!(told.try_iter().collect::<Vec<Event>>().is_empty(), "the old one was removed, the new one works");

    says.lock().unwrap().push_back(frame(mac(1), Mac::BROADCAST));
    (0..3).for_each(|_| all.iter_mut().for_each(|worker| _ = worker.poll(Millis(2))));
    assert_eq!(counters.tx_frames.get(), 1);
}

/// A stage that reads this deep, and lets everything pass.
struct Deep(Depth);

impl Stage for Deep {
    fn name(&self) -> &'static str {
        "deep"
    }

    fn depth(&self) -> Depth {
        self.0
    }

    fn apply(&mut self, _flow: &mut Flow<'_>) -> Verdict {
        Verdict::Continue
    }
}

/// So many UDP flows between two hosts, frame by frame in turn, through a switch with one stage of its own: rounds of 64 frames, and
/// how many of them the cache did not know.
fn flows(depth: Depth, flows: u32) -> impl FnMut(u32) -> u64 {
    let setup = Setup::new(one_domain(Domain::new("lan"), vec![PortView::default(); 2]));
    let mut rig = Rig::build(Setup { stages: vec![Box::new(Deep(depth))], ..setup });
    rig.introduce(1, mac(2));
    rig.introduce(0, mac(1));
    let (mut bytes, mut next) = (frame(mac(1), mac(2)), (0..flows).cycle());
    move |rounds| {
        let before = rig.worker.counters().misses.get();
        for _ in 0..rounds {
            for n in next.by_ref().take(64) {
                bytes[34..36].copy_from_slice(&(n as u16).to_be_bytes());
                bytes[26..28].copy_from_slice(&((n >> 16) as u16).to_be_bytes());
                rig.send(0, &bytes);
            }
            rig.settle();
            rig.drain();
        }
        rig.worker.counters().misses.get() - before
    }
}

/// S1
#[test]
fn a_stage_costs_entries_of_the_cache_for_what_it_reads_and_no_more() {
    for (depth, all, known) in [(Depth::L2, 200_000, 1), (Depth::L3, 60_000, 1), (Depth::L4, 1000, 1000)] {
        let mut pass = flows(depth, all);
        let first = pass(1000);
        assert!((known..=known + 1).contains(&first), "{first} entries for {all} flows, read to {depth:?}");
        assert_eq!(pass(1000), 0, "{depth:?}");
    }
}

/// S1
#[test]
fn more_flows_than_the_cache_holds_cost_little_more_than_one() {
    let (mut many, mut one) = (flows(Depth::L4, 200_000), flows(Depth::L4, 1));
    assert!(many(200) >= 200 * 60, "they are more than it holds");
    let ratio = times_as_long(|| time(|| _ = many(50)), || time(|| _ = one(50)));
    assert!(ratio < 10.0, "{ratio:.1} times as long");
}
