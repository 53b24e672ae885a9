//! Where a forwarding database keeps its entries: a hash table that grows and shrinks by one bucket at a time.
//!
//! # Theory of operation
//!
//! Linear hashing (Litwin, VLDB 1980). A bucket is a cache line of four entries, which answers a look-up by itself. What only
//! moves and several workers need lies apart, in memory that is otherwise never touched. The table has any number of buckets, and the
//! hash picks one by as many bits as that number needs. Whenever entries become more than [`FILL`] a bucket, the next bucket
//! in turn is split in two by one more bit; whenever they become few, the last is merged back. So no insertion
//! ever stops for a table to be copied, and an empty table is one page.
//!
//! An entry beyond the fourth goes into a bucket of the *spill*, chained behind the full one: a few buckets in a hundred
//! have one, and a flag in the first entry says so.

mod growth;

use crate::clock::Millis;
use crate::cpu::prefetch;
use crate::flow::PortId;
use crate::memory::GrowSlab;
use std::io;
use zerocopy::FromZeros;

/// Entries of a bucket.
const WAYS: usize = 4;
/// Entries a bucket, in quarters, above which one more bucket is made: 1.75.
const FILL: usize = 7;
/// Entries a bucket, in quarters, below which one is merged: half as many.
const SPARSE: usize = 3;
/// Buckets of a table without entries.
const LEAST: usize = 16;
/// Numbers from here on are of spill buckets.
const SPILL: u32 = 1 << 31;

/// One address, as it is looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros)]
#[repr(C)]
pub(super) struct Entry {
    /// A [`Station`](super::Station)'s number; 0 in a free way.
    pub who: u64,
    /// When it was last a source.
    pub seen: Millis,
    /// The owner: a port, by its number in this database.
    pub owner: u16,
    /// Two flags; in the second and third entry of a bucket the rest is the number of the spill bucket that follows.
    flags: u16,
}

/// The entry has a [`Record`].
const RECORDED: u16 = 1;
/// In the first entry: the bucket goes on in the spill.
const CONTINUES: u16 = 2;
/// Where a part of the number of the next bucket stands, and how long it is.
const LINK: u32 = 2;
const PART: u32 = 14;

impl Entry {
    /// Whether it has a [`Record`].
    #[inline(always)]
    pub fn is_recorded(&self) -> bool {
        self.flags & RECORDED != 0
    }

    /// An entry without record.
    pub fn new(who: u64, seen: Millis, owner: u16) -> Entry {
        Entry { who, seen, owner, flags: 0 }
    }
}

/// One bit for each entry that is of `who`, the first lowest. Which it will be cannot be foreseen, so there is no branch for it.
#[inline(always)]
fn hits(entries: &[Entry; WAYS], who: u64) -> u32 {
    let [a, b, c, d] = entries.each_ref().map(|entry| u32::from(entry.who == who));
    a | b << 1 | c << 2 | d << 3
}

/// The number that a bucket has of the one that follows.
fn link(bucket: &[Entry; WAYS]) -> u32 {
    u32::from(bucket[1].flags >> LINK) | u32::from(bucket[2].flags >> LINK) << PART
}

fn set_link(bucket: &mut [Entry; WAYS], link: u32) {
    for (entry, part) in bucket[1..3].iter_mut().zip([link, link >> PART]) {
        entry.flags = entry.flags & (RECORDED | CONTINUES) | ((part & ((1 << PART) - 1)) as u16) << LINK;
    }
}

/// What few entries need: of several workers, and of addresses that move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tables) struct Record {
    /// When the workers last told each other.
    pub told: Millis,
    /// How often the address moved; all workers count alike.
    pub moves: u32,
    /// When the present window of moves began.
    pub since: Millis,
    /// Where it was then.
    pub home: PortId,
    /// Moves in this window.
    pub jumps: u8,
}

#[derive(FromZeros)]
#[repr(C, align(64))]
struct Bucket([Entry; WAYS]);

/// What belongs to a bucket: records of those entries that are flagged to have one.
#[derive(FromZeros)]
#[repr(C, align(64))]
struct Annex {
    told: [Millis; WAYS],
    moves: [u32; WAYS],
    since: [Millis; WAYS],
    home: [PortId; WAYS],
    jumps: [u8; WAYS],
}

const _: () = assert!(size_of::<Bucket>() == 64 && size_of::<Annex>() == 64, "a line each");

/// Buckets and their annexes.
struct Area {
    buckets: GrowSlab<Bucket>,
    annexes: GrowSlab<Annex>,
}

impl Area {
    fn new(max: usize) -> io::Result<Area> {
        Ok(Area { buckets: GrowSlab::new(max)?, annexes: GrowSlab::new(max)? })
    }

    /// Adds an empty bucket.
    fn push(&mut self) -> bool {
        self.buckets.push_ready() && self.annexes.push()
    }

    /// Removes the last bucket, which is empty.
    fn pop(&mut self) {
        self.buckets.pop();
        self.annexes.pop();
    }
}

/// Where an entry is, until the next insertion or removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    bucket: u32,
    way: usize,
}

/// The entries of one database.
pub(super) struct Buckets {
    main: Area,
    spill: Area,
    /// One more than the number of the first free spill bucket; 0 for none. They are chained in the same way.
    spare: u32,
    /// Free spill buckets.
    spares: usize,
    /// One less than the largest power of two that the number of buckets reaches.
    mask: usize,
    len: usize,
}

impl Buckets {
    /// An empty table for at most `max` entries.
    ///
    /// # Errors
    /// When there is no address space for it.
    pub fn new(max: usize) -> io::Result<Buckets> {
        let most = (max * 4).div_ceil(FILL).max(LEAST) + 1;
        let (mut main, spill) = (Area::new(most)?, Area::new(most / 2 + LEAST)?);
        if !(0..LEAST).all(|_| main.push()) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(Buckets { main, spill, spare: 0, spares: 0, mask: LEAST - 1, len: 0 })
    }

    /// Entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Buckets, without those of the spill.
    pub fn buckets(&self) -> usize {
        self.main.buckets.len()
    }

    /// Hints that this hash is looked for soon.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&raw const self.main.buckets[self.home(hash)]);
    }

    /// Where the entry of `who` is.
    #[inline(always)]
    pub fn find(&self, hash: u64, who: u64) -> Option<At> {
        let home = self.home(hash);
        let entries = &self.main.buckets[home].0;
        match hits(entries, who) {
            0 if entries[0].flags & CONTINUES == 0 => None,
            0 => self.find_spilled(home, who),
            hits => Some(At { bucket: home as u32, way: hits.trailing_zeros() as usize }),
        }
    }

    /// The entry of `who`.
    #[inline(always)]
    pub fn get(&self, hash: u64, who: u64) -> Option<&Entry> {
        let home = self.home(hash);
        let entries = &self.main.buckets[home].0;
        match hits(entries, who) {
            0 if entries[0].flags & CONTINUES == 0 => None,
            0 => self.find_spilled(home, who).map(|at| self.entry(at)),
            hits => Some(&entries[hits.trailing_zeros() as usize % WAYS]),
        }
    }

    /// The entry of `who`, to be stamped.
    #[inline(always)]
    pub fn get_mut(&mut self, hash: u64, who: u64) -> Option<&mut Entry> {
        let home = self.home(hash);
        let entries = &self.main.buckets[home].0;
        let hits = hits(entries, who);
        if hits == 0 {
            let at = if entries[0].flags & CONTINUES == 0 { None } else { self.find_spilled(home, who) }?;
            return Some(&mut self.bucket_mut(at.bucket)[at.way]);
        }
        Some(&mut self.main.buckets[home].0[hits.trailing_zeros() as usize % WAYS])
    }

    #[cold]
    fn find_spilled(&self, home: usize, who: u64) -> Option<At> {
        self.chain(home as u32).find_map(|bucket| {
            let way = self.bucket(bucket).iter().position(|entry| entry.who == who)?;
            Some(At { bucket, way })
        })
    }

    /// An entry.
    #[inline(always)]
    pub fn entry(&self, at: At) -> &Entry {
        &self.bucket(at.bucket)[at.way]
    }

    /// Notes that the address was a source.
    #[inline(always)]
    pub fn stamp(&mut self, at: At, seen: Millis) {
        let entry = &mut self.bucket_mut(at.bucket)[at.way];
        if entry.seen != seen {
            entry.seen = seen;
        }
    }

    /// Gives the address to another owner.
    pub fn rehome(&mut self, at: At, seen: Millis, owner: u16) {
        let entry = &mut self.bucket_mut(at.bucket)[at.way];
        (entry.seen, entry.owner) = (seen, owner);
    }

    /// What else is known of an entry; nothing for most.
    #[inline]
    pub fn record(&self, at: At) -> Option<Record> {
        if !self.entry(at).is_recorded() {
            return None;
        }
        let (annex, way) = (self.annex(at.bucket), at.way);
        let (told, moves, since) = (annex.told[way], annex.moves[way], annex.since[way]);
        Some(Record { told, moves, since, home: annex.home[way], jumps: annex.jumps[way] })
    }

    /// Keeps more of an entry.
    pub fn set_record(&mut self, at: At, record: Record) {
        self.bucket_mut(at.bucket)[at.way].flags |= RECORDED;
        let (annex, way) = (self.annex_mut(at.bucket), at.way);
        let Record { told, moves, since, home, jumps } = record;
        (annex.told[way], annex.moves[way], annex.since[way]) = (told, moves, since);
        (annex.home[way], annex.jumps[way]) = (home, jumps);
    }

    /// Adds an entry that is not there. `None` when there is no memory. `hash_of` is asked for the entries of the bucket
    /// that is split.
    #[inline]
    pub fn insert(&mut self, hash: u64, new: Entry, hash_of: impl Fn(u64) -> u64) -> Option<At> {
        // Room is made first, so that the entry stays where it is put.
        if (self.len + 1) * 4 > self.main.buckets.len() * FILL {
            self.split(hash_of);
        }
        self.add(self.home(hash) as u32, new)
    }

    /// Removes an entry.
    pub fn remove(&mut self, at: At) {
        self.take(at);
        self.shrink();
    }

    /// Removes those entries of up to `limit` buckets from number `from` on that `is_dead` says, and of as many at the end that
    /// are merged for it; returns where to go on, 0 at the end.
    pub fn sweep(&mut self, from: usize, limit: usize, mut is_dead: impl FnMut(&Entry) -> bool) -> usize {
        let end = self.main.buckets.len().min(from.saturating_add(limit));
        (from..end).for_each(|home| self.sweep_chain(home, &mut is_dead));
        for _ in 0..limit.div_ceil(2) {
            if !self.is_sparse() {
                break;
            }
            // What merging moves to a bucket that has been swept is swept first.
            let last = self.main.buckets.len();
            (last - 2..last).for_each(|home| self.sweep_chain(home, &mut is_dead));
            self.shrink();
        }
        if end < self.main.buckets.len() { end } else { 0 }
    }

    fn sweep_chain(&mut self, home: usize, is_dead: &mut impl FnMut(&Entry) -> bool) {
        let mut next = Some(home as u32);
        while let Some(bucket) = next {
            self.sweep_bucket(bucket, is_dead);
            next = self.next(bucket);
        }
    }

    fn sweep_bucket(&mut self, bucket: u32, is_dead: &mut impl FnMut(&Entry) -> bool) {
        for way in 0..WAYS {
            let at = At { bucket, way };
            let entry = self.entry(at);
            if entry.who != 0 && is_dead(entry) {
                self.take(at);
            }
        }
    }

    /// Calls `visit` with every entry of up to `limit` buckets from number `from` on; returns where to go on, `None` at the
    /// end. What is inserted or removed between two calls may be visited twice or not at all.
    pub fn visit(&self, from: usize, limit: usize, mut visit: impl FnMut(At, &Entry)) -> Option<usize> {
        let end = self.main.buckets.len().min(from.saturating_add(limit));
        for home in from..end {
            self.visit_bucket(home as u32, &mut visit);
            if self.main.buckets[home].0[0].flags & CONTINUES != 0 {
                self.chain(home as u32).for_each(|bucket| self.visit_bucket(bucket, &mut visit));
            }
        }
        (end < self.main.buckets.len()).then_some(end)
    }

    #[inline]
    fn visit_bucket(&self, bucket: u32, visit: &mut impl FnMut(At, &Entry)) {
        let entries = self.bucket(bucket).iter().enumerate();
        entries.filter(|(_, entry)| entry.who != 0).for_each(|(way, entry)| visit(At { bucket, way }, entry));
    }

    /// The bucket that a hash belongs to.
    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        let wide = hash as usize & (2 * self.mask + 1);
        if wide < self.main.buckets.len() { wide } else { wide & self.mask }
    }

    #[inline(always)]
    fn place(&self, number: u32) -> (&Area, usize) {
        if number < SPILL { (&self.main, number as usize) } else { (&self.spill, (number - SPILL) as usize) }
    }

    #[inline(always)]
    fn place_mut(&mut self, number: u32) -> (&mut Area, usize) {
        if number < SPILL { (&mut self.main, number as usize) } else { (&mut self.spill, (number - SPILL) as usize) }
    }

    #[inline(always)]
    fn bucket(&self, number: u32) -> &[Entry; WAYS] {
        let (area, i) = self.place(number);
        &area.buckets[i].0
    }

    #[inline(always)]
    fn bucket_mut(&mut self, number: u32) -> &mut [Entry; WAYS] {
        let (area, i) = self.place_mut(number);
        &mut area.buckets[i].0
    }

    #[inline]
    fn annex(&self, number: u32) -> &Annex {
        let (area, i) = self.place(number);
        &area.annexes[i]
    }

    #[inline]
    fn annex_mut(&mut self, number: u32) -> &mut Annex {
        let (area, i) = self.place_mut(number);
        &mut area.annexes[i]
    }

    /// The spill buckets behind a bucket.
    fn chain(&self, home: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(self.next(home), |&bucket| self.next(bucket))
    }

    #[inline]
    fn next(&self, number: u32) -> Option<u32> {
        let bucket = self.bucket(number);
        (bucket[0].flags & CONTINUES != 0).then(|| SPILL + link(bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Hashes so alike that buckets overflow.
    fn clash(who: u64) -> u64 {
        who / 8 * 5
    }

    #[derive(Clone, Debug)]
    enum Op {
        Add(u64),
        Remove(u64),
        Sweep(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (1u64..3000).prop_map(Op::Add),
            3 => (1u64..3000).prop_map(Op::Remove),
            1 => (2u64..40).prop_map(Op::Sweep),
        ]
    }

    fn check(table: &Buckets, model: &HashMap<u64, u32>, hash_of: fn(u64) -> u64) {
        assert_eq!(table.len(), model.len());
        for (&who, &moves) in model {
            let at = table.find(hash_of(who), who).unwrap();
            assert_eq!((table.entry(at).who, table.record(at).map_or(0, |record| record.moves)), (who, moves));
        }
        let mut seen = Vec::new();
        assert_eq!(table.visit(0, usize::MAX, |_, entry| seen.push(entry.who)), None);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), model.len());
    }

    fn run(ops: &[Op], hash_of: fn(u64) -> u64) -> (Buckets, HashMap<u64, u32>) {
        let (mut table, mut model) = (Buckets::new(3000).unwrap(), HashMap::new());
        for op in ops {
            match *op {
                Op::Add(who) if !model.contains_key(&who) => {
                    let at = table.insert(hash_of(who), Entry::new(who, Millis(1), 3), hash_of).unwrap();
                    let moves = if who % 3 == 0 { who as u32 } else { 0 };
                    if moves > 0 {
                        table.set_record(at, Record { moves, ..Record::default() });
                    }
                    model.insert(who, moves);
                }
                Op::Add(_) => {}
                Op::Remove(who) => {
                    let found = table.find(hash_of(who), who);
                    assert_eq!(found.is_some(), model.remove(&who).is_some());
                    found.into_iter().for_each(|at| table.remove(at));
                }
                Op::Sweep(n) => {
                    while table.sweep(0, usize::MAX, |entry| entry.who % n == 0) != 0 {}
                    model.retain(|who, _| who % n != 0);
                }
            }
        }
        (table, model)
    }

    proptest! {
        #[test]
        fn like_a_map(ops in proptest::collection::vec(op(), 1..2000)) {
            for hash_of in [clash, |who: u64| who.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20] {
                let (table, model) = run(&ops, hash_of);
                check(&table, &model, hash_of);
            }
        }
    }

    #[test]
    fn it_grows_by_the_bucket_and_shrinks_again() {
        let hash_of = |who: u64| who.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let ops: Vec<_> = (1..3000).map(Op::Add).collect();
        let (mut table, model) = run(&ops, hash_of);
        assert!((2999 * 4 / 7..3000 * 4 / 7 + 2).contains(&table.buckets()), "{}", table.buckets());
        check(&table, &model, hash_of);
        let spilled = table.spill.buckets.len() - table.spares;
        assert!(spilled * 6 < table.buckets(), "{spilled} of {} go on in the spill", table.buckets());
        (1..3000).for_each(|who| table.remove(table.find(hash_of(who), who).unwrap()));
        assert_eq!((table.len(), table.buckets(), table.spares), (0, LEAST, table.spill.buckets.len()));
    }

    #[test]
    fn a_sweep_in_slices_finds_all() {
        let hash_of = |who: u64| who.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let (mut table, _) = run(&(1..2000).map(Op::Add).collect::<Vec<_>>(), hash_of);
        let (mut at, mut calls) = (0, 0);
        while table.len() > 0 && calls < 10_000 {
            at = table.sweep(at, 16, |_| true);
            calls += 1;
        }
        assert!(calls < 400, "{calls}");
    }
}
