//! Our own views of the four rings of an AF_XDP socket (include/uapi/linux/if_xdp.h, net/xdp/xsk_queue.h).
//!
//! # Theory of operation
//!
//! A ring is an array of descriptors, a power of two of them, between two counters that only grow (and wrap at 2^32).
//! What lies between the consumer's and the producer's counter belongs to the consumer, the rest to the producer. Each
//! counter has one writer, which stores it with release after it is done with the descriptors; the other side loads it
//! with acquire before it touches them. [`Producer`] and [`Consumer`] speak the same way: look, touch, let go.
//!
//! ```text
//!  ours to fill:       Producer<u64>     fill         chunks for frames to come
//!                      Producer<XdpDesc> tx           frames to send
//!  ours to take from:  Consumer<XdpDesc> rx           frames that came
//!                      Consumer<u64>     completion   chunks of frames that were sent
//! ```
//!
//! Where the set-up library opened the socket, it has mapped the rings too, but never touches them after the socket is bound,
//! and its own queue calls are never used: they keep counters of their own.
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::sockopt::xdp_mmap_offsets;
use rustix::net::xdp::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpDesc,
    XdpRingFlags, XdpRingOffset,
};
use std::any::Any;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many descriptors each ring has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub rx: u32,
    pub tx: u32,
    pub fill: u32,
    pub completion: u32,
}

/// The rings of a socket, mapped for as long as this lives. A mapping holds the socket's file open.
pub(super) struct Rings {
    pub rx: Consumer<XdpDesc>,
    pub tx: Producer<XdpDesc>,
    pub fill: Producer<u64>,
    pub completion: Consumer<u64>,
}

impl Rings {
    /// Maps the rings of `socket`, whose sizes are set.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn map(socket: BorrowedFd<'_>, sizes: Sizes) -> io::Result<Rings> {
        let at = xdp_mmap_offsets(socket)?;
        Ok(Rings {
            rx: Consumer::new(Ring::map(socket, XDP_PGOFF_RX_RING, &at.rx, sizes.rx)?),
            tx: Producer::new(Ring::map(socket, XDP_PGOFF_TX_RING, &at.tx, sizes.tx)?),
            fill: Producer::new(Ring::map(socket, XDP_UMEM_PGOFF_FILL_RING, &at.fr, sizes.fill)?),
            completion: Consumer::new(Ring::map(socket, XDP_UMEM_PGOFF_COMPLETION_RING, &at.cr, sizes.completion)?),
        })
    }
}

/// Where the parts of one ring are.
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    /// `None` before Linux 5.4: nobody ever sleeps.
    flags: Option<NonNull<AtomicU32>>,
    items: NonNull<T>,
    mask: u32,
    /// What keeps the memory: a mapping.
    _memory: Box<dyn Any + Send>,
}

// SAFETY: the pointers lead into memory that `_memory` keeps; descriptors are plain data.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Maps a ring of `len` descriptors.
    fn map(socket: BorrowedFd<'_>, page: u64, at: &XdpRingOffset, len: u32) -> io::Result<Ring<T>> {
        debug_assert!(len.is_power_of_two());
        let bytes = at.desc as usize + len as usize * size_of::<T>();
        let map = Map::new(socket, page, bytes)?;
        // SAFETY: the kernel says where in the mapping each part is, aligned for it, and the array has `len` descriptors.
        unsafe {
            Ok(Ring {
                producer: map.0.byte_add(at.producer as usize).cast(),
                consumer: map.0.byte_add(at.consumer as usize).cast(),
                flags: at.flags.map(|flags| map.0.byte_add(flags as usize).cast()),
                items: map.0.byte_add(at.desc as usize).cast(),
                mask: len - 1,
                _memory: Box::new(map),
            })
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned, and only ever accessed atomically, by the kernel too.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn item(&self, index: u32) -> NonNull<T> {
        // SAFETY: the masked index is inside the array.
        unsafe { self.items.add((index & self.mask) as usize) }
    }
}

/// A ring that we take from.
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// The first descriptor not yet given back.
    next: u32,
    /// How many from there on are known to be ours.
    seen: u32,
}

impl<T: Copy> Consumer<T> {
    fn new(ring: Ring<T>) -> Consumer<T> {
        let next = ring.consumer().load(Ordering::Relaxed);
        Consumer { ring, next, seen: 0 }
    }

    /// Looks how many descriptors wait.
    #[inline]
    pub fn look(&mut self) -> u32 {
        self.seen = self.ring.producer().load(Ordering::Acquire).wrapping_sub(self.next);
        self.seen
    }

    /// The `i`th descriptor that waits; `None` behind the last that [`Consumer::look`] found.
    #[inline]
    pub fn get(&self, i: u32) -> Option<T> {
        // SAFETY: a descriptor that was seen is ours until it is let go, and the acquire load made it visible.
        (i < self.seen).then(|| unsafe { self.ring.item(self.next.wrapping_add(i)).read() })
    }

    /// Lets go of the first `n` descriptors.
    #[inline]
    pub fn release(&mut self, n: u32) {
        let n = n.min(self.seen);
        self.seen -= n;
        self.next = self.next.wrapping_add(n);
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}

/// A ring that we put into.
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// The first free place.
    next: u32,
    /// How many from there on are filled and not yet let go.
    filled: u32,
}

impl<T: Copy> Producer<T> {
    fn new(ring: Ring<T>) -> Producer<T> {
        let next = ring.producer().load(Ordering::Relaxed);
        Producer { ring, next, filled: 0 }
    }

    /// How many descriptors there are.
    pub fn len(&self) -> u32 {
        self.ring.mask + 1
    }

    /// How many descriptors were let go and not yet taken by the kernel.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.next.wrapping_sub(self.taken())
    }

    /// The number of the first descriptor that the kernel has not taken. Numbers go on, and wrap at 2^32.
    #[inline]
    pub fn taken(&self) -> u32 {
        self.ring.consumer().load(Ordering::Acquire)
    }

    /// The number of the first descriptor that was not let go.
    pub fn end(&self) -> u32 {
        self.next
    }

    /// What was let go as number `n`, one of the last that the ring holds.
    pub fn sent(&self, n: u32) -> T {
        // SAFETY: inside the array, and nobody but us writes there: the kernel only reads.
        unsafe { self.ring.item(n).read() }
    }

    /// How many more descriptors fit.
    #[inline]
    pub fn room(&self) -> u32 {
        self.len() - self.pending() - self.filled
    }

    /// Puts one into the next place. The caller has seen to it that there is room.
    #[inline]
    pub fn put(&mut self, item: T) {
        debug_assert!(self.room() > 0);
        // SAFETY: the place is ours: the kernel has taken what was there before (see `room`), and does not look at it
        // until it is let go.
        unsafe { self.ring.item(self.next.wrapping_add(self.filled)).write(item) };
        self.filled += 1;
    }

    /// Lets go of everything that was put in.
    #[inline]
    pub fn release(&mut self) {
        self.next = self.next.wrapping_add(self.filled);
        self.filled = 0;
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Whether the kernel wants a system call before it looks at the ring.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        // SAFETY: as for `Ring::producer`.
        let flags = self.ring.flags.map(|flags| unsafe { flags.as_ref() }.load(Ordering::Relaxed));
        flags.is_some_and(|flags| flags & XdpRingFlags::XDP_RING_NEED_WAKEUP.bits() != 0)
    }
}

/// A mapping of a part of a file.
struct Map(NonNull<u8>, usize);

// SAFETY: a mapping may be unmapped by any thread.
unsafe impl Send for Map {}

impl Map {
    fn new(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Map> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: a mapping at an address of the kernel's choice touches nothing of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), len, access, flags, file, offset) }?;
        NonNull::new(start.cast()).map(|start| Map(start, len)).ok_or(io::ErrorKind::OutOfMemory.into())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and who looked into it is gone with it. It cannot fail then.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), self.1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::UnsafeCell;
    use std::collections::VecDeque;
    use std::sync::Arc;

    const LEN: usize = 8;

    /// A ring in ordinary memory, its counters at `start`.
    struct Block {
        producer: AtomicU32,
        consumer: AtomicU32,
        flags: AtomicU32,
        items: UnsafeCell<[u64; LEN]>,
    }

    // SAFETY: who may touch which item is told by the counters, as with the kernel.
    unsafe impl Sync for Block {}
    // SAFETY: plain memory.
    unsafe impl Send for Block {}

    impl Block {
        fn ring(self: &Arc<Block>) -> Ring<u64> {
            Ring {
                producer: NonNull::from(&self.producer),
                consumer: NonNull::from(&self.consumer),
                flags: Some(NonNull::from(&self.flags)),
                items: NonNull::new(self.items.get()).unwrap().cast(),
                mask: LEN as u32 - 1,
                _memory: Box::new(self.clone()),
            }
        }
    }

    /// Both ends of one ring.
    fn ends(start: u32) -> (Arc<Block>, Producer<u64>, Consumer<u64>) {
        let (producer, consumer) = (AtomicU32::new(start), AtomicU32::new(start));
        let items = UnsafeCell::new([0; LEN]);
        let block = Arc::new(Block { producer, consumer, flags: AtomicU32::new(0), items });
        let ends = (Producer::new(block.ring()), Consumer::new(block.ring()));
        (block, ends.0, ends.1)
    }

    fn drain(consumer: &mut Consumer<u64>, most: u32) -> Vec<u64> {
        let n = consumer.look().min(most);
        let items = (0..n).map(|i| consumer.get(i).unwrap()).collect();
        consumer.release(n);
        items
    }

    #[test]
    fn nothing_is_seen_before_it_is_let_go() {
        let (_, mut producer, mut consumer) = ends(0);
        producer.put(1);
        assert_eq!((producer.pending(), producer.room(), consumer.look()), (0, 7, 0));
        producer.release();
        assert_eq!((producer.pending(), producer.room(), consumer.get(0)), (1, 7, None));
        assert_eq!((consumer.look(), consumer.get(0), consumer.get(1)), (1, Some(1), None));
        assert_eq!(producer.pending(), 1, "looking takes nothing");
        consumer.release(1);
        assert_eq!((producer.pending(), consumer.look()), (0, 0));
    }

    #[test]
    fn the_kernel_asks_to_be_woken() {
        let (block, producer, _) = ends(0);
        assert!(!producer.needs_wakeup());
        block.flags.store(1, Ordering::Relaxed);
        assert!(producer.needs_wakeup());
    }

    #[test]
    fn two_threads_see_every_item_once_and_in_order() {
        let (_, mut producer, mut consumer) = ends(u32::MAX - 100);
        let sender = std::thread::spawn(move || {
            for i in 0..if cfg!(miri) { 50 } else { 20_000 } {
                while producer.room() == 0 {
                    std::thread::yield_now();
                }
                producer.put(i);
                producer.release();
            }
        });
        let mut expected = 0;
        while !sender.is_finished() || consumer.look() > 0 {
            for item in drain(&mut consumer, 3) {
                assert_eq!(item, expected);
                expected += 1;
            }
            std::thread::yield_now();
        }
        sender.join().unwrap();
        assert_eq!(expected, if cfg!(miri) { 50 } else { 20_000 });
    }

    proptest! {
        #[test]
        fn a_ring_is_a_queue_of_bounded_length(near in 0u32..40, steps in prop::collection::vec((0u32..12, 0u32..12), 1..60)) {
            let (_, mut producer, mut consumer) = ends(0u32.wrapping_sub(near));
            let (mut model, mut number) = (VecDeque::new(), 0);
            for (put, take) in steps {
                prop_assert_eq!(producer.room() as usize, LEN - model.len());
                for _ in 0..put.min(producer.room()) {
                    producer.put(number);
                    model.push_back(number);
                    number += 1;
                }
                producer.release();
                let expected: Vec<_> = model.drain(..model.len().min(take as usize)).collect();
                prop_assert_eq!(drain(&mut consumer, take), expected);
            }
        }
    }
}
