//! Large memory mapped once: frame memory, and tables that should lie in huge pages.
#![expect(unsafe_code, reason = "mmap, and slices over it")]

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use zerocopy::FromZeros;

/// Huge pages are this large on the machines we know.
const HUGE: usize = 2 << 20;
/// The smallest unit of memory that the kernel gives.
const PAGE: usize = 4096;

/// Anonymous memory, zeroed, in huge pages where the kernel has some.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory; who may touch which part of it is its users' matter.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared `Mapping` gives no access to the memory.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes, of which the kernel gives each page when it is touched.
    ///
    /// # Errors
    /// When there is no address space for it, or the system counts what might be used (`vm.overcommit_memory` = 2).
    pub fn new(len: usize) -> io::Result<Mapping> {
        let unit = if len < HUGE { PAGE } else { HUGE };
        let len = len.max(1).checked_next_multiple_of(unit).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = map(len).map(|start| Mapping { start, len })?;
        mapping.advise(0..len, libc::MADV_HUGEPAGE);
        Ok(mapping)
    }

    /// Maps `len` bytes and has all of them at once.
    ///
    /// # Errors
    /// As of [`Mapping::new`].
    pub fn populated(len: usize) -> io::Result<Mapping> {
        let mapping = Mapping::new(len)?;
        mapping.populate(0..len);
        Ok(mapping)
    }

    /// Asks for these bytes now. A refusal only costs page faults later.
    pub fn populate(&self, bytes: Range<usize>) {
        self.advise(bytes, libc::MADV_POPULATE_WRITE);
    }

    /// Tells the kernel something about the pages that these bytes begin in or fill.
    fn advise(&self, bytes: Range<usize>, advice: libc::c_int) {
        let (from, to) = (bytes.start / PAGE * PAGE, bytes.end.min(self.len));
        // Miri has no such call.
        if cfg!(not(miri)) && from < to {
            // SAFETY: the range lies in our own mapping, and the advice changes nothing that it holds.
            unsafe { libc::madvise(self.start.as_ptr().add(from).cast(), to - from, advice) };
        }
    }

    /// Whether an address lies in the mapping.
    #[inline]
    pub fn contains(&self, at: NonNull<u8>) -> bool {
        at.addr().get().wrapping_sub(self.start.addr().get()) < self.len
    }

    /// The first byte; aligned to a page.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }
}

/// Maps fresh memory.
fn map(len: usize) -> io::Result<NonNull<u8>> {
    let (prot, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing of ours.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of our own `mmap`; whoever handed out pointers into it has them back.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// An array in mapped memory that grows at its end, up to a limit, without moving: room for all of it is mapped at once, but
/// the kernel gives memory only for what is touched. So growing copies nothing, and may happen between two frames.
pub(crate) struct GrowSlab<T> {
    start: NonNull<u8>,
    /// Bytes that are mapped.
    room: usize,
    /// Bytes that were asked for before they were needed.
    ready: usize,
    len: usize,
    items: PhantomData<T>,
}

// SAFETY: plain memory, owned alone.
unsafe impl<T: Send> Send for GrowSlab<T> {}

/// Most bytes asked for together: as many as take the kernel some ten microseconds.
const STEP: usize = 128 << 10;

impl<T: FromZeros> GrowSlab<T> {
    /// An empty array that may grow to `max` values.
    ///
    /// # Errors
    /// When there is no address space for it, or the system counts what might be used (`vm.overcommit_memory` = 2).
    pub fn new(max: usize) -> io::Result<GrowSlab<T>> {
        const { assert!(align_of::<T>() <= PAGE) };
        let bytes = max.max(1).checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let unit = if bytes < HUGE { PAGE } else { HUGE };
        let room = bytes.checked_next_multiple_of(unit).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(GrowSlab { start: map(room)?, room, ready: 0, len: 0, items: PhantomData })
    }

    /// Appends a value: zero, or what was removed there. False when the limit is reached.
    #[inline]
    pub fn push(&mut self) -> bool {
        let fits = (self.len + 1) * size_of::<T>() <= self.room;
        self.len += usize::from(fits);
        fits
    }

    /// The same for a value that is written at once: memory is asked for a little ahead, which costs less than page by page.
    #[inline]
    pub fn push_ready(&mut self) -> bool {
        if (self.len + 1) * size_of::<T>() > self.ready {
            self.prepare();
        }
        self.push()
    }

    #[cold]
    fn prepare(&mut self) {
        // A table that is small stays small, and in small pages: a huge one would be resident whole.
        let step = (self.ready / 4).clamp(PAGE, STEP).next_multiple_of(PAGE).min(self.room - self.ready);
        if step > 0 && cfg!(not(miri)) {
            // SAFETY: hints for a part of our own mapping; a refusal only costs page faults later.
            unsafe {
                let start = self.start.as_ptr().add(self.ready).cast();
                if self.ready / HUGE < (self.ready + step) / HUGE {
                    libc::madvise(start, self.room - self.ready, libc::MADV_HUGEPAGE);
                }
                libc::madvise(start, step, libc::MADV_POPULATE_WRITE);
            }
        }
        self.ready += step;
    }

    /// Removes the last value.
    #[inline]
    pub fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
        let bytes = self.len * size_of::<T>();
        if bytes.is_multiple_of(HUGE) && 2 * bytes + HUGE < self.ready {
            self.release(2 * bytes);
        }
    }

    /// Gives memory back to the kernel from an offset on. What lay there is zero when it is next touched.
    #[cold]
    fn release(&mut self, from: usize) {
        if cfg!(not(miri)) {
            // SAFETY: nothing refers to what lies behind `len`.
            unsafe { libc::madvise(self.start.as_ptr().add(from).cast(), self.ready - from, libc::MADV_DONTNEED) };
        }
        self.ready = from;
    }
}

impl<T> Drop for GrowSlab<T> {
    fn drop(&mut self) {
        // SAFETY: `start` and `room` are those of our own `mmap`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.room) };
    }
}

impl<T: FromZeros> Deref for GrowSlab<T> {
    type Target = [T];
    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` values are mapped, page-aligned; zeros are a valid `T` (`FromZeros`), and so is what was written.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len) }
    }
}

impl<T: FromZeros> DerefMut for GrowSlab<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len) }
    }
}

/// A fixed array in mapped memory, all zero at first.
pub(crate) struct Slab<T> {
    map: Mapping,
    len: usize,
    items: PhantomData<T>,
}

impl<T: FromZeros> Slab<T> {
    /// An array of `len` zero values.
    pub fn new(len: usize) -> io::Result<Slab<T>> {
        const { assert!(align_of::<T>() <= PAGE) };
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Slab { map: Mapping::populated(bytes)?, len, items: PhantomData })
    }
}

impl<T: FromZeros> Deref for Slab<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` values, page-aligned, and zeros are a valid `T` (`FromZeros`).
        unsafe { std::slice::from_raw_parts(self.map.start.as_ptr().cast(), self.len) }
    }
}

impl<T: FromZeros> DerefMut for Slab<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.map.start.as_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_address_space_is_refused() {
        assert!(Slab::<u64>::new(usize::MAX / 4).is_err());
        assert!(Mapping::new(usize::MAX - 1).is_err());
    }

    #[test]
    fn what_grows_stays_where_it_is_and_is_zero() {
        let mut slab: GrowSlab<u64> = GrowSlab::new(1 << 20).unwrap();
        assert!(slab.is_empty() && slab.push_ready());
        let first = slab.as_ptr();
        slab[0] = 7;
        while slab.push_ready() {}
        assert_eq!((slab.len(), slab.as_ptr()), (1 << 20, first));
        assert!(slab[0] == 7 && slab[1..].iter().all(|&x| x == 0));
        (0..1 << 20).for_each(|_| slab.pop());
        assert!(slab.is_empty() && slab.push());
    }

    #[test]
    fn a_slab_is_zero_and_writable() {
        let mut slab: Slab<u64> = Slab::new(1000).unwrap();
        assert!(slab.iter().all(|&x| x == 0));
        slab[999] = 7;
        assert_eq!(slab[999], 7);
    }
}
