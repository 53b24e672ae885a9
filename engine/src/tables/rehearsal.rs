//! What a trace assumes instead of changing the tables: see [`crate::trace`].

use super::fdb::{Foreseen, Station};
use super::topology::DomainId;
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
    /// Takes what would come of a sighting as done, for the steps of this walk that follow.
    pub fn assume(&mut self, domain: DomainId, who: Station, foreseen: &Foreseen) {
        self.assumed.extend(foreseen.evicted.map(|evicted| (domain, evicted, None)));
        self.assumed.extend(foreseen.home.map(|home| (domain, who, Some(home))));
    }

    /// Where a station would be, if that differs from what the tables know.
    pub fn lookup(&self, domain: DomainId, who: Station) -> Option<Option<PortId>> {
        let newest = self.assumed.iter().rev().find(|assumed| (assumed.0, assumed.1) == (domain, who));
        newest.map(|&(_, _, port)| port)
    }
}
