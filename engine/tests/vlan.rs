//! What a VLAN bridge owes its stations (IEEE 802.1Q, 802.1ad): one test per requirement.
//!
//! The number in front of each test's description is the requirement's in the project's list.
#![cfg(test)]

mod support;

use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::{Csum, Gso, GsoKind, Offload};
use crossdock_engine::program::Action;
use crossdock_engine::tables::topology::{Domain, DomainId, PortView};
use crossdock_engine::tables::vlan::{Native, Tagging, Vlan};
use crossdock_engine::wire::Mac;
use crossdock_engine::wire::vlan::{Tag, Tci, Tpid, Vid};
use crossdock_engine::wire::vnet;
use support::vlan::{C, LEGACY, S, access, native, tag, tagged, trunk, tunnel};
use support::{Rig, Setup, Takes, frame, frame_of, mac, one_domain};

/// A domain whose ports take part so.
fn rig(ports: Vec<Tagging>) -> Rig {
    rig_of(Domain::new("lan"), ports)
}

fn rig_of(domain: Domain, ports: Vec<Tagging>) -> Rig {
    Rig::of(domain, ports.into_iter().map(view).collect())
}

fn view(vlan: Tagging) -> PortView {
    PortView { vlan, ..PortView::default() }
}

/// Sends a frame and says what comes out where.
fn through(rig: &mut Rig, port: usize, frame: &[u8]) -> Vec<Vec<Vec<u8>>> {
    rig.send(port, frame);
    rig.settle();
    let seen = rig.all_received();
    seen.into_iter().map(|port| port.into_iter().map(|(frame, _)| frame).collect()).collect()
}

/// Sends a frame and checks what comes out: at each port this frame once, or nothing.
fn expect(rig: &mut Rig, port: usize, sent: &[u8], expected: &[Option<&[u8]>]) {
    let seen = through(rig, port, sent);
    let expected: Vec<Vec<Vec<u8>>> = expected.iter().map(|frame| frame.iter().map(|f| f.to_vec()).collect()).collect();
    assert_eq!(seen, expected, "{:02x?} at port {port}", &sent[..22.min(sent.len())]);
}

fn broadcast() -> Vec<u8> {
    frame(mac(1), Mac::BROADCAST)
}

/// VL-01
#[test]
fn an_untagged_frame_belongs_to_its_ports_vlan() {
    let mut rig = rig(vec![access(10), access(10), access(20), trunk(&[10, 20]), native(&[20], 10, false)]);
    let plain = broadcast();
    let with = |vid| tagged(&[tag(C, vid)], &plain);
    expect(&mut rig, 0, &plain, &[None, Some(&plain), None, Some(&with(10)), Some(&plain)]);
    expect(&mut rig, 2, &plain, &[None, None, None, Some(&with(20)), Some(&with(20))]);
    expect(&mut rig, 4, &plain, &[Some(&plain), Some(&plain), None, Some(&with(10)), None]);
    expect(&mut rig, 3, &with(10), &[Some(&plain), Some(&plain), None, None, Some(&plain)]);
    expect(&mut rig, 3, &with(20), &[None, None, Some(&plain), None, Some(&with(20))]);
    assert_eq!(rig.drops().concat().iter().sum::<u64>(), 0);
}

/// VL-01: what is known is not flooded, and cached programs do the same as compiled ones.
#[test]
fn known_stations_are_reached_with_the_tag_of_their_port() {
    let mut rig = rig(vec![access(10), trunk(&[10, 20]), access(10)]);
    rig.introduce(0, mac(1));
    through(&mut rig, 1, &tagged(&[tag(C, 10)], &frame(mac(2), mac(1))));
    let (there, back) = (frame(mac(1), mac(2)), frame(mac(2), mac(1)));
    let misses = rig.worker.counters().misses.get();
    for _ in 0..4 {
        expect(&mut rig, 0, &there, &[None, Some(&tagged(&[tag(C, 10)], &there)), None]);
        expect(&mut rig, 1, &tagged(&[tag(C, 10)], &back), &[Some(&back), None, None]);
    }
    let missed = rig.worker.counters().misses.get() - misses;
    assert_eq!(missed, 2, "each way is cached when it is first used by a known station");
}

/// VL-02
#[test]
fn a_priority_tag_is_the_ports_vlan_and_its_priority_stays() {
    let priority = Tag::new(C, Tci(0xb000));
    let with_vid = Tag::new(C, Tci(0xb00a));
    let mut rig = rig(vec![access(10), access(10), trunk(&[10]), native(&[], 10, false), native(&[], 10, true)]);
    let plain = broadcast();
    let (sent, rewritten) = (tagged(&[priority], &plain), tagged(&[with_vid], &plain));
    expect(&mut rig, 0, &sent, &[None, Some(&plain), Some(&rewritten), Some(&plain), Some(&rewritten)]);
    expect(&mut rig, 3, &sent, &[Some(&plain), Some(&plain), Some(&rewritten), None, Some(&rewritten)]);
    expect(&mut rig, 2, &sent, &[None, None, None, None, None]);
    assert_eq!(rig.dropped_at(2, DropReason::VlanFiltered), 1, "a trunk without native VLAN has no place for it");
}

/// VL-03
#[test]
fn vlan_4095_is_refused_and_1_to_4094_pass() {
    let all: Vec<u16> = (1..=4094).collect();
    let mut rig = rig(vec![trunk(&all), trunk(&all), native(&all, 1, false)]);
    let plain = broadcast();
    for vid in [2, 4094] {
        let sent = tagged(&[tag(C, vid)], &plain);
        expect(&mut rig, 0, &sent, &[None, Some(&sent), Some(&sent)]);
    }
    expect(&mut rig, 0, &tagged(&[tag(C, 1)], &plain), &[None, Some(&tagged(&[tag(C, 1)], &plain)), Some(&plain)]);
    for port in 0..3 {
        expect(&mut rig, port, &tagged(&[tag(C, 4095)], &plain), &[None, None, None]);
        assert_eq!(rig.dropped_at(port, DropReason::VlanInvalid), 1);
    }
}

/// VL-03: a tag that the frame has no room for.
#[test]
fn half_a_tag_is_refused_where_tags_are_read() {
    let cut = &tagged(&[tag(C, 10)], &broadcast())[..17];
    let mut aware = rig(vec![trunk(&[10]), trunk(&[10]), access(10)]);
    expect(&mut aware, 0, cut, &[None, None, None]);
    expect(&mut aware, 2, cut, &[None, None, None]);
    assert_eq!(aware.dropped(DropReason::VlanInvalid), 2);
    expect(&mut Rig::new(2), 0, cut, &[None, Some(cut)]);
}

/// VL-04
#[test]
fn an_access_port_admits_tags_of_its_vlan_only_where_told_so() {
    let admitting = Tagging::Access { vid: Vid::new(10).unwrap(), admit_tagged: true };
    let mut rig = rig(vec![access(10), admitting, access(10)]);
    let plain = broadcast();
    for refused in [tag(C, 10), tag(C, 20), tag(S, 10), tag(LEGACY, 10)] {
        expect(&mut rig, 0, &tagged(&[refused], &plain), &[None, None, None]);
    }
    assert_eq!((rig.dropped_at(0, DropReason::VlanFiltered), rig.known()), (4, 0));
    expect(&mut rig, 1, &tagged(&[tag(C, 10)], &plain), &[Some(&plain), None, Some(&plain)]);
    for refused in [tag(C, 20), tag(S, 10)] {
        expect(&mut rig, 1, &tagged(&[refused], &plain), &[None, None, None]);
    }
    assert_eq!(rig.dropped_at(1, DropReason::VlanFiltered), 2);
}

/// VL-05
#[test]
fn a_trunk_filters_at_the_ingress_and_does_not_learn_what_it_refuses() {
    let mut rig = rig(vec![trunk(&[10]), trunk(&[10, 20]), access(20)]);
    let sent = tagged(&[tag(C, 20)], &broadcast());
    for n in 1..=3 {
        expect(&mut rig, 0, &sent, &[None, None, None]);
        assert_eq!((rig.dropped_at(0, DropReason::VlanFiltered), rig.known()), (n, 0));
    }
    expect(&mut rig, 0, &broadcast(), &[None, None, None]);
    assert_eq!(rig.dropped_at(0, DropReason::VlanFiltered), 4, "untagged, and there is no native VLAN");
    expect(&mut rig, 1, &sent, &[None, None, Some(&broadcast())]);
}

/// VL-05, L2-13: independent learning, and floods that stay in their VLAN.
#[test]
fn each_vlan_learns_and_floods_by_itself() {
    let mut rig = rig(vec![access(10), access(20), trunk(&[10, 20]), access(10), access(20)]);
    rig.introduce(0, mac(1));
    rig.introduce(1, mac(1));
    assert_eq!(rig.known(), 2, "the same address in two VLANs, at two ports");
    assert_eq!(rig.worker.tables().moves(), 0);
    let to = frame(mac(9), mac(1));
    expect(&mut rig, 2, &tagged(&[tag(C, 10)], &to), &[Some(&to), None, None, None, None]);
    expect(&mut rig, 2, &tagged(&[tag(C, 20)], &to), &[None, Some(&to), None, None, None]);
    let unknown = frame(mac(9), mac(8));
    expect(&mut rig, 2, &tagged(&[tag(C, 20)], &unknown), &[None, Some(&unknown), None, None, Some(&unknown)]);
    let fdb = rig.worker.tables().fdb(DomainId(0)).unwrap();
    let mut vlans: Vec<_> = fdb.page(0, 100).0.iter().map(|e| (e.vlan.vid().unwrap().number(), e.mac)).collect();
    vlans.sort_unstable();
    assert_eq!(vlans, [(10, mac(1)), (10, mac(9)), (20, mac(1)), (20, mac(9))]);
}

/// VL-05: frames that never reach the stages keep their source's address alive, in its own VLAN.
#[test]
fn cached_traffic_keeps_an_address_in_its_vlan() {
    let mut rig = rig_of(Domain { ageing_s: 10, ..Domain::new("lan") }, vec![access(10), trunk(&[10]), access(10)]);
    let (now, vlan) = (rig.now(), Vlan::of(C, Vid::new(10).unwrap()));
    rig.worker.tables().set_fixed(DomainId(0), (vlan, mac(2)), crossdock_engine::flow::PortId(0), now);
    let sent = tagged(&[tag(C, 10)], &frame(mac(1), mac(2)));
    for _ in 0..30 {
        expect(&mut rig, 1, &sent, &[Some(&frame(mac(1), mac(2))), None, None]);
        rig.advance(1_000);
    }
    assert_eq!(rig.worker.counters().misses.get(), 2, "the test means cached frames");
    assert_eq!(rig.known(), 2);
    rig.advance(13_000);
    assert_eq!(rig.known(), 1);
}

/// VL-06
#[test]
fn the_native_vlan_leaves_with_or_without_a_tag_as_configured() {
    let mut rig = rig(vec![access(10), native(&[10, 20], 10, false), native(&[20], 10, true), access(20)]);
    let plain = broadcast();
    let (ten, twenty) = (tagged(&[tag(C, 10)], &plain), tagged(&[tag(C, 20)], &plain));
    expect(&mut rig, 0, &plain, &[None, Some(&plain), Some(&ten), None]);
    for (port, sent) in [(1, &plain), (1, &ten), (2, &plain), (2, &ten)] {
        let others = [Some(&plain[..]), Some(&plain[..]), Some(&ten[..]), None];
        let expected: Vec<_> = (0..4).map(|n| others[n].filter(|_| n != port)).collect();
        expect(&mut rig, port, sent, &expected);
    }
    expect(&mut rig, 3, &plain, &[None, Some(&twenty), Some(&twenty), None]);
}

/// VL-07
#[test]
fn a_tunnel_port_pushes_the_providers_tag_and_takes_it_off() {
    let mut rig = rig(vec![tunnel(100, S), trunk(&[100, 200]), tunnel(100, S), tunnel(200, S), tunnel(100, C)]);
    let plain = broadcast();
    let customer = tagged(&[Tag::new(C, Tci(0x7000 | 7))], &plain);
    let outer = Tag::new(S, Tci(0x7000 | 100));
    for (sent, outer) in [(&plain, tag(S, 100)), (&customer, outer)] {
        let double = tagged(&[outer], sent);
        expect(&mut rig, 0, sent, &[None, Some(&double), Some(sent), None, None]);
        expect(&mut rig, 1, &double, &[Some(sent), None, Some(sent), None, None]);
    }
    let other = tagged(&[tag(S, 200)], &customer);
    expect(&mut rig, 1, &other, &[None, None, None, Some(&customer), None]);
}

/// VL-07: the older kind of tag, by choice.
#[test]
fn a_tunnel_may_use_tpid_9100() {
    let mut rig = rig(vec![tunnel(100, LEGACY), trunk(&[100])]);
    let customer = tagged(&[tag(C, 7)], &broadcast());
    let double = tagged(&[tag(LEGACY, 100)], &customer);
    assert_eq!(double[12..18], [0x91, 0, 0, 100, 0x81, 0]);
    expect(&mut rig, 0, &customer, &[None, Some(&double)]);
    expect(&mut rig, 1, &double, &[Some(&customer), None]);
}

/// VL-07
#[test]
fn a_customers_tag_is_never_taken_for_the_providers() {
    let mut rig = rig(vec![tunnel(100, S), tunnel(200, S), trunk(&[100, 200]), access(100), access(200)]);
    let plain = broadcast();
    for forged in [tag(C, 200), tag(S, 200), tag(LEGACY, 200), Tag::new(C, Tci(0xfff))] {
        let sent = tagged(&[forged], &plain);
        let outer = Tag::new(S, Tci(forged.tci().0 & 0xf000 | 100));
        expect(&mut rig, 0, &sent, &[None, None, Some(&tagged(&[outer], &sent)), None, None]);
    }
    let customers_100 = tagged(&[tag(C, 100)], &plain);
    expect(&mut rig, 2, &customers_100, &[None, None, None, Some(&plain), None]);
}

/// VL-07: addresses of a customer's VLAN 100 and a provider's are apart.
#[test]
fn a_providers_vlan_learns_by_itself() {
    let mut rig = rig(vec![tunnel(100, S), access(100), trunk(&[100])]);
    rig.introduce(0, mac(1));
    rig.introduce(1, mac(1));
    assert_eq!((rig.known(), rig.worker.tables().moves()), (2, 0));
    let to = frame(mac(2), mac(1));
    expect(&mut rig, 2, &tagged(&[tag(S, 100)], &to), &[Some(&to), None, None]);
    expect(&mut rig, 2, &tagged(&[tag(C, 100)], &to), &[None, Some(&to), None]);
}

/// VL-09
#[test]
fn a_full_frame_may_have_two_tags_more() {
    let mut rig = rig(vec![tunnel(100, S), trunk(&[100]), tunnel(100, S)]);
    let full = frame_of(1514, mac(1), Mac::BROADCAST);
    let customer = tagged(&[tag(C, 7)], &full);
    let double = tagged(&[tag(S, 100)], &customer);
    assert_eq!((customer.len(), double.len()), (1518, 1522));
    expect(&mut rig, 0, &customer, &[None, Some(&double), Some(&customer)]);
    expect(&mut rig, 1, &double, &[Some(&customer), None, Some(&customer)]);
    let longer = tagged(&[tag(C, 7)], &frame_of(1515, mac(1), Mac::BROADCAST));
    expect(&mut rig, 0, &longer, &[None, None, None]);
    assert_eq!((rig.dropped_at(1, DropReason::TooBig), rig.dropped_at(2, DropReason::TooBig)), (1, 1));
    let untagged = frame_of(1519, mac(1), Mac::BROADCAST);
    expect(&mut Rig::new(2), 0, &untagged, &[None, None]);
}

const PAYLOAD: usize = 1448;

/// A TCP super-frame of `segments` segments at an MTU of 1500, its checksum partial; `tags` tags in front of IP.
fn bulk(tags: &[Tag], segments: usize) -> (Vec<u8>, Offload) {
    let mut plain = Vec::new();
    let packet = etherparse::PacketBuilder::ethernet2(mac(1).0, mac(2).0).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let tcp = packet.tcp(4000, 80, 1, 1000).options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
    let payload: Vec<u8> = (0..segments * PAYLOAD).map(|n| (n * 7) as u8).collect();
    tcp.write(&mut plain, &payload).unwrap();
    let shift = (4 * tags.len()) as u16;
    let gso = Some(Gso { size: PAYLOAD as u16, hdr_len: 66 + shift, kind: GsoKind::Tcp4, ecn: false });
    (tagged(tags, &plain), Offload { csum: Some(Csum { start: 34 + shift, offset: 16 }), gso })
}

/// VL-10: the offsets move with the header, and still fit the frame they arrive with.
#[test]
fn a_super_frame_keeps_its_offloads_across_push_and_pop() {
    let mut rig = rig(vec![access(10), trunk(&[10]), tunnel(100, S), trunk(&[100])]);
    for (port, addressee) in [(0, 1), (1, 2)] {
        let hello = if port == 0 { frame(mac(1), mac(9)) } else { tagged(&[tag(C, 10)], &frame(mac(2), mac(9))) };
        through(&mut rig, port, &hello);
        assert_eq!(rig.known(), addressee);
    }
    let cases = [
        (0, 1, bulk(&[], 44), bulk(&[tag(C, 10)], 44)),
        (2, 3, bulk(&[], 44), bulk(&[tag(S, 100)], 44)),
        (2, 3, bulk(&[tag(C, 7)], 44), bulk(&[tag(S, 100), tag(C, 7)], 44)),
        (3, 2, bulk(&[tag(S, 100), tag(C, 7)], 44), bulk(&[tag(C, 7)], 44)),
        (3, 2, bulk(&[tag(S, 100)], 44), bulk(&[], 44)),
    ];
    for (from, to, (sent, offload), expected) in cases {
        for _ in 0..3 {
            assert!(rig.offer(from, &sent, offload));
            rig.settle();
            let seen = rig.all_received();
            assert!(
                seen[to] == std::slice::from_ref(&expected),
                "from {from} to {to}: {:?}",
                seen[to].first().map(|s| s.1)
            );
            let (bytes, offload) = &seen[to][0];
            assert_eq!(vnet::parse(&vnet::emit(offload), bytes), Ok(*offload), "a sound request for this very frame");
        }
    }
}

/// A customer may have two tags, and each provider on the way push one.
#[test]
fn a_super_frame_of_many_tags_is_cut_like_any_other() {
    let views = vec![view(tunnel(100, S)), view(trunk(&[100]))];
    let mut setup = Setup::new(one_domain(Domain::new("lan"), views));
    setup.takes = vec![Takes::SuperFrames, Takes::Nothing];
    setup.mtus = vec![1600; 2];
    let mut rig = Rig::build(setup);
    for inner in 0..7 {
        let customer: Vec<Tag> = (0..inner).map(|n| tag(if n % 2 == 0 { S } else { C }, 10 + n)).collect();
        let (sent, offload) = bulk(&customer, 3);
        assert!(rig.offer(0, &sent, offload));
        rig.settle();
        let got = rig.received(1);
        let all = [&[tag(S, 100)], &customer[..]].concat();
        let expected = bulk(&all, 1).0.len();
        assert_eq!(got.iter().map(|(bytes, _)| bytes.len()).collect::<Vec<_>>(), [expected; 3], "{inner} tags");
        assert!(got.iter().all(|(bytes, _)| bytes.starts_with(&tagged(&all, &sent)[..12 + 4 * all.len()])));
    }
    assert_eq!(rig.dropped(DropReason::OffloadUnfit), 0);
}

/// "VLAN hopping": the next switch takes what it sees first for the VLAN.
#[test]
fn a_tag_inside_the_native_vlan_never_becomes_the_outer_one() {
    let open = Tagging::Access { vid: Vid::DEFAULT, admit_tagged: true };
    let customers = tunnel(1, C);
    let trunk = native(&[20], 1, false);
    let mut rig = rig(vec![open.clone(), trunk.clone(), trunk, open, customers]);
    let plain = broadcast();
    let inner = tagged(&[tag(C, 20)], &plain);
    let (priority, one) = (tagged(&[tag(C, 0)], &inner), tagged(&[tag(C, 1)], &inner));
    for sent in [&priority, &one] {
        expect(&mut rig, 0, sent, &[None, Some(&one), Some(&one), Some(&inner), Some(&inner)]);
        expect(&mut rig, 1, sent, &[Some(&inner), None, Some(&one), Some(&inner), Some(&inner)]);
    }
    expect(&mut rig, 4, &inner, &[Some(&inner), Some(&one), Some(&one), Some(&inner), None]);
    expect(&mut rig, 4, &plain, &[Some(&plain), Some(&plain), Some(&plain), Some(&plain), None]);
    // The same once it is known where the station is, cached and not.
    through(&mut rig, 1, &frame(mac(7), mac(9)));
    let known = tagged(&[tag(C, 0), tag(C, 20)], &frame(mac(1), mac(7)));
    let expected = tagged(&[tag(C, 1), tag(C, 20)], &frame(mac(1), mac(7)));
    (0..3).for_each(|_| expect(&mut rig, 0, &known, &[None, Some(&expected), None, None, None]));
}

/// VL-10: the way back, and copies of a flood, each with its own offsets.
#[test]
fn a_flooded_super_frame_has_at_each_port_the_offsets_of_its_own_tags() {
    let mut rig = rig(vec![trunk(&[10]), access(10), trunk(&[10]), access(10)]);
    let (sent, offload) = bulk(&[tag(C, 10)], 20);
    assert!(rig.offer(0, &sent, offload));
    rig.settle();
    let seen = rig.all_received();
    assert!(seen[2] == [(sent, offload)] && seen[0].is_empty());
    assert!(seen[1] == [bulk(&[], 20)] && seen[3] == [bulk(&[], 20)]);
}

/// A port that says nothing of VLANs is one of VLAN 1 where the domain filters, and a plain bridge's where it does not.
#[test]
fn a_port_without_vlans_is_of_vlan_1_in_a_domain_that_filters() {
    let transparent = || view(Tagging::Transparent);
    let lan = Domain { vlan_filtering: true, ..Domain::new("lan") };
    let mut topology = one_domain(lan, vec![transparent(), transparent(), view(trunk(&[1, 10]))]);
    topology.settle();
    let mut rig = Rig::build(Setup::new(topology));
    let plain = broadcast();
    expect(&mut rig, 0, &plain, &[None, Some(&plain), Some(&tagged(&[tag(C, 1)], &plain))]);
    expect(&mut rig, 0, &tagged(&[tag(C, 10)], &plain), &[None, None, None]);
    assert_eq!(rig.dropped_at(0, DropReason::VlanFiltered), 1);
    let mut bridge = Rig::new(3);
    for tags in [&[tag(C, 10)][..], &[tag(C, 0)], &[tag(C, 4095)], &[tag(S, 7), tag(C, 8)]] {
        assert_eq!(bridge.copies(0, &tagged(tags, &plain)), [0, 1, 1], "tags are payload");
    }
    assert_eq!(bridge.known(), 1, "one address, whatever its tags");
}

/// Without filtering a port with VLANs changes nothing for its neighbours: they go on as a plain bridge, apart from it.
#[test]
fn a_port_with_vlans_changes_no_neighbour() {
    let mut rig = rig(vec![Tagging::Transparent, Tagging::Transparent, access(10), trunk(&[10])]);
    let (plain, with) = (broadcast(), tagged(&[tag(C, 10)], &broadcast()));
    expect(&mut rig, 0, &plain, &[None, Some(&plain), None, None]);
    expect(&mut rig, 0, &with, &[None, Some(&with), None, None]);
    expect(&mut rig, 2, &plain, &[None, None, None, Some(&with)]);
}

/// A port whose VLANs change knows nobody: its stations were elsewhere.
#[test]
fn a_change_of_vlans_forgets_the_ports_addresses() {
    let mut rig = rig(vec![access(10), access(10), trunk(&[10, 20])]);
    rig.introduce(1, mac(2));
    expect(&mut rig, 0, &frame(mac(1), mac(2)), &[None, Some(&frame(mac(1), mac(2))), None]);
    rig.configure(|topology| topology.ports[1].as_mut().unwrap().vlan = access(20));
    let flooded = tagged(&[tag(C, 10)], &frame(mac(1), mac(2)));
    expect(&mut rig, 0, &frame(mac(1), mac(2)), &[None, None, Some(&flooded)]);
    assert_eq!(rig.known(), 1);
}

/// A configured address at a port that does not carry the VLAN.
#[test]
fn a_known_port_outside_the_vlan_is_not_reached() {
    let mut rig = rig(vec![access(10), access(20)]);
    let (now, vlan) = (rig.now(), Vlan::of(C, Vid::new(10).unwrap()));
    rig.worker.tables().set_fixed(DomainId(0), (vlan, mac(2)), crossdock_engine::flow::PortId(1), now);
    expect(&mut rig, 0, &frame(mac(1), mac(2)), &[None, None]);
    assert_eq!(rig.dropped_at(0, DropReason::NoEgress), 1);
}

/// Frames are conserved, whatever is pushed and popped.
#[test]
fn all_memory_comes_home() {
    let mut rig = rig(vec![access(10), trunk(&[10]), tunnel(100, Tpid::SERVICE), access(10)]);
    for n in 0..100 {
        through(&mut rig, n % 4, &broadcast());
        through(&mut rig, 1, &tagged(&[tag(C, 10)], &broadcast()));
    }
    let (before, after) = rig.balance();
    assert_eq!(before, after);
    assert!(rig.ends_at_rest());
    assert_eq!(size_of::<Action>(), 8);
}

/// Native VLANs are carried though the list does not name them.
#[test]
fn a_trunk_of_nothing_but_its_native_vlan() {
    let only = Tagging::Trunk {
        vids: [].into_iter().collect(),
        native: Some(Native { vid: Vid::new(10).unwrap(), tagged: false }),
    };
    let mut rig = rig(vec![only, access(10)]);
    expect(&mut rig, 0, &broadcast(), &[None, Some(&broadcast())]);
}
