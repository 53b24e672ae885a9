//! This worker's flow cache: [`FlowKey`] to program.
//!
//! # Theory of operation
//!
//! A set-associative cache, like a processor's: the hash of a key names a set of eight ways, and the key is in one of
//! them or not cached. A set's eight 16-bit tags lie together, so one load tells which way may hold the key; an entry
//! is two cache lines, the key and the state. Nothing is ever deleted, moved or rehashed: an entry made under another
//! epoch simply does not count, and a full set gives up an entry that is void or else the one used longest ago.
//! It is a cache: forgetting costs one walk through the stages, so no flow can be refused.
//!
//! A batch is looked up in two steps, so that memory latency overlaps: [`FlowTable::prefetch`] while the next frame
//! is parsed, [`FlowTable::candidate`] for all frames (reads tags, prefetches the entry), then
//! [`FlowTable::hit`] frame by frame just before the program runs. Only the last is authoritative: an earlier frame
//! of the batch may have changed the entry meanwhile.

use crate::clock::Millis;
use crate::cpu::{equal_lanes, equal_line, prefetch};
use crate::flow::FlowKey;
use crate::memory::Slab;
use crate::program::Action;
use ahash::{AHasher, RandomState};
use std::hash::{BuildHasher, Hasher};
use std::io;
use zerocopy::{FromZeros, transmute_ref};

const WAYS: usize = 8;
/// Actions a cached program may have; a longer one is compiled for every frame.
const INLINE: usize = 4;

#[derive(FromZeros)]
#[repr(C, align(16))]
struct Tags([u16; WAYS]);

#[derive(FromZeros)]
#[repr(C, align(128))]
struct Entry {
    key: FlowKey,
    actions: [Action; INLINE],
    len: u32,
    epoch: u32,
    seen: u32,
    reserved: u32,
    frames: u64,
    bytes: u64,
}

const _: () = assert!(size_of::<Entry>() == 128, "a line of key, a line of state");

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u32);

impl SlotId {
    /// No way.
    pub const NONE: SlotId = SlotId(u32::MAX);
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
    used: usize,
}

impl FlowTable {
    /// Room for at least `flows` entries, at twice that many ways so that sets seldom overflow.
    ///
    /// # Errors
    /// When the kernel has not that much memory to give: 130 bytes a way.
    pub fn new(flows: usize) -> io::Result<FlowTable> {
        let sets = (flows.max(WAYS) * 2 / WAYS).next_power_of_two();
        Ok(FlowTable { tags: Slab::new(sets)?, entries: Slab::new(sets * WAYS)?, hasher: RandomState::new(), used: 0 })
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

    /// The way whose tag fits, if any; its lines are on their way into the cache.
    #[inline]
    pub fn candidate(&self, hash: u64) -> SlotId {
        let set = self.set(hash);
        let hits = equal_lanes(&self.tags[set].0, tag(hash));
        if hits == 0 {
            return SlotId::NONE;
        }
        let slot = set * WAYS + hits.trailing_zeros() as usize;
        let entry = &raw const self.entries[slot];
        prefetch(entry);
        prefetch(entry.cast::<FlowKey>().wrapping_add(1));
        SlotId(slot as u32)
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
        entry.holds(key, epoch).then(|| entry.count(len, now))
    }

    /// The entry that holds `key` under `epoch`, wherever in its set.
    pub fn search(&self, key: &FlowKey, hash: u64, epoch: u32) -> Option<SlotId> {
        let set = self.set(hash);
        let mut hits = equal_lanes(&self.tags[set].0, tag(hash));
        while hits != 0 {
            let slot = set * WAYS + hits.trailing_zeros() as usize;
            if self.entries[slot].holds(key, epoch) {
                return Some(SlotId(slot as u32));
            }
            hits &= hits - 1;
        }
        None
    }

    /// The program of an entry; counts a frame of `len` bytes.
    pub fn run(&mut self, slot: SlotId, len: usize, now: Millis) -> &[Action] {
        self.entries[slot.0 as usize].count(len, now)
    }

    /// Caches a program made under `epoch`. One that is too long is not.
    #[inline]
    pub fn insert(&mut self, key: &FlowKey, hash: u64, program: &[Action], epoch: u32, now: Millis) -> Option<SlotId> {
        if program.len() > INLINE {
            return None;
        }
        let set = self.set(hash);
        let way = self.victim(set, key, hash, epoch, now);
        self.used += usize::from(self.tags[set].0[way] == 0);
        self.tags[set].0[way] = tag(hash);
        let slot = set * WAYS + way;
        let entry = &mut self.entries[slot];
        entry.key = *key;
        entry.actions[..program.len()].copy_from_slice(program);
        (entry.len, entry.epoch, entry.seen) = (program.len() as u32, epoch, now.0);
        (entry.frames, entry.bytes) = (0, 0);
        Some(SlotId(slot as u32))
    }

    /// Up to `limit` live flows from position `cursor` on, and where to go on; `None` at the end.
    pub fn page(&self, cursor: usize, limit: usize, epoch: u32) -> (Vec<FlowEntry>, Option<usize>) {
        let end = self.entries.len().min(cursor.saturating_add(limit));
        let live = self.entries.get(cursor..end).unwrap_or(&[]).iter().filter(|e| e.epoch == epoch);
        (live.map(Entry::show).collect(), (end < self.entries.len()).then_some(end))
    }

    /// Calls `visit` with the key and last use of `limit` ways from `cursor` on; returns where to go on, 0 at the end.
    pub fn sweep(&self, cursor: usize, limit: usize, mut visit: impl FnMut(&FlowKey, Millis)) -> usize {
        let end = self.entries.len().min(cursor + limit);
        for entry in self.entries[cursor..end].iter().filter(|e| e.epoch != 0) {
            visit(&entry.key, Millis(entry.seen));
        }
        if end == self.entries.len() { 0 } else { end }
    }

    #[inline]
    fn set(&self, hash: u64) -> usize {
        hash as usize & (self.tags.len() - 1)
    }

    /// The way to fill: the key's own void entry, a free way, another void entry, or the one used longest ago.
    fn victim(&self, set: usize, key: &FlowKey, hash: u64, epoch: u32, now: Millis) -> usize {
        let tags = &self.tags[set];
        let own = equal_lanes(&tags.0, tag(hash));
        if own != 0 && self.entries[set * WAYS + own.trailing_zeros() as usize].key == *key {
            return own.trailing_zeros() as usize;
        }
        let free = equal_lanes(&tags.0, 0);
        if free != 0 {
            return free.trailing_zeros() as usize;
        }
        let age = |way: &usize| {
            let entry = &self.entries[set * WAYS + way];
            if entry.epoch == epoch { now.since(Millis(entry.seen)) } else { u32::MAX }
        };
        (0..WAYS).max_by_key(age).unwrap_or(0)
    }
}

impl Entry {
    #[inline(always)]
    fn holds(&self, key: &FlowKey, epoch: u32) -> bool {
        self.epoch == epoch && equal_line(transmute_ref!(&self.key), transmute_ref!(key))
    }

    /// Counts a frame and gives the program.
    #[inline(always)]
    fn count(&mut self, len: usize, now: Millis) -> &[Action] {
        self.frames += 1;
        self.bytes += len as u64;
        self.seen = now.0;
        &self.actions[..(self.len as usize).min(INLINE)]
    }

    fn show(&self) -> FlowEntry {
        let program = self.actions[..(self.len as usize).min(INLINE)].to_vec();
        FlowEntry { key: self.key, program, frames: self.frames, bytes: self.bytes, seen: Millis(self.seen) }
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
    use crate::flow::PortId;
    use crate::wire::Mac;

    fn key(n: u64) -> FlowKey {
        FlowKey { eth_src: Mac::from_u64(n), eth_dst: Mac::from_u64(n << 7), ..FlowKey::default() }
    }

    fn put(table: &mut FlowTable, n: u64, epoch: u32, now: u32) -> SlotId {
        let hash = table.hasher().hash(&key(n).words());
        table.insert(&key(n), hash, &[Action::Output(PortId(n as u16))], epoch, Millis(now)).unwrap()
    }

    fn get(table: &FlowTable, n: u64, epoch: u32) -> Option<SlotId> {
        let hash = table.hasher().hash(&key(n).words());
        table.search(&key(n), hash, epoch)
    }

    #[test]
    fn what_was_put_is_found_under_its_epoch_only() {
        let mut table = FlowTable::new(64).unwrap();
        for n in 0..32 {
            put(&mut table, n, 1, 0);
        }
        for n in 0..32 {
            let slot = get(&table, n, 1).unwrap();
            assert_eq!(table.run(slot, 60, Millis(1)), [Action::Output(PortId(n as u16))]);
            assert_eq!(get(&table, n, 2), None);
        }
        assert_eq!(get(&table, 99, 1), None);
        assert_eq!(table.page(0, 1000, 1).0.iter().map(|f| (f.frames, f.bytes)).collect::<Vec<_>>(), vec![(1, 60); 32]);
    }

    #[test]
    fn an_entry_made_anew_replaces_itself() {
        let mut table = FlowTable::new(64).unwrap();
        let first = put(&mut table, 5, 1, 0);
        assert_eq!(put(&mut table, 5, 2, 0), first);
        assert_eq!(table.used(), 1);
    }

    #[test]
    fn a_full_set_gives_up_the_void_then_the_oldest() {
        let mut table = FlowTable::new(1).unwrap();
        let ways = table.capacity() as u64;
        for n in 0..200 {
            put(&mut table, n, 1, n as u32);
        }
        assert_eq!(table.used() as u64, ways);
        let alive = (0..200).filter(|&n| get(&table, n, 1).is_some()).count();
        assert_eq!(alive as u64, ways);
        assert!(get(&table, 199, 1).is_some() && get(&table, 0, 1).is_none());
        for n in 200..200 + ways / 2 {
            put(&mut table, n, 2, 500);
        }
        assert!((200..200 + ways / 2).all(|n| get(&table, n, 2).is_some()), "void entries go first");
    }

    #[test]
    fn almost_all_of_the_promised_flows_stay() {
        let mut table = FlowTable::new(65_536).unwrap();
        for n in 0..65_536 {
            put(&mut table, n, 1, 0);
        }
        let kept = (0..65_536).filter(|&n| get(&table, n, 1).is_some()).count();
        assert!(kept > 64_000, "{kept}");
    }

    #[test]
    fn a_long_program_is_not_cached() {
        let mut table = FlowTable::new(8).unwrap();
        let hash = table.hasher().hash(&key(1).words());
        assert_eq!(table.insert(&key(1), hash, &[Action::Output(PortId(1)); 5], 1, Millis(0)), None);
    }
}
