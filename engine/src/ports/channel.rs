//! A port in memory: the other end is code, in a test, a bench or an embedding program.
//!
//! Two single-producer single-consumer rings carry whole frames, so nothing is copied. The far end owns a pool on the
//! same [`Arena`] and may live on any thread.
//!
//! Either side may go first. What a side has not yet taken out stays in its ring, and the ring stays until the other side
//! has gone too and can put nothing more in: whoever is last returns the frames of both.

use super::{Caps, Io, Port, Queue};
use crate::bell::Bell;
use crate::drop::DropReason;
use crate::frame::{Arena, Batch, Frame, Offload, Outbox, Pool};
use rtrb::{Consumer, RingBuffer};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Free frames that a far end keeps. There may be a thousand.
const KEEP: usize = 8;

/// Wakes a sleeping consumer.
struct Alarm {
    fd: OwnedFd,
    bell: Bell,
}

impl Alarm {
    fn new() -> io::Result<Alarm> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Alarm { fd, bell: Bell::new() })
    }

    /// The producer has published something.
    fn ring(&self) {
        if self.bell.ring() {
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
    side: Side,
}

/// The far side of a [`Channel`].
pub struct ChannelEnd {
    side: Side,
    pool: Pool,
}

/// What each side holds. The fields are dropped in this order: nothing is sent any more when the last `Rest` goes.
struct Side {
    tx: Outbox<Frame>,
    /// `None` only while being dropped.
    rx: Option<Consumer<Frame>>,
    /// Wakes this side.
    alarm: Arc<Alarm>,
    /// Wakes the other side.
    peer: Arc<Alarm>,
    rest: Arc<Rest>,
}

/// What both sides share at the end.
struct Rest {
    closed: AtomicBool,
    left: Mutex<Vec<Consumer<Frame>>>,
    arena: Arena,
}

impl Side {
    /// Asks to be woken; true when there is something already.
    fn arm(&self) -> bool {
        self.alarm.bell.arm();
        self.is_closed() || self.rx.as_ref().is_some_and(|rx| !rx.is_empty())
    }

    fn is_closed(&self) -> bool {
        self.rest.closed.load(Ordering::Acquire)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.rest.closed.store(true, Ordering::Release);
        let mut left = self.rest.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.extend(self.rx.take());
        drop(left);
        self.peer.ring();
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let mut pool = self.arena.pool(0, 0);
        for rx in self.left.get_mut().unwrap_or_else(PoisonError::into_inner) {
            std::iter::from_fn(|| rx.pop().ok()).for_each(|frame| pool.free(frame));
        }
    }
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
        let (here_alarm, there_alarm) = (Arc::new(Alarm::new()?), Arc::new(Alarm::new()?));
        let rest = Rest { closed: AtomicBool::new(false), left: Mutex::default(), arena: arena.clone() };
        let here = Side {
            tx: Outbox::new(here_tx),
            rx: Some(here_rx),
            alarm: here_alarm,
            peer: there_alarm,
            rest: Arc::new(rest),
        };
        let there = Side {
            tx: Outbox::new(there_tx),
            rx: Some(there_rx),
            alarm: here.peer.clone(),
            peer: here.alarm.clone(),
            rest: here.rest.clone(),
        };
        let end = ChannelEnd { side: there, pool: arena.pool(KEEP, 0) };
        let caps = Caps { mtu, mac: None, csum: true, tso: true, uso: true };
        Ok((Channel { name: name.into(), caps, queue: ChannelQueue { side: here } }, end))
    }

    /// The same port with other capabilities: without `csum` and `tso` its far end sees what a wire would carry.
    #[must_use]
    pub fn with_caps(self, caps: Caps) -> Channel {
        Channel { caps, ..self }
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

    fn open(self: Box<Self>, _arena: &Arena, _workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        Ok(vec![Box::new(self.queue)])
    }
}

impl Queue for ChannelQueue {
    fn receive(&mut self, _io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let closed = self.side.is_closed();
        let Some(rx) = &mut self.side.rx else { return Ok(()) };
        let n = rx.slots().min(batch.room());
        let Ok(chunk) = rx.read_chunk(n) else { return Ok(()) };
        chunk.into_iter().for_each(|frame| batch.push_within(frame));
        if n == 0 && closed { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        if self.side.is_closed() {
            batch.drain().for_each(|frame| io.discard(frame, DropReason::PortDown));
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (mut held, shares) = (self.side.tx.held(), io.pool.shares());
        for frame in batch.drain() {
            let len = frame.len();
            match self.side.tx.put(frame, held, shares) {
                Ok(()) => {
                    held += 1;
                    io.handed_over(len);
                }
                Err(frame) => io.discard(frame, DropReason::TxFull),
            }
        }
        self.side.peer.ring();
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.side.alarm.fd.as_fd())
    }

    fn arm(&mut self) -> bool {
        self.side.arm()
    }
}

impl ChannelEnd {
    /// Sends a copy of `bytes` into the switch.
    ///
    /// # Errors
    /// [`Refused`] when the ring holds as much as it may, the switch has closed its side, or memory is short.
    pub fn send(&mut self, bytes: &[u8], offload: Offload) -> Result<(), Refused> {
        let mut frame = self.pool.alloc_spare(bytes.len()).ok_or(Refused)?;
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
    /// The frame itself, when the ring holds as much as it may or the switch has closed its side.
    #[inline]
    pub fn send_frame(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.side.is_closed() {
            return Err(frame);
        }
        self.side.tx.put(frame, self.side.tx.held(), self.pool.shares())?;
        self.side.peer.ring();
        Ok(())
    }

    /// Whether the switch has dropped its side. What it sent before can still be received.
    pub fn is_closed(&self) -> bool {
        self.side.is_closed()
    }

    /// The next frame from the switch. It belongs to the caller: give it to [`ChannelEnd::free`] or send it.
    #[inline]
    pub fn recv_frame(&mut self) -> Option<Frame> {
        self.side.rx.as_mut()?.pop().ok()
    }

    /// Copies the next frame from the switch out.
    pub fn recv(&mut self) -> Option<(Vec<u8>, Offload)> {
        let frame = self.recv_frame()?;
        let copy = (frame.to_vec(), frame.offload);
        self.pool.free(frame);
        Some(copy)
    }

    /// Sleeps until a frame waits, the switch has closed its side, or `timeout` has passed; whether to look again.
    pub fn wait(&self, timeout: Duration) -> bool {
        if self.side.arm() {
            return true;
        }
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(&self.side.alarm.fd, PollFlags::IN)];
        let woken = poll(&mut fds, timeout.as_ref()).is_ok_and(|n| n > 0);
        // Read only to silence it; it may be silent already.
        let _ = rustix::io::read(&self.side.alarm.fd, &mut [0; 8]);
        woken
    }

    /// An empty frame of at least `room` bytes, if there is more than the last free ones.
    #[inline]
    pub fn alloc(&mut self, room: usize) -> Option<Frame> {
        self.pool.alloc_spare(room)
    }

    /// Takes a frame back.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        self.pool.free(frame);
    }
}
