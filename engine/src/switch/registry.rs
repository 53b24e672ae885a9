//! Names and numbers of ports and domains: the control side's view, from which the topology is made.

use super::Error;
use crate::flow::PortId;
use crate::ports::Caps;
use crate::stats::PortCounters;
use crate::tables::topology::{Domain, DomainId, PortView};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A port as the control side knows it.
pub(super) struct Registered {
    pub name: String,
    pub kind: &'static str,
    pub caps: Caps,
    pub view: PortView,
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
    ports: Vec<Option<Registered>>,
    /// By number, also of ports that were removed.
    names: Vec<String>,
    domains: Vec<Option<Domain>>,
    /// The counters of all removed ports together, so that sums over the switch stay whole.
    gone: PortCounters,
}

impl Registry {
    pub fn ports(&self) -> impl Iterator<Item = (PortId, &Registered)> {
        numbered(&self.ports).map(|(id, port)| (PortId(id), port))
    }

    pub fn domains(&self) -> impl Iterator<Item = (DomainId, &Domain)> {
        numbered(&self.domains).map(|(id, domain)| (DomainId(id), domain))
    }

    pub fn port(&self, id: PortId) -> Option<&Registered> {
        self.ports.get(id.index())?.as_ref()
    }

    /// The name of a port, or of the last one that had this number.
    pub fn name(&self, id: PortId) -> Option<&str> {
        self.names.get(id.index()).map(String::as_str)
    }

    pub fn domain(&self, id: DomainId) -> Option<&Domain> {
        self.domains.get(id.index())?.as_ref()
    }

    pub fn port_id(&self, name: &str) -> Result<PortId, Error> {
        let found = self.ports().find(|(_, port)| port.name == name).map(|(id, _)| id);
        found.ok_or_else(|| Error::Unknown(format!("port {name}")))
    }

    pub fn domain_id(&self, name: &str) -> Result<DomainId, Error> {
        let found = self.domains().find(|(_, domain)| domain.name == name).map(|(id, _)| id);
        found.ok_or_else(|| Error::Unknown(format!("domain {name}")))
    }

    pub fn check_port_name(&self, name: &str) -> Result<(), Error> {
        if self.port_id(name).is_ok() { Err(Error::Exists(format!("port {name}"))) } else { Ok(()) }
    }

    pub fn add_domain(&mut self, mut domain: Domain) -> Result<DomainId, Error> {
        domain.members.clear();
        if self.domain_id(&domain.name).is_ok() {
            return Err(Error::Exists(format!("domain {}", domain.name)));
        }
        place(&mut self.domains, domain).map(DomainId).ok_or(Error::Full("domain"))
    }

    /// Puts another description in the place of a domain; gives the one before.
    pub fn change_domain(&mut self, id: DomainId, mut domain: Domain) -> Option<Domain> {
        domain.members.clear();
        self.domains.get_mut(id.index())?.replace(domain)
    }

    /// Puts another view in the place of a port's. What is known of its station stays.
    pub fn change_port(&mut self, name: &str, view: PortView) -> Result<PortId, Error> {
        let id = self.port_id(name)?;
        if let Some(port) = self.ports[id.index()].as_mut() {
            port.view = PortView { station: port.view.station, ..view };
        }
        Ok(id)
    }

    /// Ports of a domain.
    pub fn members(&self, domain: DomainId) -> impl Iterator<Item = PortId> {
        self.ports().filter(move |(_, port)| port.view.domain == Some(domain)).map(|(id, _)| id)
    }

    pub fn remove_domain(&mut self, name: &str) -> Result<DomainId, Error> {
        let id = self.domain_id(name)?;
        if self.ports().any(|(_, port)| port.view.domain == Some(id)) {
            return Err(Error::InUse(name.into()));
        }
        self.domains[id.index()] = None;
        Ok(id)
    }

    pub fn add_port(&mut self, port: Registered) -> Result<PortId, Error> {
        let name = port.name.clone();
        let id = place(&mut self.ports, port).map(PortId).ok_or(Error::Full("port"))?;
        self.names.resize(self.ports.len(), String::new());
        self.names[id.index()] = name;
        Ok(id)
    }

    pub fn remove_port(&mut self, id: PortId) {
        if let Some(removed) = self.ports.get_mut(id.index()).and_then(Option::take) {
            self.gone.absorb(&removed.total());
        }
    }

    /// The worker for the first queue of the next port: the one that is in fewest ports.
    pub fn idlest(&self, workers: usize) -> usize {
        let load = |worker: usize| self.ports().filter(|(_, port)| port.owners.contains(&worker)).count();
        (0..workers).min_by_key(|&worker| load(worker)).unwrap_or_default()
    }

    /// The counters of every port that is, and of all that were.
    pub fn counters(&self) -> impl Iterator<Item = &PortCounters> {
        let present = self.ports.iter().flatten().flat_map(|port| port.counters.iter().map(|counters| &**counters));
        present.chain(std::iter::once(&self.gone))
    }

    /// A port as workers know it.
    pub fn view(&self, id: PortId) -> Option<PortView> {
        let mut view = self.port(id)?.view.clone();
        if view.domain.and_then(|domain| self.domain(domain)).is_some_and(|domain| domain.vlan_filtering) {
            view.vlan.settle();
        }
        Some(view)
    }
}

fn numbered<T>(items: &[Option<T>]) -> impl Iterator<Item = (u16, &T)> {
    (0..=u16::MAX).zip(items).filter_map(|(id, item)| item.as_ref().map(|item| (id, item)))
}

/// Puts an item at the lowest free number; the highest of all stays free, as [`ELSEWHERE`].
///
/// [`ELSEWHERE`]: crate::worker::ELSEWHERE
fn place<T>(items: &mut Vec<Option<T>>, item: T) -> Option<u16> {
    let free = items.iter().position(Option::is_none).unwrap_or(items.len());
    let id = u16::try_from(free).ok().filter(|&id| id < u16::MAX)?;
    if free == items.len() {
        items.push(None);
    }
    items[free] = Some(item);
    Some(id)
}
