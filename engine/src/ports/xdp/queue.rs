//! One queue of an interface: frames copied between a worker's pool and the socket's memory.
//!
//! # Theory of operation
//!
//! *Receiving.* Each frame is copied into a frame of the pool, and its chunks go back into the fill ring in the same call.
//! A frame longer than a chunk comes as several descriptors, all but the last marked `XDP_PKT_CONTD`, and is put together
//! in a super chunk. Copying a small frame costs a few nanoseconds and keeps ownership simple: a chunk never leaves its
//! socket, a frame never leaves the arena.
//!
//! *Sending* is the business of `send.rs`.
//!
//! *Losing frames.* When the switch does not keep up, the kernel finds no chunk or no place in the rx ring. It counts; we look
//! once a second and count on as `rx_overrun`.
//!
//! *Losing the interface.* The kernel unbinds the socket and tells once. Whichever call notices notes it, and the next one
//! that may fail does.

use super::bpf::{Attachment, Mode};
use super::interface::Interface;
use super::memory::pieces;
use super::socket::Socket;
use super::stock::Stock;
use super::undone::undone;
use crate::drop::DropReason;
use crate::frame::{Batch, Frame, SUPER_ROOM};
use crate::ports::{Io, Queue};
use rustix::io::Errno;
use rustix::net::xdp::{XdpDesc, XdpDescOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use xsk_rs::config::BindFlags;

/// Bytes of super-frames after which a receive call ends, so that they are sent while they are in cache.
const SUPER_BURST: usize = 64 * 1024;

/// What all queues of a port have in common.
pub(super) struct Binding {
    pub interface: Interface,
    pub attachment: Attachment,
    pub mode: Mode,
    /// Frames may be in pieces.
    pub frags: bool,
    /// Largest IP packet of the interface when it was opened, in bytes.
    pub mtu: u16,
    /// Every look at an empty rx ring polls the device.
    pub busy_poll: bool,
}

/// One worker's end of a queue.
pub(super) struct XdpQueue {
    pub(super) socket: Socket,
    pub(super) stock: Stock,
    /// Frames may be in pieces.
    pub(super) frags: bool,
    /// The first descriptor of the tx ring that the kernel has not looked at, as far as known.
    pub(super) unseen: u32,
    /// Largest IP packet of the interface, in bytes.
    mtu: u16,
    binding: Arc<Binding>,
    /// Frames that the kernel had no room for: all, and of these the ones counted.
    overrun: u64,
    counted: u64,
    pub(super) down: bool,
    pub(super) gone: bool,
    /// The kernel takes no more until the batch is through.
    pub(super) stuck: bool,
}

/// A frame in the rx ring.
struct Waiting {
    descriptors: u32,
    len: usize,
}

impl XdpQueue {
    /// The queue of a socket that is bound; gives the kernel the chunks to receive into.
    pub fn new((socket, stock): (Socket, Stock), binding: Arc<Binding>) -> XdpQueue {
        let (unseen, mtu) = (socket.rings.tx.taken(), binding.mtu);
        let frags = binding.frags && socket.umem().shape().bind.contains(BindFlags::XDP_USE_SG);
        let (overrun, counted, down, gone, stuck) = (0, 0, false, false, false);
        let mut queue = XdpQueue { socket, stock, frags, unseen, mtu, binding, overrun, counted, down, gone, stuck };
        queue.refill();
        queue
    }

    /// The frame that begins at the `i`th of `seen` descriptors; `None` when it is not there to its end.
    #[inline]
    fn waiting(&self, i: u32, seen: u32) -> Option<Waiting> {
        let mut len = 0;
        for n in i..seen {
            let piece = self.socket.rings.rx.get(n)?;
            len += piece.len as usize;
            if !continues(&piece) {
                return Some(Waiting { descriptors: n + 1 - i, len });
            }
        }
        None
    }

    /// Copies frames that wait into the batch, out of `seen` descriptors; says how many they were.
    #[inline]
    fn drain(&mut self, io: &mut Io<'_>, batch: &mut Batch, seen: u32) -> u32 {
        let (mut taken, mut supers) = (0, 0);
        while batch.room() > 0 && supers < SUPER_BURST {
            let Some(waiting) = self.waiting(taken, seen) else { break };
            match self.take(io, taken, &waiting) {
                Ok(frame) => {
                    supers += if frame.is_super() { frame.len() } else { 0 };
                    batch.push_within(frame);
                }
                Err(reason) => io.refuse(waiting.len, reason),
            }
            taken += waiting.descriptors;
        }
        taken
    }

    /// Copies a frame that waits, and finds out what is left to be done with it.
    #[inline]
    fn take(&self, io: &mut Io<'_>, i: u32, waiting: &Waiting) -> Result<Frame, DropReason> {
        if waiting.len > SUPER_ROOM {
            return Err(DropReason::TooBig);
        }
        let mut frame = io.pool.alloc(waiting.len).ok_or(DropReason::PoolEmpty)?;
        let whole = self.copy(&mut frame, i, waiting);
        match undone(&mut frame, self.mtu.into()) {
            Some(offload) if whole => {
                frame.offload = offload;
                Ok(frame)
            }
            unfit => {
                io.pool.free(frame);
                Err(if unfit.is_none() { DropReason::OffloadUnfit } else { DropReason::Malformed })
            }
        }
    }

    /// False when the descriptors lead outside the UMEM, which the kernel never does.
    #[inline]
    fn copy(&self, frame: &mut Frame, i: u32, waiting: &Waiting) -> bool {
        if !frame.set_len(waiting.len) {
            return false;
        }
        let mut rest = &mut frame[..];
        for n in i..i + waiting.descriptors {
            let Some(piece) = self.socket.rings.rx.get(n) else { return false };
            let Some(bytes) = self.socket.chunks.received(piece.addr, piece.len) else { return false };
            let Some((to, after)) = rest.split_at_mut_checked(bytes.len()) else { return false };
            to.copy_from_slice(bytes);
            rest = after;
        }
        true
    }

    /// Takes the chunks of the first `n` descriptors back.
    #[inline]
    fn recycle(&mut self, n: u32) {
        let rx = &mut self.socket.rings.rx;
        for piece in (0..n).filter_map(|i| rx.get(i)) {
            self.stock.received(self.socket.chunks.chunk_of(piece.addr));
        }
        rx.release(n);
    }

    /// Gives the kernel chunks to receive into, as many as it should have.
    #[inline]
    fn refill(&mut self) {
        let fill = &mut self.socket.rings.fill;
        let wanted = self.stock.wanted(fill.room());
        if wanted > 0 {
            let chunks = (0..wanted).map_while(|_| self.stock.lend());
            chunks.for_each(|chunk| fill.put(self.socket.chunks.address(chunk)));
            fill.release();
        }
    }

    /// Counts what the kernel lost since it was last counted.
    #[cold]
    fn count_overrun(&mut self, io: &mut Io<'_>) {
        let lost = self.overrun.saturating_sub(std::mem::replace(&mut self.counted, self.overrun));
        io.lost(lost, DropReason::RxOverrun);
    }

    fn check(&self) -> io::Result<()> {
        if self.gone { Err(Errno::NODEV.into()) } else { Ok(()) }
    }
}

/// Whether the frame goes on in the next descriptor.
#[inline]
pub(super) fn continues(piece: &XdpDesc) -> bool {
    piece.options.contains(XdpDescOptions::XDP_PKT_CONTD)
}

impl Queue for XdpQueue {
    #[inline]
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        self.check()?;
        self.kick(io)?;
        if self.overrun != self.counted {
            self.count_overrun(io);
        }
        let seen = self.socket.rings.rx.look();
        self.stock.saw(seen);
        let taken = self.drain(io, batch, seen);
        if taken > 0 {
            self.recycle(taken);
        }
        self.refill();
        if self.socket.rings.fill.needs_wakeup() || self.binding.busy_poll && taken == 0 {
            self.socket.wake_rx();
        }
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        if let Err(error) = self.check() {
            batch.drain().for_each(|frame| io.discard(frame, DropReason::PortDown));
            return Err(error);
        }
        self.reap();
        batch.consume(|_, frame| self.enqueue(io, frame));
        self.send_all(io)
    }

    /// It is copied in any case, and leaves with the next batch.
    #[inline]
    fn lend(&mut self, io: &mut Io<'_>, frame: &mut Frame) -> io::Result<bool> {
        if let Err(error) = self.check() {
            io.refuse_lent(frame, DropReason::PortDown);
            return Err(error);
        }
        self.reap();
        match self.put(io, frame) {
            Ok(()) => io.lent(frame),
            Err(reason) => io.refuse_lent(frame, reason),
        }
        Ok(true)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    /// Also true while frames wait to be sent, which no event would tell.
    fn arm(&mut self) -> bool {
        self.gone |= self.socket.is_lost();
        self.gone || self.is_unsent() || self.socket.rings.rx.look() > 0
    }

    fn has_unsent(&self) -> bool {
        self.is_unsent()
    }

    fn close(&mut self, io: &mut Io<'_>) {
        self.abandon(io);
    }

    fn is_up(&mut self) -> bool {
        let up = self.binding.interface.is_up();
        self.gone |= up.is_err() || self.socket.is_lost();
        self.down = !up.unwrap_or(false);
        // Its owner may change it: what is longer is a super-frame.
        self.mtu = self.binding.interface.mtu().unwrap_or(self.mtu);
        self.overrun = self.socket.overrun().unwrap_or(self.overrun);
        self.stock.expect(pieces(self.socket.chunks.size() as u32, self.mtu));
        // Nobody else asks for these while the port has nothing to send.
        self.reap();
        self.stock.settle();
        !self.down && !self.gone
    }
}

impl Drop for XdpQueue {
    /// The program goes before the sockets it knows; the other order has crashed drivers.
    fn drop(&mut self) {
        self.binding.attachment.detach();
    }
}
