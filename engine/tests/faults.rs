//! Frames that a bad wire holds when its port is closed: none is lost.

use crossdock_engine::Switch;
use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::Offload;
use crossdock_engine::ports::channel::Channel;
use crossdock_engine::ports::fault::{FaultConfig, Faults, Faulty, Probability};
use crossdock_engine::switch::{Config, Membership};
use crossdock_engine::tables::topology::Domain;
use std::time::{Duration, Instant};

#[test]
fn closing_a_port_gives_back_the_frames_that_it_holds() {
    let config = Config { frames: 4096, super_frames: 64, ..Config::default() };
    let switch = Switch::new(config).unwrap();
    switch.add_domain(Domain::new("lan")).unwrap();
    let member = Membership::of("lan");
    let (one, mut sender) = Channel::pair("one", 1024, 1500, switch.arena()).unwrap();
    let (two, receiver) = Channel::pair("two", 1024, 1500, switch.arena()).unwrap();
    switch.add_port(Box::new(one), &member).unwrap();
    let slow =
        Faults { delay: Duration::from_secs(60), duplicate: Probability::new(0.3).unwrap(), ..Faults::default() };
    let faults = FaultConfig { receive: Faults::default(), transmit: slow, seed: 5 };
    switch.add_port(Box::new(Faulty::new(Box::new(two), faults)), &member).unwrap();
    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 46]].concat();
    (0..500).for_each(|_| sender.send(&frame, Offload::default()).unwrap());
    let begin = Instant::now();
    while switch.conservation().received < 500 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(20));
    assert!(switch.conservation().in_flight() > 500, "{:?}", switch.conservation());
    switch.remove_port("two").unwrap();
    let end = switch.conservation();
    // A port that floods so much is sent a probe for loops.
    assert!(end.in_flight() == 0 && end.sent <= 1, "{end:?}");
    let drops = switch.drops();
    let down = drops.iter().find(|(reason, _)| *reason == DropReason::PortDown).unwrap().1;
    assert_eq!(down + end.sent, end.received + end.generated);
    let arena = switch.arena().clone();
    drop((switch, sender, receiver));
    assert_eq!(arena.free(), arena.total());
}
