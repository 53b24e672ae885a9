//! The memory that frames lie in while the kernel has them, chunk by chunk.
//!
//! # Theory of operation
//!
//! A UMEM is registered with a socket, its *first*, which `xsk-rs` opens, binds and tears down. There are two sorts:
//!
//! *Of one queue.* The first socket is the queue's own, and has all chunks. So it is for a network card, which may read and
//! write the memory itself (zero-copy is a property of the whole UMEM), in generic mode, whose super-frames need much room,
//! and for a port that asks for its own ring.
//!
//! *Shared.* Up to some thirty queues of virtual interfaces, each of which needs much of it at times and nearly none most
//! of the time. A UMEM lives as long as its first socket is bound, so that one must not be a port's: it is bound to the
//! loopback of a namespace that exists for nothing else, and no frame ever passes it. The others join it, each with rings
//! of its own ([`super::socket`]); who of them has which chunk is told by their stocks ([`super::stock`]).
//!
//! A chunk is ours exactly between coming out of a ring and going into the next, and only then do we look at its bytes.
//!
//! The kernel keeps 128 bytes per chunk of the UMEM **for every socket** that shares it (`heads` in
//! net/xdp/xsk_buff_pool.c). That is why a shared UMEM is small, and why there are many.
#![expect(unsafe_code, reason = "memory shared with the kernel, and the promises that xsk-rs asks for")]

use super::ring::Sizes;
use super::stock::{Chunk, Depot, Limits, Seat, Stock};
use rustix::io::{FdFlags, fcntl_setfd};
use std::error::Error;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr::NonNull;
use std::slice;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, TxQueue};

/// What the kernel keeps in front of a received frame in its chunk (`XDP_PACKET_HEADROOM`).
pub(super) const HEADROOM: u32 = 256;

/// How a UMEM is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Bytes of a chunk: 2048, or a page.
    pub chunk: u32,
    pub chunks: u16,
    /// Of these, how many its sockets may call their own.
    pub promised: u32,
    /// The rings of the first socket.
    pub rings: Sizes,
    /// How the first socket is bound.
    pub bind: BindFlags,
}

impl Shape {
    /// Bytes of all chunks.
    pub fn bytes(&self) -> usize {
        self.chunk as usize * usize::from(self.chunks)
    }
}

/// Registered memory, and the socket that holds it.
pub(super) struct Umem {
    chunks: Chunks,
    shape: Shape,
    depot: Arc<Depot>,
    seats: Mutex<Seats>,
    file: RawFd,
    /// Kept only to be dropped.
    _first: Mutex<First>,
}

/// What `xsk-rs` tears down. Its fields are dropped in this order.
struct First {
    _tx: TxQueue,
    _rx: RxQueue,
    _fill: Option<(FillQueue, CompQueue)>,
    _umem: xsk_rs::Umem,
}

struct Seats {
    free: Vec<Seat>,
    /// Chunks that those who sit there call their own.
    promised: u32,
}

impl Umem {
    /// Registers memory with a socket on `queue` of the interface `name` of this thread's namespace.
    ///
    /// # Errors
    /// What the kernel says; EBUSY while an earlier socket there is being closed.
    pub fn new(name: &str, queue: u32, shape: Shape) -> io::Result<Umem> {
        let (umem, frames) = xsk_rs::Umem::new(shape.umem_config()?, shape.count()?, false).map_err(cause)?;
        let interface = Interface::from_str(name).map_err(io::Error::other)?;
        // SAFETY: this UMEM has no other socket of xsk-rs, and no program is loaded.
        let (tx, rx, fill) =
            unsafe { xsk_rs::Socket::new(shape.socket_config()?, &umem, &interface, queue) }.map_err(cause)?;
        let chunks = Chunks::new(&umem, &frames, shape).ok_or(io::ErrorKind::OutOfMemory)?;
        let seats = Seats { free: (1..=Seat::MAX).rev().collect(), promised: 0 };
        let (depot, seats, file) = (Arc::new(Depot::new(shape.chunks)), Mutex::new(seats), tx.fd().as_raw_fd());
        let _first = Mutex::new(First { _tx: tx, _rx: rx, _fill: fill, _umem: umem });
        let umem = Umem { chunks, shape, depot, seats, file, _first };
        fcntl_setfd(&umem, FdFlags::CLOEXEC)?;
        Ok(umem)
    }

    /// Registers memory with a socket that nothing else can ever happen to: on the loopback of a new namespace.
    ///
    /// # Errors
    /// What the kernel says; EPERM without CAP_SYS_ADMIN.
    pub fn anchored(shape: Shape) -> io::Result<Umem> {
        let inside = || {
            // SAFETY: this thread's namespace is nobody else's concern.
            match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
                0 => Umem::new("lo", 0, shape),
                _ => Err(io::Error::last_os_error()),
            }
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|_| Err(io::Error::other("panicked")))
    }

    /// How it was made.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The view of its chunks that a socket has. It goes no sooner than this.
    pub fn chunks(&self) -> Chunks {
        Chunks { ..self.chunks }
    }

    /// Chunks that sockets call their own: the measure of how full it is.
    pub fn promised(&self) -> u32 {
        self.seats().promised
    }

    /// A place for one more socket, with a stock of chunks; `None` when there is not enough for it.
    pub fn seat(self: &Arc<Umem>, limits: Limits) -> Option<(Seated, Stock)> {
        let mut seats = self.seats();
        let own = limits.own();
        let &seat = seats.free.last().filter(|_| seats.promised + own <= self.shape.promised)?;
        let stock = Stock::new(self.depot.clone(), seat, limits)?;
        seats.free.pop();
        seats.promised += own;
        Some((Seated { umem: self.clone(), seat, own }, stock))
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Umem {
    /// The first socket.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the file stays open for as long as `_first` lives, which is as long as this.
        unsafe { BorrowedFd::borrow_raw(self.file) }
    }
}

/// A socket's place at a UMEM. Dropped when the kernel has let go of the socket, it gives back what the socket held.
pub(super) struct Seated {
    pub umem: Arc<Umem>,
    seat: Seat,
    own: u32,
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.umem.depot.reclaim(self.seat);
        let mut seats = self.umem.seats();
        seats.free.push(self.seat);
        seats.promised -= self.own;
    }
}

impl Shape {
    fn count(&self) -> io::Result<NonZeroU32> {
        NonZeroU32::new(self.chunks.into()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn umem_config(&self) -> io::Result<UmemConfig> {
        let mut config = UmemConfig::builder();
        config.frame_size(FrameSize::new(self.chunk).map_err(io::Error::other)?);
        config.fill_queue_size(size(self.rings.fill)?).comp_queue_size(size(self.rings.completion)?);
        config.build().map_err(io::Error::other)
    }

    fn socket_config(&self) -> io::Result<SocketConfig> {
        let mut config = SocketConfig::builder();
        config.rx_queue_size(size(self.rings.rx)?).tx_queue_size(size(self.rings.tx)?);
        config.libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD);
        config.bind_flags(self.bind);
        Ok(config.build())
    }
}

fn size(len: u32) -> io::Result<QueueSize> {
    QueueSize::new(len).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// What the kernel said, inside an error of `xsk-rs`.
fn cause(error: impl Error + Send + Sync + 'static) -> io::Error {
    let code = error.source().and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    code.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}

/// The chunks of a UMEM, as one of its sockets sees them. The UMEM lives as long as the socket that owns this.
pub(super) struct Chunks {
    start: NonNull<u8>,
    len: u64,
    /// The size of a chunk is two to this power.
    shift: u32,
}

// SAFETY: plain memory; which chunk may be touched is told by the rings and the stock of the same socket, which go along.
unsafe impl Send for Chunks {}
// SAFETY: a view gives access only to the chunks that the caller says are its own.
unsafe impl Sync for Chunks {}

impl Chunks {
    /// The memory of `umem`, whose frames are `frames`, in order and all.
    fn new(umem: &xsk_rs::Umem, frames: &[FrameDesc], shape: Shape) -> Option<Chunks> {
        let first = frames.first()?;
        // SAFETY: no frame has been given to the kernel yet. The slice is empty and only tells the address.
        let data = unsafe { umem.data(first) };
        let start = data.contents().as_ptr().expose_provenance() - first.addr();
        // The mapping was made by a system call, and the kernel has its address as a number since.
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(start))?;
        Some(Chunks { start, len: shape.bytes() as u64, shift: shape.chunk.ilog2() })
    }

    /// Bytes of a chunk.
    #[inline]
    pub fn size(&self) -> usize {
        1 << self.shift
    }

    /// The chunk that a frame lies in.
    #[inline]
    pub fn chunk_of(&self, addr: u64) -> Chunk {
        (addr >> self.shift) as Chunk
    }

    /// Where a chunk begins.
    #[inline]
    pub fn address(&self, chunk: Chunk) -> u64 {
        u64::from(chunk) << self.shift
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

    /// Copies at most a chunk of bytes into a chunk that the caller has in hand.
    #[inline]
    pub fn fill(&mut self, chunk: Chunk, bytes: &[u8]) {
        let addr = self.address(chunk);
        debug_assert!(bytes.len() <= self.size() && self.contains(addr, bytes.len() as u32));
        // SAFETY: a chunk of the depot is inside the UMEM, and in hand it is ours alone; the bytes are those of a frame of
        // the arena.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(addr as usize), bytes.len()) };
    }

    #[inline]
    fn contains(&self, addr: u64, len: u32) -> bool {
        addr.checked_add(len.into()).is_some_and(|end| end <= self.len)
    }
}
