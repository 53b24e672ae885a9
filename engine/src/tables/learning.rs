//! Where addresses are: learned from frames, heard from other workers, foreseen in a trace.

use super::Tables;
use super::fdb::{Learned, Quota, Station};
use super::gate::Gate;
use super::gossip::Sighting;
use super::topology::{DomainId, PortView, Topology};
use crate::clock::Millis;
use crate::flow::{FlowKey, PortId};

/// An address that jumped between ports and was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flap {
    pub who: Station,
    /// Where it stays.
    pub home: PortId,
    /// Where it was seen.
    pub elsewhere: PortId,
}

impl Tables {
    /// Learns that `who` was seen as a source on `port`. A change of place, or an entry evicted to make room, voids
    /// cached decisions; a new address does not, because frames to it were flooded and floods are not cached.
    #[inline]
    pub fn learn(&mut self, domain: DomainId, who: impl Into<Station>, port: PortId, now: Millis) -> Learned {
        let who = who.into();
        if self.rehearsal.is_some() {
            return self.foresee(domain, who, port, now);
        }
        let may_tell = self.gossip.has_room();
        let Tables { domains, topology, gates, .. } = self;
        let Some(fdb) = domains.get_mut(domain.index()).and_then(|state| state.fdb.as_mut()) else {
            return Learned::Known;
        };
        if !may_tell && fdb.lookup(who) != Some(port) {
            return Learned::Deferred;
        }
        let quota = quota(topology, domain, port);
        let learned =
            fdb.learn_within(who, port, now, quota, |home, from, to| at_home(topology, gates, who, [home, from, to]));
        if learned != Learned::Known {
            self.after_learning(domain, who, learned);
        }
        if learned == Learned::Pinned {
            let home = self.lookup(domain, who).unwrap_or(port);
            self.flaps.push(Flap { who, home, elsewhere: port });
        }
        learned
    }

    /// The next address that was pinned and is to be counted.
    #[inline]
    pub(crate) fn next_flap(&mut self) -> Option<Flap> {
        self.flaps.pop()
    }

    fn after_learning(&mut self, domain: DomainId, who: Station, learned: Learned) {
        self.void_after(domain, learned);
        if !matches!(learned, Learned::Refused | Learned::Fixed | Learned::Full | Learned::Limited) {
            self.tell(domain, who);
        }
        self.moves += u64::from(learned == Learned::Moved);
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
            Some(learned) => self.void_after(sighting.domain, learned),
            None => {}
        }
    }

    /// Voids cached decisions where learning made some wrong.
    #[inline]
    fn void_after(&mut self, domain: DomainId, learned: Learned) {
        if matches!(learned, Learned::Moved | Learned::Evicted | Learned::Pinned) {
            self.invalidate_domain(Some(domain));
        }
    }

    /// What would come of a sighting, in a rehearsal.
    #[cold]
    fn foresee(&mut self, domain: DomainId, who: Station, port: PortId, now: Millis) -> Learned {
        if !self.gossip.has_room() && self.lookup(domain, who) != Some(port) {
            return Learned::Deferred;
        }
        let Some(mut rehearsal) = self.rehearsal.take() else { return Learned::Known };
        let Tables { topology, gates, .. } = &*self;
        let quota = quota(topology, domain, port);
        let pin = |home, from, to| at_home(topology, gates, who, [home, from, to]);
        let foreseen = self.fdb(domain).map(|fdb| fdb.foresee_within(who, port, now, (quota, pin)));
        foreseen.iter().for_each(|foreseen| rehearsal.assume(domain, who, foreseen));
        self.rehearsal = Some(rehearsal);
        foreseen.map_or(Learned::Known, |foreseen| foreseen.learned)
    }

    /// Whether one more frame of an address that is pinned to another port may be flooded.
    pub fn admits_flood(&mut self, domain: DomainId, who: impl Into<Station>) -> bool {
        let is_rehearsal = self.rehearsal.is_some();
        self.fdb_mut(domain).is_none_or(|fdb| fdb.admits_flood(who, !is_rehearsal))
    }

    /// Carries over that a cached flow's source was seen, where its port learns.
    pub fn refresh(&mut self, key: &FlowKey, seen: Millis) {
        if !self.topology.port(key.port).is_some_and(|port| port.learning) {
            return;
        }
        let Some((domain, vlan)) = self.place_of(key) else { return };
        let who = Station::from((vlan, key.eth_src));
        if self.fdb_mut(domain).is_some_and(|fdb| fdb.refresh(who, key.port, seen)) {
            self.tell(domain, who);
        }
    }
}

fn quota(topology: &Topology, domain: DomainId, port: PortId) -> Quota {
    let both = topology.port(port).zip(topology.domain(domain));
    both.map_or_else(Default::default, |(port, domain)| port.quota(domain))
}

/// Where an address is at home that jumps: at the port whose own it is, else where it was when the jumping began, if that is
/// still there.
fn at_home(topology: &Topology, gates: &[Gate], who: Station, [home, from, to]: [PortId; 3]) -> PortId {
    let owns = |port: &PortId| topology.port(*port).is_some_and(|view| view.station == Some(who.mac()));
    let is_there = |port: PortId| gates.get(port.index()).is_some_and(|gate| gate.is_there && gate.is_up);
    let owner = [home, from, to].into_iter().find(owns);
    owner.unwrap_or(if is_there(home) { home } else { to })
}
