//! What the stages know. One instance per worker: nothing here is shared.

pub mod fdb;
pub mod gossip;
mod rehearsal;
mod station;
pub mod storm;
pub mod topology;
pub mod vlan;

use crate::clock::Millis;
use crate::flow::{FlowKey, PortId, exit};
use crate::guard::Guard;
use crate::program::Exit;
use crate::trace::Note;
use crate::wire::Mac;
use fdb::{Fdb, Learned, Station};
use gossip::{Gossip, Sighting};
use rehearsal::Rehearsal;
use std::io;
use std::sync::Arc;
use topology::{Change, DomainId, IsolationGroups, PortView, Topology};
use vlan::{Class, Tagging, Vlan};

/// Milliseconds in which every forwarding database is swept once.
const SWEEP_MS: usize = 1000;
/// Most buckets swept together: some ten microseconds.
const SWEEP: usize = 2048;

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

/// An address that jumped between ports and was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flap {
    pub who: Station,
    /// Where it stays.
    pub home: PortId,
    /// Where it was seen.
    pub elsewhere: PortId,
}

/// What is asked of a port for every frame that leaves by it.
#[derive(Clone, Copy, Debug)]
struct Gate {
    /// Its isolation groups, or [`CLOSED`].
    keeps_out: u64,
    /// There is such a port.
    is_there: bool,
    /// Its link is up.
    is_up: bool,
    /// It leads back to the switch by another port.
    is_blocked: bool,
    /// It knows of no VLANs.
    is_transparent: bool,
    isolation: IsolationGroups,
}

/// A group that frames of all ports belong to: of a port that takes none.
const CLOSED: u64 = 1 << 63;

impl Default for Gate {
    fn default() -> Gate {
        let isolation = IsolationGroups::default();
        Gate { keeps_out: CLOSED, is_there: false, is_up: true, is_blocked: false, is_transparent: true, isolation }
    }
}

impl Gate {
    fn settle(&mut self) {
        self.keeps_out = if self.is_there && self.is_up && !self.is_blocked { self.isolation.0 } else { CLOSED };
    }
}

/// What frames of a port have in common, for a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ingress {
    pub port: PortId,
    domain: DomainId,
    /// Groups of ports that it is isolated from, and [`CLOSED`].
    kept_out: u64,
    /// What the entries of its addresses name.
    owner: u16,
    /// The domain's own address.
    own: Mac,
    /// It has a limit of addresses.
    has_quota: bool,
    pub is_transparent: bool,
}

/// A frame whose stations are looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lookup {
    source: Station,
    destination: Station,
    hashes: [u64; 2],
    /// Where the frame leaves if its source may be there; [`Lookup::NOWHERE`] where the stages are to be asked.
    pub to: PortId,
    /// The source is new, and has to be learned first.
    pub is_new: bool,
}

impl Lookup {
    /// The stages are to be asked.
    pub const NOWHERE: PortId = PortId(u16::MAX);
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

    /// Takes a change of the topology. A port that is in another domain than before, or whose VLANs change, loses what was
    /// learned on it. All workers of a switch take the same changes in the same order. Gives back a forwarding database that
    /// is no longer needed: freeing its memory takes long.
    ///
    /// # Errors
    /// When there is no memory for the forwarding database of a domain; it floods.
    pub fn apply(&mut self, change: Change) -> io::Result<Option<Fdb>> {
        self.era += 1;
        match change {
            Change::Port(id, port) => {
                self.change_port(id, port);
                Ok(None)
            }
            Change::Domain(id, domain) => self.change_domain(id, domain),
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

    /// Whether frames of a port of these groups may leave by `port`: it exists, is up, and is not isolated from them.
    #[inline]
    pub fn may_send(&self, port: PortId, isolation: IsolationGroups) -> bool {
        self.gates.get(port.index()).is_some_and(|gate| gate.keeps_out & (isolation.0 | CLOSED) == 0)
    }

    /// Notes whether a port's link is up; a port that went down loses what was learned on it until then.
    pub fn set_up(&mut self, port: PortId, up: bool) {
        let Some(gate) = self.gates.get_mut(port.index()) else { return };
        if std::mem::replace(&mut gate.is_up, up) == up {
            return;
        }
        gate.settle();
        self.invalidate_domain(self.topology.domain_of(port));
        if !up {
            self.flush_port(port);
        }
    }

    /// Blocks a port or opens it again: nothing passes it either way while it is blocked.
    pub(crate) fn set_blocked(&mut self, port: PortId, blocked: bool) {
        let Some(gate) = self.gates.get_mut(port.index()) else { return };
        if std::mem::replace(&mut gate.is_blocked, blocked) == blocked {
            return;
        }
        gate.settle();
        self.invalidate_domain(self.topology.domain_of(port));
        if blocked {
            self.flush_port(port);
        }
    }

    /// Whether a port is blocked.
    #[inline]
    pub(crate) fn is_blocked(&self, port: PortId) -> bool {
        self.gates.get(port.index()).is_some_and(|gate| gate.is_blocked)
    }

    /// Forgets every address learned on a port.
    pub fn flush_port(&mut self, port: PortId) {
        let Some(domain) = self.topology.domain_of(port) else { return };
        if self.fdb_mut(domain).map_or(0, |fdb| fdb.flush_port(port)) > 0 {
            self.invalidate_domain(Some(domain));
        }
    }

    /// Forgets what was learned in a domain, on one port or on all.
    pub fn flush(&mut self, domain: DomainId, port: Option<PortId>) {
        let members = self.topology.domain(domain).map(|domain| domain.members.clone()).unwrap_or_default();
        let Some(fdb) = self.fdb_mut(domain) else { return };
        members.into_iter().filter(|&member| port.is_none_or(|port| port == member)).for_each(|member| {
            fdb.flush_port(member);
        });
        self.invalidate_domain(Some(domain));
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

    /// Sets an address to a port for good.
    pub fn set_fixed(&mut self, domain: DomainId, who: impl Into<Station>, port: PortId, now: Millis) -> Learned {
        let learned = self.fdb_mut(domain).map_or(Learned::Full, |fdb| fdb.set_fixed(who, port, now));
        self.invalidate_domain(Some(domain));
        learned
    }

    /// Forgets an address, also one that was set for good; whether it was known.
    pub fn forget(&mut self, domain: DomainId, who: impl Into<Station>) -> bool {
        let known = self.fdb_mut(domain).is_some_and(|fdb| fdb.remove(who));
        self.invalidate_domain(Some(domain));
        known
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

    /// What frames of a port have in common; `None` where the stages must see each.
    pub(crate) fn ingress(&self, port: PortId) -> Option<Ingress> {
        let view = self.topology.port(port).filter(|view| view.learning && !view.locked && !self.is_blocked(port))?;
        let domain = view.domain?;
        Some(Ingress {
            port,
            domain,
            kept_out: view.isolation().0 | CLOSED,
            owner: self.fdb(domain)?.owner(port),
            own: self.topology.domain(domain)?.mac.unwrap_or(Mac::ZERO),
            has_quota: view.mac_limit > 0,
            is_transparent: view.vlan == Tagging::Transparent,
        })
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

    /// Begins to look up the stations of frames from one port; `stations` gives source and destination of each. Their entries
    /// are fetched ahead.
    #[inline(always)]
    pub(crate) fn begin_lookups(
        &self,
        ingress: &Ingress,
        lookups: &mut [Lookup],
        stations: impl Iterator<Item = (Station, Station)>,
    ) {
        let Some(fdb) = self.fdb(ingress.domain) else { return };
        for (lookup, (source, destination)) in lookups.iter_mut().zip(stations) {
            let hashes = [fdb.prefetch(source), fdb.prefetch(destination)];
            *lookup = Lookup { source, destination, hashes, to: Lookup::NOWHERE, is_new: false };
        }
    }

    /// Finds the port that each frame leaves by which goes to a station that is known, from one that is known where it came in,
    /// or new: what the stages would decide, without asking them. The other frames are left to them.
    #[inline(always)]
    pub(crate) fn end_lookups(&mut self, ingress: &Ingress, lookups: &mut [Lookup], now: Millis) {
        let Tables { domains, gates, .. } = self;
        let Some(fdb) = domains.get_mut(ingress.domain.index()).and_then(|state| state.fdb.as_mut()) else { return };
        for lookup in lookups {
            let to = fdb.lookup_hashed(lookup.hashes[1], lookup.destination);
            let is_open = gates.get(to.index()).is_some_and(|gate| gate.keeps_out & ingress.kept_out == 0);
            let seen = fdb.sees_hashed(lookup.hashes[0], lookup.source, ingress.owner, now);
            lookup.is_new = seen.is_none();
            let passes = is_open && to != ingress.port && seen != Some(false);
            lookup.to = if passes { to } else { Lookup::NOWHERE };
        }
    }

    /// Learns the source of a frame, which is new, where the stages would do that and nothing else. False where they are to be
    /// asked.
    #[inline]
    pub(crate) fn learn_new(&mut self, ingress: &Ingress, lookup: &Lookup, now: Millis) -> bool {
        let source = lookup.source.mac();
        if !source.is_station() || source == ingress.own {
            return false;
        }
        if ingress.has_quota || self.gossip.has_others() {
            let learned = self.learn(ingress.domain, lookup.source, ingress.port, now);
            return matches!(learned, Learned::New | Learned::Evicted | Learned::Known | Learned::Again);
        }
        let Some(fdb) = self.fdb_mut(ingress.domain) else { return false };
        // An earlier frame of the batch may have taught it.
        fdb.lookup(lookup.source) == Some(ingress.port) || fdb.learn_hashed(lookup.source, ingress.port, now)
    }

    /// Counts every change of what look-ups have found in a domain: addresses that moved or went, not those that came.
    #[inline(always)]
    pub(crate) fn version(&self, ingress: &Ingress) -> u32 {
        self.fdb(ingress.domain).map_or(0, Fdb::version)
    }

    /// How a frame of a class leaves by a port, if that carries its VLAN.
    pub(crate) fn exit(&self, port: PortId, class: &Class) -> Option<Exit> {
        exit(port, self.topology.port(port)?, class)
    }

    /// Whether a port knows of no VLANs.
    #[inline(always)]
    pub(crate) fn is_transparent(&self, port: PortId) -> bool {
        self.gates.get(port.index()).is_some_and(|gate| gate.is_transparent)
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

    /// Carries over that a cached flow's source was seen.
    pub fn refresh(&mut self, key: &FlowKey, seen: Millis) {
        let Some((domain, vlan)) = self.place_of(key) else { return };
        let who = Station::from((vlan, key.eth_src));
        if self.fdb_mut(domain).is_some_and(|fdb| fdb.refresh(who, key.port, seen)) {
            self.tell(domain, who);
        }
    }

    /// Removes all that was not seen for its domain's ageing time.
    pub fn age(&mut self, now: Millis) {
        for domain in (0..self.domains.len()).map(|id| DomainId(id as u16)) {
            if self.fdb_mut(domain).map_or(0, |fdb| fdb.expire(now)) > 0 {
                self.invalidate_domain(Some(domain));
            }
        }
    }

    /// Removes what was not seen for its domain's ageing time from the databases whose turn comes within `elapsed`
    /// milliseconds: each has one a second. Looks at a bounded part of them; false when some are due still.
    pub fn sweep(&mut self, now: Millis, elapsed: u32) -> bool {
        let all = self.domains.len();
        self.due = (self.due + all * (elapsed as usize).min(SWEEP_MS)).min(all * SWEEP_MS);
        let mut left = SWEEP;
        while self.due >= SWEEP_MS && left > 0 {
            let (looked_at, is_done) = self.sweep_next(now, left);
            left = left.saturating_sub(looked_at.max(1));
            if is_done {
                self.sweeping = (self.sweeping + 1) % all.max(1);
                self.due -= SWEEP_MS;
            }
        }
        self.due < SWEEP_MS
    }

    /// Sweeps up to `limit` buckets of the database whose turn it is; says how many there were, and whether those were the last.
    fn sweep_next(&mut self, now: Millis, limit: usize) -> (usize, bool) {
        let domain = DomainId(self.sweeping as u16);
        let Some(fdb) = self.fdb_mut(domain).filter(|fdb| fdb.extent() > 0) else { return (0, true) };
        let (expired, is_done) = fdb.sweep(now, limit);
        let looked_at = fdb.extent().min(limit);
        if expired > 0 {
            self.invalidate_domain(Some(domain));
        }
        (looked_at, is_done)
    }
}

fn quota(topology: &Topology, domain: DomainId, port: PortId) -> fdb::Quota {
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

impl Default for Tables {
    fn default() -> Tables {
        Tables::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
