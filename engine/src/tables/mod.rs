//! What the stages know. One instance per worker: nothing here is shared.

pub mod fdb;
mod flap;
pub mod gossip;
mod index;
mod rehearsal;
mod station;
pub mod storm;
pub mod topology;
pub mod vlan;

use crate::clock::Millis;
use crate::flow::{FlowKey, PortId};
use crate::trace::Note;
use fdb::{Fdb, Learned, Station};
use gossip::{Gossip, Sighting};
use rehearsal::Rehearsal;
use std::io;
use std::sync::Arc;
use topology::{DomainId, PortView, Topology};
use vlan::{Class, Vlan};

/// A worker's tables, and the epoch that cached decisions rest on.
pub struct Tables {
    /// The configuration, immutable: a new one replaces it whole.
    pub topology: Arc<Topology>,
    /// What the other workers are to hear.
    pub gossip: Gossip,
    fdbs: Vec<Option<Fdb>>,
    up: Vec<bool>,
    epoch: u32,
    /// Topologies taken.
    era: u32,
    moves: u64,
    /// While a trace walks the stages.
    rehearsal: Option<Box<Rehearsal>>,
}

impl Tables {
    /// Empty tables over an empty topology.
    pub fn new() -> Tables {
        Tables {
            topology: Arc::default(),
            gossip: Gossip::default(),
            fdbs: Vec::new(),
            up: Vec::new(),
            epoch: 1,
            era: 0,
            moves: 0,
            rehearsal: None,
        }
    }

    /// Decisions made under another epoch are void. Never 0.
    #[inline]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How many topologies were taken: what workers tell each other rests on it.
    #[inline]
    pub fn era(&self) -> u32 {
        self.era
    }

    /// Voids every cached decision; not in a rehearsal.
    pub fn invalidate(&mut self) {
        if self.rehearsal.is_none() {
            self.epoch = self.epoch.wrapping_add(1).max(1);
        }
    }

    /// From here to [`Tables::end_rehearsal`] what stages do is noted and not done.
    pub(crate) fn rehearse(&mut self) {
        self.rehearsal = Some(Box::default());
    }

    /// From here on everything is real again.
    pub(crate) fn end_rehearsal(&mut self) {
        self.rehearsal = None;
    }

    /// Whether a trace walks the stages: nothing may change.
    #[inline]
    pub fn is_rehearsal(&self) -> bool {
        self.rehearsal.is_some()
    }

    /// Keeps a stage's reason, if a trace walks.
    #[inline]
    pub(crate) fn note(&mut self, note: Note) {
        if let Some(rehearsal) = &mut self.rehearsal {
            rehearsal.notes.push(note);
        }
    }

    /// The reasons kept since the last call.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        self.rehearsal.as_mut().map(|rehearsal| std::mem::take(&mut rehearsal.notes)).unwrap_or_default()
    }

    /// MAC addresses that moved to another port since the start.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// Takes a new configuration: forwarding databases of new domains are made, unless [`Tables::prepare`] brought
    /// them, and those of removed ones forgotten. A port that is in another domain than before, or whose VLANs change,
    /// loses what was learned on it. All workers of a switch take the same configurations in the same order.
    ///
    /// # Errors
    /// When there is no memory for a forwarding database; that domain floods.
    pub fn publish(&mut self, topology: Arc<Topology>) -> io::Result<()> {
        self.fdbs.resize_with(topology.domains.len(), || None);
        let mut made = Ok(());
        for (fdb, domain) in self.fdbs.iter_mut().zip(&topology.domains) {
            match domain {
                None => *fdb = None,
                Some(domain) => match fdb {
                    Some(fdb) => fdb.set_ageing(domain.ageing_s),
                    None => *fdb = Fdb::new(domain).map_err(|error| made = Err(error)).ok(),
                },
            }
        }
        self.up.resize(topology.ports.len(), true);
        let before = std::mem::replace(&mut self.topology, topology);
        self.era += 1;
        self.forget_changed(&before);
        self.invalidate();
        made
    }

    /// Forgets what was learned on ports that have left their domain, whose VLANs changed, or that are no more: their
    /// numbers are used again.
    fn forget_changed(&mut self, before: &Topology) {
        for (port, view) in (0..=u16::MAX).map(PortId).zip(&before.ports) {
            let place = |view: &PortView| (view.domain, view.vlan.clone());
            if view.is_some() && view.as_ref().map(place) != self.topology.port(port).map(place) {
                self.flush_port(port);
            }
        }
    }

    /// Brings the forwarding database of a domain that the next topology has, made elsewhere so that frames need not wait
    /// for its memory.
    pub fn prepare(&mut self, domain: DomainId, fdb: Fdb) {
        if self.fdbs.len() <= domain.index() {
            self.fdbs.resize_with(domain.index() + 1, || None);
        }
        self.fdbs[domain.index()] = Some(fdb);
    }

    /// Whether frames may leave by `port`: it exists, is up, and is not isolated where that is asked.
    #[inline]
    pub fn may_send(&self, port: PortId, promiscuous_only: bool) -> bool {
        let up = self.up.get(port.index()).copied().unwrap_or(false);
        up && self.topology.port(port).is_some_and(|p| !(promiscuous_only && p.isolated))
    }

    /// Notes whether a port's link is up; a port that went down loses what was learned on it until then.
    pub fn set_up(&mut self, port: PortId, up: bool) {
        let Some(known) = self.up.get_mut(port.index()) else { return };
        if std::mem::replace(known, up) == up {
            return;
        }
        self.invalidate();
        if !up {
            self.flush_port(port);
        }
    }

    /// Forgets every address learned on a port.
    pub fn flush_port(&mut self, port: PortId) {
        let removed: usize = self.fdbs.iter_mut().flatten().map(|fdb| fdb.flush_port(port)).sum();
        if removed > 0 {
            self.invalidate();
        }
    }

    /// The forwarding database of a domain.
    #[inline]
    pub fn fdb(&self, domain: DomainId) -> Option<&Fdb> {
        self.fdbs.get(domain.index())?.as_ref()
    }

    /// The port of a station in a domain.
    #[inline]
    pub fn lookup(&self, domain: DomainId, who: impl Into<Station>) -> Option<PortId> {
        let who = who.into();
        if let Some(assumed) = self.rehearsal.as_ref().and_then(|rehearsal| rehearsal.lookup(domain, who)) {
            return assumed;
        }
        self.fdb(domain)?.lookup(who)
    }

    /// How many addresses each domain has learned.
    pub fn fdb_sizes(&self) -> Vec<(DomainId, usize)> {
        let present = (0..=u16::MAX).map(DomainId).zip(&self.fdbs);
        present.filter_map(|(domain, fdb)| fdb.as_ref().map(|fdb| (domain, fdb.len()))).collect()
    }

    /// Sets an address to a port for good.
    pub fn set_fixed(&mut self, domain: DomainId, who: impl Into<Station>, port: PortId, now: Millis) -> Learned {
        let learned = self.fdb_mut(domain).map_or(Learned::Full, |fdb| fdb.set_fixed(who, port, now));
        self.invalidate();
        learned
    }

    #[inline]
    fn fdb_mut(&mut self, domain: DomainId) -> Option<&mut Fdb> {
        self.fdbs.get_mut(domain.index())?.as_mut()
    }

    /// Hints that the stages soon see a frame of this key.
    #[inline]
    pub fn prefetch(&self, key: &FlowKey) {
        if let Some((domain, vlan)) = self.place_of(key)
            && let Some(fdb) = self.fdb(domain)
        {
            fdb.prefetch((vlan, key.eth_src));
            fdb.prefetch((vlan, key.eth_dst));
        }
    }

    /// The domain and VLAN that a frame of this key is switched in.
    #[inline]
    fn place_of(&self, key: &FlowKey) -> Option<(DomainId, Vlan)> {
        let port = self.topology.port(key.port)?;
        let Class { vlan, .. } = port.vlan.classify(key).ok()?;
        Some((port.domain?, vlan))
    }

    /// Learns that `who` was seen as a source on `port`. A change of place, or an entry evicted to make room, voids
    /// cached decisions; a new address does not, because frames to it were flooded and floods are not cached.
    #[inline]
    pub fn learn(&mut self, domain: DomainId, who: impl Into<Station>, port: PortId, now: Millis) -> Learned {
        let who = who.into();
        if self.rehearsal.is_some() {
            return self.foresee(domain, who, port, now);
        }
        let may_tell = self.gossip.has_room();
        let Some(fdb) = self.fdb_mut(domain) else { return Learned::Known };
        if !may_tell && fdb.lookup(who) != Some(port) {
            return Learned::Deferred;
        }
        let learned = fdb.learn(who, port, now);
        self.void_after(learned);
        if !matches!(learned, Learned::Known | Learned::Refused | Learned::Fixed | Learned::Full) {
            self.tell(domain, who);
        }
        self.moves += u64::from(learned == Learned::Moved);
        learned
    }

    /// Tells the other workers, if there are any and they can take it, where an address is.
    #[inline]
    fn tell(&mut self, domain: DomainId, who: Station) {
        let era = self.era;
        if self.gossip.can_tell()
            && let Some(sighting) = self.fdb_mut(domain).and_then(|fdb| fdb.tell(who, domain, era))
        {
            self.gossip.tell(sighting);
        }
    }

    /// Takes over what another worker saw.
    pub fn hear(&mut self, sighting: Sighting) {
        let carried = |port: &PortView| port.vlan.carries(sighting.who.vlan());
        let belongs = |port: &PortView| port.domain == Some(sighting.domain) && carried(port);
        if !self.topology.port(sighting.port).is_some_and(belongs) {
            return;
        }
        match self.fdb_mut(sighting.domain).map(|fdb| fdb.hear(sighting)) {
            Some(Learned::Again) => self.tell(sighting.domain, sighting.who),
            Some(learned) => self.void_after(learned),
            None => {}
        }
    }

    /// Voids cached decisions where learning made some wrong.
    #[inline]
    fn void_after(&mut self, learned: Learned) {
        if matches!(learned, Learned::Moved | Learned::Evicted | Learned::Pinned) {
            self.invalidate();
        }
    }

    /// What would come of a sighting, in a rehearsal.
    #[cold]
    fn foresee(&mut self, domain: DomainId, who: Station, port: PortId, now: Millis) -> Learned {
        if !self.gossip.has_room() && self.lookup(domain, who) != Some(port) {
            return Learned::Deferred;
        }
        let Some(mut rehearsal) = self.rehearsal.take() else { return Learned::Known };
        let foreseen = self.fdb(domain).map(|fdb| rehearsal.learn(fdb, (domain, who, port), now));
        self.rehearsal = Some(rehearsal);
        foreseen.map_or(Learned::Known, |foreseen| foreseen.learned)
    }

    /// Carries over that a cached flow's source was seen.
    pub fn refresh(&mut self, key: &FlowKey, seen: Millis) {
        let Some((domain, vlan)) = self.place_of(key) else { return };
        let who = Station::from((vlan, key.eth_src));
        if self.fdb_mut(domain).is_some_and(|fdb| fdb.refresh(who, key.port, seen)) {
            self.tell(domain, who);
        }
    }

    /// Removes what was not seen for its domain's ageing time.
    pub fn age(&mut self, now: Millis) {
        let removed: usize = self.fdbs.iter_mut().flatten().map(|fdb| fdb.expire(now)).sum();
        if removed > 0 {
            self.invalidate();
        }
    }
}

impl Default for Tables {
    fn default() -> Tables {
        Tables::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Mac;
    use topology::Domain;

    const LAN: DomainId = DomainId(0);
    const STATION: Mac = Mac([2, 0, 0, 0, 0, 1]);

    /// A domain of two ports whose addresses age after 40 s, and other workers that can take 8 sightings.
    fn tables() -> Tables {
        let domain = Domain { ageing_s: 40, ..Domain::new("lan") };
        let port = PortView { domain: Some(LAN), ..PortView::default() };
        let mut tables = Tables::new();
        tables.publish(Arc::new(Topology { ports: vec![Some(port); 2], domains: vec![Some(domain)] })).unwrap();
        tables.gossip.open(8);
        tables
    }

    /// How many sightings were told since the last time, and how many more could be from now on.
    fn told(tables: &mut Tables, room: usize) -> usize {
        let told = tables.gossip.news().len();
        tables.gossip.clear();
        tables.gossip.open(room);
        told
    }

    #[test]
    fn what_could_not_be_told_again_stays_due() {
        let mut tables = tables();
        assert_eq!(tables.learn(LAN, STATION, PortId(0), Millis(0)), Learned::New);
        assert_eq!(told(&mut tables, 0), 1);
        assert_eq!(tables.learn(LAN, STATION, PortId(0), Millis(10_001)), Learned::Again);
        assert_eq!(told(&mut tables, 8), 0, "nobody could take it");
        assert_eq!(tables.learn(LAN, STATION, PortId(0), Millis(10_002)), Learned::Again);
        assert_eq!(told(&mut tables, 8), 1);
        assert_eq!(tables.learn(LAN, STATION, PortId(0), Millis(10_003)), Learned::Known);
    }

    #[test]
    fn an_answer_that_could_not_be_told_stays_due() {
        let mut tables = tables();
        tables.learn(LAN, STATION, PortId(0), Millis(5000));
        assert_eq!(told(&mut tables, 0), 1);
        let older = Sighting { domain: LAN, who: STATION.into(), port: PortId(1), seen: Millis(0), moves: 0, era: 1 };
        tables.hear(older);
        assert_eq!((tables.lookup(LAN, STATION), told(&mut tables, 8)), (Some(PortId(0)), 0));
        tables.learn(LAN, STATION, PortId(0), Millis(5001));
        assert_eq!(told(&mut tables, 8), 1, "with the next frame");
        tables.hear(older);
        assert_eq!(told(&mut tables, 8), 1, "at once");
    }

    #[test]
    fn what_was_seen_a_moment_from_now_does_not_age() {
        let mut tables = tables();
        let seen = Sighting { domain: LAN, who: STATION.into(), port: PortId(1), seen: Millis(7), moves: 0, era: 1 };
        tables.hear(seen);
        tables.age(Millis(5));
        assert_eq!(tables.lookup(LAN, STATION), Some(PortId(1)));
        tables.age(Millis(40_008));
        assert_eq!(tables.lookup(LAN, STATION), None);
    }
}
