//! One direction of a bad wire.

use super::{Faults, HELD_MAX};
use crate::drop::DropReason;
use crate::frame::{Batch, Frame};
use crate::offload::complete;
use crate::ports::Io;
use crate::wire::ethernet::HEADER_LEN;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a frame waits for the next one to overtake it.
const OVERTAKE: Duration = Duration::from_millis(10);

/// Which way the frames go: what counts where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

/// Frames on their way, and what befalls them.
pub(super) struct Line {
    faults: Faults,
    way: Way,
    random: Random,
    /// A frame that lets the next one pass, and until when.
    late: Option<(Frame, Instant)>,
    /// Frames that wait, in the order in which they are due.
    held: VecDeque<(Instant, Frame)>,
    supers: usize,
    /// When the wire has carried all that was put on it; `None` before the first frame.
    free: Option<Instant>,
}

impl Line {
    pub fn new(faults: Faults, way: Way, seed: u64) -> Line {
        let held = VecDeque::with_capacity(HELD_MAX);
        Line { faults, way, random: Random(seed), late: None, held, supers: 0, free: None }
    }

    /// Puts a frame on the wire. Its fate takes the same number of random numbers whatever it is.
    pub fn take(&mut self, frame: Frame, now: Instant, io: &mut Io<'_>) {
        let [drop, duplicate, corrupt, reorder, bit] = std::array::from_fn(|_| self.random.next());
        if self.faults.drop.happens(drop) {
            return self.lose(frame, DropReason::Fault, io);
        }
        if self.faults.duplicate.happens(duplicate) {
            self.repeat(&frame, now, io);
        }
        match self.faults.corrupt.happens(corrupt) {
            true => match spoil(frame, bit) {
                Ok(frame) => self.order(frame, self.faults.reorder.happens(reorder), now, io),
                Err(frame) => self.lose(frame, DropReason::Fault, io),
            },
            false => self.order(frame, self.faults.reorder.happens(reorder), now, io),
        }
    }

    /// Moves what is due into a batch.
    pub fn release(&mut self, now: Instant, batch: &mut Batch) {
        if self.late.as_ref().is_some_and(|(_, until)| *until <= now)
            && self.has_room()
            && let Some((frame, _)) = self.late.take()
        {
            // Nobody overtook it.
            self.enqueue(frame, now);
        }
        while batch.room() > 0
            && let Some((_, frame)) = self.held.pop_front_if(|(due, _)| *due <= now)
        {
            self.supers -= usize::from(frame.is_super());
            batch.push_within(frame);
        }
    }

    /// When the next frame is due. A late one is not while there is no place for it: the first of the others makes one.
    pub fn due(&self) -> Option<Instant> {
        let held = self.held.front().map(|(due, _)| *due);
        let late = self.late.as_ref().filter(|_| self.has_room()).map(|(_, until)| *until);
        held.into_iter().chain(late).min()
    }

    /// Gives back every frame, dropped because the port closes.
    pub fn clear(&mut self, io: &mut Io<'_>) {
        let late = self.late.take().map(|(frame, _)| frame);
        let held = std::mem::take(&mut self.held);
        self.supers = 0;
        held.into_iter()
            .map(|(_, frame)| frame)
            .chain(late)
            .for_each(|frame| self.lose(frame, DropReason::PortDown, io));
    }

    /// Puts a copy on the wire, if there is memory for one.
    fn repeat(&mut self, frame: &Frame, now: Instant, io: &mut Io<'_>) {
        let Some(copy) = io.pool.copy(frame) else { return };
        if self.way == Way::Out {
            io.count.generated.add(1);
        }
        self.wait(copy, now, io);
    }

    /// A frame that is to be overtaken waits for the next one, and then follows it.
    fn order(&mut self, frame: Frame, overtaken: bool, now: Instant, io: &mut Io<'_>) {
        match self.late.take() {
            Some((late, _)) => {
                self.wait(frame, now, io);
                self.wait(late, now, io);
            }
            None if overtaken => self.late = Some((frame, now + OVERTAKE)),
            None => self.wait(frame, now, io),
        }
    }

    /// Queues a frame, or loses it where the queue is full.
    fn wait(&mut self, frame: Frame, now: Instant, io: &mut Io<'_>) {
        let held = if frame.is_super() { self.supers } else { self.held.len() };
        match self.has_room() && io.pool.shares().admit(&frame, held) {
            true => self.enqueue(frame, now),
            false => self.lose(frame, DropReason::Fault, io),
        }
    }

    fn has_room(&self) -> bool {
        self.held.len() < HELD_MAX
    }

    fn enqueue(&mut self, frame: Frame, now: Instant) {
        let carried = match self.faults.rate {
            Some(rate) => {
                let bits = frame.len() as u64 * 8;
                let nanos = bits.saturating_mul(1_000_000_000) / rate.max(1);
                let carried = self.free.map_or(now, |free| free.max(now)) + Duration::from_nanos(nanos);
                self.free = Some(carried);
                carried
            }
            None => now,
        };
        self.supers += usize::from(frame.is_super());
        self.held.push_back((carried + self.faults.delay, frame));
    }

    fn lose(&self, frame: Frame, reason: DropReason, io: &mut Io<'_>) {
        match self.way {
            Way::Out => io.discard(frame, reason),
            Way::In => {
                io.refuse(frame.len(), reason);
                io.pool.free(frame);
            }
        }
    }
}

/// Turns one bit behind the Ethernet header of a frame whose checksums are complete.
///
/// # Errors
/// The frame itself, where they cannot be.
fn spoil(mut frame: Frame, random: u64) -> Result<Frame, Frame> {
    if frame.offload.gso.is_some() || frame.len() <= HEADER_LEN {
        return Err(frame);
    }
    if let Some(csum) = frame.offload.csum.take() {
        // Its offsets lie inside the frame: the port that received it has checked them.
        let _ = complete(&mut frame, csum);
    }
    let bit = random % ((frame.len() - HEADER_LEN) as u64 * 8);
    frame[HEADER_LEN + (bit / 8) as usize] ^= 1 << (bit % 8);
    Ok(frame)
}

/// A stream of numbers that is the same for the same seed (Steele and others, SplitMix64, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
