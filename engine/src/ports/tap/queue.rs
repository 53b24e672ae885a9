//! One queue of a TAP: one read or write per frame.
//!
//! # Theory of operation
//!
//! A frame is read into a super chunk, the *landing*, because its length is known only afterwards; the virtio-net
//! header lands in the headroom, directly in front of the frame. A frame that fits a small chunk is copied into one
//! and the landing goes back to the pool, where it is the next to be taken, still in cache. Only super-frames
//! consume super chunks.
//!
//! A call stops after about [`SUPER_BURST`] bytes of super-frames, so that they are switched and written while they
//! are in the second-level cache.
//!
//! Without free memory, a call that already has frames stops, and the rest waits in the kernel's queue, which slows
//! the sender down without loss. A call that has none must not leave frames there, since an edge-triggered
//! sleeper would never hear of them again: it throws them away by name.

use crate::drop::DropReason;
use crate::frame::{Batch, Frame, Offload, SMALL_ROOM, SUPER_ROOM};
use crate::ports::{Io, Queue};
use crate::wire::vnet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Bytes of super-frames after which a receive call ends.
const SUPER_BURST: usize = 64 * 1024;

/// An open TAP.
pub(super) trait Device: AsFd + Send + Sync + 'static {
    /// Whether a virtio-net header precedes every frame.
    const VNET: bool;

    /// Reads one frame without blocking.
    fn read(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes one frame without blocking.
    fn write(&self, buf: &[u8]) -> io::Result<usize>;
}

/// One worker's end of a TAP.
pub(super) struct TapQueue<D>(pub Arc<D>);

/// What one read found.
enum Landed {
    Frame,
    Refused,
    Nothing,
}

impl<D: Device> Queue for TapQueue<D> {
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let mut budget = SUPER_BURST;
        while batch.room() > 0 && budget > 0 {
            let Some(mut landing) = io.pool.alloc(SUPER_ROOM) else { return self.starve(io, batch) };
            match self.land(&mut landing) {
                Ok(Landed::Frame) => budget = budget.saturating_sub(deliver(io, landing, batch)),
                Ok(Landed::Refused) => refuse(io, landing, DropReason::BadVnetHeader),
                nothing => {
                    io.pool.free(landing);
                    return nothing.map(drop);
                }
            }
        }
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let mut gone = Ok(());
        for frame in batch.drain() {
            match &gone {
                Ok(()) => gone = self.send(io, frame),
                Err(_) => io.discard(frame, DropReason::PortDown),
            }
        }
        gone
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    /// A TAP is writable exactly while its interface is up (`tun_sock_writeable` in drivers/net/tun.c).
    fn is_up(&mut self) -> bool {
        let mut fds = [PollFd::new(&*self.0, PollFlags::OUT)];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok() && fds[0].revents().contains(PollFlags::OUT)
    }
}

impl<D: Device> TapQueue<D> {
    const HEADER_LEN: usize = if D::VNET { vnet::LEN } else { 0 };

    /// Reads one frame into an empty super chunk.
    fn land(&self, landing: &mut Frame) -> io::Result<Landed> {
        let room = landing.prepend(Self::HEADER_LEN) && landing.set_len(Self::HEADER_LEN + SUPER_ROOM);
        debug_assert!(room, "a fresh frame has full headroom");
        let read = uninterrupted(|| self.0.read(landing));
        let whole = landing.set_len(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(_) if whole && self.unwrap(landing) => Ok(Landed::Frame),
            Ok(_) => Ok(Landed::Refused),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Landed::Nothing),
            // An offload the header has no word for: the kernel has thrown the frame away.
            Err(error) if is(&error, &[libc::EINVAL]) => Ok(Landed::Refused),
            Err(error) => Err(error),
        }
    }

    /// Takes the virtio-net header off. False when it does not fit the frame.
    fn unwrap(&self, frame: &mut Frame) -> bool {
        if !D::VNET {
            return true;
        }
        let Some(header) = frame.first_chunk().copied() else { return false };
        let offload = frame.strip(vnet::LEN).then(|| vnet::parse(&header, frame).ok()).flatten();
        offload.map(|offload| frame.offload = offload).is_some()
    }

    /// Without memory: see the theory of operation.
    #[cold]
    fn starve(&self, io: &mut Io<'_>, batch: &Batch) -> io::Result<()> {
        if !batch.is_empty() {
            return Ok(());
        }
        for _ in 0..batch.room() {
            match uninterrupted(|| self.0.read(&mut [0; vnet::LEN])) {
                Ok(_) => count_refused(io, 0, DropReason::PoolEmpty),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends one frame, or drops it by name. An error says that the device is gone.
    fn send(&self, io: &mut Io<'_>, mut frame: Frame) -> io::Result<()> {
        let Err(error) = self.write(&mut frame) else {
            io.sent(frame);
            return Ok(());
        };
        let gone = is(&error, &[libc::EBADFD, libc::ENODEV, libc::EBADF]);
        let reason = match error.kind() {
            io::ErrorKind::WouldBlock => DropReason::TxFull,
            // Interface down: drivers/net/tun.c, tun_get_user.
            _ if gone || is(&error, &[libc::EIO]) => DropReason::PortDown,
            _ => DropReason::TxError,
        };
        io.discard(frame, reason);
        if gone { Err(error) } else { Ok(()) }
    }

    fn write(&self, frame: &mut Frame) -> io::Result<()> {
        let header = vnet::emit(&frame.offload);
        let room = match D::VNET {
            true => frame.prepend(vnet::LEN),
            false => frame.offload == Offload::default(),
        };
        if !room {
            return Err(io::ErrorKind::Unsupported.into());
        }
        frame[..Self::HEADER_LEN].copy_from_slice(&header[..Self::HEADER_LEN]);
        uninterrupted(|| self.0.write(frame))?;
        let stripped = frame.strip(Self::HEADER_LEN);
        debug_assert!(stripped, "what was put in front");
        Ok(())
    }
}

/// Puts a landed frame into the batch, which has room. Returns how many bytes of super-frame that were.
#[inline]
fn deliver(io: &mut Io<'_>, landing: Frame, batch: &mut Batch) -> usize {
    let Some(frame) = shelve(io, landing) else { return 0 };
    let supers = if frame.is_super() { frame.len() } else { 0 };
    if let Err(frame) = batch.push(frame) {
        refuse(io, frame, DropReason::PoolEmpty);
    }
    supers
}

/// Moves a frame into a small chunk if it fits one.
#[inline]
fn shelve(io: &mut Io<'_>, landing: Frame) -> Option<Frame> {
    if landing.len() > SMALL_ROOM {
        return Some(landing);
    }
    let small = io.pool.copy(&landing);
    match small {
        Some(_) => io.pool.free(landing),
        None => refuse(io, landing, DropReason::PoolEmpty),
    }
    small
}

/// Drops a frame that was received. It never reaches the worker, so it is counted as received here.
#[cold]
fn refuse(io: &mut Io<'_>, frame: Frame, reason: DropReason) {
    count_refused(io, frame.len(), reason);
    io.pool.free(frame);
}

fn count_refused(io: &Io<'_>, len: usize, reason: DropReason) {
    io.count.rx_frames.add(1);
    io.count.rx_bytes.add(len as u64);
    io.count.drop(reason);
}

/// Repeats a system call that a signal interrupted.
#[inline]
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn is(error: &io::Error, codes: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}
