//! Where frames come from and go to.
//!
//! # Life of a port
//!
//! 1. A [`Port`] is built: a description with the resources it needs already checked, movable between threads.
//! 2. [`Port::open`] consumes it and gives its [`Queue`]s. The worker receives from all and transmits on the first.
//! 3. Each queue belongs to one worker, which calls `receive` and `transmit` in its poll loop and sleeps on `fd`.
//! 4. An error from either call says that the port is gone for good: the worker drops the queue and reports it.
//!
//! Frames and counters are lent to every call as [`Io`], so a queue shares nothing and needs no lock.

pub mod channel;
mod device;
pub mod fault;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod netns;
pub mod packet;
pub mod pcap;
pub mod tap;
#[cfg(feature = "xdp")]
pub mod xdp;

pub use netns::{NetnsError, NetnsId, NetnsNames};

use crate::capture::Watch;
use crate::drop::DropReason;
use crate::frame::{Arena, Batch, Frame, Pool};
use crate::stats::PortCounters;
use crate::wire::Mac;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// What a port can carry, told to the rest of the world (`show ports`) and to the engine, which checks the MTU, finishes
/// what the port cannot ([`crate::offload`]) and joins what comes from a port without `tso` on its way to one with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Largest IP packet, in bytes: a frame may be 18 longer, Ethernet header and one VLAN tag, as in a Linux bridge; 22 with
    /// two tags.
    pub mtu: u16,
    /// The MAC of the interface at the other end, where it is known.
    pub mac: Option<Mac>,
    /// Frames to it may carry partial checksums. Frames from it may in any case.
    pub csum: bool,
    /// Frames may be TCP super-frames, both ways: one without it delivers wire-size frames. Needs `csum`.
    pub tso: bool,
    /// Frames may be UDP super-frames. Needs `csum`.
    pub uso: bool,
}

/// Where an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its present name.
    pub ifname: String,
    /// Its present namespace, where that can be told. [`NetnsNames`] has its name.
    pub netns: Option<NetnsId>,
}

/// A place frames come from and go to. Opened once, into queues.
pub trait Port: Send {
    /// The name people call it by.
    fn name(&self) -> &str;

    /// The kind, as in the configuration: `tap`, `channel`, ...
    fn kind(&self) -> &'static str;

    /// What it can carry.
    fn caps(&self) -> Caps;

    /// Opens it, into one queue or several. They are dealt out to the `workers` in turn, so that no more than those serve a
    /// port well that may choose; one of more queues gives a worker several, of which the first transmits. `arena` is the
    /// frame memory, for ports that take frames from it on threads of their own.
    ///
    /// # Errors
    /// Whatever the kernel says, with the thing that failed named in the message.
    fn open(self: Box<Self>, arena: &Arena, workers: usize) -> io::Result<Vec<Box<dyn Queue>>>;
}

/// One worker's end of a port. Never shared.
pub trait Queue: Send {
    /// Moves waiting frames into `batch`, never blocking, until it is full or nothing waits. A queue may stop earlier
    /// to keep super-frames in cache. Frames that are malformed are dropped here, by name.
    ///
    /// # Errors
    /// The port is gone; it will never work again.
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()>;

    /// Takes every frame out of `batch`: each is sent ([`Io::sent`]) or dropped by name ([`Io::discard`]).
    ///
    /// # Errors
    /// The port is gone; it will never work again. The batch is empty all the same.
    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()>;

    /// Takes a copy of a frame that stays the caller's: for floods, where the kernel or a ring copies anyway. It leaves now or
    /// with the next [`Queue::transmit`], and is counted as that counts; `false` when the queue needs a frame of its own.
    ///
    /// # Errors
    /// The port is gone; it will never work again. The frame is counted as dropped then.
    fn lend(&mut self, _io: &mut Io<'_>, _frame: &mut Frame) -> io::Result<bool> {
        Ok(false)
    }

    /// What tells, once for every time that frames come into an empty queue, that it is to be looked at; `None` for a queue that
    /// is looked at in every round.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Called before the worker no longer looks at the queue until [`Queue::fd`] tells it to: asks the other side for that.
    /// True when frames may wait that came before the queue was last found empty, or without being told of.
    fn arm(&mut self) -> bool {
        false
    }

    /// When the queue must be looked at again even if no frame waits: the worker sleeps no longer than until then. Asked only
    /// where [`Queue::is_timed`] says so.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Whether it may hold frames until some time.
    fn is_timed(&self) -> bool {
        false
    }

    /// Whether frames that it took wait for the kernel to take them: it must be looked at although nothing comes in.
    fn has_unsent(&self) -> bool {
        false
    }

    /// The worker lets go of the port: frames that the queue holds are given back, dropped by name.
    fn close(&mut self, _io: &mut Io<'_>) {}

    /// Whether frames can pass now (interface up). Asked about once a second.
    fn is_up(&mut self) -> bool {
        true
    }
}

/// What a worker lends to a queue for one call.
pub struct Io<'a> {
    /// The worker's frames.
    pub pool: &'a mut Pool,
    /// The port's counters.
    pub count: &'a PortCounters,
    /// Who sees what is dropped here, if anybody can.
    pub watch: Option<Watch<'a>>,
}

impl<'a> Io<'a> {
    /// For a call that nobody watches.
    pub fn new(pool: &'a mut Pool, count: &'a PortCounters) -> Io<'a> {
        Io { pool, count, watch: None }
    }

    /// Counts a frame as sent and frees its memory: for ports that copy.
    #[inline]
    pub fn sent(&mut self, frame: Frame) {
        self.handed_over(frame.len());
        self.pool.free(frame);
    }

    /// Counts a frame of `len` bytes as sent whose memory went along.
    #[inline]
    pub fn handed_over(&mut self, len: usize) {
        self.count.tx_frames.add(1);
        self.count.tx_bytes.add(len as u64);
    }

    /// Takes back that a frame of `len` bytes was sent: what was to send it has thrown it away.
    #[cold]
    pub fn not_sent(&mut self, len: usize, reason: DropReason) {
        self.count.tx_frames.take_back(1);
        self.count.tx_bytes.take_back(len as u64);
        self.count.count_drop(reason);
        if let Some(watch) = &mut self.watch {
            watch.dropped_unseen(len, reason);
        }
    }

    /// Counts a frame that stays somebody else's as sent.
    #[inline]
    pub fn lent(&mut self, frame: &Frame) {
        self.handed_over(frame.len());
    }

    /// Counts a copy of a frame that stays somebody else's as dropped.
    #[cold]
    pub fn refuse_lent(&mut self, frame: &Frame, reason: DropReason) {
        self.count.count_drop(reason);
        if let Some(watch) = &mut self.watch {
            watch.dropped(frame, reason);
        }
    }

    /// Counts a frame as dropped and frees its memory.
    #[inline]
    pub fn discard(&mut self, frame: Frame, reason: DropReason) {
        self.count.count_drop(reason);
        if let Some(watch) = &mut self.watch {
            watch.dropped(&frame, reason);
        }
        self.pool.free(frame);
    }

    /// Counts `n` frames that were lost in front of the port. Nobody has seen them: their bytes are not counted, and no
    /// capture shows them.
    #[cold]
    pub fn lost(&mut self, n: u64, reason: DropReason) {
        self.count.rx_frames.add(n);
        self.count.drops[reason.index()].add(n);
    }

    /// Counts a frame of `len` bytes that was taken from the port and dropped at once.
    #[cold]
    pub fn refuse(&mut self, len: usize, reason: DropReason) {
        self.count.rx_frames.add(1);
        self.count.rx_bytes.add(len as u64);
        self.count.count_drop(reason);
        if let Some(watch) = &mut self.watch {
            watch.dropped_unseen(len, reason);
        }
    }
}
