//! Packet rate: 64-byte frames (60 without FCS, one IPv4/UDP flow) from a generator in h1, counted at h2's interface.
//!
//! The sink costs next to nothing: a program at h2's interface drops the frames as soon as the interface's receive counter has
//! counted them. On a veth that is still the switch's own system call or the sender's, so what a host's stack does with a
//! frame would stand in every system's figure, and in the same size. The frames go to a MAC from which h2 has spoken once.

use crate::bpf::{Instruction, Kind, Program};
use crate::cpu::Usage;
use crate::generator::{FRAME, Generator};
use crate::lab::{Counters, pin_thread};
use crate::live::{LiveFrames, index};
use crate::systems::Placement;
use crate::testbed::{MACS, Testbed};
use anyhow::{Result, ensure};
use crossdock::engine::offload::sum;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The MAC behind h2's port.
const SINK: [u8; 6] = [2, 0, 0, 0, 0, 0xee];

const WARM_UP: Duration = Duration::from_millis(200);

/// Something that makes frames.
pub trait Source {
    /// Makes them for `time` as fast as it can; returns how many it offered to the interface, taken or not.
    fn send_for(&mut self, time: Duration) -> io::Result<u64>;
}

/// What a run delivered, and what it cost.
#[derive(Debug, Clone, Copy)]
pub struct PacketRate {
    /// Million packets per second at h2's interface.
    pub delivered: f64,
    /// Million packets per second the source made; more than were delivered when the system is the bottleneck.
    pub offered: f64,
    /// Packets at h2's interface.
    pub packets: f64,
    /// What was used meanwhile.
    pub usage: Usage,
}

/// Sends by system calls, at the pace of a process.
pub fn measure(bed: &Testbed, time: Duration) -> Result<PacketRate> {
    count(bed, time, || Ok(Box::new(Generator::open("eth0", vec![frame(MACS[0], SINK).to_vec()])?)))
}

/// Sends what the kernel makes, several times what any of the systems can take. h1's interface is a veth.
pub fn overload(bed: &Testbed, time: Duration) -> Result<PacketRate> {
    bed.take_live_frames(true)?;
    let rate = count(bed, time, || Ok(Box::new(LiveFrames::open("eth0", frame(MACS[0], SINK))?)));
    bed.take_live_frames(false)?;
    rate
}

/// Sends for `time` and a warm-up.
fn count(
    bed: &Testbed,
    time: Duration,
    open: impl FnOnce() -> io::Result<Box<dyn Source>> + Send,
) -> Result<PacketRate> {
    let _drop_all = bed.h2.run(|| teach().and_then(|()| drop_all("eth0")))??;
    let received = bed.h2.counters("eth0")?;
    let switch = bed.switch.as_ref().map(|process| process.pid());
    bed.h1.run(|| {
        pin_thread(Placement::CLIENT)?;
        let mut source = open()?;
        source.send_for(WARM_UP)?;
        let before = Snapshot::take(&received, switch)?;
        let offered = source.send_for(time)?;
        let after = Snapshot::take(&received, switch)?;
        after.since(&before, offered)
    })?
}

/// h2 speaks from the sink's MAC, to everybody, a few times in case one gets lost.
fn teach() -> Result<()> {
    let mut generator = Generator::open("eth0", vec![frame(SINK, [0xff; 6]).to_vec()])?;
    ensure!(generator.send(3)? > 0, "h2 could not send");
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}

/// Drops all that comes in by an interface of the calling thread's namespace, until the result is dropped.
fn drop_all(interface: &str) -> Result<OwnedFd> {
    /// `return TC_ACT_SHOT`.
    const CODE: [Instruction; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    Ok(Program::load(Kind::Classifier, &CODE)?.attach(index(interface)?)?)
}

/// Counters at one moment.
struct Snapshot {
    when: Instant,
    received: u64,
    usage: Usage,
}

impl Snapshot {
    fn take(received: &Counters, switch: Option<u32>) -> Result<Self> {
        Ok(Self { when: Instant::now(), received: received.received()?, usage: Usage::now(switch)? })
    }

    fn since(&self, before: &Self, offered: u64) -> Result<PacketRate> {
        let packets = (self.received - before.received) as f64;
        ensure!(packets >= 1000.0, "only {packets} of {offered} packets were delivered");
        let micros = (self.when - before.when).as_secs_f64() * 1e6;
        Ok(PacketRate {
            delivered: packets / micros,
            offered: offered as f64 / micros,
            packets,
            usage: self.usage.since(&before.usage),
        })
    }
}

/// Ethernet, IPv4 (RFC 791) and UDP without checksum (RFC 768) in 60 bytes.
fn frame(source: [u8; 6], destination: [u8; 6]) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&source);
    frame[12..34].copy_from_slice(&[0x08, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let checksum = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame[34..42].copy_from_slice(&[0x30, 0x39, 0, 9, 0, 26, 0, 0]);
    frame
}
