//! The forwarding database of one bridge domain: which port a MAC was last seen on, each VLAN by itself (independent
//! learning, 802.1Q, section 8.8).
//!
//! # Theory of operation
//!
//! An index from VLAN and MAC to a slot, and slots in a slab, both as large as the table may become, so that learning never
//! allocates. The dynamic slots of each port form a list, oldest sighting first. Ageing looks at the heads of
//! the lists only.
//!
//! A full table takes the new address all the same and forgets the oldest entry *of the port that has the most*: a
//! host that floods source addresses displaces its own (Open vSwitch's rule, `lib/mac-learning.h`).
//!
//! The fast path does not come here: it stamps the cached flow, and the worker's housekeeping carries the stamps over
//! ([`Fdb::refresh`]) before it ages.

mod foresee;

pub use foresee::Foreseen;

use super::flap::{FlapGuard, Judgement};
use super::gossip::Sighting;
use super::index::Index;
pub use super::station::Station;
use super::topology::{Domain, DomainId};
use super::vlan::Vlan;
use crate::clock::Millis;
use crate::flow::PortId;
use crate::memory::Slab;
use crate::wire::Mac;
use ahash::RandomState;
use std::io;
use zerocopy::FromZeros;

/// No slot.
const NIL: u32 = u32::MAX;

/// What came of a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// On this port already.
    Known,
    /// On this port already; the other workers have not heard of it for a quarter of the ageing time, or believe otherwise.
    Again,
    /// Not known before.
    New,
    /// Not known before, and another entry had to go.
    Evicted,
    /// It was on another port.
    Moved,
    /// It jumps between ports, and was put back to the port it came from.
    Pinned,
    /// It is pinned to another port: the frame is not to be believed.
    Refused,
    /// The configuration set it to a port; that stays so.
    Fixed,
    /// Not known, and every entry is fixed: it stays unknown.
    Full,
    /// News that the other workers cannot hear now: not learned, the next frame tries again.
    Deferred,
}

#[derive(Clone, Copy, FromZeros)]
struct Slot {
    /// A [`Station`]; 0 in a free slot.
    who: u64,
    prev: u32,
    next: u32,
    seen: Millis,
    /// When the workers last told each other.
    told: Millis,
    /// How often the address moved; all workers count alike.
    moves: u32,
    port: PortId,
    fixed: bool,
}

impl Slot {
    fn show(&self) -> FdbEntry {
        let who = Station(self.who);
        FdbEntry { vlan: who.vlan(), mac: who.mac(), port: self.port, seen: self.seen, fixed: self.fixed }
    }
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    len: u32,
}

const EMPTY: List = List { head: NIL, tail: NIL, len: 0 };

/// One entry, as shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// The VLAN.
    pub vlan: Vlan,
    /// The address.
    pub mac: Mac,
    /// Where it was last seen.
    pub port: PortId,
    /// When.
    pub seen: Millis,
    /// Set by the configuration: never moved, aged or evicted.
    pub fixed: bool,
}

/// MAC address to port, with ageing and fair eviction.
pub struct Fdb {
    index: Index,
    slots: Slab<Slot>,
    /// Slots that were ever used; those beyond are fresh.
    used: usize,
    free: Vec<u32>,
    lists: Vec<List>,
    hasher: RandomState,
    flaps: FlapGuard,
    len: usize,
    ageing_ms: u32,
}

impl Fdb {
    /// An empty table with a domain's limits.
    ///
    /// # Errors
    /// When there is no memory for it: about 50 bytes an entry.
    pub fn new(domain: &Domain) -> io::Result<Fdb> {
        let max = domain.fdb_max.clamp(1, NIL as usize / 4);
        Ok(Fdb {
            index: Index::new(max)?,
            slots: Slab::new(max)?,
            used: 0,
            free: Vec::with_capacity(max),
            lists: Vec::new(),
            hasher: RandomState::new(),
            flaps: FlapGuard::new(),
            len: 0,
            ageing_ms: domain.ageing_s.saturating_mul(1000),
        })
    }

    /// Takes a domain's ageing time. Its size stays: a table of another size is another table.
    pub fn set_ageing(&mut self, ageing_s: u32) {
        self.ageing_ms = ageing_s.saturating_mul(1000);
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hints that an address is looked up or learned soon.
    #[inline]
    pub fn prefetch(&self, who: impl Into<Station>) {
        self.index.prefetch(self.hasher.hash_one(who.into().0));
    }

    /// The port of an address.
    #[inline]
    pub fn lookup(&self, who: impl Into<Station>) -> Option<PortId> {
        let Station(key) = who.into();
        self.find(key, self.hasher.hash_one(key)).map(|slot| self.slots[slot as usize].port)
    }

    /// Notes that `who` was seen as a source on `port`.
    #[inline]
    pub fn learn(&mut self, who: impl Into<Station>, port: PortId, now: Millis) -> Learned {
        let Station(key) = who.into();
        let hash = self.hasher.hash_one(key);
        let Some(slot) = self.find(key, hash) else { return self.insert((key, hash), port, now, false) };
        if self.slots[slot as usize].port != port {
            return self.relocate(slot, port, now);
        }
        self.touch(slot, now);
        if self.telling_is_due(slot, now) { Learned::Again } else { Learned::Known }
    }

    /// Takes over what another worker saw, unless this one saw the address elsewhere after that: then that is due to be
    /// told, [`Learned::Again`].
    pub(super) fn hear(&mut self, told: Sighting) -> Learned {
        let Station(key) = told.who;
        let Some(slot) = self.find(key, self.hasher.hash_one(key)) else { return self.take_over(told) };
        let known = &mut self.slots[slot as usize];
        if known.port == told.port {
            (known.told, known.moves) = (told.seen, known.moves.max(told.moves));
            self.refresh(told.who, told.port, told.seen);
            return Learned::Known;
        }
        let own = Sighting { port: known.port, seen: known.seen, moves: known.moves, ..told };
        if told.is_after(&own) {
            return self.take_over(told);
        }
        known.told = Millis(own.seen.0.wrapping_sub(self.ageing_ms / 4 + 1));
        Learned::Again
    }

    /// Learns what another worker saw, as of then.
    fn take_over(&mut self, told: Sighting) -> Learned {
        let learned = self.learn(told.who, told.port, told.seen);
        if let Some(slot) = self.find(told.who.0, self.hasher.hash_one(told.who.0)) {
            self.slots[slot as usize].moves = told.moves;
        }
        learned
    }

    /// The entry of an address as the other workers are to hear it: from now on it is told.
    pub(super) fn tell(&mut self, who: Station, domain: DomainId, era: u32) -> Option<Sighting> {
        let slot = self.find(who.0, self.hasher.hash_one(who.0))?;
        let entry = &mut self.slots[slot as usize];
        entry.told = entry.seen;
        Some(Sighting { domain, who, port: entry.port, seen: entry.seen, moves: entry.moves, era })
    }

    /// Sets an address to a port for good.
    pub(super) fn set_fixed(&mut self, who: impl Into<Station>, port: PortId, now: Millis) -> Learned {
        let Station(key) = who.into();
        let hash = self.hasher.hash_one(key);
        if let Some(slot) = self.find(key, hash) {
            self.remove(slot);
        }
        self.insert((key, hash), port, now, true)
    }

    /// Carries a sighting over that the fast path stamped, if the address is still on that port; true when the other
    /// workers should hear of it.
    pub fn refresh(&mut self, who: impl Into<Station>, port: PortId, seen: Millis) -> bool {
        let Station(key) = who.into();
        let Some(slot) = self.find(key, self.hasher.hash_one(key)) else { return false };
        let known = self.slots[slot as usize];
        if known.port != port || seen.ahead_of(known.seen) <= 0 {
            return false;
        }
        self.touch(slot, seen);
        self.telling_is_due(slot, seen)
    }

    /// Forgets what was not seen for the ageing time; says how many.
    pub fn expire(&mut self, now: Millis) -> usize {
        let before = self.len();
        for port in 0..self.lists.len() {
            while let Some(oldest) =
                self.oldest(port).filter(|s| now.since(self.slots[*s as usize].seen) > self.ageing_ms)
            {
                self.remove(oldest);
            }
        }
        before - self.len()
    }

    /// Forgets what was learned on a port; says how many.
    pub fn flush_port(&mut self, port: PortId) -> usize {
        self.flaps.forget(port);
        let before = self.len();
        while let Some(oldest) = self.oldest(port.index()) {
            self.remove(oldest);
        }
        before - self.len()
    }

    /// Up to `limit` entries from position `cursor` on, and where to go on; `None` at the end.
    pub fn page(&self, cursor: usize, limit: usize) -> (Vec<FdbEntry>, Option<usize>) {
        let end = self.used.min(cursor.saturating_add(limit));
        let page = self.slots.get(cursor..end).unwrap_or(&[]);
        let entries = page.iter().filter(|slot| slot.who != 0).map(Slot::show);
        (entries.collect(), (end < self.used).then_some(end))
    }

    #[inline]
    fn find(&self, key: u64, hash: u64) -> Option<u32> {
        self.index.find(hash, |slot| self.slots[slot as usize].who == key)
    }

    fn insert(&mut self, (key, hash): (u64, u64), port: PortId, now: Millis, fixed: bool) -> Learned {
        let full = self.len == self.slots.len();
        if full && !self.evict(port) {
            return Learned::Full;
        }
        let slot = self.free.pop().unwrap_or(self.used as u32);
        self.used = self.used.max(slot as usize + 1);
        self.slots[slot as usize] =
            Slot { who: key, prev: NIL, next: NIL, seen: now, told: now, moves: 0, port, fixed };
        self.index.insert(hash, slot);
        self.len += 1;
        if !fixed {
            self.append(slot);
        }
        if full { Learned::Evicted } else { Learned::New }
    }

    /// The address wants to be on another port.
    #[cold]
    fn relocate(&mut self, slot: u32, port: PortId, now: Millis) -> Learned {
        let Slot { who, port: from, fixed, .. } = self.slots[slot as usize];
        if fixed {
            return Learned::Fixed;
        }
        match self.flaps.judge(who, (from, port), now) {
            Judgement::Believe => self.rehome(slot, port, now, Learned::Moved),
            Judgement::Pin(home) => self.rehome(slot, home, now, Learned::Pinned),
            Judgement::Refuse => Learned::Refused,
        }
    }

    fn rehome(&mut self, slot: u32, port: PortId, now: Millis, learned: Learned) -> Learned {
        self.unlink(slot);
        let entry = &mut self.slots[slot as usize];
        (entry.port, entry.seen, entry.told) = (port, now, now);
        entry.moves = entry.moves.wrapping_add(1);
        self.append(slot);
        learned
    }

    /// Makes room for an address on `port`. False when all are fixed.
    fn evict(&mut self, port: PortId) -> bool {
        let victim = self.victim(port);
        victim.map(|oldest| self.remove(oldest)).is_some()
    }

    /// What an address on `port` would displace: the oldest of the port with the most entries.
    fn victim(&self, port: PortId) -> Option<u32> {
        let own = self.lists.get(port.index()).map_or(0, |list| list.len);
        let fullest = (0..self.lists.len()).max_by_key(|&p| self.lists[p].len);
        let victim = fullest.filter(|&p| self.lists[p].len > own).unwrap_or(port.index());
        self.oldest(victim)
    }

    fn remove(&mut self, slot: u32) {
        let Slot { who, fixed, .. } = self.slots[slot as usize];
        let hash_of = |slot: u32| self.hasher.hash_one(self.slots[slot as usize].who);
        self.index.remove(self.hasher.hash_one(who), slot, hash_of);
        self.len -= 1;
        if !fixed {
            self.unlink(slot);
        }
        self.slots[slot as usize].who = 0;
        self.free.push(slot);
    }

    fn oldest(&self, port: usize) -> Option<u32> {
        self.lists.get(port).map(|list| list.head).filter(|&head| head != NIL)
    }

    /// Notes a sighting: the slot goes to the end of its list.
    #[inline]
    fn touch(&mut self, slot: u32, now: Millis) {
        let entry = &mut self.slots[slot as usize];
        let stale = entry.seen != now && !entry.fixed;
        entry.seen = now;
        if stale && entry.next != NIL {
            self.unlink(slot);
            self.append(slot);
        }
    }

    /// Whether the others would soon forget an address that this worker still sees.
    #[inline]
    fn telling_is_due(&self, slot: u32, now: Millis) -> bool {
        let entry = &self.slots[slot as usize];
        now.since(entry.told) > self.ageing_ms / 4 && !entry.fixed
    }

    fn append(&mut self, slot: u32) {
        let port = self.slots[slot as usize].port.index();
        if port >= self.lists.len() {
            self.lists.resize(port + 1, EMPTY);
        }
        let list = &mut self.lists[port];
        let tail = std::mem::replace(&mut list.tail, slot);
        list.len += 1;
        match tail {
            NIL => list.head = slot,
            tail => self.slots[tail as usize].next = slot,
        }
        let entry = &mut self.slots[slot as usize];
        (entry.prev, entry.next) = (tail, NIL);
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { prev, next, port, .. } = self.slots[slot as usize];
        let list = &mut self.lists[port.index()];
        list.len -= 1;
        match prev {
            NIL => list.head = next,
            prev => self.slots[prev as usize].next = next,
        }
        match next {
            NIL => list.tail = prev,
            next => self.slots[next as usize].prev = prev,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn fdb(fdb_max: usize, ageing_s: u32) -> Fdb {
        Fdb::new(&Domain { fdb_max, ageing_s, ..Domain::new("lan") }).unwrap()
    }

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac([2, 0, a, b, c, d])
    }

    #[test]
    fn learn_lookup_move() {
        let mut fdb = fdb(8, 300);
        assert_eq!(fdb.learn(mac(1), PortId(1), Millis(0)), Learned::New);
        assert_eq!(fdb.learn(mac(1), PortId(1), Millis(1)), Learned::Known);
        assert_eq!(fdb.learn(mac(1), PortId(2), Millis(2)), Learned::Moved);
        assert_eq!(fdb.lookup(mac(1)), Some(PortId(2)));
        assert_eq!(fdb.lookup(mac(2)), None);
    }

    #[test]
    fn ageing_counts_from_the_last_sighting() {
        let mut fdb = fdb(8, 10);
        fdb.learn(mac(1), PortId(1), Millis(0));
        fdb.learn(mac(2), PortId(1), Millis(0));
        fdb.refresh(mac(1), PortId(1), Millis(5_000));
        assert_eq!(fdb.expire(Millis(10_000)), 0);
        assert_eq!(fdb.expire(Millis(10_001)), 1);
        assert_eq!((fdb.lookup(mac(1)), fdb.lookup(mac(2))), (Some(PortId(1)), None));
        assert_eq!(fdb.expire(Millis(15_001)), 1);
    }

    #[test]
    fn a_flooder_displaces_only_itself() {
        let mut fdb = fdb(100, 300);
        (0..10).for_each(|n| _ = fdb.learn(mac(n), PortId(1), Millis(0)));
        for n in 1000..5000 {
            fdb.learn(mac(n), PortId(2), Millis(n));
        }
        assert_eq!(fdb.len(), 100);
        assert!((0..10).all(|n| fdb.lookup(mac(n)) == Some(PortId(1))));
        assert_eq!(fdb.lookup(mac(4999)), Some(PortId(2)));
    }

    #[test]
    fn fixed_entries_stay() {
        let mut fdb = fdb(2, 300);
        fdb.set_fixed(mac(1), PortId(1), Millis(0));
        assert_eq!(fdb.learn(mac(1), PortId(2), Millis(1)), Learned::Fixed);
        assert_eq!(fdb.expire(Millis(u32::MAX / 2)) + fdb.flush_port(PortId(1)), 0);
        fdb.set_fixed(mac(2), PortId(1), Millis(0));
        assert_eq!(fdb.learn(mac(3), PortId(2), Millis(1)), Learned::Full, "all fixed: nothing to evict");
        assert_eq!(fdb.lookup(mac(1)), Some(PortId(1)));
    }

    #[test]
    fn a_jumping_address_is_pinned_to_where_it_was() {
        let mut fdb = fdb(8, 300);
        fdb.learn(mac(1), PortId(1), Millis(0));
        let jumps: Vec<_> = (0..20).map(|i| fdb.learn(mac(1), PortId(2 + i % 2), Millis(5))).collect();
        assert!(jumps.contains(&Learned::Pinned) && jumps.ends_with(&[Learned::Refused]));
        assert_eq!(fdb.lookup(mac(1)), Some(PortId(1)));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Learn(u32, u16),
        Flush(u16),
        Age,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            20 => (0u32..60, 0u16..4).prop_map(|(m, p)| Op::Learn(m, p)),
            1 => (0u16..4).prop_map(Op::Flush),
            2 => Just(Op::Age),
        ]
    }

    proptest! {
        /// Against a plain map that is never full: the same answers, whatever the order of events.
        #[test]
        fn like_a_map_with_timestamps(ops in proptest::collection::vec(op(), 1..400)) {
            let mut fdb = fdb(64, 20);
            let mut model: HashMap<u32, (u16, u32)> = HashMap::new();
            for (i, op) in ops.into_iter().enumerate() {
                // Slower than the flap guard's window allows for.
                let now = i as u32 * 1100;
                match op {
                    Op::Learn(m, p) => {
                        fdb.learn(mac(m + 1), PortId(p), Millis(now));
                        model.insert(m + 1, (p, now));
                    }
                    Op::Flush(p) => {
                        fdb.flush_port(PortId(p));
                        model.retain(|_, (port, _)| *port != p);
                    }
                    Op::Age => {
                        fdb.expire(Millis(now));
                        model.retain(|_, (_, seen)| now - *seen <= 20_000);
                    }
                }
                prop_assert_eq!(fdb.len(), model.len());
                for (&m, &(p, _)) in &model {
                    prop_assert_eq!(fdb.lookup(mac(m)), Some(PortId(p)));
                }
            }
            let (entries, rest) = fdb.page(0, 1000);
            prop_assert!(rest.is_none() && entries.len() == model.len());
        }
    }
}
