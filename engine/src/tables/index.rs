//! From a key's hash to its slot: open addressing with linear probing, never more than half full, in memory that is
//! mapped and populated at the start. One cache line answers most look-ups, and it can be fetched ahead.

use crate::cpu::prefetch;
use crate::memory::Slab;
use std::io;

/// Slots by hash. What a slot holds is the owner's matter: it compares and hashes.
pub(super) struct Index {
    /// Slot number plus one; 0 is free.
    cells: Slab<u32>,
}

impl Index {
    /// Room for `max` slots.
    pub fn new(max: usize) -> io::Result<Index> {
        Ok(Index { cells: Slab::new((2 * max).next_power_of_two().max(16))? })
    }

    /// Hints that this hash is looked for soon.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&raw const self.cells[self.home(hash)]);
    }

    /// The slot of this hash that `is` the one.
    #[inline]
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let slot = self.cells[at].checked_sub(1)?;
            if is(slot) {
                return Some(slot);
            }
            at = self.after(at);
        }
    }

    /// Adds a slot that is not there.
    #[inline]
    pub fn insert(&mut self, hash: u64, slot: u32) {
        let mut at = self.home(hash);
        while self.cells[at] != 0 {
            at = self.after(at);
        }
        self.cells[at] = slot + 1;
    }

    /// Removes a slot. Those behind it move up, so that no search ends too early (Knuth, volume 3, algorithm 6.4R).
    pub fn remove(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        let mut hole = self.home(hash);
        while self.cells[hole] != slot + 1 {
            if self.cells[hole] == 0 {
                return;
            }
            hole = self.after(hole);
        }
        let mut at = self.after(hole);
        while let Some(next) = self.cells[at].checked_sub(1) {
            let home = self.home(hash_of(next));
            if self.distance(home, at) >= self.distance(hole, at) {
                self.cells[hole] = next + 1;
                hole = at;
            }
            at = self.after(at);
        }
        self.cells[hole] = 0;
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.cells.len() - 1)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.cells.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.cells.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Against a hash map, with hashes so alike that they collide and wrap around the end.
        #[test]
        fn like_a_hash_map(ops in proptest::collection::vec((0u32..8, any::<bool>()), 1..300)) {
            let mut index = Index::new(8).unwrap();
            let hash_of = |slot: u32| 13 + u64::from(slot / 3);
            let mut model: HashMap<u32, ()> = HashMap::new();
            for (slot, add) in ops {
                if add && model.insert(slot, ()).is_none() {
                    index.insert(hash_of(slot), slot);
                }
                if !add {
                    model.remove(&slot);
                    index.remove(hash_of(slot), slot, hash_of);
                }
                for slot in 0..8 {
                    prop_assert_eq!(index.find(hash_of(slot), |s| s == slot).is_some(), model.contains_key(&slot));
                }
            }
        }
    }
}
