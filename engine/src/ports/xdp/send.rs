//! Sending: frames copied into chunks and put into the tx ring.
//!
//! # Theory of operation
//!
//! Each frame is copied into free chunks and put into the tx ring; one system call hands the batch to the kernel. What the
//! kernel does not take now (its buffer is full, the device is busy) stays in the ring, and every later call tries again,
//! also those that receive; until it is through, the worker does not sleep. Frames beyond that are dropped as `tx_full`, and so
//! is a frame that the device threw away (EBUSY in copy mode). What the ring still holds when the port is closed is dropped as
//! `port_down`, as far as the kernel has told what it took.

use super::memory::MOST_PIECES;
use super::queue::{XdpQueue, continues};
use crate::drop::DropReason;
use crate::frame::Frame;
use crate::ports::Io;
use rustix::io::Errno;
use rustix::net::xdp::{XdpDesc, XdpDescOptions};
use std::io;

impl XdpQueue {
    /// Takes the chunks back that the kernel has sent.
    #[inline]
    pub(super) fn reap(&mut self) {
        let completion = &mut self.socket.rings.completion;
        let n = completion.look();
        let sent = (0..n).filter_map(|i| completion.get(i)).map(|addr| self.socket.chunks.chunk_of(addr));
        sent.for_each(|chunk| self.stock.sent(chunk));
        completion.release(n);
    }

    /// Puts a frame into the tx ring, or drops it by name.
    #[inline]
    pub(super) fn enqueue(&mut self, io: &mut Io<'_>, frame: Frame) {
        match self.put(io, &frame) {
            Err(reason) => io.discard(frame, reason),
            Ok(()) => io.sent(frame),
        }
    }

    /// Hands everything in the tx ring to the kernel. What it did not take may be tried again from now on.
    #[inline]
    pub(super) fn send_all(&mut self, io: &mut Io<'_>) -> io::Result<()> {
        self.socket.rings.tx.release();
        let result = self.kick(io);
        self.stuck = false;
        result
    }

    /// Whether the kernel has not taken all that was put into the tx ring. While the link is down, it will not.
    #[inline]
    pub(super) fn is_unsent(&self) -> bool {
        !self.down && !self.gone && self.socket.rings.tx.pending() > 0
    }

    /// Takes back that the frames were sent which the tx ring still holds.
    pub(super) fn abandon(&mut self, io: &mut Io<'_>) {
        // What it says does not matter any more.
        let _ = self.send_all(io);
        self.see_taken();
        let (tx, first) = (&self.socket.rings.tx, self.unseen);
        let mut len = 0;
        for n in 0..tx.end().wrapping_sub(first) {
            let piece = tx.sent(first.wrapping_add(n));
            len += piece.len as usize;
            if !continues(&piece) {
                io.not_sent(std::mem::take(&mut len), DropReason::PortDown);
            }
        }
    }

    /// Copies a frame into the tx ring. What is there already is sent first where that makes room.
    #[inline]
    pub(super) fn put(&mut self, io: &mut Io<'_>, frame: &Frame) -> Result<(), DropReason> {
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
    pub(super) fn kick(&mut self, io: &mut Io<'_>) -> io::Result<()> {
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
            result => {
                self.down &= result.is_err();
                self.see_taken();
            }
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
}
