//! How the table grows and shrinks: chains of full buckets, one bucket split in two, the last one merged back.

use super::{At, Buckets, CONTINUES, Entry, LEAST, RECORDED, Record, SPARSE, SPILL, WAYS, hits, link, set_link};

impl Buckets {
    /// Merges buckets, two at a time, where there are far more than the entries need.
    #[inline]
    pub(super) fn shrink(&mut self) {
        for _ in 0..2 {
            if self.is_sparse() {
                self.merge();
            }
        }
    }

    #[inline]
    pub(super) fn is_sparse(&self) -> bool {
        self.len * 4 < self.main.buckets.len() * SPARSE && self.main.buckets.len() > LEAST
    }

    /// Adds an entry to a bucket, or to the spill behind it.
    #[inline]
    pub(super) fn add(&mut self, home: u32, new: Entry) -> Option<At> {
        let mut bucket = home;
        loop {
            let free = hits(self.bucket(bucket), 0);
            if free != 0 {
                let way = free.trailing_zeros() as usize;
                let entry = &mut self.bucket_mut(bucket)[way];
                *entry = Entry { flags: new.flags & RECORDED | entry.flags & !RECORDED, ..new };
                self.len += 1;
                return Some(At { bucket, way });
            }
            bucket = self.next(bucket).or_else(|| self.extend(bucket))?;
        }
    }

    /// Chains a spill bucket behind a full one.
    #[cold]
    pub(super) fn extend(&mut self, full: u32) -> Option<u32> {
        if !self.has_spare(1) {
            return None;
        }
        let fresh = self.spare - 1;
        let bucket = self.bucket_mut(fresh);
        let next = link(bucket);
        set_link(bucket, 0);
        self.spare = if next == 0 { 0 } else { SPILL + next };
        self.spares -= 1;
        let bucket = self.bucket_mut(full);
        set_link(bucket, fresh - SPILL);
        bucket[0].flags |= CONTINUES;
        Some(fresh)
    }

    /// Takes an entry out, with what else is known of it.
    #[inline]
    pub(super) fn take(&mut self, at: At) -> (Entry, Option<Record>) {
        let record = self.record(at);
        let entry = &mut self.bucket_mut(at.bucket)[at.way];
        let taken = *entry;
        *entry = Entry { flags: entry.flags & !RECORDED, ..Entry::default() };
        self.len -= 1;
        (taken, record)
    }

    /// Puts an entry that was taken into the bucket `home` or its spill, for which there is room.
    pub(super) fn put_back(&mut self, (entry, record): (Entry, Option<Record>), home: u32) {
        let at = self.add(home, entry);
        debug_assert!(at.is_some(), "room was made before");
        if let Some((at, record)) = at.zip(record) {
            self.set_record(at, record);
        }
    }

    /// Adds a bucket, where there is memory for it, and moves there what belongs there of the one that shared its hashes.
    #[inline]
    pub(super) fn split(&mut self, hash_of: impl Fn(u64) -> u64) {
        let from = (self.main.buckets.len() & self.mask) as u32;
        // As long as the chain it had is the longest that either may need.
        if self.next(from).is_some() && !self.has_spare(self.chain(from).count()) || !self.main.push() {
            return;
        }
        if self.main.buckets.len() > 2 * (self.mask + 1) {
            self.mask = 2 * self.mask + 1;
        }
        self.rehash(from, hash_of);
    }

    /// Whether `wanted` spill buckets are free, or can be had.
    #[inline]
    pub(super) fn has_spare(&mut self, wanted: usize) -> bool {
        while self.spares < wanted && self.spill.push() {
            self.free(self.spill.buckets.len() as u32 - 1 + SPILL);
        }
        self.spares >= wanted
    }

    /// Removes the last bucket; what it has goes to the one that shares its hashes then.
    pub(super) fn merge(&mut self) {
        let last = self.main.buckets.len() as u32 - 1;
        let to = (last as usize & self.mask) as u32;
        if !self.has_spare(1 + self.chain(last).count()) {
            return;
        }
        while let Some(at) = self.first(last) {
            let taken = self.take(at);
            self.put_back(taken, to);
        }
        self.free_chain(last);
        self.main.pop();
        if self.main.buckets.len() == self.mask + 1 && self.mask >= LEAST {
            self.mask /= 2;
        }
    }

    /// The first entry of a bucket and its spill.
    pub(super) fn first(&self, home: u32) -> Option<At> {
        std::iter::once(home).chain(self.chain(home)).find_map(|bucket| {
            let way = self.bucket(bucket).iter().position(|entry| entry.who != 0)?;
            Some(At { bucket, way })
        })
    }

    /// Moves every entry of a bucket that was split to where it belongs now.
    #[inline]
    pub(super) fn rehash(&mut self, home: u32, hash_of: impl Fn(u64) -> u64) {
        if self.next(home).is_some() {
            return self.rehash_chain(home, hash_of);
        }
        let to = self.main.buckets.len() as u32 - 1;
        let mut moved = 0;
        for way in 0..WAYS {
            let entry = *self.entry(At { bucket: home, way });
            if entry.who != 0 && self.home(hash_of(entry.who)) as u32 == to {
                self.move_entry(At { bucket: home, way }, At { bucket: to, way: moved }, entry);
                moved += 1;
            }
        }
    }

    /// Moves an entry into a way of a bucket without spill.
    #[inline]
    pub(super) fn move_entry(&mut self, from: At, to: At, entry: Entry) {
        let record = if entry.is_recorded() { self.record(from) } else { None };
        self.bucket_mut(from.bucket)[from.way] = Entry::default();
        self.bucket_mut(to.bucket)[to.way] = Entry { flags: entry.flags & RECORDED, ..entry };
        record.into_iter().for_each(|record| self.set_record(to, record));
    }

    /// The same with a spill, so that it is no longer than it must be.
    #[cold]
    pub(super) fn rehash_chain(&mut self, home: u32, hash_of: impl Fn(u64) -> u64) {
        let mut bucket = Some(home);
        while let Some(number) = bucket {
            for way in 0..WAYS {
                let at = At { bucket: number, way };
                let who = self.entry(at).who;
                let belongs = if who == 0 { home } else { self.home(hash_of(who)) as u32 };
                if who != 0 && (number >= SPILL || belongs != home) {
                    let taken = self.take(at);
                    self.put_back(taken, belongs);
                }
            }
            bucket = self.next(number);
        }
        self.trim(home);
    }

    /// Frees spill buckets at the end of a chain that hold nothing.
    pub(super) fn trim(&mut self, home: u32) {
        let last_used = std::iter::once(home)
            .chain(self.chain(home))
            .filter(|&bucket| bucket == home || self.bucket(bucket).iter().any(|entry| entry.who != 0));
        if let Some(last) = last_used.last() {
            self.free_chain(last);
        }
    }

    /// Frees the spill buckets behind a bucket, which hold nothing.
    pub(super) fn free_chain(&mut self, last: u32) {
        let mut next = self.next(last);
        self.bucket_mut(last)[0].flags &= !CONTINUES;
        while let Some(free) = next {
            next = self.next(free);
            self.free(free);
        }
    }

    pub(super) fn free(&mut self, number: u32) {
        let next = std::mem::replace(&mut self.spare, number + 1);
        let bucket = self.bucket_mut(number);
        *bucket = [Entry::default(); WAYS];
        set_link(bucket, next.saturating_sub(SPILL));
        self.spares += 1;
    }
}
