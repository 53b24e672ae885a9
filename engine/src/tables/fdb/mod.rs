//! The forwarding database of one bridge domain: which port a MAC was last seen on, each VLAN by itself (independent
//! learning, 802.1Q, section 8.8).
//!
//! # Theory of operation
//!
//! Entries lie in a hash table that starts small and grows with them (`buckets.rs`). An entry names its port through an
//! *owner* (`owners.rs`): a port that loses all its addresses at once gives up its owner, which takes no time however many they
//! are; the sweep collects the entries later, a few at a time. Ageing is part of the same sweep.
//!
//! A full table takes the new address all the same and forgets an old entry *of the port that has the most*: a
//! host that floods source addresses displaces its own (Open vSwitch's rule, `lib/mac-learning.h`). The victim is the oldest
//! of a few that are looked at.
//!
//! An address that moves more than [`LIMIT`] times within [`WINDOW_MS`] is *pinned* for [`HOLD_MS`]: it stays with the port whose own
//! it is known to be, else with the one that it had when the jumping began. Nothing is dropped for that: whoever uses another's
//! address must not be able to cut it off. But of its frames from elsewhere only a few are flooded
//! ([`Fdb::admits_flood`]), so a loop that nothing else has found does not fill the network.
//!
//! The fast path does not come here: it stamps the cached flow, and the worker's housekeeping carries the stamps over
//! ([`Fdb::refresh`]) before it sweeps.

mod buckets;
mod by_hand;
mod foresee;
mod hash;
mod judging;
mod owners;
mod told;

pub use foresee::Foreseen;

use super::gossip::Sighting;
pub use super::station::Station;
use super::topology::Domain;
use super::vlan::Vlan;
use crate::clock::Millis;
use crate::flow::PortId;
use crate::wire::Mac;
pub(super) use buckets::Record;
use buckets::{At, Buckets, Entry};
use hash::KeyedHash;
use owners::Owners;
use std::io;

/// Moves within the window that are still believed.
pub const LIMIT: u8 = 8;
/// Length of the window, in milliseconds.
pub const WINDOW_MS: u32 = 1000;
/// How long an address stays pinned, in milliseconds.
pub const HOLD_MS: u32 = 5000;
/// Frames of a pinned address that may be flooded from elsewhere until it is released: enough to be heard, too few to go round.
const PINNED_FLOODS: u8 = 16;
/// Buckets looked at together for an entry to evict, and how often.
const CANDIDATES: usize = 8;
const PATIENCE: usize = 32;

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
    /// It jumps between ports, and was put to the one where it is at home.
    Pinned,
    /// It is pinned to another port, and stays there.
    Refused,
    /// The configuration set it to a port; that stays so.
    Fixed,
    /// Not known, and no entry may go for it: it stays unknown.
    Full,
    /// Not known here, and the port has as many addresses as it may: it stays unknown.
    Limited,
    /// News that the other workers cannot hear now: not learned, the next frame tries again.
    Deferred,
}

/// How many addresses a port may bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Most addresses learned on the port; 0 for no limit.
    pub limit: u32,
    /// Whether a full table refuses a new address instead of forgetting an old one.
    pub refuse: bool,
}

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
    buckets: Buckets,
    owners: Owners,
    hash: KeyedHash,
    max: usize,
    /// Where the next victim is looked for.
    hand: usize,
    /// Where the sweep goes on.
    cursor: usize,
    ageing_ms: u32,
    /// Changes so far.
    version: u32,
}

impl Fdb {
    /// An empty table with a domain's limits.
    ///
    /// # Errors
    /// When there is no address space for it: about 80 bytes an entry, and two pages of memory at first.
    pub fn new(domain: &Domain) -> io::Result<Fdb> {
        let max = domain.fdb_max.clamp(1, u32::MAX as usize / 16);
        Ok(Fdb {
            buckets: Buckets::new(max)?,
            owners: Owners::new(),
            hash: KeyedHash::new(),
            max,
            hand: 0,
            cursor: 0,
            version: 0,
            ageing_ms: domain.ageing_s.saturating_mul(1000),
        })
    }

    /// Takes a domain's ageing time. Its size stays: a table of another size is another table.
    pub fn set_ageing(&mut self, ageing_s: u32) {
        self.ageing_ms = ageing_s.saturating_mul(1000);
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.buckets.len() - self.owners.void()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Buckets that a whole sweep looks at; 0 while there is nothing to look for.
    pub fn extent(&self) -> usize {
        if self.buckets.len() == 0 { 0 } else { self.buckets.buckets() }
    }

    /// Hints that an address is looked up or learned soon; its hash.
    #[inline(always)]
    pub fn prefetch(&self, who: impl Into<Station>) -> u64 {
        let hash = self.hash.hash(who.into().0);
        self.buckets.prefetch(hash);
        hash
    }

    /// What entries name a port by: those that it has learned, and those that were set to it.
    pub(super) fn owners(&self, port: PortId) -> [u16; 2] {
        [false, true].map(|fixed| self.owners.number(port, fixed).unwrap_or(u16::MAX))
    }

    /// Counts every change of what look-ups have found: not what they did not find.
    #[inline(always)]
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// Notes that an address was seen as a source: true if it is known to be these owners' and nobody need hear of it, false if
    /// not, `None` if it is not known at all.
    #[inline(always)]
    pub(super) fn sees_hashed(
        &mut self,
        hash: u64,
        Station(who): Station,
        owners: [u16; 2],
        now: Millis,
    ) -> Option<bool> {
        let entry = self.buckets.get_mut(hash, who)?;
        if !owners.contains(&entry.owner) {
            return Some(false);
        }
        entry.seen = now;
        Some(!entry.is_recorded() || self.need_not_tell(hash, who, now))
    }

    /// The port of an address of this hash, or a number that no port has.
    #[inline(always)]
    pub(super) fn lookup_hashed(&self, hash: u64, Station(who): Station) -> PortId {
        self.buckets.get(hash, who).map_or(owners::NOBODY, |entry| self.owners.any_port(entry.owner))
    }

    /// The port of an address.
    #[inline]
    pub fn lookup(&self, who: impl Into<Station>) -> Option<PortId> {
        self.port_at(self.find(who.into())?)
    }

    /// How many addresses a port has learned.
    pub fn learned_on(&self, port: PortId) -> u32 {
        self.owners.learned(port)
    }

    /// Notes that `who` was seen as a source on `port`.
    pub fn learn(&mut self, who: impl Into<Station>, port: PortId, now: Millis) -> Learned {
        self.learn_within(who.into(), port, now, Quota::default(), |home, _, _| home)
    }

    /// The same, within the port's quota. `pin` says where an address is at home that jumps, of the port where it was when
    /// the jumping began, the one where it is, and the one where it was seen.
    #[inline]
    pub fn learn_within(
        &mut self,
        who: Station,
        port: PortId,
        now: Millis,
        quota: Quota,
        pin: impl Fn(PortId, PortId, PortId) -> PortId,
    ) -> Learned {
        let found = self.find(who);
        if let Some(at) = found
            && self.port_at(at) == Some(port)
        {
            self.buckets.stamp(at, now);
            return if self.telling_is_due(at, now) { Learned::Again } else { Learned::Known };
        }
        let judgement = self.judge(found, port, now, (quota, pin));
        self.carry_out(who, judgement, now)
    }

    /// Whether one more frame of an address that is pinned elsewhere may be flooded; `count` it if so.
    pub fn admits_flood(&mut self, who: impl Into<Station>, count: bool) -> bool {
        let Some((at, record)) = self.find(who.into()).and_then(|at| Some((at, self.buckets.record(at)?))) else {
            return true;
        };
        let admitted = record.jumps < Fdb::MOST_JUMPS;
        if admitted && count {
            self.buckets.set_record(at, Record { jumps: record.jumps + 1, ..record });
        }
        admitted
    }

    /// From the first of these on an address is pinned; what is counted beyond are its floods.
    const PINNED: u8 = LIMIT + 1;
    const MOST_JUMPS: u8 = Fdb::PINNED + PINNED_FLOODS;

    /// Carries a sighting over that the fast path stamped, if the address is still on that port; true when the other
    /// workers should hear of it.
    pub fn refresh(&mut self, who: impl Into<Station>, port: PortId, seen: Millis) -> bool {
        let Some(at) = self.find(who.into()).filter(|&at| self.port_at(at) == Some(port)) else { return false };
        if seen.ahead_of(self.buckets.entry(at).seen) <= 0 {
            return false;
        }
        self.buckets.stamp(at, seen);
        self.telling_is_due(at, seen)
    }

    /// Forgets all that was not seen for the ageing time; says how many.
    pub fn expire(&mut self, now: Millis) -> usize {
        self.cursor = 0;
        let mut sum = 0;
        loop {
            let (expired, is_done) = self.sweep(now, self.buckets.buckets());
            sum += expired;
            if is_done {
                return sum;
            }
        }
    }

    /// Forgets what was not seen for the ageing time, and collects what is void, in the next `limit` buckets; says how many
    /// were known until now, and whether those were the last buckets.
    pub fn sweep(&mut self, now: Millis, limit: usize) -> (usize, bool) {
        let (owners, ageing_ms) = (&mut self.owners, self.ageing_ms);
        let mut expired = 0;
        self.cursor = self.buckets.sweep(self.cursor, limit, |entry| {
            let is_void = owners.port(entry.owner).is_none();
            let is_old = now.since(entry.seen) > ageing_ms && !owners.is_fixed(entry.owner);
            if is_void || is_old {
                expired += usize::from(!is_void);
                owners.remove(entry.owner);
            }
            is_void || is_old
        });
        (expired, self.cursor == 0)
    }

    /// Up to `limit` entries from position `cursor` on, and where to go on; `None` at the end.
    pub fn page(&self, cursor: usize, limit: usize) -> (Vec<FdbEntry>, Option<usize>) {
        let mut entries = Vec::new();
        let next = self.buckets.visit(cursor, limit.div_ceil(2), |_, entry| {
            let (who, fixed) = (Station(entry.who), self.owners.is_fixed(entry.owner));
            let show = |port| FdbEntry { vlan: who.vlan(), mac: who.mac(), port, seen: entry.seen, fixed };
            entries.extend(self.owners.port(entry.owner).map(show));
        });
        (entries, next)
    }

    #[inline(always)]
    fn find(&self, Station(who): Station) -> Option<At> {
        self.buckets.find(self.hash.hash(who), who)
    }

    /// The port of an entry; `None` when it is void.
    #[inline(always)]
    fn port_at(&self, at: At) -> Option<PortId> {
        self.owners.port(self.buckets.entry(at).owner)
    }

    fn insert(&mut self, Station(who): Station, port: PortId, now: Millis, fixed: bool) -> Option<At> {
        let owner = self.owners.add(port, fixed)?;
        let hash = self.hash;
        let at = self.buckets.insert(hash.hash(who), Entry::new(who, now, owner), |who| hash.hash(who));
        if at.is_none() {
            self.owners.remove(owner);
        }
        at
    }

    /// Learns an address that is not known, where there is room for it and no limit; whether that was so.
    #[inline]
    pub(super) fn learn_hashed(&mut self, Station(who): Station, port: PortId, now: Millis) -> bool {
        self.len() < self.max && self.insert(Station(who), port, now, false).is_some()
    }

    fn rehome(&mut self, at: At, port: PortId, seen: Millis, record: Record) {
        self.version = self.version.wrapping_add(1);
        let before = self.buckets.entry(at).owner;
        let Some(owner) = self.owners.add(port, false) else { return };
        self.owners.remove(before);
        self.buckets.rehome(at, seen, owner);
        self.buckets.set_record(at, record);
    }

    fn remove_at(&mut self, at: At) {
        self.version = self.version.wrapping_add(1);
        self.owners.remove(self.buckets.entry(at).owner);
        self.buckets.remove(at);
    }
}

#[cfg(test)]
mod tests;
