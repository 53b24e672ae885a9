//! Loops outside: ports that lead to each other, and what becomes of the hosts beside them.
#![cfg(test)]

mod support;

use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::Arena;
use crossdock_engine::guard::Guard;
use crossdock_engine::tables::storm::StormCaps;
use crossdock_engine::tables::topology::{Domain, PortView};
use crossdock_engine::tables::vlan::Tagging;
use crossdock_engine::wire::Mac;
use std::sync::Arc;
use support::mesh::Mesh;
use support::vlan::{C, access, tag, tagged, trunk};
use support::{frame, mac, one_domain};

/// Hosts at the ports 0 and 1, and a cable between two other ports.
struct Outside {
    mesh: Mesh,
    cable: Option<[usize; 2]>,
    /// Frames that went along the cable in the last millisecond.
    moved: usize,
}

impl Outside {
    fn new(workers: usize, views: Vec<PortView>, cable: [usize; 2]) -> Outside {
        let topology = one_domain(Domain::new("lan"), views);
        let mesh = Mesh::build(topology, workers, 1024, Arena::new(8192, 256).unwrap());
        Outside { mesh, cable: Some(cable), moved: 0 }
    }

    fn plain(workers: usize) -> Outside {
        Outside::new(workers, vec![PortView::default(); 4], [2, 3])
    }

    /// Carries what left by either end of the cable to the other; says how many frames.
    fn carry(&mut self) -> usize {
        let Some([a, b]) = self.cable else { return 0 };
        let from_a = self.mesh.all_received(a);
        let from_b = if a == b { Vec::new() } else { self.mesh.all_received(b) };
        from_a.iter().for_each(|frame| self.mesh.send(b, frame));
        from_b.iter().for_each(|frame| self.mesh.send(a, frame));
        from_a.len() + from_b.len()
    }

    /// Lets so many milliseconds pass; in each of them frames may go round a few times.
    fn pass(&mut self, ms: usize) {
        for _ in 0..ms {
            self.mesh.now += 1;
            self.moved = 0;
            for _ in 0..8 {
                self.mesh.settle();
                self.moved += self.carry();
            }
            let now = crossdock_engine::clock::Millis(self.mesh.now);
            self.mesh.workers.iter_mut().for_each(|worker| worker.housekeeping(now));
        }
        self.mesh.settle();
    }

    /// A frame that somebody behind the cable sends, who is seen at one port only.
    fn say_outside(&mut self, frame: &[u8]) {
        self.mesh.send(2, frame);
    }

    /// Throws away what has come out until now.
    fn drain(&mut self) {
        (0..4).for_each(|port| drop(self.mesh.received(port)));
    }

    fn hosts_reach_each_other(&mut self) {
        self.drain();
        let (there, back) = (frame(mac(1), mac(2)), frame(mac(2), mac(1)));
        self.mesh.send(0, &there);
        self.mesh.settle();
        assert!(self.mesh.received(1).contains(&there));
        self.mesh.send(1, &back);
        self.mesh.settle();
        assert_eq!(self.mesh.received(0), [back]);
    }
}

/// Its station stays where it is, so no address moves.
#[test]
fn what_goes_round_in_one_direction_ends() {
    for workers in 1..=4 {
        let mut outside = Outside::plain(workers);
        outside.say_outside(&frame(mac(9), Mac::BROADCAST));
        outside.pass(100);
        assert_eq!(outside.moved, 0, "{workers} workers: it goes round for ever");
        assert!(outside.mesh.dropped(DropReason::Loop) > 0);
        outside.hosts_reach_each_other();
        outside.pass(20_000);
        outside.hosts_reach_each_other();
        assert!(outside.moved <= 2, "nothing but probes: {}", outside.moved);
        assert_eq!(outside.mesh.in_flight(), 0);
    }
}

/// A guard lets nothing of others in, but for the switch's own probe.
#[test]
fn a_guard_at_one_end_does_not_hide_a_loop() {
    let mut views = vec![PortView::default(); 4];
    views[3].guard = Some(Arc::new(Guard::new(Some(&[mac(7)]), None)));
    for workers in 1..=4 {
        let mut outside = Outside::new(workers, views.clone(), [2, 3]);
        outside.say_outside(&frame(mac(9), Mac::BROADCAST));
        outside.pass(100);
        assert_eq!(outside.moved, 0, "{workers} workers: it goes round for ever");
        assert!(outside.mesh.dropped(DropReason::Loop) > 0);
        outside.hosts_reach_each_other();
    }
}

#[test]
fn what_goes_round_both_ways_ends_too() {
    for workers in 1..=4 {
        let mut outside = Outside::plain(workers);
        for n in 0..200 {
            outside
                .mesh
                .send(usize::from(n % 2), &frame(mac(1 + n % 2), if n < 100 { Mac::BROADCAST } else { mac(77) }));
        }
        outside.pass(100);
        assert_eq!(outside.moved, 0, "{workers} workers");
        outside.hosts_reach_each_other();
    }
}

#[test]
fn a_storm_cap_does_not_hide_a_loop() {
    let storm = StormCaps { broadcast: Some(100), multicast: Some(0), unknown: Some(100) };
    let mut outside = Outside::new(2, vec![PortView { storm, ..PortView::default() }; 4], [2, 3]);
    outside.say_outside(&frame(mac(9), Mac::BROADCAST));
    outside.pass(500);
    assert_eq!(outside.moved, 0);
    assert!(outside.mesh.dropped(DropReason::Loop) > 0);
}

#[test]
fn the_port_opens_again_when_the_cable_is_gone() {
    for workers in [1, 3] {
        let mut outside = Outside::plain(workers);
        outside.say_outside(&frame(mac(9), Mac::BROADCAST));
        outside.pass(10_000);
        let blocked = |outside: &mut Outside| {
            let copies = outside.mesh.copies(0, &frame(mac(1), Mac::BROADCAST));
            assert_eq!((copies[0], copies[1], copies[2]), (0, 1, 1));
            copies[3] == 0
        };
        outside.cable = None;
        outside.drain();
        assert!(blocked(&mut outside));
        outside.pass(2000);
        outside.drain();
        assert!(blocked(&mut outside), "probes may be lost");
        outside.pass(3000);
        outside.drain();
        assert!(!blocked(&mut outside));
    }
}

#[test]
fn a_port_that_leads_to_itself_is_blocked() {
    let mut outside = Outside::new(2, vec![PortView::default(); 4], [2, 2]);
    outside.mesh.send(2, &frame(mac(9), Mac::BROADCAST));
    (0..40).for_each(|n| outside.mesh.send(2, &frame(mac(9), mac(100 + n))));
    outside.pass(100);
    assert!(outside.mesh.dropped(DropReason::Loop) > 0);
    outside.drain();
    assert_eq!(outside.mesh.copies(0, &frame(mac(1), Mac::BROADCAST)), [0, 1, 0, 1]);
}

/// Behind another port there may be a network.
#[test]
fn a_container_is_blocked_rather_than_an_uplink() {
    let mut views = vec![PortView::default(); 4];
    views[2].station = Some(mac(22));
    let mut outside = Outside::new(2, views, [2, 3]);
    outside.say_outside(&frame(mac(9), Mac::BROADCAST));
    outside.pass(100);
    outside.drain();
    assert_eq!(outside.mesh.copies(0, &frame(mac(1), Mac::BROADCAST)), [0, 1, 0, 1]);
}

fn view(vlan: Tagging) -> PortView {
    PortView { vlan, ..PortView::default() }
}

/// VLAN 10 and VLAN 20 become one network: that is what the cable is for.
#[test]
fn a_cable_between_two_vlans_is_no_loop() {
    let mut outside = Outside::new(2, [10, 20, 10, 20].map(|vid| view(access(vid))).to_vec(), [2, 3]);
    for _ in 0..100 {
        outside.mesh.send(0, &frame(mac(1), Mac::BROADCAST));
        outside.pass(5);
        assert_eq!(outside.mesh.received(1).len(), 1);
    }
    assert!(outside.mesh.dropped(DropReason::Loop) > 0, "probes were sent, came back, and went no further");
    assert_eq!(outside.mesh.copies(0, &frame(mac(1), Mac::BROADCAST))[2], 1);
}

#[test]
fn a_loop_in_one_vlan_of_two_trunks_is_found() {
    let views = vec![view(access(10)), view(access(10)), view(trunk(&[10, 20])), view(trunk(&[10, 20]))];
    let mut outside = Outside::new(2, views, [2, 3]);
    outside.say_outside(&tagged(&[tag(C, 10)], &frame(mac(9), Mac::BROADCAST)));
    outside.pass(100);
    assert_eq!(outside.moved, 0);
    outside.hosts_reach_each_other();
}

/// Frames to many, as they are usual, block nothing: whoever sends them gets a probe a second, which does not come back.
#[test]
fn floods_alone_are_no_loop() {
    let mut outside = Outside::plain(2);
    outside.cable = None;
    for _ in 0..50 {
        (0..10).for_each(|n| outside.mesh.send(2, &frame(mac(9), mac(100 + n))));
        outside.pass(10);
    }
    assert_eq!(outside.mesh.dropped(DropReason::Loop), 0);
    let own = outside.mesh.all_received(2);
    assert!((1..=2).contains(&own.len()), "{} probes in half a second", own.len());
}
