//! A port in memory: the other end is code, in a test, a bench or an embedding program.
//!
//! Two single-producer single-consumer rings carry whole frames, so nothing is copied. The far end owns a pool on the
//! same [`Arena`] and may live on any thread.

use super::{Caps, Io, Port, Queue};
use crate::drop::DropReason;
use crate::frame::{Arena, Batch, Frame, Offload, Pool};
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Wakes a sleeping consumer, and costs a fence when it is awake.
struct Bell {
    fd: OwnedFd,
    asleep: AtomicBool,
}

impl Bell {
    fn new() -> io::Result<Bell> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Bell { fd, asleep: AtomicBool::new(false) })
    }

    /// The consumer is about to sleep. It must look at the ring once more after this.
    fn arm(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The producer has published something.
    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            // Cannot fail but when the counter is full, and then the consumer is awake by it.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }
}

/// The switch's side: give it to `Switch::add_port`.
pub struct Channel {
    name: String,
    caps: Caps,
    queue: ChannelQueue,
}

struct ChannelQueue {
    rx: Consumer<Frame>,
    tx: Producer<Frame>,
    bell: Arc<Bell>,
}

/// The far side of a [`Channel`].
pub struct ChannelEnd {
    rx: Consumer<Frame>,
    tx: Producer<Frame>,
    bell: Arc<Bell>,
    pool: Pool,
}

/// The ring is full, or the switch has dropped its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the channel is full or closed")]
pub struct Refused;

impl Channel {
    /// A port and its far end, with rings of `capacity` frames, an MTU of `mtu` bytes and all offloads.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn pair(name: &str, capacity: usize, mtu: u16, arena: &Arena) -> io::Result<(Channel, ChannelEnd)> {
        let (there_tx, here_rx) = RingBuffer::new(capacity);
        let (here_tx, there_rx) = RingBuffer::new(capacity);
        let bell = Arc::new(Bell::new()?);
        let end = ChannelEnd { rx: there_rx, tx: there_tx, bell: bell.clone(), pool: arena.pool(capacity, 4) };
        let caps = Caps { mtu, mac: None, csum: true, tso: true, uso: true, tunnel: false };
        Ok((Channel { name: name.into(), caps, queue: ChannelQueue { rx: here_rx, tx: here_tx, bell } }, end))
    }
}

impl Port for Channel {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "channel"
    }

    fn caps(&self) -> Caps {
        self.caps.clone()
    }

    fn open(self: Box<Self>, _arena: &Arena) -> io::Result<Vec<Box<dyn Queue>>> {
        Ok(vec![Box::new(self.queue)])
    }
}

impl Queue for ChannelQueue {
    fn receive(&mut self, _io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let n = self.rx.slots().min(batch.room());
        let Ok(chunk) = self.rx.read_chunk(n) else { return Ok(()) };
        for frame in chunk {
            if let Err(frame) = batch.push(frame) {
                drop_unreachable(frame);
            }
        }
        if n == 0 && self.rx.is_abandoned() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let gone = self.tx.is_abandoned();
        let room = if gone { 0 } else { self.tx.slots().min(batch.len()) };
        let mut frames = batch.drain();
        if let Ok(chunk) = self.tx.write_chunk_uninit(room) {
            let counted = frames.by_ref().take(room).inspect(|frame| io.handed_over(frame.len()));
            chunk.fill_from_iter(counted);
        }
        let reason = if gone { DropReason::PortDown } else { DropReason::TxFull };
        frames.for_each(|frame| io.discard(frame, reason));
        if gone { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.fd.as_fd())
    }

    fn arm(&mut self) -> bool {
        self.bell.arm();
        !self.rx.is_empty()
    }

    fn close(&mut self, pool: &mut Pool) {
        while let Ok(frame) = self.rx.pop() {
            pool.free(frame);
        }
    }
}

/// The batch had room for every frame taken from the ring.
fn drop_unreachable(frame: Frame) {
    debug_assert!(false, "a batch refused a frame of {} bytes within its room", frame.len());
}

impl ChannelEnd {
    /// Sends a copy of `bytes` into the switch.
    ///
    /// # Errors
    /// [`Refused`] when the ring is full, the switch has closed its side, or no frame is free.
    pub fn send(&mut self, bytes: &[u8], offload: Offload) -> Result<(), Refused> {
        let mut frame = self.pool.alloc(bytes.len()).ok_or(Refused)?;
        frame.offload = offload;
        if !frame.fill(bytes) {
            self.pool.free(frame);
            return Err(Refused);
        }
        self.send_frame(frame).map_err(|frame| {
            self.pool.free(frame);
            Refused
        })
    }

    /// Sends a frame from a pool of the same arena, without copying it.
    ///
    /// # Errors
    /// The frame itself, when the ring is full or the switch has closed its side.
    #[inline]
    pub fn send_frame(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.tx.is_abandoned() {
            return Err(frame);
        }
        self.tx.push(frame).map_err(|rtrb::PushError::Full(frame)| frame)?;
        self.bell.ring();
        Ok(())
    }

    /// The next frame from the switch. It belongs to the caller: give it to [`ChannelEnd::free`] or send it.
    #[inline]
    pub fn recv_frame(&mut self) -> Option<Frame> {
        self.rx.pop().ok()
    }

    /// Copies the next frame from the switch out.
    pub fn recv(&mut self) -> Option<(Vec<u8>, Offload)> {
        let frame = self.recv_frame()?;
        let copy = (frame.to_vec(), frame.offload);
        self.pool.free(frame);
        Some(copy)
    }

    /// An empty frame of at least `room` bytes.
    #[inline]
    pub fn alloc(&mut self, room: usize) -> Option<Frame> {
        self.pool.alloc(room)
    }

    /// Takes a frame back.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        self.pool.free(frame);
    }
}

impl Drop for ChannelEnd {
    fn drop(&mut self) {
        while let Some(frame) = self.recv_frame() {
            self.pool.free(frame);
        }
    }
}
