//! This worker's flow cache: [`FlowKey`] to program.
//!
//! # Theory of operation
//!
//! A set-associative cache, like a processor's: the hash of a key names a set of eight ways, and the key is in one of
//! them or not cached. A set's eight 16-bit tags lie together, so one load tells which way may hold the key; an entry
//! is two cache lines, of which layer 2 needs the first. Nothing is ever deleted, moved or rehashed: an entry made
//! under another epoch simply does not count. It is a cache: forgetting costs one walk through the stages.
//!
//! A full set gives up the older of two ways that the hash picks, a void one before any other. When both were used a
//! moment ago the newcomer gets in only now and then (one time in eight), so that a flood of flows of one frame each neither
//! displaces the warm ones nor spends its time on entries that nobody will use again.
//!
//! A batch is looked up in two steps, so that memory latency overlaps: [`FlowTable::prefetch`] while the next frame
//! is parsed, [`FlowTable::candidate`] for all frames (reads tags, prefetches the entry), then
//! [`FlowTable::hit`] frame by frame just before the program runs. Only the last is authoritative: an earlier frame
//! of the batch may have changed the entry meanwhile.

use crate::clock::Millis;
use crate::cpu::{equal_lanes, prefetch};
use crate::flow::{Depth, FlowKey, PortId};
use crate::memory::Slab;
use crate::program::Action;
use ahash::{AHasher, RandomState};
use std::hash::{BuildHasher, Hasher};
use std::io;
use zerocopy::FromZeros;

const WAYS: usize = 8;
/// Actions a cached program may have; a longer one is compiled for every frame.
const INLINE: usize = 4;

/// An entry used within this many milliseconds is warm.
const WARM_MS: u32 = 100;
/// An entry that was not used for so many milliseconds is nobody's loss.
const COLD_MS: u32 = 10_000;
/// A newcomer displaces a warm entry once in this many times.
const ADMIT: u32 = 8;

#[derive(FromZeros)]
#[repr(C, align(16))]
struct Tags([u16; WAYS]);

/// One way. A hit at layer 2 whose program is one action reads and writes the first line only.
#[derive(FromZeros)]
#[repr(C, align(128))]
struct Entry {
    layer2: [u64; 3],
    epoch: u32,
    seen: u32,
    len: u32,
    reserved: u32,
    frames: u64,
    bytes: u64,
    actions: [Action; INLINE],
    deeper: [u64; 5],
}

const _: () =
    assert!(size_of::<Entry>() == 128 && std::mem::offset_of!(Entry, actions) == 56, "two lines, the first hot");

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u32);

impl SlotId {
    /// No way.
    pub const NONE: SlotId = SlotId(u32::MAX);
}

/// What was cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where.
    pub slot: SlotId,
    /// Another flow that was used not long ago had to go for it.
    has_displaced: bool,
}

impl Kept {
    /// Whether another flow that was used not long ago had to go.
    pub fn displaced(self) -> bool {
        self.has_displaced
    }
}

/// A cached flow, as shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowEntry {
    /// What its frames have in common.
    pub key: FlowKey,
    /// What is done with them.
    pub program: Vec<Action>,
    /// Frames so far.
    pub frames: u64,
    /// Bytes so far.
    pub bytes: u64,
    /// When the last came.
    pub seen: Millis,
}

/// Hashes the words of keys: three for a key of layer 2, whose other words are zero, else all eight.
pub struct KeyHasher(AHasher);

impl KeyHasher {
    /// The hash of a key's leading words.
    #[inline(always)]
    pub fn hash(&self, words: &[u64]) -> u64 {
        let mut hasher = self.0.clone();
        words.iter().for_each(|&word| hasher.write_u64(word));
        hasher.finish()
    }
}

/// The flow cache.
pub struct FlowTable {
    tags: Slab<Tags>,
    entries: Slab<Entry>,
    hasher: RandomState,
    depth: Depth,
    used: usize,
    newcomers: u32,
}

impl FlowTable {
    /// Room for at least `flows` entries, at twice that many ways so that sets seldom overflow. Keys are no deeper than
    /// `depth`.
    ///
    /// # Errors
    /// When the kernel has not that much memory to give: 130 bytes a way.
    pub fn new(flows: usize, depth: Depth) -> io::Result<FlowTable> {
        let sets = (flows.max(WAYS) / (WAYS / 2)).checked_next_power_of_two().ok_or(io::ErrorKind::OutOfMemory)?;
        let (tags, entries) = (Slab::new(sets)?, Slab::new(sets.saturating_mul(WAYS))?);
        Ok(FlowTable { tags, entries, hasher: RandomState::new(), depth, used: 0, newcomers: 0 })
    }

    /// Ways that were ever filled.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Ways there are.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// What hashes keys for this table.
    #[inline]
    pub fn hasher(&self) -> KeyHasher {
        KeyHasher(self.hasher.build_hasher())
    }

    /// Hints that the set of `hash` is looked at soon.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&raw const self.tags[self.set(hash)]);
    }

    /// The way whose tag fits, if any; its lines are on their way into the cache. Where none fits, those of the way that
    /// a new entry would take are.
    #[inline(always)]
    pub fn candidate(&self, hash: u64) -> SlotId {
        let set = self.set(hash);
        let tags = &self.tags[set].0;
        let hits = equal_lanes(tags, tag(hash));
        let slot = set * WAYS + if hits != 0 { hits.trailing_zeros() as usize } else { vacancy(tags, hash) };
        let entry = &raw const self.entries[slot];
        prefetch(entry);
        if self.depth > Depth::L2 {
            prefetch(entry.cast::<FlowKey>().wrapping_add(1));
        }
        if hits == 0 { SlotId::NONE } else { SlotId(slot as u32) }
    }

    /// The program of the candidate, if that still holds `key` under `epoch`; counts a frame of `len` bytes.
    #[inline(always)]
    pub fn hit(
        &mut self,
        candidate: SlotId,
        key: &FlowKey,
        epoch: u32,
        (len, now): (usize, Millis),
    ) -> Option<&[Action]> {
        let entry = self.entries.get_mut(candidate.0 as usize)?;
        entry.holds(&key.words(), self.depth, epoch).then(|| entry.count(len, now))
    }

    /// The entry that holds `key` under `epoch`, wherever in its set.
    pub fn search(&self, key: &FlowKey, hash: u64, epoch: u32) -> Option<SlotId> {
        let set = self.set(hash);
        let mut hits = equal_lanes(&self.tags[set].0, tag(hash));
        while hits != 0 {
            let slot = set * WAYS + hits.trailing_zeros() as usize;
            if self.entries[slot].holds(&key.words(), self.depth, epoch) {
                return Some(SlotId(slot as u32));
            }
            hits &= hits - 1;
        }
        None
    }

    /// An entry as people see it.
    pub fn show(&self, slot: SlotId) -> FlowEntry {
        self.entries[slot.0 as usize].show()
    }

    /// Whether a program is short enough to be cached.
    #[inline]
    pub fn fits(program: &[Action]) -> bool {
        program.len() <= INLINE
    }

    /// The program of an entry; counts a frame of `len` bytes.
    pub fn run(&mut self, slot: SlotId, len: usize, now: Millis) -> &[Action] {
        self.entries[slot.0 as usize].count(len, now)
    }

    /// Caches a program made under `epoch`; not one that is too long, nor every one in a full set.
    pub fn insert(&mut self, key: &FlowKey, hash: u64, program: &[Action], epoch: u32, now: Millis) -> Option<Kept> {
        if !Self::fits(program) {
            return None;
        }
        let set = self.set(hash);
        let (way, has_displaced) = self.place(set, key, hash, epoch, now)?;
        self.used += usize::from(self.tags[set].0[way] == 0);
        self.tags[set].0[way] = tag(hash);
        let slot = set * WAYS + way;
        self.entries[slot].fill(key, self.depth, program, (epoch, now));
        Some(Kept { slot: SlotId(slot as u32), has_displaced })
    }

    /// Up to `limit` live flows from position `cursor` on, and where to go on; `None` at the end. `epoch_of` tells the present
    /// epoch of an ingress port.
    pub fn page(
        &self,
        cursor: usize,
        limit: usize,
        epoch_of: impl Fn(PortId) -> u32,
    ) -> (Vec<FlowEntry>, Option<usize>) {
        let end = self.entries.len().min(cursor.saturating_add(limit));
        let live = self.entries.get(cursor..end).unwrap_or(&[]).iter().filter(|e| e.epoch == epoch_of(e.key().port));
        (live.map(Entry::show).collect(), (end < self.entries.len()).then_some(end))
    }

    /// Calls `visit` with the key, epoch and last use of up to `limit` ways from `cursor` on; returns where to go on, 0 at the
    /// end. Entries of which it says that they are void end: epochs may wrap around some day.
    pub fn sweep(
        &mut self,
        cursor: usize,
        limit: usize,
        mut visit: impl FnMut(&FlowKey, u32, Millis) -> bool,
    ) -> usize {
        let end = self.entries.len().min(cursor + limit);
        for slot in cursor..end {
            if self.tags[slot / WAYS].0[slot % WAYS] == 0 {
                continue;
            }
            let entry = &mut self.entries[slot];
            if entry.epoch != 0 && !visit(&entry.key(), entry.epoch, Millis(entry.seen)) {
                entry.epoch = 0;
            }
        }
        if end == self.entries.len() { 0 } else { end }
    }

    #[inline]
    fn set(&self, hash: u64) -> usize {
        hash as usize & (self.tags.len() - 1)
    }

    /// The way to fill: the key's own void entry, a free way, or the older of two, and whether that displaces a flow; `None`
    /// when those are warm.
    fn place(&mut self, set: usize, key: &FlowKey, hash: u64, epoch: u32, now: Millis) -> Option<(usize, bool)> {
        let tags = &self.tags[set].0;
        let own = equal_lanes(tags, tag(hash));
        if own != 0 && self.entries[set * WAYS + own.trailing_zeros() as usize].is_of(&key.words(), self.depth) {
            return Some((own.trailing_zeros() as usize, false));
        }
        let first = vacancy(tags, hash);
        if tags[first] == 0 {
            return Some((first, false));
        }
        let second = (first + 1 + (hash >> 41) as usize % (WAYS - 1)) % WAYS;
        let idle = |way: usize| self.entries[set * WAYS + way].idle(epoch, now);
        let (way, idle) = [first, second].map(|way| (way, idle(way))).into_iter().max_by_key(|&(_, idle)| idle)?;
        self.newcomers = self.newcomers.wrapping_add(1);
        (idle > WARM_MS || self.newcomers.is_multiple_of(ADMIT)).then_some((way, idle <= COLD_MS))
    }
}

impl Entry {
    #[inline(always)]
    fn holds(&self, words: &[u64; 8], depth: Depth, epoch: u32) -> bool {
        self.epoch == epoch && self.is_of(words, depth)
    }

    #[inline(always)]
    fn is_of(&self, words: &[u64; 8], depth: Depth) -> bool {
        let [a, b, c, deeper @ ..] = words;
        let layer2 = (self.layer2[0] ^ a) | (self.layer2[1] ^ b) | (self.layer2[2] ^ c);
        layer2 == 0 && (depth == Depth::L2 || self.deeper == *deeper)
    }

    /// Counts a frame and gives the program.
    #[inline(always)]
    fn count(&mut self, len: usize, now: Millis) -> &[Action] {
        self.frames += 1;
        self.bytes += len as u64;
        self.seen = now.0;
        &self.actions[..(self.len as usize).min(INLINE)]
    }

    fn fill(&mut self, key: &FlowKey, depth: Depth, program: &[Action], (epoch, now): (u32, Millis)) {
        let [a, b, c, deeper @ ..] = key.words();
        self.layer2 = [a, b, c];
        if depth > Depth::L2 {
            self.deeper = deeper;
        }
        for (action, &new) in self.actions.iter_mut().zip(program) {
            *action = new;
        }
        (self.len, self.epoch, self.seen) = (program.len() as u32, epoch, now.0);
        (self.frames, self.bytes) = (0, 0);
    }

    /// Milliseconds since the last frame; most of all for a void entry.
    fn idle(&self, epoch: u32, now: Millis) -> u32 {
        if self.epoch == epoch { now.since(Millis(self.seen)) } else { u32::MAX }
    }

    fn key(&self) -> FlowKey {
        let ([a, b, c], [d, e, f, g, h]) = (self.layer2, self.deeper);
        FlowKey::from_words([a, b, c, d, e, f, g, h])
    }

    fn show(&self) -> FlowEntry {
        let program = self.actions[..(self.len as usize).min(INLINE)].to_vec();
        FlowEntry { key: self.key(), program, frames: self.frames, bytes: self.bytes, seen: Millis(self.seen) }
    }
}

/// A free way, or the first that the hash picks.
#[inline(always)]
fn vacancy(tags: &[u16; WAYS], hash: u64) -> usize {
    match equal_lanes(tags, 0) {
        0 => (hash >> 44) as usize % WAYS,
        free => free.trailing_zeros() as usize,
    }
}

/// The tag of a hash: its high bits, never 0, which marks a free way.
#[inline]
fn tag(hash: u64) -> u16 {
    (hash >> 48) as u16 | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Mac;

    fn key(n: u64) -> FlowKey {
        FlowKey { eth_src: Mac::from_u64(n), eth_dst: Mac::from_u64(n << 7), ..FlowKey::default() }
    }

    fn try_put(table: &mut FlowTable, n: u64, epoch: u32, now: u32) -> Option<SlotId> {
        let hash = table.hasher().hash(&key(n).words());
        table.insert(&key(n), hash, &[Action::Output(PortId(n as u16))], epoch, Millis(now)).map(|kept| kept.slot)
    }

    fn put(table: &mut FlowTable, n: u64, epoch: u32, now: u32) -> SlotId {
        try_put(table, n, epoch, now).unwrap()
    }

    fn get(table: &FlowTable, n: u64, epoch: u32) -> Option<SlotId> {
        let hash = table.hasher().hash(&key(n).words());
        table.search(&key(n), hash, epoch)
    }

    #[test]
    fn what_was_put_is_found_under_its_epoch_only() {
        let mut table = FlowTable::new(64, Depth::L2).unwrap();
        for n in 0..32 {
            put(&mut table, n, 1, 0);
        }
        for n in 0..32 {
            let slot = get(&table, n, 1).unwrap();
            assert_eq!(table.run(slot, 60, Millis(1)), [Action::Output(PortId(n as u16))]);
            assert_eq!(get(&table, n, 2), None);
        }
        assert_eq!(get(&table, 99, 1), None);
        assert_eq!(
            table.page(0, 1000, |_| 1).0.iter().map(|f| (f.frames, f.bytes)).collect::<Vec<_>>(),
            vec![(1, 60); 32]
        );
    }

    #[test]
    fn an_entry_made_anew_replaces_itself() {
        let mut table = FlowTable::new(64, Depth::L2).unwrap();
        let first = put(&mut table, 5, 1, 0);
        assert_eq!(put(&mut table, 5, 2, 0), first);
        assert_eq!(table.used(), 1);
    }

    #[test]
    fn a_full_set_gives_up_the_idle_and_the_void_but_seldom_the_warm() {
        let mut table = FlowTable::new(1, Depth::L2).unwrap();
        let ways = table.capacity() as u64;
        let mut n = 0;
        while (table.used() as u64) < ways {
            try_put(&mut table, n, 1, 0);
            n += 1;
        }
        let crowd = 10_000..10_000 + u64::from(ADMIT) * 10;
        let admitted = crowd.filter(|&n| try_put(&mut table, n, 1, WARM_MS).is_some()).count();
        assert_eq!(admitted, 10, "one in {ADMIT} displaces a warm entry");
        assert!(try_put(&mut table, 20_000, 1, 5 * WARM_MS).is_some(), "an idle entry goes");
        assert!(try_put(&mut table, 30_000, 2, 5 * WARM_MS).is_some(), "a void one goes");
    }

    #[test]
    #[cfg_attr(miri, ignore = "hours")]
    fn almost_all_of_the_promised_flows_stay() {
        let mut table = FlowTable::new(65_536, Depth::L2).unwrap();
        for n in 0..65_536 {
            try_put(&mut table, n, 1, 0);
        }
        let kept = (0..65_536).filter(|&n| get(&table, n, 1).is_some()).count();
        assert!(kept > 64_000, "{kept}");
    }

    #[test]
    fn a_long_program_is_not_cached() {
        let mut table = FlowTable::new(8, Depth::L2).unwrap();
        let hash = table.hasher().hash(&key(1).words());
        assert_eq!(table.insert(&key(1), hash, &[Action::Output(PortId(1)); 5], 1, Millis(0)), None);
    }
}
