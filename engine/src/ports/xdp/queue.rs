//! One queue of an interface: frames copied between a worker's pool and the socket's memory.
//!
//! # Theory of operation
//!
//! *Receiving.* Each frame is copied into a frame of the pool, and its chunks go back into the fill ring in the same call.
//! A frame longer than a chunk comes as several descriptors, all but the last marked `XDP_PKT_CONTD`, and is put together
//! in a super chunk. Copying a small frame costs a few nanoseconds and keeps ownership simple: a chunk never leaves its
//! socket, a frame never leaves the arena.
//!
//! *Sending.* Each frame is copied into free chunks and put into the tx ring; one system call hands the batch to the kernel.
//! What the kernel does not take now (its buffer is full, the device is busy) stays in the ring, and every later call tries
//! again, also those that receive; until it is through, the worker does not sleep. Frames beyond that are dropped as `tx_full`,
//! and so is a frame that the device threw away (EBUSY in copy mode).
//!
//! *Losing frames.* When the switch does not keep up, the kernel finds no chunk or no place in the rx ring. It counts; we look
//! once a second and count on as `rx_overrun`.
//!
//! *Losing the interface.* The kernel unbinds the socket and tells once. Whichever call notices notes it, and the next one
//! that may fail does.

use super::bpf::{Attachment, Mode};
use super::interface::Interface;
use super::memory::{MOST_PIECES, pieces};
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
    socket: Socket,
    stock: Stock,
    /// Frames may be in pieces.
    frags: bool,
    /// The first descriptor of the tx ring that the kernel has not looked at, as far as known.
    unseen: u32,
    /// Largest IP packet of the interface, in bytes.
    mtu: u16,
    binding: Arc<Binding>,
    /// Frames that the kernel had no room for: all, and of these the ones counted.
    overrun: u64,
    counted: u64,
    down: bool,
    gone: bool,
    /// The kernel takes no more of this batch.
    stuck: bool,
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
        queue.lend();
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
    fn lend(&mut self) {
        let fill = &mut self.socket.rings.fill;
        let wanted = self.stock.wanted(fill.room());
        if wanted > 0 {
            let chunks = (0..wanted).map_while(|_| self.stock.lend());
            chunks.for_each(|chunk| fill.put(self.socket.chunks.address(chunk)));
            fill.release();
        }
    }

    /// Takes the chunks back that the kernel has sent.
    #[inline]
    fn reap(&mut self) {
        let completion = &mut self.socket.rings.completion;
        let n = completion.look();
        let sent = (0..n).filter_map(|i| completion.get(i)).map(|addr| self.socket.chunks.chunk_of(addr));
        sent.for_each(|chunk| self.stock.sent(chunk));
        completion.release(n);
    }

    /// Puts a frame into the tx ring, or drops it by name.
    #[inline]
    fn enqueue(&mut self, io: &mut Io<'_>, frame: Frame) {
        match self.put(io, &frame) {
            Err(reason) => io.discard(frame, reason),
            Ok(()) => io.sent(frame),
        }
    }

    /// Copies a frame into the tx ring. What is there already is sent first where that makes room.
    #[inline]
    fn put(&mut self, io: &mut Io<'_>, frame: &Frame) -> Result<(), DropReason> {
        if !frame.offload.is_none() {
            return Err(DropReason::TxError);
        }
        if self.down && self.socket.rings.tx.pending() > 0 {
            return Err(DropReason::PortDown);
        }
        let pieces = frame.len().div_ceil(self.socket.chunks.size());
        if pieces > if self.frags { MOST_PIECES } else { 1 } {
            return Err(DropReason::TooBig);
        }
        if !self.has_room(pieces as u32) {
            self.make_room(io, pieces as u32)?;
        }
        self.copy_out(frame);
        Ok(())
    }

    #[inline]
    fn has_room(&mut self, pieces: u32) -> bool {
        pieces <= self.socket.rings.tx.room() && self.stock.can_send(pieces)
    }

    /// Has the kernel send what is in the tx ring before its time. What did not help is not tried again in the same batch.
    #[cold]
    fn make_room(&mut self, io: &mut Io<'_>, pieces: u32) -> Result<(), DropReason> {
        if !self.stuck {
            self.socket.rings.tx.release();
            // An error is seen again when the batch is through.
            let _ = self.kick(io);
            self.stuck = !self.has_room(pieces);
        }
        if self.stuck { Err(DropReason::TxFull) } else { Ok(()) }
    }

    /// Copies a frame into chunks, of which there are enough.
    #[inline]
    fn copy_out(&mut self, frame: &[u8]) {
        let mut pieces = frame.chunks(self.socket.chunks.size()).peekable();
        while let Some(piece) = pieces.next() {
            let Some(chunk) = self.stock.send() else { return };
            self.socket.chunks.fill(chunk, piece);
            let (addr, more) = (self.socket.chunks.address(chunk), pieces.peek().is_some());
            let options = if more { XdpDescOptions::XDP_PKT_CONTD } else { XdpDescOptions::empty() };
            self.socket.rings.tx.put(XdpDesc { addr, len: piece.len() as u32, options });
        }
    }

    /// Has the kernel send what is in the tx ring, for as long as it takes something.
    #[inline]
    fn kick(&mut self, io: &mut Io<'_>) -> io::Result<()> {
        let mut left = self.socket.rings.tx.pending();
        while left > 0 && (!self.socket.zero_copy || self.socket.rings.tx.needs_wakeup()) {
            self.wake(io)?;
            self.reap();
            let before = std::mem::replace(&mut left, self.socket.rings.tx.pending());
            if left == before {
                break;
            }
        }
        Ok(())
    }

    /// One system call that sends. What it refuses for now (EAGAIN, ENOBUFS) stays in the ring.
    #[inline]
    fn wake(&mut self, io: &mut Io<'_>) -> io::Result<()> {
        match self.socket.wake_tx() {
            Err(Errno::NETDOWN) => self.down = true,
            Err(Errno::BUSY) if !self.socket.zero_copy => self.count_thrown_away(io),
            Err(lost @ (Errno::NXIO | Errno::NODEV | Errno::BADF)) => {
                self.gone = true;
                return Err(lost.into());
            }
            Ok(()) | Err(_) => self.see_taken(),
        }
        Ok(())
    }

    /// In copy mode EBUSY says that the call ended with a frame which the device threw away (NET_XMIT_DROP in
    /// `__xsk_generic_xmit`, net/xdp/xsk.c): the last that the kernel looked at. If it was also the call's first, the ring's
    /// counter does not tell yet that it was taken.
    #[cold]
    fn count_thrown_away(&mut self, io: &mut Io<'_>) {
        let before = self.unseen;
        self.see_taken();
        if self.unseen == before {
            let more =
                (0..MOST_PIECES as u32).take_while(|i| continues(&self.socket.rings.tx.sent(before.wrapping_add(*i))));
            self.unseen = before.wrapping_add(1 + more.count() as u32);
        }
        io.not_sent(self.len_before(self.unseen), DropReason::TxFull);
    }

    /// Notes how far the kernel has told that it came.
    #[inline]
    fn see_taken(&mut self) {
        let taken = self.socket.rings.tx.taken();
        if taken.wrapping_sub(self.unseen).cast_signed() > 0 {
            self.unseen = taken;
        }
    }

    /// Bytes of the frame in the tx ring that ends before descriptor `end`.
    fn len_before(&self, end: u32) -> usize {
        let piece = |back: u32| self.socket.rings.tx.sent(end.wrapping_sub(back));
        let earlier = (2..=MOST_PIECES as u32).map(piece).take_while(continues);
        std::iter::once(piece(1)).chain(earlier).map(|piece| piece.len as usize).sum()
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
fn continues(piece: &XdpDesc) -> bool {
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
        self.lend();
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
        self.stuck = false;
        batch.consume(|_, frame| self.enqueue(io, frame));
        self.socket.rings.tx.release();
        self.kick(io)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    /// Also true while frames wait to be sent, which no event would tell.
    fn arm(&mut self) -> bool {
        self.gone |= self.socket.is_lost();
        let unsent = !self.down && self.socket.rings.tx.pending() > 0;
        self.gone || unsent || self.socket.rings.rx.look() > 0
    }

    fn is_up(&mut self) -> bool {
        let up = self.binding.interface.is_up();
        self.gone |= up.is_err() || self.socket.is_lost();
        self.down = !up.unwrap_or(false);
        // Its owner may change it: what is longer is a super-frame.
        self.mtu = self.binding.interface.mtu().unwrap_or(self.mtu);
        self.overrun = self.socket.overrun().unwrap_or(self.overrun);
        self.stock.expect(pieces(self.socket.chunks.size() as u32, self.mtu));
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
