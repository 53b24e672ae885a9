//! Addresses that belong to ports for good.
//!
//! # Theory of operation
//!
//! An entry names its port, and is kept here whether there is such a port or not. Workers know it while the port is in the
//! domain and carries the entry's VLAN: it is *active*. Whatever changes ports or domains asks afterwards for the entries
//! that this concerns ([`Registry::settle_port`], [`Registry::settle_domain`]), and tells the workers the difference. So an
//! entry outlives its port, a new forwarding database, and whatever happens to links.

use super::registry::Registry;
use super::{Error, FdbStatus, Switch};
use crate::flow::PortId;
use crate::tables::fdb::Station;
use crate::tables::topology::{Change, DomainId};
use crate::tables::vlan::{Tagging, Vlan};
use crate::wire::Mac;
use crate::wire::vlan::{Tpid, Vid};
use crate::worker::Command;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// How often a VLAN is flushed while addresses come that were not there: what is moved meanwhile may be missed.
const PASSES: usize = 4;

/// An address that belongs to a port of a domain for good: it never moves, ages or is evicted, and frames from it that come in
/// by another port are dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaticEntry {
    /// The address.
    pub mac: Mac,
    /// The VLAN; `None` for the one that untagged frames of the port belong to.
    pub vlan: Option<Vid>,
    /// The port's name. There need not be one yet.
    pub port: String,
}

/// An entry among those of its domain.
type Key = (Mac, Option<Vid>);

/// An entry, and what workers know of it.
struct Entry {
    port: String,
    active: Option<(Station, PortId)>,
}

/// All entries, by domain and by port.
#[derive(Default)]
pub(super) struct Statics {
    domains: HashMap<DomainId, BTreeMap<Key, Entry>>,
    ports: HashMap<String, BTreeSet<(DomainId, Key)>>,
}

impl Statics {
    /// How many a domain has.
    pub fn count(&self, domain: DomainId) -> usize {
        self.domains.get(&domain).map_or(0, BTreeMap::len)
    }

    fn keys(&self, domain: DomainId) -> Vec<(DomainId, Key)> {
        self.domains.get(&domain).into_iter().flat_map(BTreeMap::keys).map(|&key| (domain, key)).collect()
    }

    fn get(&self, (domain, key): (DomainId, Key)) -> Option<&Entry> {
        self.domains.get(&domain)?.get(&key)
    }

    fn get_mut(&mut self, (domain, key): (DomainId, Key)) -> Option<&mut Entry> {
        self.domains.get_mut(&domain)?.get_mut(&key)
    }

    /// Takes an entry in, in the place of one of the same address and VLAN.
    fn insert(&mut self, domain: DomainId, entry: &StaticEntry) {
        let key = (entry.mac, entry.vlan);
        let active = self.get((domain, key)).and_then(|known| known.active);
        self.forget(domain, key);
        self.domains.entry(domain).or_default().insert(key, Entry { port: entry.port.clone(), active });
        self.ports.entry(entry.port.clone()).or_default().insert((domain, key));
    }

    /// Takes an entry out; what workers knew of it, `None` where there was none.
    fn forget(&mut self, domain: DomainId, key: Key) -> Option<Option<(Station, PortId)>> {
        let Entry { port, active } = self.domains.get_mut(&domain)?.remove(&key)?;
        if let Some(of_port) = self.ports.get_mut(&port) {
            of_port.remove(&(domain, key));
            if of_port.is_empty() {
                self.ports.remove(&port);
            }
        }
        Some(active)
    }

    /// Forgets a domain, which workers have forgotten.
    pub fn remove_domain(&mut self, domain: DomainId) {
        self.keys(domain).into_iter().for_each(|(domain, key)| _ = self.forget(domain, key));
        self.domains.remove(&domain);
    }

    /// The entry of this key, or else the one without VLAN that is active in this one.
    fn find(&self, domain: DomainId, (mac, vlan): Key) -> Option<Key> {
        let keys = [(mac, vlan), (mac, None)];
        let suits = |&key: &Key| {
            let entry = self.get((domain, key))?;
            let is_in = entry.active.is_some_and(|(station, _)| station.vlan().vid() == vlan);
            (key.1 == vlan || is_in).then_some(key)
        };
        keys.iter().find_map(suits)
    }

    /// Another entry by which workers know the same station: the VLAN of one may be that of untagged frames.
    fn twin(&self, domain: DomainId, station: Station) -> Option<PortId> {
        let keys = [None, station.vlan().vid()].map(|vlan| (domain, (station.mac(), vlan)));
        keys.into_iter().filter_map(|key| self.get(key)?.active).find(|known| known.0 == station).map(|known| known.1)
    }
}

impl Registry {
    /// What workers are to be told of the entries of a port.
    pub fn settle_port(&mut self, name: &str) -> Vec<Change> {
        let keys: Vec<_> = self.statics.ports.get(name).into_iter().flatten().copied().collect();
        self.settle(keys)
    }

    /// What workers are to be told of the entries of a domain; of all of them if its forwarding database `is_new`.
    pub fn settle_domain(&mut self, domain: DomainId, is_new: bool) -> Vec<Change> {
        let entries = self.statics.domains.get_mut(&domain).into_iter().flatten();
        entries.filter(|_| is_new).for_each(|(_, entry)| entry.active = None);
        self.settle(self.statics.keys(domain))
    }

    fn settle(&mut self, keys: Vec<(DomainId, Key)>) -> Vec<Change> {
        let mut changes = Vec::new();
        for at in keys {
            let place = self.statics.get(at).and_then(|entry| self.place(at, &entry.port));
            let Some(entry) = self.statics.get_mut(at).filter(|entry| entry.active != place) else { continue };
            let before = std::mem::replace(&mut entry.active, place);
            let left =
                before.map(|(station, _)| station).filter(|&station| place.map(|place| place.0) != Some(station));
            changes.extend(left.map(|station| self.left(at.0, station)));
            changes.extend(place.map(|(station, port)| Change::Static(at.0, station, Some(port))));
        }
        changes
    }

    /// An entry is no more: another may be there for the same station.
    fn left(&self, domain: DomainId, station: Station) -> Change {
        Change::Static(domain, station, self.statics.twin(domain, station))
    }

    /// Where an entry is active, if its port is in the domain and carries its VLAN.
    fn place(&self, (domain, (mac, vid)): (DomainId, Key), port: &str) -> Option<(Station, PortId)> {
        let id = self.port_id(port).ok()?;
        let view = self.view(id).filter(|view| view.domain == Some(domain))?;
        view.vlan.has(vid).then(|| ((view.vlan.vlan_of(vid), mac).into(), id))
    }

    /// Entries that are not active, with the domain's name.
    pub fn waiting_statics(&self) -> Vec<FdbStatus> {
        let name = |id: DomainId| self.domain(id).map(|domain| domain.name.clone()).unwrap_or_default();
        let all = self.statics.domains.iter().flat_map(|(&id, entries)| entries.iter().map(move |entry| (id, entry)));
        let waiting = all.filter(|(_, (_, entry))| entry.active.is_none());
        let status = |(id, (&(mac, vlan), entry)): (DomainId, (&Key, &Entry))| FdbStatus {
            domain: name(id),
            vlan: vlan.map(Vid::number),
            service: false,
            mac,
            port: entry.port.clone(),
            age: Duration::ZERO,
            fixed: true,
            active: false,
        };
        waiting.map(status).collect()
    }

    /// Whether a domain may have so many entries.
    pub fn check_statics(&self, domain: DomainId, count: usize) -> Result<(), Error> {
        let known = self.domain(domain).filter(|known| count > known.fdb_max);
        known.map_or(Ok(()), |domain| Err(Error::FdbFull(domain.name.clone())))
    }
}

impl Tagging {
    /// Whether the port carries the VLAN that a static entry names; without one, whether it has untagged frames.
    pub fn has(&self, vid: Option<Vid>) -> bool {
        self.carries(self.vlan_of(vid))
    }

    /// The VLAN of this number as the port knows it; without one, that of its untagged frames.
    fn vlan_of(&self, vid: Option<Vid>) -> Vlan {
        let (own, tpid) = match self {
            Tagging::Transparent => (None, Tpid::CUSTOMER),
            Tagging::Access { vid, .. } => (Some(*vid), Tpid::CUSTOMER),
            Tagging::Trunk { native, .. } => (native.map(|native| native.vid), Tpid::CUSTOMER),
            Tagging::Tunnel { vid, tpid } => (Some(*vid), *tpid),
        };
        vid.or(own).map_or(Vlan::NONE, |vid| Vlan::of(tpid, vid))
    }
}

impl Switch {
    /// Sets an address to a port for good, in the place of an entry for the same address and VLAN. While there is no such port in
    /// the domain, or it does not carry the VLAN, the entry waits for it.
    ///
    /// ```
    /// # use crossdock_engine::{Switch, switch::{Config, StaticEntry}, tables::topology::Domain};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let switch = Switch::new(Config { frames: 512, super_frames: 8, ..Config::default() })?;
    /// # switch.add_domain(Domain::new("lan"))?;
    /// let printer = StaticEntry { mac: "02:00:00:00:00:09".parse()?, vlan: None, port: "printer".into() };
    /// switch.set_static("lan", &printer)?;
    /// assert!(!switch.fdb()?[0].active, "its port comes later");
    /// switch.remove_static("lan", printer.mac, None)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the domain does not exist, has as many entries as its forwarding database takes, or the switch has stopped.
    pub fn set_static(&self, domain: &str, entry: &StaticEntry) -> Result<(), Error> {
        let mut registry = self.registry();
        let id = registry.domain_id(domain)?;
        let is_new = registry.statics.get((id, (entry.mac, entry.vlan))).is_none();
        registry.check_statics(id, registry.statics.count(id) + usize::from(is_new))?;
        registry.statics.insert(id, entry);
        let changes = registry.settle(vec![(id, (entry.mac, entry.vlan))]);
        self.publish_all(&changes)
    }

    /// Makes these the static entries of a domain, and no others; those that stay are not touched.
    ///
    /// # Errors
    /// When the domain does not exist, they are more than its forwarding database takes, or the switch has stopped.
    pub fn replace_statics(&self, domain: &str, entries: &[StaticEntry]) -> Result<(), Error> {
        let mut registry = self.registry();
        let id = registry.domain_id(domain)?;
        registry.check_statics(id, entries.len())?;
        let wanted: BTreeSet<Key> = entries.iter().map(|entry| (entry.mac, entry.vlan)).collect();
        let unwanted = registry.statics.keys(id).into_iter().filter(|(_, key)| !wanted.contains(key));
        let gone: Vec<Station> =
            unwanted.filter_map(|(_, key)| registry.statics.forget(id, key)?.map(|(station, _)| station)).collect();
        entries.iter().for_each(|entry| registry.statics.insert(id, entry));
        let mut changes: Vec<Change> = gone.into_iter().map(|station| registry.left(id, station)).collect();
        changes.extend(registry.settle_domain(id, false));
        self.publish_all(&changes)
    }

    /// Forgets a static entry: the one that was set with this VLAN, or else without one and is active in it. Gives it back.
    ///
    /// # Errors
    /// When there is none, or the switch has stopped.
    pub fn remove_static(&self, domain: &str, mac: Mac, vlan: Option<Vid>) -> Result<StaticEntry, Error> {
        let mut registry = self.registry();
        let id = registry.domain_id(domain)?;
        let known = registry.statics.find(id, (mac, vlan));
        let key = known.ok_or_else(|| Error::Unknown(format!("static entry for {mac} in domain {domain}")))?;
        let port = registry.statics.get((id, key)).map(|entry| entry.port.clone()).unwrap_or_default();
        let active = registry.statics.forget(id, key).flatten();
        let changes: Vec<Change> = active.map(|(station, _)| registry.left(id, station)).into_iter().collect();
        self.publish_all(&changes)?;
        Ok(StaticEntry { mac, vlan: key.1, port })
    }

    /// Forgets an address that was learned, until it is seen again. Static entries stay.
    ///
    /// # Errors
    /// When it is not known, or the switch has stopped.
    pub fn forget_address(&self, domain: &str, mac: Mac, vlan: Option<Vid>) -> Result<(), Error> {
        let registry = self.registry();
        let id = registry.domain_id(domain)?;
        let vlans = match vlan {
            None => vec![Vlan::NONE],
            Some(vid) => [Tpid::CUSTOMER, Tpid::SERVICE].map(|tpid| Vlan::of(tpid, vid)).to_vec(),
        };
        let mut known = false;
        for station in vlans.into_iter().map(|vlan| Station::from((vlan, mac))) {
            if registry.statics.twin(id, station).is_none() {
                known |= self.workers.ask_all(|known| Command::Forget(id, station, known))?.contains(&true);
            }
        }
        if known { Ok(()) } else { Err(Error::Unknown(format!("address {mac} in domain {domain}"))) }
    }

    /// Forgets the addresses that were learned in a domain or everywhere, on a port or on all, in the VLANs of a number or in
    /// all. Static entries stay.
    ///
    /// # Errors
    /// When the domain or the port does not exist, the port is in another domain, or the switch has stopped.
    pub fn flush(&self, domain: Option<&str>, port: Option<&str>, vlan: Option<Vid>) -> Result<(), Error> {
        let registry = self.registry();
        let wanted = domain.map(|domain| registry.domain_id(domain)).transpose()?;
        let port = port.map(|port| registry.port_id(port)).transpose()?;
        let of_port = port.and_then(|port| registry.port(port)?.view.domain);
        if let (Some(port), Some(_)) = (port, wanted)
            && of_port != wanted
        {
            let name = registry.name(port).unwrap_or_default();
            return Err(Error::Unknown(format!("port {name} in domain {}", domain.unwrap_or_default())));
        }
        let all = || registry.domains().map(|(id, _)| id).collect();
        let domains: Vec<DomainId> = wanted.or(of_port).map_or_else(all, |id| vec![id]);
        let Some(vid) = vlan else {
            return self.publish_all(&domains.into_iter().map(|id| Change::Flush(id, port)).collect::<Vec<_>>());
        };
        // Looking through a large table takes a while, and others need not wait for it.
        drop(registry);
        domains.into_iter().try_for_each(|id| self.flush_vlan(id, (vid, port)))
    }

    /// Flushes a VLAN page by page at every worker.
    fn flush_vlan(&self, domain: DomainId, which: (Vid, Option<PortId>)) -> Result<(), Error> {
        for worker in self.workers.numbers() {
            for _ in 0..PASSES {
                let (mut next, mut sum) = (Some(0), 0);
                while let Some(from) = next {
                    let ask = |done| Command::FlushVlan(domain, which, from, done);
                    let (flushed, then) = self.workers.ask(worker, ask)?;
                    (next, sum) = (then, sum + flushed);
                }
                if sum == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}
