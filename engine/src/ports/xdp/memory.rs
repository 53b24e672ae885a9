//! The memory of all AF_XDP ports of a switch: which UMEM a queue's frames lie in, and how much there may be of it.

use super::ring::Sizes;
use super::stock::{Limits, Stock};
use super::umem::{HEADROOM, Seated, Shape, Umem};
use crate::wire::ethernet::{HEADER_LEN, VLAN_TAG_LEN};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use xsk_rs::config::BindFlags;

/// Bytes of a chunk: half a page, the least there can be, where the longest frame fits beside the headroom, as at an MTU of
/// 1500; otherwise a page, of which a frame of 9000 bytes takes three.
const HALF: u32 = 2048;
const PAGE: u32 = 4096;
/// Chunks of a shared UMEM, and of these how many its sockets may call their own. The others go to who needs them.
const CHUNKS: u16 = 512;
const PROMISED: u32 = 374;
/// Rings of a socket that shares: each fits a page.
const RINGS: Sizes = Sizes { rx: 128, tx: 128, fill: 128, completion: 128 };
/// The same for the first few of a switch, which may have more chunks.
const ROOMY_RINGS: Sizes = Sizes { rx: 512, fill: 512, ..RINGS };
/// A UMEM of which no more than this is promised is roomy.
const ROOMY: u32 = PROMISED / 8;
/// The smallest rings, of a socket that is there to hold the memory.
const ANCHOR: Sizes = Sizes { rx: 2, tx: 2, fill: 2, completion: 2 };
/// Chunks that a socket has lent to the kernel when nothing is going on: as many frames as a TCP sender may begin with
/// (RFC 6928), or four of the largest, but no more than two of 64 KiB.
const LEAST: u32 = 10;
const LARGEST: u32 = 4;
const MOST_OF_LARGEST: u32 = 36;
/// So many shared UMEMs are made before a second queue has to share one: two ports do not feel each other.
const SPREAD: usize = 2;

/// Frames that may wait at a queue with memory of its own: at 1.5 Mpps, what comes in 1.4 ms; and the same where it would share
/// if it could.
pub(super) const LONG: u32 = 2048;
pub(super) const SHORT: u32 = 512;

/// Most pieces of a frame that the kernel sends (`MAX_SKB_FRAGS` and the head).
pub(super) const MOST_PIECES: usize = 18;

/// Bytes that there may be in all, unless the embedder says otherwise.
const LIMIT: usize = 1 << 30;

/// Memory for frames of AF_XDP ports. Ports that are opened with clones of the same one share it.
#[derive(Clone)]
pub struct XdpMemory(Arc<Mutex<Umems>>);

struct Umems {
    limit: usize,
    shared: Vec<Weak<Umem>>,
    own: Vec<Weak<Umem>>,
}

/// Why there is no memory.
#[derive(Debug)]
pub(super) enum Shortage {
    /// All that there may be is used.
    Limit(usize),
    Kernel(io::Error),
}

impl Default for XdpMemory {
    fn default() -> XdpMemory {
        XdpMemory::new(LIMIT)
    }
}

impl fmt::Debug for XdpMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XdpMemory({} bytes)", self.bytes())
    }
}

impl XdpMemory {
    /// Memory of up to `limit` bytes. None is taken before there are ports.
    pub fn new(limit: usize) -> XdpMemory {
        XdpMemory(Arc::new(Mutex::new(Umems { limit, shared: Vec::new(), own: Vec::new() })))
    }

    /// Bytes that ports have now.
    pub fn bytes(&self) -> usize {
        self.umems().bytes()
    }

    /// A place at a UMEM that is shared, for an interface of this MTU, and the rings it is to have.
    pub(super) fn share(&self, mtu: u16) -> Result<(Seated, Stock, Sizes), Shortage> {
        let mut umems = self.umems();
        if umems.shared.len() < SPREAD
            && let Ok(seat) = umems.seat_at_new(mtu)
        {
            return Ok(seat);
        }
        umems.seat(mtu).map_or_else(|| umems.seat_at_new(mtu), Ok)
    }

    /// A UMEM of one queue, where `ring` frames may wait each way.
    pub(super) fn own(
        &self,
        ring: u32,
        frags: bool,
        make: impl FnOnce(Shape) -> io::Result<Umem>,
    ) -> Result<(Seated, Stock), Shortage> {
        let mut umems = self.umems();
        let umem = umems.admit(own_shape(ring, frags), make)?;
        umems.own.push(Arc::downgrade(&umem));
        let all = 2 * ring;
        let limits = Limits { least: ring, most: ring, sending: ring, all };
        umem.seat(limits).ok_or_else(|| Shortage::Kernel(io::ErrorKind::OutOfMemory.into()))
    }

    fn umems(&self) -> std::sync::MutexGuard<'_, Umems> {
        let mut umems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        umems.forget();
        umems
    }
}

impl Umems {
    /// Forgets what is no more.
    fn forget(&mut self) {
        self.shared.retain(|umem| umem.strong_count() > 0);
        self.own.retain(|umem| umem.strong_count() > 0);
    }

    fn bytes(&self) -> usize {
        let all = self.shared.iter().chain(&self.own);
        all.filter_map(Weak::upgrade).map(|umem| umem.shape().bytes()).sum()
    }

    /// The shared UMEMs of chunks of this size.
    fn sharing(&self, chunk: u32) -> Vec<Arc<Umem>> {
        let all = self.shared.iter().filter_map(Weak::upgrade);
        all.filter(|umem| umem.shape().chunk == chunk).collect()
    }

    /// A place at the emptiest UMEM that has one.
    fn seat(&self, mtu: u16) -> Option<(Seated, Stock, Sizes)> {
        let mut umems = self.sharing(chunk(mtu));
        umems.sort_by_key(|umem| umem.promised());
        umems.iter().find_map(|umem| self.seat_at(umem, mtu))
    }

    fn seat_at_new(&mut self, mtu: u16) -> Result<(Seated, Stock, Sizes), Shortage> {
        let umem = self.admit(shared_shape(chunk(mtu)), anchored)?;
        self.shared.push(Arc::downgrade(&umem));
        self.seat_at(&umem, mtu).ok_or_else(|| Shortage::Kernel(io::ErrorKind::OutOfMemory.into()))
    }

    fn seat_at(&self, umem: &Arc<Umem>, mtu: u16) -> Option<(Seated, Stock, Sizes)> {
        let roomy = self.sharing(umem.shape().chunk).len() <= SPREAD && umem.promised() <= ROOMY;
        let rings = if roomy { ROOMY_RINGS } else { RINGS };
        let (seated, stock) = umem.seat(limits(mtu, rings))?;
        Some((seated, stock, rings))
    }

    /// Makes a UMEM, if there may be so much.
    fn admit(&self, shape: Shape, make: impl FnOnce(Shape) -> io::Result<Umem>) -> Result<Arc<Umem>, Shortage> {
        if self.bytes() + shape.bytes() > self.limit {
            return Err(Shortage::Limit(self.limit));
        }
        make(shape).map(Arc::new).map_err(Shortage::Kernel)
    }
}

/// Frames in pieces are taken where the kernel knows them (Linux 6.6).
fn anchored(shape: Shape) -> io::Result<Umem> {
    match Umem::anchored(shape) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Umem::anchored(Shape { bind: shape.bind - BindFlags::XDP_USE_SG, ..shape })
        }
        result => result,
    }
}

/// Its sockets are bound as the first is.
fn shared_shape(chunk: u32) -> Shape {
    let bind = BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP | BindFlags::XDP_USE_SG;
    Shape { chunk, chunks: CHUNKS, promised: PROMISED, rings: ANCHOR, bind }
}

/// The fill ring is twice as long as there are chunks for it. The kernel tells how far it has come only when it has taken all
/// that it knew of (`xskq_cons_get_entries` in net/xdp/xsk_queue.h); until then every chunk may come back once more.
fn own_shape(ring: u32, frags: bool) -> Shape {
    let pieces = if frags { BindFlags::XDP_USE_SG } else { BindFlags::empty() };
    let rings = Sizes { rx: ring, tx: ring, fill: 2 * ring, completion: ring };
    let bind = BindFlags::XDP_USE_NEED_WAKEUP | pieces;
    Shape { chunk: PAGE, chunks: (2 * ring) as u16, promised: 2 * ring, rings, bind }
}

/// Bytes of the longest frame of an interface, two tags included.
fn longest(mtu: u16) -> u32 {
    u32::from(mtu) + (HEADER_LEN + 2 * VLAN_TAG_LEN) as u32
}

/// The size of the chunks that suit an interface of this MTU.
fn chunk(mtu: u16) -> u32 {
    if pieces(HALF, mtu) == 1 { HALF } else { PAGE }
}

/// The chunks of a socket that shares, on an interface of this MTU.
fn limits(mtu: u16, rings: Sizes) -> Limits {
    let largest = LARGEST * pieces(chunk(mtu), mtu);
    let (least, most) = (largest.clamp(LEAST, MOST_OF_LARGEST), rings.fill);
    Limits { least, most, sending: longest(mtu).div_ceil(chunk(mtu)), all: most + rings.tx }
}

/// How many chunks a received frame takes at most.
pub(super) fn pieces(chunk: u32, mtu: u16) -> u32 {
    longest(mtu).div_ceil(chunk - HEADROOM)
}
