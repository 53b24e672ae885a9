//! What a second core adds: workers of one switch, each with a queue of both ports, that take frames as fast as they can.

use super::rig::{CAPS, FRAME, mac};
use crossdock_engine::clock::Millis;
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Arena, Batch};
use crossdock_engine::ports::{Io, Queue};
use crossdock_engine::stats::PortCounters;
use crossdock_engine::tables::topology::{Domain, DomainId, PortView, Topology};
use crossdock_engine::worker::{Attachment, Peers, Worker, WorkerConfig};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Stations on each side of each worker.
const STATIONS: usize = 32;
/// Rounds between two looks at the clock.
const ROUNDS: usize = 64;

/// One worker's queue of a port on which frames always wait. What is sent to it is freed.
struct Spring {
    side: usize,
    first: usize,
    next: usize,
}

impl Queue for Spring {
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        while batch.room() > 0 {
            let Some(mut frame) = io.pool.alloc(FRAME) else { break };
            self.next = (self.next + 1) % STATIONS;
            let station = self.first + self.next;
            let mut bytes = [0; FRAME];
            bytes[..6].copy_from_slice(&mac(1 - self.side, station).0);
            bytes[6..12].copy_from_slice(&mac(self.side, station).0);
            bytes[12] = 8;
            let filled = frame.fill(&bytes);
            debug_assert!(filled, "a frame of that room was asked for");
            if let Err(frame) = batch.push(frame) {
                io.pool.free(frame);
            }
        }
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        batch.drain().for_each(|frame| io.sent(frame));
        Ok(())
    }
}

/// What the workers have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Common {
    /// They are one switch.
    Switch,
    /// Nothing: each is a switch of its own. What two of these do more than one is what the machine gives.
    Nothing,
}

/// Millions of frames a second through one worker on each of `cores`.
///
/// # Errors
/// There is not enough memory.
pub fn rate(cores: &[usize], common: Common, time: Duration) -> io::Result<f64> {
    let start = Arc::new(Barrier::new(cores.len()));
    let run_on = |worker: Worker, core: usize| {
        let start = start.clone();
        std::thread::spawn(move || run(worker, core, &start, time))
    };
    let counters: Vec<Arc<PortCounters>> = (0..2 * cores.len()).map(|_| Arc::default()).collect();
    let mut threads = Vec::new();
    let shared = Arena::new(4096 * cores.len(), 32)?;
    for ((number, &core), peers) in cores.iter().enumerate().zip(Peers::mesh(cores.len())) {
        let counters = &counters[2 * number..];
        let worker = match common {
            Common::Switch => worker(&shared, (number, cores.len()), peers, counters)?,
            Common::Nothing => worker(&Arena::new(4096, 32)?, (0, 1), Peers::default(), counters)?,
        };
        threads.push(run_on(worker, core));
    }
    let seconds: Vec<f64> = threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
    let sent = |number: usize| counters[2 * number].tx_frames.get() + counters[2 * number + 1].tx_frames.get();
    Ok(seconds.iter().enumerate().map(|(number, seconds)| sent(number) as f64 / seconds / 1e6).sum())
}

fn worker(
    arena: &Arena,
    (number, workers): (usize, usize),
    peers: Peers,
    counters: &[Arc<PortCounters>],
) -> io::Result<Worker> {
    let mut worker = Worker::new(WorkerConfig { workers, ..WorkerConfig::default() }, arena, Vec::new())?;
    worker.join(peers);
    let port = Some(PortView { domain: Some(DomainId(0)), ..PortView::default() });
    let domain = Domain { members: vec![PortId(0), PortId(1)], ..Domain::new("lan") };
    worker.tables().publish(Arc::new(Topology { ports: vec![port; 2], domains: vec![Some(domain)] }))?;
    for (side, counters) in counters.iter().take(2).enumerate() {
        let queue = Spring { side, first: number * STATIONS, next: 0 };
        worker.attach(Attachment {
            port: PortId(side as u16),
            name: side.to_string(),
            queues: vec![Box::new(queue)],
            owners: [number].into(),
            counters: counters.clone(),
            up: Arc::default(),
            caps: CAPS,
        });
    }
    Ok(worker)
}

/// Works for `time` on one core; the seconds that it really was.
fn run(mut worker: Worker, core: usize, start: &Barrier, time: Duration) -> f64 {
    let mut set = CpuSet::new();
    set.set(core);
    // A figure from a core left half-way is no figure, but the ratio shows it.
    let _ = sched_setaffinity(None, &set);
    start.wait();
    let begin = Instant::now();
    while begin.elapsed() < time {
        let now = Millis::between(begin, Instant::now());
        (0..ROUNDS).for_each(|_| _ = worker.poll(now));
        worker.housekeeping(now);
    }
    begin.elapsed().as_secs_f64()
}
