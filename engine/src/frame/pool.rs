//! Free frames: the arena they live in, the depot all pools draw on, and the pool of one owner.
//!
//! # Theory of operation
//!
//! Address space for all frames that a switch may ever have is mapped at once; the kernel gives memory when a chunk is first
//! used, and chunks that were used before are taken first. So a limit costs nothing until it is needed.
//!
//! Small chunks travel between pools in blocks. Super chunks are few and large: they travel one by one, so that none is
//! kept from those who need it by pools that hold a block each.
//!
//! Whoever holds frames for longer than a round (a ring to somebody else, a line that delays) asks first whether it may
//! ([`Pool::shares`]): no more than a part of what is free. So of many that stand still each holds less, and memory for
//! the others is always left (dynamic thresholds, Choudhury and Hahne 1998). Copies are not made of the last free
//! frames either: those are for receiving.
#![expect(unsafe_code, reason = "frame memory: raw chunks of one mapping")]

use super::{Class, Frame, SMALL, SMALL_ROOM, SUPER, SUPER_ROOM};
use crate::memory::Mapping;
use crossbeam::queue::ArrayQueue;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Free small chunks travel between pools in blocks of this many.
const BLOCK: usize = 8;
/// What one holder may have: so much of what is free.
const SHARE: usize = 4;
/// So much of all frames is kept for receiving.
const RESERVE: usize = 16;
/// Bytes of each class that are there from the start.
const READY: usize = 8 << 20;

/// The start of a free chunk.
#[derive(Clone, Copy)]
pub(super) struct Chunk(pub(super) NonNull<u8>);

// SAFETY: a chunk is a token of ownership; it is in one stack or block at a time.
unsafe impl Send for Chunk {}

type Block = [Chunk; BLOCK];

/// All frame memory of a switch. Cheap to clone: clones share the mapping.
#[derive(Clone)]
pub struct Arena(Arc<Shared>);

struct Shared {
    map: ManuallyDrop<Mapping>,
    small: Depot,
    large: Depot,
}

/// Free chunks of one class, open to all pools.
struct Depot {
    /// Empty where chunks travel alone.
    blocks: ArrayQueue<Block>,
    /// Single ones.
    loose: ArrayQueue<Chunk>,
    /// Those that were never used begin here.
    start: NonNull<u8>,
    /// How many chunks are or were in use.
    used: AtomicUsize,
    /// How many travel together.
    block: usize,
    size: usize,
    total: usize,
}

// SAFETY: `start` is an address to count from; chunks are handed out once each, by `used`.
unsafe impl Send for Depot {}
// SAFETY: as above.
unsafe impl Sync for Depot {}

impl Arena {
    /// Address space for at least `small` and `supers` frames, rounded up to whole blocks of 8.
    ///
    /// # Errors
    /// When there is none, or the system counts what might be used (`vm.overcommit_memory` = 2).
    pub fn new(small: usize, supers: usize) -> io::Result<Arena> {
        let (small, supers) = (round(small), round(supers));
        let bytes = small.checked_mul(SMALL).zip(supers.checked_mul(SUPER)).and_then(|(a, b)| a.checked_add(b));
        let map = Mapping::new(bytes.ok_or(io::ErrorKind::OutOfMemory)?)?;
        let end_of_small = small * SMALL;
        map.populate(0..end_of_small.min(READY));
        map.populate(end_of_small..end_of_small + (supers * SUPER).min(READY));
        // SAFETY: the super chunks follow the small ones inside the mapping.
        let super_start = unsafe { map.start().add(end_of_small) };
        let depots = (Depot::new(map.start(), SMALL, small, BLOCK), Depot::new(super_start, SUPER, supers, 1));
        Ok(Arena(Arc::new(Shared { map: ManuallyDrop::new(map), small: depots.0, large: depots.1 })))
    }

    /// A pool that keeps up to `small` and `supers` free frames for itself, and a block of each.
    pub fn pool(&self, small: usize, supers: usize) -> Pool {
        Pool { small: Stack::new(small), large: Stack::new(supers), arena: self.clone() }
    }

    /// The pool of one of so many workers: enough for what is under way in a round, and together no more than an eighth of all.
    pub fn worker_pool(&self, workers: usize) -> Pool {
        let share = |total: usize, most: usize| (total / (8 * workers.max(1))).min(most);
        self.pool(share(self.0.small.total, 512), share(self.0.large.total, 8))
    }

    /// Frames of both classes that may be had.
    pub fn total(&self) -> usize {
        self.0.small.total + self.0.large.total
    }

    /// Frames of both classes that are free, and in no pool.
    pub fn free(&self) -> usize {
        self.0.small.free() + self.0.large.free()
    }

    /// Bytes that are or were in use.
    pub fn used_bytes(&self) -> usize {
        self.0.small.used() * SMALL + self.0.large.used() * SUPER
    }

    fn depot(&self, class: Class) -> &Depot {
        match class {
            Class::Small => &self.0.small,
            Class::Super => &self.0.large,
        }
    }
}

fn round(n: usize) -> usize {
    n.clamp(1, usize::MAX / 2).next_multiple_of(BLOCK)
}

impl Depot {
    fn new(start: NonNull<u8>, size: usize, total: usize, block: usize) -> Depot {
        let (blocks, loose) = (ArrayQueue::new((total / BLOCK).max(1)), ArrayQueue::new(total));
        Depot { blocks, loose, start, used: AtomicUsize::new(0), block, size, total }
    }

    fn free(&self) -> usize {
        self.blocks.len() * BLOCK + self.loose.len() + (self.total - self.used())
    }

    fn used(&self) -> usize {
        self.used.load(Relaxed).min(self.total)
    }

    /// Free frames beyond those that are kept for receiving.
    fn spare(&self) -> usize {
        self.free().saturating_sub((self.total / RESERVE).max(1))
    }

    fn has_spare(&self) -> bool {
        self.spare() > 0
    }

    /// What one holder may have.
    fn share(&self) -> usize {
        self.spare().div_ceil(SHARE)
    }

    /// Moves some free chunks into `stack`, of those that were used before if there are any.
    #[cold]
    fn refill(&self, stack: &mut Vec<Chunk>) {
        match self.blocks.pop() {
            Some(block) => stack.extend_from_slice(&block),
            None => stack.extend(std::iter::from_fn(|| self.loose.pop()).take(self.block)),
        }
        if stack.is_empty() {
            self.take_fresh(stack);
        }
    }

    /// Takes chunks that were never used.
    fn take_fresh(&self, stack: &mut Vec<Chunk>) {
        let more = |used: usize| (used < self.total).then_some(used + self.block);
        let Ok(from) = self.used.fetch_update(Relaxed, Relaxed, more) else { return };
        // SAFETY: chunk numbers below `total`, a multiple of `block`, lie inside the mapping.
        stack.extend((from..from + self.block).map(|n| Chunk(unsafe { self.start.add(n * self.size) })));
    }

    /// Takes chunks back.
    fn take_back(&self, chunks: &[Chunk]) {
        let (blocks, rest) = if self.block == BLOCK { chunks.as_chunks() } else { (&[][..], chunks) };
        let blocks_full = blocks.iter().any(|block| self.blocks.push(*block).is_err());
        let loose_full = rest.iter().any(|chunk| self.loose.push(*chunk).is_err());
        debug_assert!(!blocks_full && !loose_full, "one slot for each");
    }
}

impl Drop for Shared {
    /// Unmaps only when every chunk is home; otherwise a live `Frame` still points into the mapping, which is then kept.
    fn drop(&mut self) {
        if self.small.free() == self.small.total && self.large.free() == self.large.total {
            // SAFETY: `map` is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}

/// How many frames of each class one holder may have, as long as no more of them are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    small: usize,
    supers: usize,
}

impl Shares {
    /// Whether who holds so many frames like this one may hold it too.
    #[inline]
    pub fn admit(self, frame: &Frame, held: usize) -> bool {
        held < if frame.is_super() { self.supers } else { self.small }
    }
}

/// One owner's stock of free frames: last in, first out. Never shared.
pub struct Pool {
    small: Stack,
    large: Stack,
    arena: Arena,
}

struct Stack {
    free: Vec<Chunk>,
    keep: usize,
}

impl Stack {
    fn new(keep: usize) -> Stack {
        Stack { free: Vec::with_capacity(keep + 2 * BLOCK), keep }
    }

    #[inline]
    fn pop(&mut self, depot: &Depot) -> Option<Chunk> {
        if self.free.is_empty() {
            depot.refill(&mut self.free);
        }
        self.free.pop()
    }

    #[inline]
    fn push(&mut self, chunk: Chunk, depot: &Depot) {
        self.free.push(chunk);
        if self.free.len() >= self.keep + depot.block {
            self.shed(self.keep / 2, depot);
        }
    }

    /// Gives the coldest chunks back to the depot until about `keep` are left: many at a time, because those that stay move up.
    #[cold]
    fn shed(&mut self, keep: usize, depot: &Depot) {
        let chunks = self.free.len().saturating_sub(keep) / depot.block * depot.block;
        depot.take_back(&self.free[..chunks]);
        self.free.drain(..chunks);
    }
}

impl Pool {
    /// An empty frame of at least `room` bytes behind full headroom; `None` when none is free or none is that large.
    #[inline]
    pub fn alloc(&mut self, room: usize) -> Option<Frame> {
        if room <= SMALL_ROOM {
            return self.small.pop(self.arena.depot(Class::Small)).map(|c| Frame::at(c, Class::Small));
        }
        if room > SUPER_ROOM {
            return None;
        }
        self.large.pop(self.arena.depot(Class::Super)).map(|c| Frame::at(c, Class::Super))
    }

    /// The same for what could be left: not of the last free frames.
    #[inline]
    pub fn alloc_spare(&mut self, room: usize) -> Option<Frame> {
        let class = Class::for_room(room);
        if self.stack(class).free.is_empty() && !self.arena.depot(class).has_spare() {
            return None;
        }
        self.alloc(room)
    }

    /// How many frames somebody may hold now for longer than a round.
    pub fn shares(&self) -> Shares {
        Shares { small: self.arena.0.small.share(), supers: self.arena.0.large.share() }
    }

    /// A frame with the same bytes and offload, if there is more than the last free frames.
    #[inline]
    pub fn copy(&mut self, frame: &Frame) -> Option<Frame> {
        let mut copy = self.alloc_spare(frame.len())?;
        copy.len = frame.len;
        copy.copy_from_slice(frame);
        copy.offload = frame.offload;
        Some(copy)
    }

    /// Takes a frame back. One of another arena is let go of: its own arena then keeps its memory for ever.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        let class = frame.class;
        let chunk = frame.into_chunk();
        if self.arena.0.map.contains(chunk.0) {
            match class {
                Class::Small => self.small.push(chunk, &self.arena.0.small),
                Class::Super => self.large.push(chunk, &self.arena.0.large),
            }
        }
    }

    /// Free frames of both classes held here.
    pub fn free_frames(&self) -> usize {
        self.small.free.len() + self.large.free.len()
    }

    fn stack(&self, class: Class) -> &Stack {
        match class {
            Class::Small => &self.small,
            Class::Super => &self.large,
        }
    }

    /// The memory this pool draws on.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.arena.0.small.take_back(&self.small.free);
        self.arena.0.large.take_back(&self.large.free);
    }
}
