//! Names and numbers of ports and domains: the control side's view, from which the topology is made.
//!
//! What is done for one port takes as long with thousands of others as with none.

use super::mirrors::Mirrors;
use super::numbers::Numbers;
use super::{Error, Mirror};
use crate::flow::PortId;
use crate::ports::Caps;
use crate::stats::PortCounters;
use crate::tables::topology::{Domain, DomainId, MirrorTo, PortView};
use crate::wire::Mac;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A port as the control side knows it.
pub(super) struct Registered {
    pub name: String,
    pub kind: &'static str,
    pub caps: Caps,
    pub view: PortView,
    /// Where copies of its frames go, by name: the view has no number for it.
    pub mirror: Option<Mirror>,
    /// Of each worker.
    pub counters: Vec<Arc<PortCounters>>,
    pub up: Arc<AtomicBool>,
    /// Workers that have queues of it.
    pub owners: Arc<[usize]>,
}

impl Registered {
    /// What all workers counted.
    pub fn total(&self) -> PortCounters {
        sum(self.counters.iter().map(|counters| &**counters))
    }
}

/// The sum of counters.
pub(super) fn sum<'a>(all: impl Iterator<Item = &'a PortCounters>) -> PortCounters {
    let total = PortCounters::default();
    all.for_each(|counters| total.absorb(counters));
    total
}

/// All ports and domains by number.
#[derive(Default)]
pub(super) struct Registry {
    ports: Numbers<Registered>,
    domains: Numbers<Domain>,
    /// By number, also of ports that were removed.
    names: Vec<String>,
    /// Names of ports that are being opened.
    reserved: HashSet<String>,
    /// How many ports each domain has.
    members: Vec<usize>,
    /// How many ports each worker has queues of.
    loads: Vec<usize>,
    /// Which ports have mirrors to which.
    mirrors: Mirrors,
    /// The counters of all removed ports together, so that sums over the switch stay whole.
    gone: PortCounters,
}

impl Registry {
    /// For so many workers.
    pub fn new(workers: usize) -> Registry {
        Registry { loads: vec![0; workers], ..Registry::default() }
    }

    pub fn ports(&self) -> impl Iterator<Item = (PortId, &Registered)> {
        self.ports.iter().map(|(id, port)| (PortId(id), port))
    }

    pub fn domains(&self) -> impl Iterator<Item = (DomainId, &Domain)> {
        self.domains.iter().map(|(id, domain)| (DomainId(id), domain))
    }

    pub fn port(&self, id: PortId) -> Option<&Registered> {
        self.ports.get(id.index())
    }

    /// The name of a port, or of the last one that had this number.
    pub fn name(&self, id: PortId) -> Option<&str> {
        self.names.get(id.index()).map(String::as_str)
    }

    pub fn domain(&self, id: DomainId) -> Option<&Domain> {
        self.domains.get(id.index())
    }

    pub fn port_id(&self, name: &str) -> Result<PortId, Error> {
        self.ports.find(name).map(PortId).ok_or_else(|| Error::Unknown(format!("port {name}")))
    }

    pub fn domain_id(&self, name: &str) -> Result<DomainId, Error> {
        self.domains.find(name).map(DomainId).ok_or_else(|| Error::Unknown(format!("domain {name}")))
    }

    /// How many ports a domain has.
    pub fn member_count(&self, id: DomainId) -> usize {
        self.members.get(id.index()).copied().unwrap_or(0)
    }

    /// Takes a name for a port that is to be opened, while nobody waits for that.
    pub fn reserve(&mut self, name: &str) -> Result<(), Error> {
        let taken = self.ports.find(name).is_some() || !self.reserved.insert(name.into());
        if taken { Err(Error::Exists(format!("port {name}"))) } else { Ok(()) }
    }

    /// Gives a name back: the port could not be opened.
    pub fn give_up(&mut self, name: &str) {
        self.reserved.remove(name);
    }

    pub fn add_domain(&mut self, mut domain: Domain) -> Result<DomainId, Error> {
        domain.members.clear();
        let name = domain.name.clone();
        if self.domains.find(&name).is_some() {
            return Err(Error::Exists(format!("domain {name}")));
        }
        let id = self.domains.add(&name, domain).map(DomainId).ok_or(Error::Full("domain"))?;
        self.members.resize(self.domains.slots().len(), 0);
        Ok(id)
    }

    /// Puts another description in the place of a domain; gives the one before.
    pub fn change_domain(&mut self, id: DomainId, mut domain: Domain) -> Option<Domain> {
        domain.members.clear();
        Some(std::mem::replace(self.domains.get_mut(id.index())?, domain))
    }

    /// Puts another view in the place of a port's. What is known of its station stays.
    pub fn change_port(&mut self, name: &str, view: PortView, mirror: Option<Mirror>) -> Result<PortId, Error> {
        let id = self.port_id(name)?;
        let Some(port) = self.ports.get_mut(id.index()) else { return Ok(id) };
        let view = PortView { station: port.view.station, buckets: port.view.buckets.share(), ..view };
        let (joined, left) = (view.domain, std::mem::replace(&mut port.view, view).domain);
        self.mirrors.replace(id, port.mirror.as_ref(), mirror.as_ref());
        port.mirror = mirror;
        self.count_member(left, usize::wrapping_sub);
        self.count_member(joined, usize::wrapping_add);
        Ok(id)
    }

    /// Ports of a domain.
    pub fn members(&self, domain: DomainId) -> impl Iterator<Item = PortId> {
        self.ports().filter(move |(_, port)| port.view.domain == Some(domain)).map(|(id, _)| id)
    }

    pub fn remove_domain(&mut self, name: &str) -> Result<DomainId, Error> {
        let id = self.domain_id(name)?;
        if self.members[id.index()] > 0 {
            return Err(Error::InUse(name.into()));
        }
        self.domains.remove(name);
        Ok(id)
    }

    /// Enters a port whose name was reserved.
    pub fn add_port(&mut self, port: Registered) -> Result<PortId, Error> {
        let (name, domain, owners) = (port.name.clone(), port.view.domain, port.owners.clone());
        let mirror = port.mirror.clone();
        self.reserved.remove(&name);
        let id = self.ports.add(&name, port).map(PortId).ok_or(Error::Full("port"))?;
        self.names.resize(self.ports.slots().len(), String::new());
        self.names[id.index()] = name;
        self.count_member(domain, usize::wrapping_add);
        self.mirrors.replace(id, None, mirror.as_ref());
        owners.iter().for_each(|&owner| self.loads[owner] += 1);
        Ok(id)
    }

    /// A port has other queues now.
    pub fn reopened(&mut self, id: PortId, kind: &'static str, caps: Caps, owners: Arc<[usize]>) {
        let Some(port) = self.ports.get_mut(id.index()) else { return };
        owners.iter().for_each(|&owner| self.loads[owner] += 1);
        port.owners.iter().for_each(|&owner| self.loads[owner] -= 1);
        port.view.station = station(kind, &caps);
        (port.kind, port.caps, port.owners) = (kind, caps, owners);
    }

    pub fn remove_port(&mut self, name: &str) {
        let Ok(id) = self.port_id(name) else { return };
        let Some(removed) = self.ports.remove(name) else { return };
        self.mirrors.replace(id, removed.mirror.as_ref(), None);
        self.gone.absorb(&removed.total());
        self.count_member(removed.view.domain, usize::wrapping_sub);
        removed.owners.iter().for_each(|&owner| self.loads[owner] -= 1);
    }

    fn count_member(&mut self, domain: Option<DomainId>, count: fn(usize, usize) -> usize) {
        if let Some(members) = domain.and_then(|id| self.members.get_mut(id.index())) {
            *members = count(*members, 1);
        }
    }

    /// The worker for the first queue of the next port: the one that is in fewest ports.
    pub fn idlest(&self) -> usize {
        (0..self.loads.len()).min_by_key(|&worker| self.loads[worker]).unwrap_or_default()
    }

    /// The counters of every port that is, and of all that were.
    pub fn counters(&self) -> impl Iterator<Item = &PortCounters> {
        let present = self.ports().flat_map(|(_, port)| port.counters.iter().map(|counters| &**counters));
        present.chain(std::iter::once(&self.gone))
    }

    /// A mirror by number; `None` while there is no port to show it.
    fn mirror_to(&self, mirror: &Mirror) -> Option<MirrorTo> {
        let to = self.port_id(&mirror.to).ok()?;
        Some(MirrorTo { to, ingress: mirror.ingress, egress: mirror.egress })
    }

    /// Ports that have a mirror to this one, or to the last one that had its number.
    pub fn mirrored_to(&self, id: PortId) -> impl Iterator<Item = PortId> {
        self.name(id).into_iter().flat_map(|name| self.mirrors.to(name))
    }

    /// A port as workers know it.
    pub fn view(&self, id: PortId) -> Option<PortView> {
        let port = self.port(id)?;
        let mirror = port.mirror.as_ref().and_then(|mirror| self.mirror_to(mirror));
        let mut view = PortView { buckets: port.view.buckets.share(), mirror, ..port.view.clone() };
        if view.domain.and_then(|domain| self.domain(domain)).is_some_and(|domain| domain.vlan_filtering) {
            view.vlan.settle();
        }
        Some(view)
    }
}

/// The address of the station at the far end of a port, where it is certain: the interface of a TAP is the station's own.
pub(super) fn station(kind: &str, caps: &Caps) -> Option<Mac> {
    caps.mac.filter(|_| kind == "tap")
}
