//! What happens to a batch between the switch and a port.

use super::{Checksums, Coalescer, Segments, Unfit, complete};
use crate::drop::DropReason;
use crate::frame::{Batch, Frame, GsoKind};
use crate::ports::{Caps, Io, Queue};
use std::io;

/// What a port takes unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    csum: bool,
    tso: bool,
    uso: bool,
}

impl Takes {
    /// By a port's capabilities. One that cannot take partial checksums cannot take super-frames either.
    pub fn of(caps: &Caps) -> Takes {
        Takes { csum: caps.csum, tso: caps.csum && caps.tso, uso: caps.csum && caps.uso }
    }

    /// Whether the port takes the frame as it is.
    #[inline]
    pub fn takes(self, frame: &Frame) -> bool {
        let csum = self.csum || frame.offload.csum.is_none();
        csum && frame.offload.gso.is_none_or(|gso| if gso.kind == GsoKind::Udp { self.uso } else { self.tso })
    }
}

/// Makes frames such as a port can take. One for each worker.
pub struct Outbound {
    /// Frames of wire size, on their way to a port.
    wire: Batch,
    coalescer: Coalescer,
}

impl Outbound {
    /// For batches of at most `limit` frames.
    pub fn new(limit: usize) -> Outbound {
        Outbound { wire: Batch::new(limit), coalescer: Coalescer::new(limit) }
    }

    /// Transmits a batch to a port that takes these. `wire_size` says that its frames come from a port that delivers no
    /// super-frames: they are joined for a port that takes them.
    ///
    /// # Errors
    /// What the queue says; the batch is empty all the same.
    #[inline]
    pub fn transmit(
        &mut self,
        takes: Takes,
        queue: &mut dyn Queue,
        io: &mut Io<'_>,
        batch: &mut Batch,
        wire_size: bool,
    ) -> io::Result<()> {
        if takes.tso && wire_size {
            let coalesced = self.coalescer.join(batch, io.pool);
            io.count.coalesced.add(coalesced as u64);
        }
        if batch.is_empty() {
            // What was lent to the queue leaves.
            return queue.transmit(io, batch);
        }
        if takes.csum && takes.tso && takes.uso || batch.iter().all(|frame| takes.takes(frame)) {
            return hand_over(queue, io, batch);
        }
        self.transmit_adapted(takes, queue, io, batch)
    }

    fn transmit_adapted(
        &mut self,
        takes: Takes,
        queue: &mut dyn Queue,
        io: &mut Io<'_>,
        batch: &mut Batch,
    ) -> io::Result<()> {
        let mut outcome = Ok(());
        for mut frame in batch.drain() {
            let adapted = match takes.takes(&frame) {
                true => self.push(queue, io, frame),
                false if frame.offload.gso.is_some() => self.push_segments(takes, queue, io, frame),
                false => match finish(&mut frame) {
                    Ok(()) => self.push(queue, io, frame),
                    Err(Unfit) => refuse(io, frame),
                },
            };
            outcome = outcome.and(adapted);
        }
        outcome.and(hand_over(queue, io, &mut self.wire))
    }

    /// Adds a frame to those on their way, which leave when no more fit.
    fn push(&mut self, queue: &mut dyn Queue, io: &mut Io<'_>, frame: Frame) -> io::Result<()> {
        self.wire.push_within(frame);
        if self.wire.room() == 0 { hand_over(queue, io, &mut self.wire) } else { Ok(()) }
    }

    /// Cuts a super-frame. The last segment takes its place in the balance; without memory for the rest, it is dropped.
    fn push_segments(&mut self, takes: Takes, queue: &mut dyn Queue, io: &mut Io<'_>, frame: Frame) -> io::Result<()> {
        let checksums = if takes.csum { Checksums::Partial } else { Checksums::Complete };
        let Ok(mut segments) = Segments::of(&frame, checksums) else { return refuse(io, frame) };
        let mut outcome = Ok(());
        loop {
            let last = segments.at_last();
            let Some(segment) = segments.next(io.pool) else {
                io.discard(frame, DropReason::PoolEmpty);
                return outcome;
            };
            outcome = outcome.and(self.push(queue, io, segment));
            if last {
                io.pool.free(frame);
                return outcome;
            }
            io.count.generated.add(1);
        }
    }
}

/// Completes a frame's checksum.
fn finish(frame: &mut Frame) -> Result<(), Unfit> {
    match frame.offload.csum.take() {
        Some(csum) => complete(frame, csum),
        None => Ok(()),
    }
}

#[cold]
fn refuse(io: &mut Io<'_>, frame: Frame) -> io::Result<()> {
    io.discard(frame, DropReason::OffloadUnfit);
    Ok(())
}

/// Transmits. A queue takes every frame; one that does not must not make the batch grow.
fn hand_over(queue: &mut dyn Queue, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let outcome = queue.transmit(io, batch);
    batch.drain().for_each(|frame| io.discard(frame, DropReason::TxError));
    outcome
}
