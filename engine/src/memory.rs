//! Large memory mapped once: frame memory, and tables that should lie in huge pages.
#![expect(unsafe_code, reason = "mmap, and slices over it")]

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use zerocopy::FromZeros;

/// Huge pages are this large on the machines we know.
const HUGE: usize = 2 << 20;

/// Anonymous memory, zeroed, populated when mapped, in huge pages where the kernel has some.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory; who may touch which part of it is its users' matter.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared `Mapping` gives no access to the memory.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes.
    pub fn new(len: usize) -> io::Result<Mapping> {
        let whole = if len < HUGE { Some(len.max(1)) } else { len.checked_next_multiple_of(HUGE) };
        let len = whole.ok_or(io::ErrorKind::OutOfMemory)?;
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        hint(start, len);
        NonNull::new(start.cast()).map(|start| Mapping { start, len }).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
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

/// Asks for huge pages, and for all of them now.
fn hint(start: *mut libc::c_void, len: usize) {
    // Miri has no such call.
    if cfg!(not(miri)) {
        // SAFETY: both calls concern a mapping just made; they are hints, and a refusal only costs page faults later.
        unsafe {
            libc::madvise(start, len, libc::MADV_HUGEPAGE);
            libc::madvise(start, len, libc::MADV_POPULATE_WRITE);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of our own `mmap`; whoever handed out pointers into it has them back.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
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
        const { assert!(align_of::<T>() <= 4096) };
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Slab { map: Mapping::new(bytes)?, len, items: PhantomData })
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
    fn a_slab_is_zero_and_writable() {
        let mut slab: Slab<u64> = Slab::new(1000).unwrap();
        assert!(slab.iter().all(|&x| x == 0));
        slab[999] = 7;
        assert_eq!(slab[999], 7);
    }
}
