//! What a trace assumes instead of changing the tables: see [`crate::trace`].

use super::fdb::{Fdb, Foreseen, Station};
use super::topology::DomainId;
use crate::clock::Millis;
use crate::flow::PortId;
use crate::trace::Note;

/// What would be known, and what stages said, since a trace began.
#[derive(Default)]
pub(super) struct Rehearsal {
    /// Stations that would be elsewhere, or nowhere, by now; the newest last.
    assumed: Vec<(DomainId, Station, Option<PortId>)>,
    pub notes: Vec<Note>,
}

impl Rehearsal {
    /// What would come of a sighting. The steps of one walk that follow see it as done.
    pub fn learn(&mut self, fdb: &Fdb, (domain, who, port): (DomainId, Station, PortId), now: Millis) -> Foreseen {
        let foreseen = fdb.foresee(who, port, now);
        self.assumed.extend(foreseen.evicted.map(|evicted| (domain, evicted, None)));
        self.assumed.extend(foreseen.home.map(|home| (domain, who, Some(home))));
        foreseen
    }

    /// Where a station would be, if that differs from what the tables know.
    pub fn lookup(&self, domain: DomainId, who: Station) -> Option<Option<PortId>> {
        let newest = self.assumed.iter().rev().find(|assumed| (assumed.0, assumed.1) == (domain, who));
        newest.map(|&(_, _, port)| port)
    }
}
