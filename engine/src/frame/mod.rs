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

mod batch;
mod outbox;
mod pool;

pub use batch::Batch;
pub(crate) use outbox::Outbox;
pub use pool::{Arena, Pool, Shares};

use pool::Chunk;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

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

/// What the sender left undone, in the terms of the virtio-net header (VIRTIO 1.2, section 5.1.6).
/// Offsets count from the first byte of the frame. Travels with the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// A checksum still to be completed.
    pub csum: Option<Csum>,
    /// A super-frame still to be segmented.
    pub gso: Option<Gso>,
}

impl Offload {
    /// Whether the frame is complete as it is.
    #[inline]
    pub const fn is_none(&self) -> bool {
        self.csum.is_none() && self.gso.is_none()
    }
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
    /// The class of a frame of so many bytes.
    const fn for_room(room: usize) -> Class {
        if room <= SMALL_ROOM { Class::Small } else { Class::Super }
    }

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
        let fits = len <= self.class.size() - self.headroom as usize;
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

    /// The same frame, its fields apart. A handle that was edited in memory and is then moved whole makes the move wait
    /// for the edits to reach the cache; this one stays in registers until it is put somewhere.
    #[inline(always)]
    pub(crate) fn in_registers(self) -> Frame {
        let Frame { data, len, headroom, offload, class } = self;
        Frame { data, len, headroom, offload, class }
    }

    /// The same frame in registers, for one with nothing left undone: fewer of them than [`Frame::in_registers`] needs.
    #[inline(always)]
    pub(crate) fn finished(self) -> Frame {
        debug_assert!(self.offload.is_none());
        let Frame { data, len, headroom, class, .. } = self;
        Frame { data, len, headroom, offload: Offload { csum: None, gso: None }, class }
    }

    #[inline]
    fn into_chunk(self) -> Chunk {
        // SAFETY: `headroom` is the distance from the chunk's start.
        Chunk(unsafe { self.data.sub(self.headroom as usize) })
    }
}

impl AsRef<Frame> for Frame {
    fn as_ref(&self) -> &Frame {
        self
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
    fn a_foreign_frame_does_not_count_as_one_of_ours() {
        let (ours, theirs) = (arena(), arena());
        let mut pool = ours.pool(64, 32);
        let mut kept = pool.alloc(10).unwrap();
        pool.free(theirs.pool(0, 0).alloc(10).unwrap());
        drop(pool);
        assert_eq!(ours.free(), ours.total() - 1);
        drop(ours);
        assert!(kept.fill(b"still mine"));
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
