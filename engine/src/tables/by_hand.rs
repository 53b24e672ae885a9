//! What is done to the tables by hand: addresses are set for good, forgotten, flushed.

use super::Tables;
use super::fdb::{Learned, Station};
use super::topology::DomainId;
use crate::clock::Millis;
use crate::flow::PortId;
use crate::wire::vlan::Vid;

impl Tables {
    /// Whether an address is set to another port.
    pub fn is_fixed_elsewhere(&self, domain: DomainId, who: impl Into<Station>, port: PortId) -> bool {
        self.fdb(domain).and_then(|fdb| fdb.fixed_port(who)).is_some_and(|home| home != port)
    }

    /// How many addresses were learned on a port.
    pub fn learned_on(&self, port: PortId) -> u32 {
        let fdb = self.topology.domain_of(port).and_then(|domain| self.fdb(domain));
        fdb.map_or(0, |fdb| fdb.learned_on(port))
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

    /// Forgets what was learned in a domain, on one port or on all.
    pub fn flush(&mut self, domain: DomainId, port: Option<PortId>) {
        let Some(fdb) = self.fdb_mut(domain) else { return };
        match port {
            Some(port) => fdb.flush_port(port),
            None => fdb.flush(),
        };
        self.invalidate_domain(Some(domain));
    }

    /// Forgets what was learned in a VLAN, on one port or on all, in the next `limit` buckets from number `from` on; says how
    /// many addresses, and where to go on.
    pub fn flush_vlan(
        &mut self,
        domain: DomainId,
        (vid, port): (Vid, Option<PortId>),
        (from, limit): (usize, usize),
    ) -> (usize, Option<usize>) {
        let Some(fdb) = self.fdb_mut(domain) else { return (0, None) };
        let (flushed, next) = fdb.flush_vlan(vid, port, (from, limit));
        if flushed > 0 {
            self.invalidate_domain(Some(domain));
        }
        (flushed, next)
    }
}
