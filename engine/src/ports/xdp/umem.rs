//! The memory that a socket's frames lie in, chunk by chunk.
//!
//! # Theory of operation
//!
//! One UMEM per socket. The first half of its chunks belongs to receiving: they circulate fill ring, kernel, rx ring, and
//! back into the fill ring in the call that copied the frame out. The other half belongs to sending: free, tx ring, kernel,
//! completion ring, free. A chunk is ours exactly between coming out of a ring and going into the next, and only then do we
//! look at its bytes.
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::ptr::NonNull;
use std::slice;
use xsk_rs::umem::frame::FrameDesc;

/// Bytes of a chunk: one page. The kernel keeps the first 256 in front of a received frame (`XDP_PACKET_HEADROOM`).
pub(super) const CHUNK: u32 = 4096;

/// The chunks of a UMEM. The UMEM itself lives as long as the socket that owns this.
pub(super) struct Chunks {
    start: NonNull<u8>,
    len: u64,
}

// SAFETY: plain memory; which chunk may be touched is told by the rings of the same socket, which go along.
unsafe impl Send for Chunks {}

impl Chunks {
    /// The memory of `umem`, whose frames are `frames`, in order and all.
    pub fn new(umem: &xsk_rs::Umem, frames: &[FrameDesc]) -> Option<Chunks> {
        let first = frames.first()?;
        // SAFETY: no frame has been given to the kernel yet. The slice is empty and only tells the address.
        let data = unsafe { umem.data(first) };
        let start = data.contents().as_ptr().expose_provenance() - first.addr();
        // The mapping was made by a system call, and the kernel has its address as a number since.
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(start))?;
        Some(Chunks { start, len: frames.len() as u64 * u64::from(CHUNK) })
    }

    /// The bytes of a received frame, or of a piece of one; `None` when the kernel names memory outside the UMEM.
    ///
    /// The caller has taken its descriptor out of the rx ring and not yet given the chunk away.
    #[inline]
    pub fn received(&self, addr: u64, len: u32) -> Option<&[u8]> {
        // SAFETY: checked to be inside; the chunk is ours (see the caller's promise), and initialised by mmap and kernel.
        self.contains(addr, len)
            .then(|| unsafe { slice::from_raw_parts(self.start.as_ptr().add(addr as usize), len as usize) })
    }

    /// Copies at most a chunk of bytes into a chunk that is free for sending.
    #[inline]
    pub fn fill(&mut self, chunk: u64, bytes: &[u8]) {
        debug_assert!(bytes.len() <= CHUNK as usize && self.contains(chunk, bytes.len() as u32));
        // SAFETY: a free chunk is inside the UMEM and ours alone; the bytes are those of a frame of the arena.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(chunk as usize), bytes.len());
        }
    }

    #[inline]
    fn contains(&self, addr: u64, len: u32) -> bool {
        addr.checked_add(len.into()).is_some_and(|end| end <= self.len)
    }
}

/// The chunk that a received frame lies in.
#[inline]
pub(super) fn chunk_of(addr: u64) -> u64 {
    addr & !u64::from(CHUNK - 1)
}
