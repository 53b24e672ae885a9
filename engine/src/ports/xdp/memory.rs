//! The memory of all AF_XDP ports of a switch: which UMEM a queue's frames lie in, and how much there may be of it.

use super::ring::Sizes;
use super::stock::{Limits, Stock};
use super::umem::{HEADROOM, Seated, Shape, Umem};
use crate::wire::ethernet::{HEADER_LEN, VLAN_TAG_LEN};
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use xsk_rs::config::BindFlags;

/// Bytes of a chunk: half a page, the least there can be, where the longest frame fits beside the headroom, as at an MTU of
/// 1500; otherwise a page, of which a frame of 9000 bytes takes three.
const HALF: u32 = 2048;
const PAGE: u32 = 4096;

/// A sort of shared UMEMs.
struct Sort {
    chunks: u16,
    /// Of these, how many its sockets may call their own. The others go to who needs them.
    promised: u32,
    /// Chunks that a socket has lent to the kernel when nothing is going on.
    least: u32,
    rings: Sizes,
}

/// The first UMEMs of a switch, for eight sockets each, or one that may have all that TCP keeps under way by default (3 MB).
const ROOMY: Sort = Sort {
    chunks: 4096,
    promised: 8 * 257,
    least: 256,
    rings: Sizes { rx: 2048, tx: 512, fill: 4096, completion: 512 },
};
/// All others: 34 sockets, of which each idle one has as many chunks as a TCP sender may begin with (RFC 6928), and one to
/// send. Each ring fits a page.
const DENSE: Sort =
    Sort { chunks: 512, promised: 34 * 11, least: 10, rings: Sizes { rx: 128, tx: 128, fill: 256, completion: 128 } };
/// So many roomy UMEMs are made before a second queue has to share one: two ports do not feel each other.
const SPREAD: usize = 2;
/// The smallest rings, of a socket that is there to hold the memory.
const ANCHOR: Sizes = Sizes { rx: 2, tx: 2, fill: 2, completion: 2 };
/// A socket may receive so many of the largest frames at once, but they take no more chunks than two of 64 KiB.
const LARGEST: u32 = 4;
const MOST_OF_LARGEST: u32 = 36;

/// Frames that may wait at a queue with memory of its own: at 1.5 Mpps, what comes in 1.4 ms; and the same where it would share
/// if it could.
pub(super) const LONG: u32 = 2048;
pub(super) const SHORT: u32 = 512;

/// Frames that may be asked to wait there.
const RING: RangeInclusive<u32> = 64..=8192;

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
        if umems.sharing(&ROOMY, mtu).len() < SPREAD
            && let Ok(seat) = umems.seat_at_new(&ROOMY, mtu)
        {
            return Ok(seat);
        }
        let there = [ROOMY, DENSE].iter().find_map(|sort| umems.seat(sort, mtu));
        there.map_or_else(|| umems.seat_at_new(&DENSE, mtu), Ok)
    }

    /// A UMEM of one queue, where `ring` frames may wait each way.
    pub(super) fn own(
        &self,
        ring: u32,
        frags: bool,
        make: impl FnOnce(Shape) -> io::Result<Umem>,
    ) -> Result<(Seated, Stock), Shortage> {
        if !RING.contains(&ring) || !ring.is_power_of_two() {
            return Err(Shortage::Kernel(io::ErrorKind::InvalidInput.into()));
        }
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

    /// The shared UMEMs of this sort that suit an interface of this MTU.
    fn sharing(&self, sort: &Sort, mtu: u16) -> Vec<Arc<Umem>> {
        let all = self.shared.iter().filter_map(Weak::upgrade);
        all.filter(|umem| (umem.shape().chunk, umem.shape().chunks) == (chunk(mtu), sort.chunks)).collect()
    }

    /// A place at the emptiest UMEM of this sort that has one.
    fn seat(&self, sort: &Sort, mtu: u16) -> Option<(Seated, Stock, Sizes)> {
        let mut umems = self.sharing(sort, mtu);
        umems.sort_by_key(|umem| umem.promised());
        umems.iter().find_map(|umem| seat_at(umem, sort, mtu))
    }

    fn seat_at_new(&mut self, sort: &Sort, mtu: u16) -> Result<(Seated, Stock, Sizes), Shortage> {
        let umem = self.admit(shared_shape(sort, chunk(mtu)), anchored)?;
        self.shared.push(Arc::downgrade(&umem));
        seat_at(&umem, sort, mtu).ok_or_else(|| Shortage::Kernel(io::ErrorKind::OutOfMemory.into()))
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
fn shared_shape(sort: &Sort, chunk: u32) -> Shape {
    let bind = BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP | BindFlags::XDP_USE_SG;
    Shape { chunk, chunks: sort.chunks, promised: sort.promised, rings: ANCHOR, bind }
}

fn seat_at(umem: &Arc<Umem>, sort: &Sort, mtu: u16) -> Option<(Seated, Stock, Sizes)> {
    let (seated, stock) = umem.seat(limits(sort, mtu))?;
    Some((seated, stock, sort.rings))
}

/// The fill ring is twice as long as there are chunks for it, here as with the sockets that share. The kernel tells how far it
/// has come only when it has taken all that it knew of (`xskq_cons_get_entries` in net/xdp/xsk_queue.h); until then every
/// chunk may come back once more.
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
fn limits(sort: &Sort, mtu: u16) -> Limits {
    let largest = (LARGEST * pieces(chunk(mtu), mtu)).min(MOST_OF_LARGEST);
    let (least, most) = (largest.max(sort.least), sort.rings.rx);
    Limits { least, most, sending: longest(mtu).div_ceil(chunk(mtu)), all: most + sort.rings.tx }
}

/// How many chunks a received frame takes at most.
pub(super) fn pieces(chunk: u32, mtu: u16) -> u32 {
    longest(mtu).div_ceil(chunk - HEADROOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_has_a_place_at_a_new_umem_and_chunks_for_its_longest_frames() {
        for (sort, mtu) in [ROOMY, DENSE].iter().flat_map(|sort| (68..=u16::MAX).map(move |mtu| (sort, mtu))) {
            let limits = limits(sort, mtu);
            assert!(limits.own() <= sort.promised && sort.promised <= sort.chunks.into(), "{mtu}: {limits:?}");
            assert!(limits.least >= pieces(chunk(mtu), mtu) && limits.least <= limits.most, "{mtu}: {limits:?}");
            assert!(limits.sending <= sort.rings.tx && limits.sending as usize <= MOST_PIECES, "{mtu}: {limits:?}");
            assert!(limits.most <= sort.rings.rx && 2 * limits.most <= sort.rings.fill, "{mtu}: {limits:?}");
        }
    }

    #[test]
    fn so_many_share() {
        let places = |sort: &Sort, mtu| sort.promised / limits(sort, mtu).own();
        assert_eq!([1500, 9000, 65_521].map(|mtu| places(&ROOMY, mtu)), [8, 7, 7]);
        assert_eq!([1500, 9000, 65_521].map(|mtu| places(&DENSE, mtu)), [34, 24, 7]);
    }
}
