//! Counters that one thread writes and any thread reads.
//!
//! Every counter has a single writer (the worker that owns the port's queue), so an update is a plain
//! load, add and store: no atomic read-modify-write, no lock. Readers see each counter whole, but not a
//! consistent cut across counters.

use crate::drop::DropReason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter with one writer. It grows; see [`Counter::take_back`].
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker may call this: a second writer would lose updates.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes back `n` that this thread added too early: of frames that turned out not to be sent.
    #[cold]
    pub fn take_back(&self, n: u64) {
        self.add(n.wrapping_neg());
    }

    /// Replaces the value: for gauges such as a table's size.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The current value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What happened at one port, seen by one worker. Lengths are Ethernet frames without FCS.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PortCounters {
    /// Frames taken from the port. A super-frame counts once.
    pub rx_frames: Counter,
    /// Bytes of those frames.
    pub rx_bytes: Counter,
    /// Frames the port accepted.
    pub tx_frames: Counter,
    /// Bytes of those frames.
    pub tx_bytes: Counter,
    /// Copies made of frames from this port, to flood them, and of frames that pass it, for a mirror; and segments cut from super-frames to this port: the last takes
    /// its super-frame's place and is not counted. An answer takes its question's place too. And frames that were injected as if
    /// they came by this port ([`Switch::inject`](crate::Switch::inject)).
    pub generated: Counter,
    /// Frames to this port that went into others: segments joined into super-frames.
    pub coalesced: Counter,
    /// Times that an address jumped between this port and others, and was pinned to one of them.
    pub mac_flaps: Counter,
    /// Drops by [`DropReason::index`]: at ingress for the pipeline's reasons, at egress for the port's own.
    pub drops: [Counter; DropReason::COUNT],
}

impl PortCounters {
    /// Counts one dropped frame.
    #[inline]
    pub fn count_drop(&self, reason: DropReason) {
        self.drops[reason.index()].add(1);
    }

    /// Adds the final counts of another port.
    pub fn absorb(&self, other: &PortCounters) {
        let PortCounters { rx_frames, rx_bytes, tx_frames, tx_bytes, generated, coalesced, mac_flaps, drops } = other;
        self.rx_frames.add(rx_frames.get());
        self.rx_bytes.add(rx_bytes.get());
        self.tx_frames.add(tx_frames.get());
        self.tx_bytes.add(tx_bytes.get());
        self.generated.add(generated.get());
        self.coalesced.add(coalesced.get());
        self.mac_flaps.add(mac_flaps.get());
        self.drops.iter().zip(drops).for_each(|(sum, drops)| sum.add(drops.get()));
    }

    /// All drops of this port.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().map(Counter::get).sum()
    }
}

/// What one worker did. Times are in ticks of [`crate::clock::ticks`].
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Rounds over all queues that found at least one frame.
    pub batches: Counter,
    /// Frames received.
    pub frames: Counter,
    /// Ticks spent in rounds that found work.
    pub busy_ticks: Counter,
    /// Ticks since the worker began.
    pub total_ticks: Counter,
    /// Entries of the flow cache that were ever filled.
    pub flow_entries: Counter,
    /// Frames that missed the flow cache.
    pub misses: Counter,
    /// Free frames of both size classes in this worker's pool.
    pub pool_free: Counter,
    /// MAC addresses that moved to another port.
    pub moves: Counter,
}
