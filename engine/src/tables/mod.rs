//! What the stages know. One instance per worker: nothing here is shared.

mod by_hand;
mod direct;
pub mod fdb;
mod gate;
pub mod gossip;
mod learning;
mod rehearsal;
mod station;
pub mod storm;
mod sweep;
pub mod topology;
pub mod vlan;

use crate::clock::Millis;
use crate::flow::{FlowKey, PortId, exit};
use crate::guard::Guard;
use crate::program::Exit;
use crate::trace::Note;
pub(crate) use direct::{Ingress, Lookup};
use fdb::{Fdb, Learned, Station};
use gate::Gate;
use gossip::Gossip;
pub(crate) use learning::Flap;
use rehearsal::Rehearsal;
use std::io;
use std::sync::Arc;
use topology::{Change, DomainId, PortView, Topology};
use vlan::{Class, Tagging, Vlan};

/// A worker's tables, and the epochs that cached decisions rest on.
pub struct Tables {
    /// Ports and domains.
    pub topology: Topology,
    /// What the other workers are to hear.
    pub gossip: Gossip,
    /// By [`DomainId`].
    domains: Vec<State>,
    /// Of ports that are in no domain.
    homeless: u32,
    /// By [`PortId`].
    gates: Vec<Gate>,
    /// The newest epoch of all.
    newest: u32,
    /// Changes of the topology taken.
    era: u32,
    moves: u64,
    /// Addresses that were pinned, until they are counted.
    flaps: Vec<Flap>,
    /// The domain whose database is being swept.
    sweeping: usize,
    /// Databases whose sweep is due, in thousandths.
    due: usize,
    /// While a trace walks the stages.
    rehearsal: Option<Box<Rehearsal>>,
}

/// What is known of a domain.
#[derive(Default)]
struct State {
    fdb: Option<Fdb>,
    epoch: u32,
}

impl Tables {
    /// Empty tables over an empty topology.
    pub fn new() -> Tables {
        Tables {
            topology: Topology::default(),
            gossip: Gossip::default(),
            domains: Vec::new(),
            homeless: 1,
            gates: Vec::new(),
            newest: 1,
            era: 0,
            moves: 0,
            flaps: Vec::with_capacity(1),
            sweeping: 0,
            due: 0,
            rehearsal: None,
        }
    }

    /// Decisions about frames from this port that were made under another epoch are void. Never 0, and no two domains have
    /// the same.
    #[inline]
    pub fn epoch(&self, port: PortId) -> u32 {
        let domain = self.topology.domain_of(port).and_then(|domain| self.domains.get(domain.index()));
        domain.map_or(self.homeless, |domain| domain.epoch)
    }

    /// How many changes of the topology were taken: what workers tell each other rests on it.
    #[inline]
    pub fn era(&self) -> u32 {
        self.era
    }

    /// Voids every cached decision; not in a rehearsal.
    pub fn invalidate(&mut self) {
        (0..self.domains.len()).for_each(|domain| self.invalidate_domain(Some(DomainId(domain as u16))));
        self.invalidate_domain(None);
    }

    /// Voids cached decisions about frames in a domain, or of ports in none.
    fn invalidate_domain(&mut self, domain: Option<DomainId>) {
        if self.rehearsal.is_some() {
            return;
        }
        self.newest = self.newest.wrapping_add(1).max(1);
        match domain {
            Some(domain) => self.state(domain).epoch = self.newest,
            None => self.homeless = self.newest,
        }
    }

    fn state(&mut self, domain: DomainId) -> &mut State {
        if self.domains.len() <= domain.index() {
            let fresh = self.newest;
            self.domains.resize_with(domain.index() + 1, || State { fdb: None, epoch: fresh });
        }
        &mut self.domains[domain.index()]
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

    /// Takes a whole topology: what differs from the one before is changed. All workers of a switch take the same changes in
    /// the same order.
    ///
    /// # Errors
    /// When there is no memory for a forwarding database; that domain floods.
    pub fn publish(&mut self, topology: Arc<Topology>) -> io::Result<()> {
        let new = Arc::unwrap_or_clone(topology);
        let mut made = Ok(());
        for id in (0..new.domains.len().max(self.topology.domains.len())).map(|id| DomainId(id as u16)) {
            made = made.and(self.apply(Change::Domain(id, new.domain(id).cloned())).map(drop));
        }
        for id in (0..new.ports.len().max(self.topology.ports.len())).map(|id| PortId(id as u16)) {
            made = made.and(self.apply(Change::Port(id, new.port(id).cloned())).map(drop));
        }
        // Who is a member is what the topology says.
        self.topology = new;
        made
    }

    /// Takes a change. A port that is in another domain than before, or whose VLANs change, loses what was
    /// learned on it. All workers of a switch take the same changes in the same order. Gives back a forwarding database that
    /// is no longer needed: freeing its memory takes long.
    ///
    /// # Errors
    /// When there is no memory for the forwarding database of a domain, which floods then, or for an entry of it.
    pub fn apply(&mut self, change: Change) -> io::Result<Option<Fdb>> {
        self.era += 1;
        match change {
            Change::Port(id, port) => {
                self.change_port(id, port);
                Ok(None)
            }
            Change::Domain(id, domain) => self.change_domain(id, domain),
            Change::Static(domain, who, Some(port)) => match self.set_fixed(domain, who, port, Millis::default()) {
                Learned::Full => Err(io::ErrorKind::OutOfMemory.into()),
                _ => Ok(None),
            },
            Change::Static(domain, who, None) => {
                self.forget(domain, who);
                Ok(None)
            }
            Change::Flush(domain, port) => {
                self.flush(domain, port);
                Ok(None)
            }
        }
    }

    fn change_port(&mut self, id: PortId, port: Option<PortView>) {
        if self.gates.len() <= id.index() {
            self.gates.resize(id.index() + 1, Gate::default());
        }
        let gate = &mut self.gates[id.index()];
        gate.is_there = port.is_some();
        gate.is_blocked = false;
        if let Some(port) = &port {
            (gate.isolation, gate.is_transparent) = (port.isolation(), port.vlan == Tagging::Transparent);
        }
        gate.settle();
        if port.as_ref().zip(self.topology.port(id)).is_some_and(|(port, before)| port.decides_like(before)) {
            self.topology.set_port(id, port);
            return;
        }
        let (vlan, domain) = (port.as_ref().map(|port| port.vlan.clone()), port.as_ref().and_then(|port| port.domain));
        let before = self.topology.set_port(id, port);
        if let Some((before, left)) = before.as_ref().and_then(|before| Some((before, before.domain?))) {
            let fdb = self.fdb_mut(left);
            match domain == Some(left) {
                true if vlan.as_ref() == Some(&before.vlan) => {}
                true => _ = fdb.map(|fdb| fdb.flush_port(id)),
                false => _ = fdb.map(|fdb| fdb.forget_port(id)),
            }
            self.invalidate_domain(Some(left));
        }
        self.invalidate_domain(domain);
    }

    fn change_domain(&mut self, id: DomainId, domain: Option<topology::Domain>) -> io::Result<Option<Fdb>> {
        let resized = self.topology.domain(id).map(|known| known.fdb_max) != domain.as_ref().map(|new| new.fdb_max);
        let (state, mut made) = (self.state(id), Ok(()));
        let old = if resized { state.fdb.take() } else { None };
        match (&domain, &mut state.fdb) {
            (Some(domain), Some(fdb)) => fdb.set_ageing(domain.ageing_s),
            (Some(domain), fdb) => *fdb = Fdb::new(domain).map_err(|error| made = Err(error)).ok(),
            (None, _) => {}
        }
        self.topology.set_domain(id, domain);
        self.invalidate_domain(Some(id));
        made.map(|()| old)
    }

    /// Forgets every address learned on a port.
    pub fn flush_port(&mut self, port: PortId) {
        let Some(domain) = self.topology.domain_of(port) else { return };
        if self.fdb_mut(domain).map_or(0, |fdb| fdb.flush_port(port)) > 0 {
            self.invalidate_domain(Some(domain));
        }
    }

    /// The forwarding database of a domain.
    #[inline]
    pub fn fdb(&self, domain: DomainId) -> Option<&Fdb> {
        self.domains.get(domain.index())?.fdb.as_ref()
    }

    /// The port of a station in a domain.
    #[inline]
    pub fn lookup(&self, domain: DomainId, who: impl Into<Station>) -> Option<PortId> {
        let who = who.into();
        if let Some(rehearsal) = &self.rehearsal
            && let Some(assumed) = rehearsal.lookup(domain, who)
        {
            return assumed;
        }
        self.fdb(domain)?.lookup(who)
    }

    /// How many addresses each domain has learned.
    pub fn fdb_sizes(&self) -> Vec<(DomainId, usize)> {
        let present = (0..=u16::MAX).map(DomainId).zip(&self.domains);
        present.filter_map(|(domain, state)| state.fdb.as_ref().map(|fdb| (domain, fdb.len()))).collect()
    }

    #[inline]
    fn fdb_mut(&mut self, domain: DomainId) -> Option<&mut Fdb> {
        self.domains.get_mut(domain.index())?.fdb.as_mut()
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

    /// The source guard of a port.
    #[inline(always)]
    pub(crate) fn guard(&self, port: PortId) -> Option<&Guard> {
        self.topology.port(port)?.guard.as_deref()
    }

    /// What a frame is to VLANs, where its port admits it.
    pub(crate) fn class_of(&self, key: &FlowKey) -> Option<Class> {
        self.topology.port(key.port)?.vlan.classify(key).ok()
    }

    /// How a frame of a class leaves by a port, if that carries its VLAN.
    pub(crate) fn exit(&self, port: PortId, class: &Class) -> Option<Exit> {
        exit(port, self.topology.port(port)?, class)
    }

    /// The domain and VLAN that a frame of this key is switched in.
    #[inline]
    fn place_of(&self, key: &FlowKey) -> Option<(DomainId, Vlan)> {
        let port = self.topology.port(key.port)?;
        let Class { vlan, .. } = port.vlan.classify(key).ok()?;
        Some((port.domain?, vlan))
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
    use gossip::Sighting;
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

    fn sighting() -> Sighting {
        let (port, since) = (PortId(1), Millis(0));
        Sighting { domain: LAN, who: STATION.into(), port, seen: since, moves: 0, since, home: port, jumps: 0, era: 1 }
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
        let older = Sighting { seen: Millis(0), ..sighting() };
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
        let seen = Sighting { seen: Millis(7), ..sighting() };
        tables.hear(seen);
        tables.age(Millis(5));
        assert_eq!(tables.lookup(LAN, STATION), Some(PortId(1)));
        tables.age(Millis(40_008));
        assert_eq!(tables.lookup(LAN, STATION), None);
    }

    /// Who has a static entry needs the stages no more than others do.
    #[test]
    fn frames_between_static_entries_need_no_stages() {
        let mut tables = tables();
        let other = Mac([2, 0, 0, 0, 0, 2]);
        tables.set_fixed(LAN, STATION, PortId(0), Millis(0));
        tables.set_fixed(LAN, other, PortId(1), Millis(0));
        let found = |tables: &mut Tables, port: PortId| {
            let (ingress, mut lookups) = (tables.ingress(port).unwrap(), [Lookup::default()]);
            tables.begin_lookups(&ingress, &mut lookups, std::iter::once((STATION.into(), other.into())));
            tables.end_lookups(&ingress, &mut lookups, Millis(1));
            lookups[0].to
        };
        assert_eq!([found(&mut tables, PortId(0)), found(&mut tables, PortId(1))], [PortId(1), Lookup::NOWHERE]);
    }
}
