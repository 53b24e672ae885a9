//! What a learning bridge owes its stations (IEEE 802.1D/Q): one test per requirement.
//!
//! The number in front of each test's description is the requirement's in the project's list.
#![cfg(test)]

mod support;

use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::Offload;
use crossdock_engine::tables::fdb::Learned;
use crossdock_engine::tables::storm::StormCaps;
use crossdock_engine::tables::topology::{Domain, DomainId, PortView, Topology};
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::WorkerConfig;
use support::{Rig, Setup, frame, frame_of, mac, number_of, numbered, one_domain, super_frame};

const GROUP: Mac = Mac([0x01, 0x00, 0x5e, 1, 2, 3]);

fn reserved(last: u8) -> Mac {
    Mac([0x01, 0x80, 0xc2, 0, 0, last])
}

/// L2-01
#[test]
fn known_unicast_leaves_once_by_its_port_alone() {
    let mut rig = Rig::new(5);
    rig.introduce(0, mac(1));
    rig.introduce(3, mac(2));
    for _ in 0..3 {
        assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 0, 0, 1, 0]);
        assert_eq!(rig.copies(3, &frame(mac(2), mac(1))), [1, 0, 0, 0, 0]);
    }
    assert_eq!(rig.drops().concat().iter().sum::<u64>(), 0);
}

/// L2-02
#[test]
fn unknown_unicast_is_flooded_once_to_all_others_of_the_domain() {
    let mut topology = one_domain(Domain::new("lan"), vec![PortView::default(); 5]);
    let members = |ports: &[u16]| ports.iter().copied().map(PortId).collect();
    topology.domains = vec![
        Some(Domain { members: members(&[0, 1, 2]), ..Domain::new("lan") }),
        Some(Domain { members: members(&[3, 4]), ..Domain::new("other") }),
    ];
    topology.ports[3..].iter_mut().flatten().for_each(|port| port.domain = Some(DomainId(1)));
    let mut rig = Rig::build(Setup::new(topology));
    assert_eq!(rig.copies(1, &frame(mac(1), mac(9))), [1, 0, 1, 0, 0]);
    assert_eq!(rig.copies(4, &frame(mac(9), mac(1))), [0, 0, 0, 1, 0], "domains know nothing of each other");
    assert_eq!(rig.copies(0, &frame(mac(2), mac(9))), [0, 1, 1, 0, 0], "mac 9 is known in the other domain only");
}

/// L2-03
#[test]
fn broadcast_and_multicast_are_flooded_once_to_all_others() {
    let mut rig = Rig::new(4);
    for destination in [Mac::BROADCAST, GROUP, Mac([0x33, 0x33, 0, 0, 0, 1])] {
        for _ in 0..3 {
            assert_eq!(rig.copies(2, &frame(mac(1), destination)), [1, 1, 0, 1], "{destination}");
        }
    }
}

/// L2-04
#[test]
fn a_frame_to_a_station_on_its_own_port_is_filtered() {
    let mut rig = Rig::new(3);
    rig.introduce(0, mac(1));
    rig.introduce(0, mac(2));
    for n in 1..=3 {
        assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 0, 0]);
        assert_eq!(rig.dropped_at(0, DropReason::SamePort), n);
    }
}

/// L2-05: the default of 802.1Q.
#[test]
fn an_address_is_forgotten_after_300_seconds() {
    let mut rig = Rig::new(3);
    rig.introduce(1, mac(2));
    rig.advance(299_000);
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 1, 0]);
    rig.advance(3_000);
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 1, 1]);
}

fn quickly_ageing() -> Rig {
    Rig::of(Domain { ageing_s: 10, ..Domain::new("lan") }, vec![PortView::default(); 3])
}

/// A domain's ageing time may change while it works: what is known ages by the new one.
#[test]
fn a_new_ageing_time_holds_for_what_is_known() {
    let mut rig = Rig::of(Domain::new("lan"), vec![PortView::default(); 3]);
    rig.introduce(1, mac(2));
    rig.advance(20_000);
    assert_eq!(rig.port_of(mac(2)), Some(1));
    rig.configure(|topology| topology.domains[0].as_mut().unwrap().ageing_s = 10);
    rig.advance(2_000);
    assert_eq!(rig.port_of(mac(2)), None);
}

/// A port that leaves its domain is forgotten there, and another domain is not touched.
#[test]
fn a_port_that_changes_its_domain_is_forgotten_in_the_old_one() {
    let mut rig = Rig::of(Domain::new("lan"), vec![PortView::default(); 3]);
    rig.introduce(1, mac(2));
    rig.introduce(2, mac(3));
    rig.configure(|topology| {
        topology.domains[0].as_mut().unwrap().members.retain(|port| *port != PortId(1));
        topology.domains.push(Some(Domain { members: vec![PortId(1)], ..Domain::new("other") }));
        topology.ports[1].as_mut().unwrap().domain = Some(DomainId(1));
    });
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 0, 1], "unknown here now, and flooded");
    assert_eq!(rig.copies(0, &frame(mac(1), mac(3))), [0, 0, 1], "still known");
    assert_eq!((rig.port_of(mac(3)), rig.port_of(mac(2))), (Some(2), None));
}

/// L2-05: frames that never reach the stages keep their source's address alive.
#[test]
fn cached_traffic_from_an_address_keeps_it() {
    let mut rig = quickly_ageing();
    let now = rig.now();
    rig.worker.tables().set_fixed(DomainId(0), mac(2), PortId(1), now);
    rig.copies(0, &frame(mac(1), mac(2)));
    for _ in 0..40 {
        rig.advance(1_000);
        assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 1, 0]);
    }
    assert_eq!(rig.worker.counters().misses.get(), 2, "all frames but the first two are cached");
    assert_eq!(rig.port_of(mac(1)), Some(0), "after 40 s of frames from it");
    rig.advance(9_000);
    assert_eq!(rig.port_of(mac(1)), Some(0));
    rig.advance(3_000);
    assert_eq!(rig.port_of(mac(1)), None, "and forgotten when it falls silent");
}

/// L2-05
#[test]
fn frames_to_an_address_do_not_keep_it() {
    let mut rig = quickly_ageing();
    rig.introduce(1, mac(2));
    for _ in 0..9 {
        rig.advance(1_000);
        assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 1, 0]);
    }
    rig.advance(3_000);
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 1, 1], "flooded again");
    assert_eq!((rig.port_of(mac(1)), rig.port_of(mac(2))), (Some(0), None));
}

/// L2-06: the frame after the move, in the same batch, goes to the new place.
#[test]
fn a_station_that_moved_is_found_at_once() {
    let mut rig = Rig::new(4);
    rig.introduce(2, mac(9));
    rig.introduce(3, mac(3));
    rig.introduce(0, mac(1));
    rig.copies(0, &frame(mac(1), mac(9)));
    rig.send(0, &numbered(mac(1), mac(9), 1));
    rig.send(0, &numbered(mac(9), mac(3), 2));
    rig.send(0, &numbered(mac(1), mac(9), 3));
    rig.send(3, &numbered(mac(3), mac(9), 4));
    rig.round();
    let numbers = |seen: Vec<support::Seen>| seen.iter().map(|(f, _)| number_of(f)).collect::<Vec<_>>();
    assert_eq!(numbers(rig.received(2)), [1], "the old port gets what came before the move, nothing after");
    assert_eq!(numbers(rig.received(0)), [4]);
    assert_eq!(numbers(rig.received(3)), [2]);
    assert_eq!(rig.dropped_at(0, DropReason::SamePort), 1, "frame 3 is at its destination's port already");
    assert_eq!(rig.worker.tables().moves(), 1);
    rig.advance(1_000);
    assert_eq!(rig.worker.counters().moves.get(), 1);
}

/// L2-06
#[test]
fn a_configured_address_never_moves() {
    let mut rig = Rig::new(3);
    let now = rig.now();
    assert_eq!(rig.worker.tables().set_fixed(DomainId(0), mac(9), PortId(1), now), Learned::New);
    rig.introduce(2, mac(9));
    rig.advance(400_000);
    assert_eq!(rig.copies(0, &frame(mac(1), mac(9))), [0, 1, 0]);
    assert_eq!(rig.worker.tables().moves(), 0);
}

/// L2-07
#[test]
fn a_group_or_zero_source_is_dropped_and_not_learned() {
    let mut rig = Rig::new(3);
    rig.introduce(1, mac(2));
    for source in [Mac::BROADCAST, GROUP, Mac::ZERO, reserved(0)] {
        for destination in [mac(2), Mac::BROADCAST] {
            assert_eq!(rig.copies(0, &frame(source, destination)), [0, 0, 0], "{source}");
        }
    }
    assert_eq!(rig.dropped_at(0, DropReason::SourceInvalid), 8);
    assert_eq!(rig.known(), 1);
}

/// L2-08
#[test]
fn a_station_that_claims_the_bridges_own_address_is_dropped_and_not_learned() {
    let own = mac(0xfe);
    let mut rig = Rig::of(Domain { mac: Some(own), ..Domain::new("lan") }, vec![PortView::default(); 3]);
    assert_eq!(rig.copies(0, &frame(own, Mac::BROADCAST)), [0, 0, 0]);
    assert_eq!(rig.copies(0, &frame(own, mac(2))), [0, 0, 0]);
    assert_eq!((rig.dropped_at(0, DropReason::SourceOwn), rig.port_of(own)), (2, None));
}

/// L2-09
#[test]
fn link_local_groups_are_never_forwarded() {
    let mut rig = Rig::new(3);
    for last in 0..=0x0f {
        assert_eq!(rig.copies(0, &frame(mac(1), reserved(last))), [0, 0, 0], "{last:#x}");
    }
    assert_eq!(rig.dropped_at(0, DropReason::Reserved), 16);
    assert_eq!(rig.port_of(mac(1)), Some(0), "its sender is a station all the same");
}

/// L2-10
#[test]
fn groups_of_applications_we_do_not_run_are_flooded() {
    let mut rig = Rig::new(3);
    for last in 0x20..=0x2f {
        assert_eq!(rig.copies(0, &frame(mac(1), reserved(last))), [0, 1, 1], "{last:#x}");
    }
}

/// L2-11
#[test]
fn a_port_that_goes_loses_its_addresses_at_once() {
    let mut rig = Rig::new(4);
    rig.introduce(1, mac(2));
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 1, 0, 0]);
    rig.set_link(1, false);
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 0, 1, 1], "link down: flooded, not to the dead port");
    rig.set_link(1, true);
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 1, 1, 1], "up again, but not known");
    rig.introduce(1, mac(2));
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 1, 0, 0]);
    rig.remove(1);
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 0, 1, 1]);
    rig.add(1);
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 1, 1, 1]);
    assert_eq!(rig.drops().concat().iter().sum::<u64>(), 0, "no frame was lost to a dead port");
}

/// L2-11: without being told, within a second.
#[test]
fn a_dead_link_is_noticed_within_a_second() {
    let mut rig = Rig::new(3);
    rig.introduce(1, mac(2));
    rig.set_link(1, true);
    rig.pull(1);
    rig.advance(1_000);
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 0, 1]);
    assert!(!rig.up[1].load(std::sync::atomic::Ordering::Relaxed));
}

/// L2-12
#[test]
fn a_flood_of_addresses_displaces_only_the_flooders_own() {
    let mut rig = Rig::of(Domain { fdb_max: 256, ..Domain::new("lan") }, vec![PortView::default(); 4]);
    (0..20).for_each(|n| rig.introduce(usize::from(n % 2), mac(n)));
    for n in 0..5_000u16 {
        let [a, b] = n.to_be_bytes();
        rig.send(2, &frame(Mac([6, 6, 6, 6, a, b]), mac(0)));
        if n % 500 == 0 {
            rig.advance(10);
        }
        rig.settle();
        assert_eq!(rig.received(0).len(), 1, "forwarding goes on");
    }
    assert_eq!(rig.known(), 256, "full, and no fuller");
    for n in 0..20 {
        assert_eq!(rig.port_of(mac(n)), Some(usize::from(n % 2)), "station {n} on another port survives");
    }
    assert_eq!(rig.copies(2, &frame(Mac([6; 6]), mac(1))), [0, 1, 0, 0]);
    assert_eq!(rig.copies(3, &frame(mac(100), mac(0))), [1, 0, 0, 0]);
    assert_eq!(rig.port_of(mac(100)), Some(3), "a newcomer elsewhere still finds room");
}

/// L2-14
#[test]
fn runts_are_dropped_and_short_frames_pass() {
    let mut rig = Rig::new(2);
    let whole = frame(mac(1), mac(2));
    for len in 0..14 {
        assert_eq!(rig.copies(0, &whole[..len]), [0, 0], "{len} bytes");
    }
    assert_eq!(rig.dropped_at(0, DropReason::Runt), 14);
    assert_eq!(rig.known(), 0);
    for len in 14..60 {
        assert_eq!(rig.copies(0, &whole[..len]), [0, 1], "{len} bytes");
    }
}

/// L2-14
#[test]
fn what_exceeds_the_egress_mtu_is_dropped_whole() {
    let mut setup = Setup::new(one_domain(Domain::new("lan"), vec![PortView::default(); 3]));
    setup.mtus = vec![9000, 1500, 9000];
    let mut rig = Rig::build(setup);
    let big = |len| frame_of(len, mac(1), mac(2));
    assert_eq!(rig.copies(0, &big(1518)), [0, 1, 1], "MTU, header and a VLAN tag");
    assert_eq!(rig.copies(0, &big(1519)), [0, 0, 1], "flooded: only the port it suits gets it, and gets all of it");
    assert_eq!(rig.dropped_at(1, DropReason::TooBig), 1);
    rig.introduce(1, mac(2));
    for n in 2..5 {
        assert_eq!(rig.copies(0, &big(9000)), [0, 0, 0]);
        assert_eq!(rig.dropped_at(1, DropReason::TooBig), n);
    }
    assert_eq!(rig.copies(0, &big(1518)), [0, 1, 0]);
}

/// L2-14: a super-frame is as long as its segments.
#[test]
fn super_frames_whose_segments_fit_pass_whole() {
    let mut rig = Rig::new(3);
    rig.introduce(1, mac(2));
    let big = frame_of(65_000, mac(1), mac(2));
    assert_eq!(rig.copies_with(0, &big, super_frame(1446)), [0, 1, 0]);
    assert_eq!(rig.copies_with(0, &big, super_frame(1518 - 54)), [0, 1, 0]);
    assert_eq!(rig.copies_with(0, &big, super_frame(1519 - 54)), [0, 0, 0]);
    assert_eq!(rig.dropped_at(1, DropReason::TooBig), 1);
    assert_eq!(rig.copies_with(0, &frame_of(65_000, mac(1), GROUP), super_frame(1446)), [0, 1, 1]);
}

/// L2-15
#[test]
fn a_flow_keeps_its_order_while_its_destination_is_learned() {
    for batch in [1, 3, 64] {
        let mut setup = Setup::new(one_domain(Domain::new("lan"), vec![PortView::default(); 3]));
        setup.config = WorkerConfig { batch, ..setup.config };
        let mut rig = Rig::build(setup);
        for n in 0..300 {
            rig.send(0, &numbered(mac(1), mac(2), n));
            if n == 100 {
                rig.round();
                rig.send(1, &frame(mac(2), mac(1)));
            }
        }
        rig.settle();
        let numbers: Vec<u32> = rig.received(1).iter().map(|(f, _)| number_of(f)).collect();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>(), "batch {batch}");
        let flooded = rig.received(2).len();
        assert!(flooded > 0 && flooded < 300, "flooded at first, not later: {flooded}");
    }
}

/// L2-16
#[test]
fn isolated_ports_reach_only_ports_that_are_not() {
    let isolated = PortView { isolated: true, ..PortView::default() };
    let mut rig =
        Rig::of(Domain::new("lan"), vec![isolated.clone(), isolated, PortView::default(), PortView::default()]);
    assert_eq!(rig.copies(0, &frame(mac(1), Mac::BROADCAST)), [0, 0, 1, 1]);
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 0, 1, 1], "unknown unicast");
    assert_eq!(rig.copies(2, &frame(mac(3), Mac::BROADCAST)), [1, 1, 0, 1], "an ordinary port reaches all");
    rig.introduce(1, mac(2));
    for n in 1..=3 {
        assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 0, 0, 0], "known, and isolated as well");
        assert_eq!(rig.dropped_at(0, DropReason::Isolated), n);
    }
    assert_eq!(rig.copies(0, &frame(mac(1), mac(3))), [0, 0, 1, 0]);
    assert_eq!(rig.copies(2, &frame(mac(3), mac(1))), [1, 0, 0, 0]);
}

/// L2-17
#[test]
fn storm_caps_hold_for_each_kind_by_itself() {
    let storm = StormCaps { broadcast: Some(10), multicast: Some(20), unknown: Some(5) };
    let capped = PortView { storm, ..PortView::default() };
    let mut rig = Rig::of(Domain::new("lan"), vec![capped, PortView::default(), PortView::default()]);
    rig.introduce(1, mac(2));
    for second in 1..=3 {
        for (kind, passed) in [(Mac::BROADCAST, 10), (GROUP, 20), (mac(9), 5), (mac(2), 50)] {
            (0..50).for_each(|_| rig.send(0, &frame(mac(1), kind)));
            rig.settle();
            assert_eq!(rig.received(1).len(), passed, "{kind} in second {second}");
            rig.all_received();
        }
        let drops = [DropReason::StormBroadcast, DropReason::StormMulticast, DropReason::StormUnknown];
        assert_eq!(drops.map(|r| rig.dropped_at(0, r)), [40, 30, 45].map(|n| n * second));
        rig.advance(1_000);
    }
    (0..50).for_each(|_| rig.send(2, &frame(mac(3), Mac::BROADCAST)));
    rig.settle();
    assert_eq!(rig.received(1).len(), 50, "a port without caps has none");
}

/// Carries frames between two ports as a cable outside would; says how many.
fn cable(rig: &mut Rig, a: usize, b: usize) -> usize {
    let (from_a, from_b) = (rig.received(a), rig.received(b));
    from_a.iter().for_each(|(frame, _)| rig.send(b, frame));
    from_b.iter().for_each(|(frame, _)| rig.send(a, frame));
    rig.settle();
    from_a.len() + from_b.len()
}

/// L2-18
#[test]
fn a_loop_outside_dies_out_and_the_station_stays_reachable() {
    let mut rig = Rig::new(4);
    rig.introduce(3, mac(3));
    while cable(&mut rig, 0, 1) > 0 {}
    rig.received(2);
    rig.advance(2_000);
    rig.send(2, &frame(mac(1), Mac::BROADCAST));
    rig.settle();
    let rounds = (0..100).take_while(|_| cable(&mut rig, 0, 1) > 0).count();
    assert!(rounds < 20, "still going round after {rounds} rounds");
    assert!(rig.received(3).len() < 40, "a bounded number of copies");
    assert!(rig.dropped(DropReason::MacFlapping) > 0, "and the end has a name");
    rig.all_received();
    assert_eq!(rig.port_of(mac(1)), Some(2));
    assert_eq!(rig.copies(3, &frame(mac(3), mac(1))), [0, 0, 1, 0]);
    assert_eq!(rig.copies(2, &frame(mac(1), mac(3))), [0, 0, 0, 1], "and is heard");
}

/// L2-18: a pinned address is not believed elsewhere. What it says there passes, or who spoofs an address could silence its owner;
/// but of what goes to all only a little, or it might go round for ever.
#[test]
fn a_pinned_address_stays_where_it_is_at_home() {
    let mut rig = Rig::new(4);
    rig.introduce(3, mac(3));
    rig.introduce(0, mac(1));
    for n in 0..40 {
        assert_eq!(rig.copies(1 + n % 2, &frame(mac(1), mac(3)))[3], 1);
    }
    assert_eq!(rig.port_of(mac(1)), Some(0), "back where it was before it began to jump");
    let floods =
        |rig: &mut Rig, port| (0..40).filter(|_| rig.copies(port, &frame(mac(1), Mac::BROADCAST))[3] > 0).count();
    assert_eq!(floods(&mut rig, 1), 16);
    assert_eq!(rig.dropped_at(1, DropReason::MacFlapping), 24);
    assert_eq!(floods(&mut rig, 0), 40, "at home it may say what it likes");
    rig.advance(6_000);
    assert_eq!(floods(&mut rig, 1), 40, "released after a while");
    assert_eq!(rig.port_of(mac(1)), Some(1));
}

/// L2-18: where an address jumped from may be gone by the time it is pinned.
#[test]
fn an_address_is_not_pinned_to_a_port_that_is_gone() {
    let mut rig = Rig::new(4);
    rig.introduce(3, mac(3));
    rig.introduce(0, mac(1));
    rig.introduce(1, mac(1));
    rig.remove(0);
    for n in 0..20 {
        rig.copies(1 + n % 2, &frame(mac(1), mac(3)));
    }
    assert_ne!(rig.port_of(mac(1)), Some(0));
    let copies = rig.copies(3, &frame(mac(3), mac(1)));
    assert_eq!(copies.iter().sum::<usize>(), 1, "it can be reached: {copies:?}");
}

/// A port that belongs to no domain talks to nobody.
#[test]
fn a_port_without_domain_is_dropped_by_name() {
    let mut rig = Rig::new(2);
    rig.configure(|topology: &mut Topology| topology.ports[0] = Some(PortView::default()));
    assert_eq!(rig.copies(0, &frame(mac(1), mac(2))), [0, 0]);
    assert_eq!(rig.dropped_at(0, DropReason::NoDomain), 1);
}

/// Offload requests of the sender are the receiver's business: they pass unchanged, copies of a flood included.
#[test]
fn partial_checksums_travel_with_the_frame() {
    let mut rig = Rig::new(3);
    let csum = Some(crossdock_engine::frame::Csum { start: 34, offset: 6 });
    let offload = Offload { csum, gso: None };
    assert_eq!(rig.copies_with(0, &frame(mac(1), mac(2)), offload), [0, 1, 1]);
}
