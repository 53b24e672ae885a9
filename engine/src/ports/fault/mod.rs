//! Injected faults: any port, behind a bad wire.
//!
//! # Theory of operation
//!
//! [`Faulty`] wraps a port. Each queue of it gets two lines, one for each direction, and every frame travels down one:
//!
//! ```text
//!  drop? -> duplicate? -> corrupt? -> swap with the next? -> wait for the rate, then the delay -> out
//! ```
//!
//! What happens to the nth frame of a line depends on the seed and on n alone, so a run with the same frames has the
//! same faults. Frames that wait are held here, in flight for the counters; the worker's sleep ends when one is due
//! ([`Queue::due`]), and closing the port gives them back, dropped by name. A line holds at most [`HELD_MAX`] frames, and no
//! more than its share of the free memory ([`crate::frame::Shares`]); beyond that it drops as a full queue of a slow wire would.
//!
//! A frame dropped here counts as `fault`. A duplicate on the way out counts as generated, one on the way in as
//! received: it came down the wire twice.
//!
//! A super-frame is one frame to a line. A corrupted frame must be one that its receiver can recognise: a partial
//! checksum is finished before a bit is turned, and a super-frame, whose checksums do not exist yet, is dropped instead.

mod line;

use super::{Caps, Io, Port, Queue};
use crate::frame::{Arena, Batch};
use line::{Line, Way};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Frames that a line holds.
pub const HELD_MAX: usize = 1000;
/// Frames handed on together.
const BURST: usize = 64;

/// How likely something is, in parts per billion: 1,000,000,000 is always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability(u32);

impl Probability {
    /// Certain.
    pub const ALWAYS: Probability = Probability(1_000_000_000);

    /// A share from 0 to 1; `None` for any other number.
    pub fn new(share: f64) -> Option<Probability> {
        let parts = (share * f64::from(Self::ALWAYS.0)).round();
        (0.0..=1.0).contains(&share).then_some(Probability(parts as u32))
    }

    /// As a share, from 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALWAYS.0)
    }

    /// Whether it happens this time, for a random number.
    fn happens(self, random: u64) -> bool {
        random % u64::from(Self::ALWAYS.0) < u64::from(self.0)
    }
}

/// What a line does to frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The frame is lost.
    pub drop: Probability,
    /// It comes twice.
    pub duplicate: Probability,
    /// It swaps places with the next one, if that comes within 10 ms.
    pub reorder: Probability,
    /// One bit behind the Ethernet header is turned.
    pub corrupt: Probability,
    /// How long it travels. A worker that sleeps meanwhile is up to a millisecond late.
    pub delay: Duration,
    /// Bits per second that pass, frames counted without FCS, preamble and gap; `None` for all.
    pub rate: Option<u64>,
}

/// The faults of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultConfig {
    /// On frames that come in.
    pub receive: Faults,
    /// On frames that go out.
    pub transmit: Faults,
    /// What the choices are drawn from.
    pub seed: u64,
}

/// A port with faults.
pub struct Faulty {
    port: Box<dyn Port>,
    config: FaultConfig,
}

impl Faulty {
    /// Puts faults in front of a port.
    pub fn new(port: Box<dyn Port>, config: FaultConfig) -> Faulty {
        Faulty { port, config }
    }
}

impl Port for Faulty {
    fn name(&self) -> &str {
        self.port.name()
    }

    fn kind(&self) -> &'static str {
        self.port.kind()
    }

    /// Frames to be corrupted come with their checksums finished.
    fn caps(&self) -> Caps {
        let caps = self.port.caps();
        match self.config.transmit.corrupt > Probability::default() {
            true => Caps { csum: false, tso: false, uso: false, ..caps },
            false => caps,
        }
    }

    fn open(self: Box<Self>, arena: &Arena, workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        let Faulty { port, config } = *self;
        let queues = port.open(arena, workers)?.into_iter().zip(0..);
        Ok(queues.map(|(queue, n)| Box::new(FaultQueue::new(queue, &config, n)) as Box<dyn Queue>).collect())
    }
}

/// One queue behind its two lines.
struct FaultQueue {
    queue: Box<dyn Queue>,
    incoming: Line,
    outgoing: Line,
    batch: Batch,
}

impl FaultQueue {
    fn new(queue: Box<dyn Queue>, config: &FaultConfig, n: u64) -> FaultQueue {
        let seed = config.seed.wrapping_add(n << 1);
        FaultQueue {
            queue,
            incoming: Line::new(config.receive.clone(), Way::In, seed),
            outgoing: Line::new(config.transmit.clone(), Way::Out, seed.wrapping_add(1)),
            batch: Batch::new(BURST),
        }
    }

    /// Sends what is due.
    fn send(&mut self, io: &mut Io<'_>, now: Instant) -> io::Result<()> {
        loop {
            self.outgoing.release(now, &mut self.batch);
            if self.batch.is_empty() {
                return Ok(());
            }
            self.queue.transmit(io, &mut self.batch)?;
        }
    }
}

impl Queue for FaultQueue {
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let now = Instant::now();
        self.send(io, now)?;
        let received = self.queue.receive(io, &mut self.batch);
        self.batch.drain().for_each(|frame| self.incoming.take(frame, now, io));
        self.incoming.release(now, batch);
        received
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let now = Instant::now();
        batch.drain().for_each(|frame| self.outgoing.take(frame, now, io));
        self.send(io, now)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.queue.fd()
    }

    fn arm(&mut self) -> bool {
        self.queue.arm() || self.due().is_some_and(|due| due <= Instant::now())
    }

    fn due(&self) -> Option<Instant> {
        let lines = [self.incoming.due(), self.outgoing.due(), self.queue.due()];
        lines.into_iter().flatten().min()
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn has_unsent(&self) -> bool {
        self.queue.has_unsent()
    }

    fn close(&mut self, io: &mut Io<'_>) {
        self.incoming.clear(io);
        self.outgoing.clear(io);
        self.queue.close(io);
    }

    fn is_up(&mut self) -> bool {
        self.queue.is_up()
    }
}

#[cfg(test)]
mod tests;
