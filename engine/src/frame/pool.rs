//! Free frames: the arena they live in, the depot all pools draw on, and the pool of one owner.
#![expect(unsafe_code, reason = "frame memory: raw chunks of one mapping")]

use super::{Class, Frame, SMALL, SMALL_ROOM, SUPER, SUPER_ROOM};
use crate::memory::Mapping;
use crossbeam::queue::ArrayQueue;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

/// Free chunks travel between pools in blocks of this many.
const BLOCK: usize = 8;

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

/// Blocks of free chunks of one class, open to all pools.
struct Depot {
    blocks: ArrayQueue<Block>,
    /// What a dropped pool left that fills no block.
    loose: ArrayQueue<Chunk>,
    total: usize,
}

impl Arena {
    /// Maps memory for at least `small` and `supers` frames, rounded up to whole blocks of 8.
    ///
    /// # Errors
    /// When the kernel has not that much memory to give.
    pub fn new(small: usize, supers: usize) -> io::Result<Arena> {
        let (small, supers) = (round(small), round(supers));
        let bytes = small.checked_mul(SMALL).zip(supers.checked_mul(SUPER)).and_then(|(a, b)| a.checked_add(b));
        let map = Mapping::new(bytes.ok_or(io::ErrorKind::OutOfMemory)?)?;
        let start = map.start();
        // SAFETY: the super chunks follow the small ones inside the mapping.
        let super_start = unsafe { start.add(small * SMALL) };
        let depots = (Depot::new(start, SMALL, small), Depot::new(super_start, SUPER, supers));
        Ok(Arena(Arc::new(Shared { map: ManuallyDrop::new(map), small: depots.0, large: depots.1 })))
    }

    /// A pool that keeps up to `small` and `supers` free frames for itself, and a block of each.
    pub fn pool(&self, small: usize, supers: usize) -> Pool {
        Pool { small: Stack::new(small), large: Stack::new(supers), arena: self.clone() }
    }

    /// The pool of one of so many workers: together they keep up to half of all frames. What is dropped comes back to
    /// them, so without a bound the far ends of channels would find nothing left to send.
    pub fn worker_pool(&self, workers: usize) -> Pool {
        let share = |total: usize| total / (2 * workers.max(1));
        self.pool(share(self.0.small.total), share(self.0.large.total))
    }

    /// Frames of both classes that exist.
    pub fn total(&self) -> usize {
        self.0.small.total + self.0.large.total
    }

    /// Frames of both classes in the depot: free, and in no pool.
    pub fn free(&self) -> usize {
        self.0.small.free() + self.0.large.free()
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
    fn new(start: NonNull<u8>, size: usize, total: usize) -> Depot {
        let (blocks, loose) = (ArrayQueue::new(total / BLOCK), ArrayQueue::new(total));
        for b in 0..total / BLOCK {
            // SAFETY: chunk numbers below `total` lie inside the mapping.
            let chunk = |i| Chunk(unsafe { start.add((b * BLOCK + i) * size) });
            let full = blocks.push(std::array::from_fn(chunk)).is_err();
            debug_assert!(!full, "one slot per block");
        }
        Depot { blocks, loose, total }
    }

    fn free(&self) -> usize {
        self.blocks.len() * BLOCK + self.loose.len()
    }

    /// Moves free chunks into `stack`: a block, or what is loose.
    #[cold]
    fn refill(&self, stack: &mut Vec<Chunk>) {
        match self.blocks.pop() {
            Some(block) => stack.extend_from_slice(&block),
            None => stack.extend(std::iter::from_fn(|| self.loose.pop()).take(BLOCK)),
        }
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
        if self.free.len() >= self.keep + BLOCK {
            self.shed(self.keep / 2, depot);
        }
    }

    /// Gives the coldest blocks back to the depot until about `keep` chunks are left: many at a time, because those that
    /// stay move up.
    #[cold]
    fn shed(&mut self, keep: usize, depot: &Depot) {
        let blocks = self.free.len().saturating_sub(keep) / BLOCK;
        for block in self.free[..blocks * BLOCK].as_chunks().0 {
            let full = depot.blocks.push(*block).is_err();
            debug_assert!(!full, "one slot per block");
        }
        self.free.drain(..blocks * BLOCK);
    }

    /// Gives everything back.
    fn retire(&mut self, depot: &Depot) {
        self.shed(0, depot);
        for chunk in self.free.drain(..) {
            let full = depot.loose.push(chunk).is_err();
            debug_assert!(!full, "one slot per chunk");
        }
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

    /// A frame with the same bytes and offload.
    #[inline]
    pub fn copy(&mut self, frame: &Frame) -> Option<Frame> {
        let mut copy = self.alloc(frame.len())?;
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

    /// Super-frames that exist.
    #[inline]
    pub fn supers(&self) -> usize {
        self.arena.0.large.total
    }

    /// The memory this pool draws on.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.small.retire(&self.arena.0.small);
        self.large.retire(&self.arena.0.large);
    }
}
