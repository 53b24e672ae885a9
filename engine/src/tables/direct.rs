//! What the direct way asks (`worker/direct.rs`): the stations of a whole batch, looked up together.

use super::Tables;
use super::fdb::{Fdb, Learned, Station};
use super::gate::CLOSED;
use super::topology::DomainId;
use super::vlan::Tagging;
use crate::clock::Millis;
use crate::flow::PortId;
use crate::wire::Mac;

/// What frames of a port have in common, for a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ingress {
    pub port: PortId,
    domain: DomainId,
    /// Groups of ports that it is isolated from, and [`CLOSED`].
    kept_out: u64,
    /// What the entries of its addresses name: of those that were learned, and of those that were set.
    owners: [u16; 2],
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

impl Tables {
    /// What frames of a port have in common; `None` where the stages must see each.
    pub(crate) fn ingress(&self, port: PortId) -> Option<Ingress> {
        let view = self.topology.port(port).filter(|view| view.learning && !view.locked && !self.is_blocked(port))?;
        let domain = view.domain?;
        Some(Ingress {
            port,
            domain,
            kept_out: view.isolation().0 | CLOSED,
            owners: self.fdb(domain)?.owners(port),
            own: self.topology.domain(domain)?.mac.unwrap_or(Mac::ZERO),
            has_quota: view.mac_limit > 0,
            is_transparent: view.vlan == Tagging::Transparent,
        })
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
            let seen = fdb.sees_hashed(lookup.hashes[0], lookup.source, ingress.owners, now);
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
}
