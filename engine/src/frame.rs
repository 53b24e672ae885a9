//! Memory of frames on their way through the switch.
//!
//! # Theory of operation
//!
//! One [`Arena`] is mapped when the switch is built and holds all frame memory, in two size classes:
//! **small** chunks of 4 KiB (one page, what an AF_XDP UMEM takes) and **super** chunks of 68 KiB (a 64 KiB
//! GSO super-frame with its headers). A frame is always contiguous; there are no chains.
//!
//! A [`Frame`] is the only handle to its chunk: it cannot be copied or cloned, so a chunk has exactly one
//! owner: a batch, a port's ring, or (free) a [`Pool`]. Each worker owns a pool, a last-in-first-out stack
//! per class, so that the chunk used next is the one still in cache. Pools trade whole blocks of free chunks
//! through a lock-free queue in the arena, the *depot*; no chunk crosses threads one by one.
//!
//! ```text
//!  chunk  |<- headroom ->|<--------- len --------->|<- tailroom ->|
//!         start          data                                      start + capacity
//! ```
//!
//! Headroom lets a port put its own header (virtio-net) or an encapsulation in front without moving the payload.
//!
//! A frame that is dropped on the floor instead of freed loses its chunk: the conservation counter shows it, and
//! the arena then keeps its mapping for the life of the process, so that no pointer ever dangles.
#![expect(unsafe_code, reason = "frame memory: raw chunks of one mapping")]

use crate::memory::Mapping;
use crossbeam::queue::ArrayQueue;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Size of a small chunk: one page, so that it can be a UMEM chunk.
pub const SMALL: usize = 4096;
/// Size of a super chunk: 64 KiB of payload and room for headers.
pub const SUPER: usize = 68 * 1024;
/// Bytes in front of a fresh frame: virtio-net header (24), two VLAN tags (8), VXLAN over IPv6 (70) and ESP in UDP (64).
pub const HEADROOM: usize = 256;
/// Longest frame a small chunk holds at full headroom.
pub const SMALL_ROOM: usize = SMALL - HEADROOM;
/// Longest frame a super chunk holds at full headroom.
pub const SUPER_ROOM: usize = SUPER - HEADROOM;

/// Free chunks travel between pools in blocks of this many.
const BLOCK: usize = 8;
/// A pool gives a block away when it holds more than this many chunks of a class beyond its target.
const SLACK: usize = 2 * BLOCK;

/// What the sender left undone, in the terms of the virtio-net header (VIRTIO 1.2, section 5.1.6).
/// Offsets count from the first byte of the frame. Travels with the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// A checksum still to be completed.
    pub csum: Option<Csum>,
    /// A super-frame still to be segmented.
    pub gso: Option<Gso>,
}

/// A partial checksum: the field holds the pseudo-header sum, the rest is summed from `start` to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csum {
    /// First summed byte.
    pub start: u16,
    /// Where the 16-bit result goes, counted from `start`.
    pub offset: u16,
}

/// How a super-frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Payload bytes per segment; never 0.
    pub size: u16,
    /// Bytes of headers that each segment repeats, recomputed from the frame itself and never the sender's word.
    pub hdr_len: u16,
    /// The kind of segmentation.
    pub kind: GsoKind,
    /// Set CWR only on the first segment (VIRTIO_NET_HDR_GSO_ECN).
    pub ecn: bool,
}

/// The kinds of segmentation that ports may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams (VIRTIO_NET_HDR_GSO_UDP_L4), over either IP version.
    Udp,
}

/// One frame in flight: exactly one owner, contiguous, with headroom. Not `Clone`.
///
/// Dereferences to the bytes of the Ethernet frame, without FCS.
#[must_use = "a frame is transmitted or freed"]
#[derive(Debug)]
#[repr(C)]
pub struct Frame {
    data: NonNull<u8>,
    len: u32,
    headroom: u32,
    /// What the sender left undone.
    pub offload: Offload,
    class: Class,
}

const _: () = assert!(size_of::<Frame>() == 32, "two frames a cache line");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Small,
    Super,
}

impl Class {
    const fn size(self) -> usize {
        match self {
            Class::Small => SMALL,
            Class::Super => SUPER,
        }
    }
}

// SAFETY: a frame owns its chunk alone; the mapping outlives it (see `Arena::drop`).
unsafe impl Send for Frame {}

impl Deref for Frame {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `data..data+len` lies in this frame's chunk, which it owns alone and which is zeroed when mapped.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Frame {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len as usize) }
    }
}

impl Frame {
    /// An empty frame at full headroom in a chunk.
    #[inline]
    fn at(chunk: Chunk, class: Class) -> Frame {
        // SAFETY: every chunk is larger than HEADROOM.
        let data = unsafe { chunk.0.add(HEADROOM) };
        Frame { data, len: 0, headroom: HEADROOM as u32, offload: Offload::default(), class }
    }

    /// Bytes free behind the frame.
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.class.size() - self.headroom as usize - self.len as usize
    }

    /// Bytes free in front of the frame.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.headroom as usize
    }

    /// Whether the frame occupies a super chunk.
    #[inline]
    pub fn is_super(&self) -> bool {
        self.class == Class::Super
    }

    /// The longest piece of this frame on a wire: a super-frame counts as its segments.
    #[inline]
    pub fn wire_len(&self) -> usize {
        match self.offload.gso {
            Some(gso) => self.len().min(usize::from(gso.hdr_len) + usize::from(gso.size)),
            None => self.len(),
        }
    }

    /// Sets the length; the bytes up to it are what the chunk holds. False when the chunk is too small.
    #[inline]
    #[must_use]
    pub fn set_len(&mut self, len: usize) -> bool {
        let fits = self.headroom as usize + len <= self.class.size();
        if fits {
            self.len = len as u32;
        }
        fits
    }

    /// Takes `n` bytes of headroom into the frame. False when there is not enough.
    #[inline]
    #[must_use]
    pub fn prepend(&mut self, n: usize) -> bool {
        let fits = n <= self.headroom as usize;
        if fits {
            // SAFETY: `n` bytes of this chunk lie in front of `data`.
            self.data = unsafe { self.data.sub(n) };
            self.headroom -= n as u32;
            self.len += n as u32;
        }
        fits
    }

    /// Gives the first `n` bytes back to the headroom. False when the frame is shorter.
    #[inline]
    #[must_use]
    pub fn strip(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        if fits {
            // SAFETY: `n <= len`, so the new start is at most one past the frame, inside the chunk.
            self.data = unsafe { self.data.add(n) };
            self.headroom += n as u32;
            self.len -= n as u32;
        }
        fits
    }

    /// Replaces the content. False when it does not fit behind the headroom.
    #[must_use]
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        let fits = self.set_len(bytes.len());
        if fits {
            self.copy_from_slice(bytes);
        }
        fits
    }

    /// Hints that the frame's first line is read soon.
    #[inline]
    pub fn prefetch(&self) {
        crate::cpu::prefetch(self.data.as_ptr());
    }

    #[inline]
    fn into_chunk(self) -> Chunk {
        // SAFETY: `headroom` is the distance from the chunk's start.
        Chunk(unsafe { self.data.sub(self.headroom as usize) })
    }
}

/// The start of a free chunk.
#[derive(Clone, Copy)]
struct Chunk(NonNull<u8>);

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
        let map = Mapping::new(small * SMALL + supers * SUPER)?;
        let start = map.start();
        // SAFETY: the super chunks follow the small ones inside the mapping.
        let super_start = unsafe { start.add(small * SMALL) };
        let depots = (Depot::new(start, SMALL, small), Depot::new(super_start, SUPER, supers));
        Ok(Arena(Arc::new(Shared { map: ManuallyDrop::new(map), small: depots.0, large: depots.1 })))
    }

    /// A pool that keeps up to `small` and `supers` free frames for itself.
    pub fn pool(&self, small: usize, supers: usize) -> Pool {
        Pool { small: Stack::new(small), large: Stack::new(supers), arena: self.clone() }
    }

    /// A worker's pool: it keeps up to half of all frames for itself. What is dropped comes back to it, so without a
    /// bound the far ends of channels would find nothing left to send.
    pub fn worker_pool(&self) -> Pool {
        self.pool(self.0.small.total / 2, self.0.large.total / 2)
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
    n.max(1).next_multiple_of(BLOCK)
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
    target: usize,
}

impl Stack {
    fn new(target: usize) -> Stack {
        Stack { free: Vec::with_capacity(target + SLACK + BLOCK), target }
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
        if self.free.len() > self.target + SLACK {
            self.shed(depot);
        }
    }

    /// Gives the coldest block back to the depot.
    #[cold]
    fn shed(&mut self, depot: &Depot) {
        let block: Block = std::array::from_fn(|i| self.free[i]);
        let full = depot.blocks.push(block).is_err();
        debug_assert!(!full, "one slot per block");
        self.free.drain(..BLOCK);
    }

    /// Gives everything back.
    fn retire(&mut self, depot: &Depot) {
        while self.free.len() >= BLOCK {
            self.shed(depot);
        }
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

    /// Takes a frame back.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        let class = frame.class;
        let chunk = frame.into_chunk();
        match class {
            Class::Small => self.small.push(chunk, &self.arena.0.small),
            Class::Super => self.large.push(chunk, &self.arena.0.large),
        }
    }

    /// Free frames of both classes held here.
    pub fn free_frames(&self) -> usize {
        self.small.free.len() + self.large.free.len()
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

/// Frames that go through a phase together. Its capacity is fixed when it is made; it never grows.
#[derive(Debug)]
pub struct Batch {
    frames: Vec<Frame>,
    limit: usize,
}

impl Batch {
    /// An empty batch of at most `limit` frames.
    pub fn new(limit: usize) -> Batch {
        Batch { frames: Vec::with_capacity(limit), limit }
    }

    /// How many more frames fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.limit - self.frames.len()
    }

    /// Adds a frame, or gives it back when the batch is full.
    ///
    /// # Errors
    /// The frame itself.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.frames.len() == self.limit {
            return Err(frame);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Takes as many frames as fit from the front of `frames`.
    #[inline]
    pub fn take_from(&mut self, frames: &mut Vec<Frame>) {
        if frames.len() <= self.room() {
            return self.frames.append(frames);
        }
        self.frames.extend(frames.drain(..self.limit - self.frames.len()));
    }

    /// Moves all frames to the end of `frames`.
    #[inline]
    pub fn move_to(&mut self, frames: &mut Vec<Frame>) {
        frames.append(&mut self.frames);
    }

    /// Adds a frame to a batch that has room: the egress path flushes a batch as soon as it is full.
    #[inline(always)]
    pub(crate) fn push_within(&mut self, frame: Frame) {
        debug_assert!(self.frames.len() < self.limit);
        self.frames.push(frame);
    }

    /// Takes all frames out, in order.
    #[inline]
    pub fn drain(&mut self) -> std::vec::Drain<'_, Frame> {
        self.frames.drain(..)
    }

    /// Hands every frame to `take`, in order, with its position. Faster than draining: a frame moves whole, without
    /// passing through an `Option`.
    #[inline(always)]
    pub(crate) fn consume(&mut self, mut take: impl FnMut(usize, Frame)) {
        let n = self.frames.len();
        // SAFETY: the first `n` frames are initialised; with the length at 0 the vector no longer owns them, and each is
        // read once. Should `take` panic, the rest leaks, which is sound.
        unsafe {
            self.frames.set_len(0);
            for i in 0..n {
                take(i, self.frames.as_ptr().add(i).read());
            }
        }
    }

    /// Takes one frame out; those behind it move up.
    pub fn remove(&mut self, i: usize) -> Frame {
        self.frames.remove(i)
    }

    /// Takes the last frame out.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        self.frames.pop()
    }
}

impl Deref for Batch {
    type Target = [Frame];
    #[inline]
    fn deref(&self) -> &[Frame] {
        &self.frames
    }
}

impl DerefMut for Batch {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Frame] {
        &mut self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena() -> Arena {
        Arena::new(64, 32).unwrap()
    }

    #[test]
    fn a_frame_is_filled_moved_and_freed() {
        let arena = arena();
        let mut pool = arena.pool(64, 32);
        let mut frame = pool.alloc(64).unwrap();
        assert!(frame.fill(b"hello"));
        assert!(frame.prepend(2) && frame.strip(3));
        assert_eq!(&frame[..], b"ello");
        assert!(!frame.strip(5) && !frame.prepend(HEADROOM + 2));
        pool.free(frame);
        drop(pool);
        assert_eq!(arena.free(), arena.total());
    }

    #[test]
    fn classes_are_chosen_by_room() {
        let arena = arena();
        let mut pool = arena.pool(64, 32);
        let (small, large) = (pool.alloc(SMALL_ROOM).unwrap(), pool.alloc(SMALL_ROOM + 1).unwrap());
        assert!(!small.is_super() && large.is_super());
        assert!(pool.alloc(SUPER_ROOM + 1).is_none());
        pool.free(small);
        pool.free(large);
    }

    #[test]
    fn an_empty_arena_says_so_and_recovers() {
        let arena = Arena::new(32, 32).unwrap();
        let mut pool = arena.pool(32, 32);
        let frames: Vec<_> = std::iter::from_fn(|| pool.alloc(1)).collect();
        assert_eq!(frames.len(), 32);
        frames.into_iter().for_each(|f| pool.free(f));
        let again = pool.alloc(1).unwrap();
        pool.free(again);
    }

    #[test]
    fn chunks_flow_from_one_pool_to_another_through_the_depot() {
        let arena = Arena::new(256, 32).unwrap();
        let (mut from, mut to) = (arena.pool(32, 0), arena.pool(32, 0));
        for _ in 0..10_000 {
            let frame = from.alloc(1).unwrap();
            to.free(frame);
        }
        drop((from, to));
        assert_eq!(arena.free(), arena.total());
    }

    #[test]
    fn wire_len_of_a_super_frame_is_its_largest_segment() {
        let arena = arena();
        let mut pool = arena.pool(0, 0);
        let mut frame = pool.alloc(9000).unwrap();
        assert!(frame.set_len(9000));
        assert_eq!(frame.wire_len(), 9000);
        frame.offload.gso = Some(Gso { size: 1448, hdr_len: 66, kind: GsoKind::Tcp4, ecn: false });
        assert_eq!(frame.wire_len(), 1514);
        pool.free(frame);
    }

    #[test]
    fn a_lost_frame_keeps_the_mapping_alive() {
        let arena = arena();
        let mut pool = arena.pool(0, 0);
        let mut lost = pool.alloc(10).unwrap();
        drop((pool, arena));
        assert!(lost.fill(b"still mine"));
        assert_eq!(&lost[..], b"still mine");
    }
}
