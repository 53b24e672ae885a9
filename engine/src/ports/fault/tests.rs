//! A bad wire between a worker and the far end of a channel.

use super::*;
use crate::drop::DropReason;
use crate::frame::{Csum, Offload, Pool};
use crate::ports::channel::{Channel, ChannelEnd};
use crate::stats::PortCounters;
use etherparse::{PacketBuilder, SlicedPacket};
use proptest::prelude::*;

/// A port with faults, driven by hand.
struct Bench {
    queue: Box<dyn Queue>,
    end: ChannelEnd,
    arena: Arena,
    pool: Pool,
    count: PortCounters,
}

fn chance(share: f64) -> Probability {
    Probability::new(share).unwrap()
}

impl Bench {
    fn new(receive: Faults, transmit: Faults, seed: u64) -> Bench {
        let arena = Arena::new(16_384, 128).unwrap();
        let (channel, end) = Channel::pair("c", 2048, 1500, &arena).unwrap();
        let port = Faulty::new(Box::new(channel), FaultConfig { receive, transmit, seed });
        let queue = Box::new(port).open(&arena, 1).unwrap().remove(0);
        let pool = arena.pool(64, 0);
        Bench { queue, end, arena, pool, count: PortCounters::default() }
    }

    /// Sends frames out through the wire, in batches; gives those that have arrived at once.
    fn send(&mut self, frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let mut batch = Batch::new(32);
        for bytes in frames {
            let mut frame = self.pool.alloc(bytes.len()).unwrap();
            assert!(frame.fill(&bytes));
            batch.push(frame).unwrap();
            if batch.room() == 0 {
                self.transmit(&mut batch);
            }
        }
        self.transmit(&mut batch);
        self.arrived()
    }

    fn transmit(&mut self, batch: &mut Batch) {
        self.queue.transmit(&mut Io::new(&mut self.pool, &self.count), batch).unwrap();
        assert!(batch.is_empty());
    }

    fn arrived(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.end.recv()).map(|(bytes, _)| bytes).collect()
    }

    /// One round of a worker: what came in by the wire, counted as a worker does.
    fn round(&mut self) -> Vec<Vec<u8>> {
        let mut batch = Batch::new(2048);
        self.queue.receive(&mut Io::new(&mut self.pool, &self.count), &mut batch).unwrap();
        self.count.rx_frames.add(batch.len() as u64);
        let frames = batch.iter().map(|frame| frame.to_vec()).collect();
        batch.drain().for_each(|frame| self.pool.free(frame));
        frames
    }

    fn close(mut self) -> PortCounters {
        self.queue.close(&mut Io::new(&mut self.pool, &self.count));
        drop((self.queue, self.end, self.pool));
        assert_eq!(self.arena.free(), self.arena.total(), "every frame is home");
        self.count
    }
}

fn frames(n: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..n).map(|n| [&n.to_be_bytes()[..], &[0; 60]].concat())
}

fn numbers(frames: &[Vec<u8>]) -> Vec<u32> {
    frames.iter().map(|frame| u32::from_be_bytes(frame[..4].try_into().unwrap())).collect()
}

#[test]
fn probabilities_are_shares() {
    assert_eq!(Probability::new(1.0), Some(Probability::ALWAYS));
    assert_eq!(Probability::new(0.01).unwrap().share(), 0.01);
    for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(Probability::new(wrong), None);
    }
}

#[test]
fn without_faults_nothing_changes() {
    let mut bench = Bench::new(Faults::default(), Faults::default(), 1);
    assert_eq!(bench.send(frames(500)), frames(500).collect::<Vec<_>>());
    frames(500).for_each(|frame| bench.end.send(&frame, Offload::default()).unwrap());
    let received: Vec<_> = (0..8).flat_map(|_| bench.round()).collect();
    assert_eq!(received, frames(500).collect::<Vec<_>>());
    assert_eq!(bench.close().dropped(), 0);
}

#[test]
fn the_same_seed_gives_the_same_faults_and_another_gives_others() {
    let faults = Faults { drop: chance(0.2), duplicate: chance(0.1), reorder: chance(0.1), ..Faults::default() };
    let run = |seed| {
        let mut bench = Bench::new(Faults::default(), faults.clone(), seed);
        let arrived = bench.send(frames(1000));
        bench.close();
        arrived
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn rates_of_faults_are_those_asked_for_within_four_sigma() {
    const N: u32 = 20_000;
    let within = |count: f64, share: f64| {
        let sigma = (f64::from(N) * share * (1.0 - share)).sqrt();
        assert!((count - f64::from(N) * share).abs() < 4.0 * sigma, "{count} of {N} for {share}");
    };
    let run = |faults| {
        let mut bench = Bench::new(Faults::default(), faults, 42);
        let mut arrived = Vec::new();
        for n in 0..N / 1000 {
            arrived.extend(bench.send(frames(N).skip(n as usize * 1000).take(1000)));
        }
        (numbers(&arrived), bench.close())
    };
    let (arrived, count) = run(Faults { drop: chance(0.1), ..Faults::default() });
    within(f64::from(N) - arrived.len() as f64, 0.1);
    assert_eq!(count.drops[DropReason::Fault.index()].get() + arrived.len() as u64, u64::from(N));
    let (arrived, count) = run(Faults { duplicate: chance(0.05), ..Faults::default() });
    within(arrived.len() as f64 - f64::from(N), 0.05);
    assert_eq!(count.generated.get() + u64::from(N), arrived.len() as u64);
    let (arrived, _) = run(Faults { reorder: chance(0.02), ..Faults::default() });
    let swaps = arrived.windows(2).filter(|pair| pair[0] == pair[1] + 1).count();
    // One that lets another pass cannot be the one that passes: a share p of choices makes p / (1 + p) swaps.
    within(swaps as f64, 0.02 / 1.02);
}

#[test]
fn a_corrupted_frame_differs_in_one_bit_behind_its_header() {
    let mut bench = Bench::new(Faults::default(), Faults { corrupt: Probability::ALWAYS, ..Faults::default() }, 3);
    let sent: Vec<_> = frames(300).collect();
    for (was, is) in sent.iter().zip(bench.send(sent.clone())) {
        assert_eq!(was[..14], is[..14]);
        assert_eq!(was.iter().zip(&is).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>(), 1);
    }
    bench.close();
}

#[test]
fn corruption_can_be_recognised_although_the_checksum_was_partial() {
    let mut bench = Bench::new(Faults { corrupt: Probability::ALWAYS, ..Faults::default() }, Faults::default(), 3);
    for n in 0..200_u8 {
        let mut frame = Vec::new();
        let payload = vec![n; 40 + usize::from(n % 2)];
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6([1; 16], [2; 16], 64)
            .udp(1, 2)
            .write(&mut frame, &payload)
            .unwrap();
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let whole = frame[60..62].to_vec();
        drop(packet);
        // What a sender leaves: the sum of the pseudo-header.
        let pseudo: u32 = 16 * 0x0101 / 2 + 16 * 0x0202 / 2 + 17 + (8 + payload.len() as u32);
        let pseudo = ((pseudo >> 16) + (pseudo & 0xffff)) as u16;
        frame[60..62].copy_from_slice(&pseudo.to_be_bytes());
        bench.end.send(&frame, Offload { csum: Some(Csum { start: 54, offset: 6 }), gso: None }).unwrap();
        let received = bench.round().remove(0);
        frame[60..62].copy_from_slice(&whole);
        let turned: u32 = frame.iter().zip(&received).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(turned, 1, "the checksum is the whole one, but for the bit");
    }
    bench.close();
}

#[test]
fn delayed_frames_come_in_order_and_not_before_their_time() {
    let delay = Duration::from_millis(30);
    let mut bench = Bench::new(Faults { delay, ..Faults::default() }, Faults { delay, ..Faults::default() }, 1);
    let begin = Instant::now();
    assert!(bench.send(frames(100)).is_empty());
    assert!(bench.queue.due().unwrap() >= begin + delay && !bench.queue.arm());
    frames(50).for_each(|frame| bench.end.send(&frame, Offload::default()).unwrap());
    let (mut there, mut here) = (Vec::new(), Vec::new());
    while there.len() < 100 || here.len() < 50 {
        here.extend(bench.round());
        there.extend(bench.arrived());
        assert!(there.is_empty() || begin.elapsed() >= delay);
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
    assert_eq!((numbers(&there), numbers(&here)), ((0..100).collect(), (0..50).collect()));
    assert_eq!(bench.queue.due(), None);
    bench.close();
}

#[test]
fn a_rate_holds_and_a_full_line_drops() {
    // 64 bytes at 1.024 Mbit/s are half a millisecond.
    let faults = Faults { rate: Some(1_024_000), ..Faults::default() };
    let mut bench = Bench::new(Faults::default(), faults, 1);
    let begin = Instant::now();
    let mut arrived = bench.send(frames(1100)).len();
    assert!(arrived <= 1 + begin.elapsed().as_micros() as usize / 500);
    let lost = bench.count.drops[DropReason::Fault.index()].get();
    assert!(lost > 0 && lost <= 100, "{lost}");
    while arrived < 100 {
        bench.round();
        arrived += bench.arrived().len();
    }
    assert!(begin.elapsed() >= Duration::from_micros(100 * 500), "{:?}", begin.elapsed());
    let count = bench.close();
    assert_eq!(count.tx_frames.get() + count.dropped(), 1100);
}

#[test]
fn a_frame_that_nobody_overtakes_comes_all_the_same() {
    let mut bench = Bench::new(Faults::default(), Faults { reorder: Probability::ALWAYS, ..Faults::default() }, 1);
    assert!(bench.send(frames(1)).is_empty());
    let due = bench.queue.due().unwrap();
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
    assert!(bench.queue.arm());
    bench.round();
    assert_eq!(numbers(&bench.arrived()), [0]);
    bench.close();
}

/// Its time is over, and a worker that was woken for it could do nothing.
#[test]
fn a_late_frame_that_finds_no_place_wakes_nobody() {
    let delay = Duration::from_secs(60);
    let mut bench = Bench::new(Faults::default(), Faults::default(), 1);
    let mut line = Line::new(Faults { reorder: Probability::ALWAYS, delay, ..Faults::default() }, Way::Out, 1);
    let (now, mut io) = (Instant::now(), Io::new(&mut bench.pool, &bench.count));
    for n in 0..=HELD_MAX {
        let frame = io.pool.alloc(60).unwrap();
        line.take(frame, now, &mut io);
        assert!(n % 2 == 1 || n == HELD_MAX || line.due() < Some(now + delay), "late, with a place");
    }
    assert_eq!(line.due(), Some(now + delay));
    line.clear(&mut io);
    assert_eq!(bench.count.dropped(), HELD_MAX as u64 + 1);
}

fn faults() -> impl Strategy<Value = Faults> {
    let chances = (0.0..1.0, 0.0..1.0, 0.0..1.0, 0.0..1.0);
    let times = (0..3_u64, prop::option::of(1_000_000..1_000_000_000_u64));
    (chances, times).prop_map(|((drop, duplicate, reorder, corrupt), (delay, rate))| Faults {
        drop: chance(drop),
        duplicate: chance(duplicate),
        reorder: chance(reorder),
        corrupt: chance(corrupt),
        delay: Duration::from_millis(delay),
        rate,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_are_conserved_to_the_last_one(receive in faults(), transmit in faults(), seed: u64, n in 0..400u32) {
        let mut bench = Bench::new(receive, transmit, seed);
        let mut arrived = bench.send(frames(n)).len() as u64;
        frames(n).for_each(|frame| bench.end.send(&frame, Offload::default()).unwrap());
        let mut received = 0;
        for _ in 0..10 {
            received += bench.round().len() as u64;
            arrived += bench.arrived().len() as u64;
        }
        let sent = bench.count.tx_frames.get();
        prop_assert_eq!(sent, arrived);
        prop_assert!(bench.count.rx_frames.get() >= received);
        let count = bench.close();
        // What came in and was not delivered was dropped; what was to go out went, or was dropped.
        let in_drops = count.rx_frames.get() - received;
        prop_assert_eq!(u64::from(n) + count.generated.get(), sent + count.dropped() - in_drops);
    }
}
