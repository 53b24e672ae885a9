//! Copies of frames, for people who watch.
//!
//! # Theory of operation
//!
//! A worker has a [`Tap`]. While nobody watches it is empty, and costs one branch a batch: after receiving, before
//! sending, and in the drop path. A capture puts a [`Sink`] into it, and keeps the [`Source`]: the two ends of a ring
//! of bytes that one thread fills and one empties, mapped when the capture begins. A record is a `Head` and the first
//! bytes of the frame:
//!
//! ```text
//!  | Head (24) | captured bytes | Head (24) | captured bytes | ...
//! ```
//!
//! The worker never waits: where a record does not fit, the copy is missed and counted, and the frame goes on. Nor does
//! it wake the reader, which looks every few milliseconds. A frame that comes and leaves is seen twice, in and out; one
//! that is dropped is seen once more, with the reason, at the port whose counter counts it.

use crate::drop::DropReason;
use crate::flow::PortId;
use crate::frame::{Frame, Offload};
use crate::stats::Counter;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::time::SystemTime;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which way a frame goes, seen from the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the switch.
    In,
    /// Out of it.
    Out,
}

/// What to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Only frames at this port, until it is closed: its number is used again.
    pub port: Option<PortId>,
    /// Only frames that are dropped.
    pub drops_only: bool,
    /// Most bytes of each frame.
    pub snaplen: usize,
}

/// A frame that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Nanoseconds since 1970 (UTC).
    pub at: u64,
    /// Where.
    pub port: PortId,
    /// Which way it went, or would have gone.
    pub direction: Direction,
    /// Why it went no further, if it was dropped.
    pub dropped: Option<DropReason>,
    /// How many bytes it has in all; 0 where it was dropped before there was memory for it.
    pub len: usize,
    /// Payload bytes a segment, of a super-frame.
    pub gso: Option<u16>,
    /// Its first bytes.
    pub bytes: &'a [u8],
}

/// How a record begins.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    at: u64,
    len: u32,
    captured: u32,
    port: PortId,
    /// 0 for none.
    gso: u16,
    out: u8,
    /// [`DropReason::index`] and one; 0 for none.
    dropped: u8,
    reserved: [u8; 2],
}

const HEAD: usize = size_of::<Head>();
const _: () = assert!(HEAD == 24);
/// Bytes staged at most, but for a single frame that is longer.
const STAGE: usize = 32 << 10;

/// Where a worker leaves copies.
#[derive(Default)]
pub struct Tap {
    sinks: Vec<Sink>,
}

/// The worker's end of a capture.
pub struct Sink {
    scope: Scope,
    /// The one port it watches is closed.
    over: bool,
    ring: Producer<u8>,
    /// Records of this batch: they go into the ring together, which costs half of what it costs one by one.
    staged: Vec<u8>,
    /// Bytes that the ring has room for.
    room: usize,
    missed: Arc<Counter>,
}

/// The reader's end of a capture of one worker.
pub struct Source {
    ring: Consumer<u8>,
    missed: Arc<Counter>,
    head: Option<Head>,
    bytes: Vec<u8>,
}

/// The two ends of a ring of `room` bytes.
pub fn ring(scope: Scope, room: usize) -> (Sink, Source) {
    let (ring, far) = RingBuffer::new(room);
    let missed = Arc::new(Counter::default());
    let source = Source { ring: far, missed: missed.clone(), head: None, bytes: Vec::new() };
    (Sink { scope, over: false, ring, staged: Vec::with_capacity(STAGE), room: 0, missed }, source)
}

impl Tap {
    /// Begins to copy into a sink.
    pub fn add(&mut self, sink: Sink) {
        self.sinks.push(sink);
    }

    /// Ends the capture that counts what it misses here; gives its sink back, whose memory is freed elsewhere.
    pub fn remove(&mut self, missed: &Arc<Counter>) -> Option<Sink> {
        let found = self.sinks.iter().position(|sink| Arc::ptr_eq(&sink.missed, missed))?;
        Some(self.sinks.swap_remove(found))
    }

    /// A port was closed.
    pub fn forget(&mut self, port: PortId) {
        self.sinks.iter_mut().filter(|sink| sink.scope.port == Some(port)).for_each(|sink| sink.over = true);
    }

    #[cold]
    fn copy(&mut self, port: PortId, direction: Direction, frames: &[Frame]) {
        let at = now();
        for sink in self.sinks.iter_mut().filter(|sink| !sink.scope.drops_only && sink.wants(port)) {
            let out = u8::from(direction == Direction::Out);
            sink.copy(Head { at, port, out, ..Head::default() }, frames);
        }
    }

    fn lost(&mut self, head: Head, bytes: &[u8], len: usize, offload: &Offload) {
        let head = Head { at: now(), ..head };
        for sink in self.sinks.iter_mut().filter(|sink| sink.wants(head.port)) {
            sink.copy_one(head, bytes, len, offload);
        }
    }
}

impl Sink {
    fn wants(&self, port: PortId) -> bool {
        !self.over && self.scope.port.is_none_or(|wanted| wanted == port)
    }

    /// Writes records of frames that pass together.
    fn copy(&mut self, head: Head, frames: &[Frame]) {
        self.room = self.ring.slots();
        frames.iter().for_each(|frame| self.put(head, frame, frame.len(), &frame.offload));
        self.publish();
    }

    /// Writes one record.
    fn copy_one(&mut self, head: Head, bytes: &[u8], len: usize, offload: &Offload) {
        self.room = self.ring.slots();
        self.put(head, bytes, len, offload);
        self.publish();
    }

    /// Stages a record, or counts it as missed.
    #[inline]
    fn put(&mut self, head: Head, bytes: &[u8], len: usize, offload: &Offload) {
        let bytes = &bytes[..bytes.len().min(self.scope.snaplen)];
        let record = HEAD + bytes.len();
        if self.room < record {
            return self.missed.add(1);
        }
        self.room -= record;
        if self.staged.len() + record > STAGE {
            self.publish();
        }
        let gso = offload.gso.map_or(0, |gso| gso.size);
        let head = Head { len: len as u32, captured: bytes.len() as u32, gso, ..head };
        self.staged.extend_from_slice(head.as_bytes());
        self.staged.extend_from_slice(bytes);
    }

    /// Moves what is staged into the ring, which has room for it: asked before, and nobody else fills it.
    fn publish(&mut self) {
        let pushed = self.ring.push_entire_slice(&self.staged);
        debug_assert!(pushed.is_ok(), "there was room");
        self.staged.clear();
    }
}

/// What watches the frames that a port drops itself.
pub struct Watch<'a> {
    /// Where copies go.
    pub tap: &'a mut Tap,
    /// The port.
    pub port: PortId,
    /// Which way its frames go.
    pub direction: Direction,
}

impl Watch<'_> {
    /// Frames that pass the port.
    #[inline(always)]
    pub fn passing(&mut self, frames: &[Frame]) {
        if !self.tap.sinks.is_empty() {
            self.tap.copy(self.port, self.direction, frames);
        }
    }

    /// A frame ends here.
    #[cold]
    pub fn dropped(&mut self, frame: &Frame, reason: DropReason) {
        self.lost(frame, frame.len(), &frame.offload, reason);
    }

    /// A frame of `len` bytes, which is not there any more or never was, ends here.
    #[cold]
    pub fn dropped_unseen(&mut self, len: usize, reason: DropReason) {
        self.lost(&[], len, &Offload::default(), reason);
    }

    fn lost(&mut self, bytes: &[u8], len: usize, offload: &Offload, reason: DropReason) {
        if !self.tap.sinks.is_empty() {
            let out = u8::from(self.direction == Direction::Out);
            let head = Head { port: self.port, out, dropped: reason.index() as u8 + 1, ..Head::default() };
            self.tap.lost(head, bytes, len, offload);
        }
    }
}

impl Source {
    /// What the worker knows the capture by.
    pub fn identity(&self) -> &Arc<Counter> {
        &self.missed
    }

    /// Frames whose copies did not fit into the ring.
    pub fn missed(&self) -> u64 {
        self.missed.get()
    }

    /// When the frame that [`Source::read`] would give was seen; `None` where no whole record waits.
    pub fn peek(&mut self) -> Option<u64> {
        if self.head.is_none() {
            let mut head = [0; HEAD];
            self.ring.pop_entire_slice(&mut head).ok()?;
            self.head = Some(zerocopy::transmute!(head));
        }
        // The rest of a record may come a moment after its head.
        self.head.filter(|head| self.ring.slots() >= head.captured as usize).map(|head| head.at)
    }

    /// The next frame; `None` where none waits.
    pub fn read(&mut self) -> Option<Captured<'_>> {
        self.peek()?;
        let head = self.head.take()?;
        self.bytes.resize(head.captured as usize, 0);
        self.ring.pop_entire_slice(&mut self.bytes).ok()?;
        let Head { at, port, len, .. } = head;
        let direction = if head.out == 0 { Direction::In } else { Direction::Out };
        let dropped = usize::from(head.dropped).checked_sub(1).and_then(|index| DropReason::ALL.get(index).copied());
        let gso = (head.gso != 0).then_some(head.gso);
        Some(Captured { at, port, direction, dropped, len: len as usize, gso, bytes: &self.bytes })
    }
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64)
}
