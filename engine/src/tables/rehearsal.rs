//! What a trace assumes instead of changing the tables: see [`crate::trace`].

use super::fdb::{Fdb, Foreseen};
use super::topology::DomainId;
use crate::clock::Millis;
use crate::flow::PortId;
use crate::trace::Note;
use crate::wire::Mac;

/// What would be known, and what stages said, since a trace began.
#[derive(Default)]
pub(super) struct Rehearsal {
    /// Addresses that would be elsewhere, or nowhere, by now; the newest last.
    assumed: Vec<(DomainId, Mac, Option<PortId>)>,
    pub notes: Vec<Note>,
}

impl Rehearsal {
    /// What would come of a sighting. The steps of one walk that follow see it as done.
    pub fn learn(&mut self, fdb: &Fdb, (domain, mac, port): (DomainId, Mac, PortId), now: Millis) -> Foreseen {
        let foreseen = fdb.foresee(mac, port, now);
        self.assumed.extend(foreseen.evicted.map(|evicted| (domain, evicted, None)));
        self.assumed.extend(foreseen.home.map(|home| (domain, mac, Some(home))));
        foreseen
    }

    /// Where an address would be, if that differs from what the tables know.
    pub fn lookup(&self, domain: DomainId, mac: Mac) -> Option<Option<PortId>> {
        let newest = self.assumed.iter().rev().find(|assumed| (assumed.0, assumed.1) == (domain, mac));
        newest.map(|&(_, _, port)| port)
    }
}
