//! No frame is lost and none appears from nowhere: received + made = sent + joined to others + dropped by name, at every
//! step, and all frame memory is home when everything has ended.
#![cfg(test)]

mod support;

use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::{Arena, Offload};
use crossdock_engine::tables::topology::{Domain, PortView};
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::WorkerConfig;
use proptest::prelude::*;
use support::scenario::{Pace, life, step};
use support::{Rig, Setup, Takes, frame, frame_of, mac, one_domain};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Little memory, short rings, far ends that read seldom, ports that go while frames wait, frames that are none, ports
    /// that cannot take what others send.
    #[test]
    fn every_frame_is_accounted_for(
        life in life(80),
        batch in prop_oneof![Just(1usize), Just(8), Just(64)],
        ring in 1usize..40,
        small in 32usize..512,
        reads in proptest::collection::vec(0usize..12, 80),
        takes in proptest::collection::vec(
            prop_oneof![2 => Just(Takes::SuperFrames), 1 => Just(Takes::PartialChecksums), 2 => Just(Takes::Nothing)], 6),
    ) {
        let arena = Arena::new(small, 64).unwrap();
        let mut setup = life.setup(WorkerConfig { batch, flows: 256, cache: true, ..WorkerConfig::default() }, &arena);
        (setup.ring, setup.takes) = (ring, takes);
        let mut rig = Rig::build(setup);
        let (mut sent, mut read) = (0, 0);
        for (event, port) in life.steps.iter().zip(reads) {
            sent += step(&mut rig, event, Pace::Rounds).taken;
            let (came, went) = rig.balance();
            prop_assert_eq!(came, went, "nothing stays inside between two rounds");
            read += rig.try_received(port).len() as u64;
        }
        rig.settle();
        read += rig.all_received().iter().map(Vec::len).sum::<usize>() as u64;
        let (received, transmitted) = rig.traffic();
        prop_assert!(received <= sent as u64, "{received} received of {sent}");
        prop_assert!(read <= transmitted, "{read} read of {transmitted}");
        prop_assert!(rig.ends_at_rest(), "all memory is home");
    }
}

fn small_rig(memory: (usize, usize), ring: usize) -> Rig {
    let setup = Setup::new(one_domain(Domain::new("lan"), vec![PortView::default(); 4]));
    Rig::build(Setup { ring, arena: Arena::new(memory.0, memory.1).unwrap(), ..setup })
}

#[test]
fn exhausted_memory_is_a_named_drop_and_passes() {
    let mut rig = small_rig((64, 32), 256);
    (0..8).for_each(|_| rig.send(0, &frame(mac(1), Mac::BROADCAST)));
    let mut pool = rig.arena.pool(0, 0);
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc(60)).collect();
    assert!(!rig.offer(0, &frame(mac(1), Mac::BROADCAST), Offload::default()), "no memory");
    rig.settle();
    assert!(rig.dropped_at(0, DropReason::PoolEmpty) > 0);
    assert_eq!(rig.balance(), (8 * 3, 8 * 3));
    let drops = rig.dropped(DropReason::PoolEmpty) + rig.dropped(DropReason::TxFull);
    assert_eq!(rig.traffic().1 + drops, 8 * 3);
    rig.all_received();
    held.into_iter().for_each(|frame| pool.free(frame));
    assert_eq!(rig.copies(0, &frame(mac(1), Mac::BROADCAST)), [0, 1, 1, 1]);
    drop(pool);
    assert!(rig.ends_at_rest());
}

#[test]
fn a_receiver_that_does_not_read_costs_only_its_own_frames() {
    let mut rig = small_rig((4096, 32), 16);
    for n in 0..64 {
        rig.send(0, &frame(mac(1), Mac::BROADCAST));
        rig.settle();
        assert_eq!((rig.received(1).len(), rig.received(2).len()), (1, 1), "frame {n}");
    }
    assert_eq!((rig.dropped_at(3, DropReason::TxFull), rig.received(3).len()), (48, 16));
    assert!(rig.ends_at_rest());
}

/// Frames wait in both rings of a port when it goes.
#[test]
fn a_port_removed_with_frames_waiting_gives_their_memory_back() {
    let mut rig = small_rig((1024, 32), 64);
    rig.introduce(1, mac(2));
    (0..20).for_each(|_| rig.send(0, &frame(mac(1), mac(2))));
    rig.settle();
    (0..20).for_each(|_| rig.send(1, &frame(mac(2), mac(1))));
    assert_eq!(rig.remove(1).len(), 20, "what was sent can still be read");
    rig.settle();
    assert_eq!(rig.received(0).len(), 0, "what was not received is gone with the port");
    let (came, went) = rig.balance();
    assert_eq!(came, went);
    assert!(rig.ends_at_rest());
}

#[test]
fn a_far_end_that_vanished_is_a_named_drop() {
    let mut rig = small_rig((1024, 32), 64);
    rig.introduce(1, mac(2));
    rig.send(1, &frame(mac(2), mac(1)));
    rig.hang_up(1);
    rig.settle();
    assert_eq!(rig.received(0).len(), 1, "its last words are heard");
    rig.send(0, &frame(mac(1), mac(2)));
    rig.settle();
    assert_eq!(rig.dropped_at(1, DropReason::PortDown), 1);
    assert_eq!(rig.balance().0, rig.balance().1);
    assert!(rig.ends_at_rest());
}

/// Memory of dropped frames must find its way back to whoever sends.
#[test]
fn a_sender_whose_frames_are_all_dropped_can_send_for_ever() {
    let mut rig = small_rig((2048, 256), 64);
    rig.introduce(0, mac(2));
    let large = frame_of(9000, mac(1), mac(2));
    for n in 0..6_000 {
        rig.send(0, &frame(mac(1), mac(2)));
        if n % 8 == 0 {
            assert!(rig.offer(0, &large, Offload::default()), "super-frame {n}");
        }
        rig.settle();
    }
    assert_eq!(rig.dropped_at(0, DropReason::SamePort), 6_750);
    assert!(rig.ends_at_rest());
}
