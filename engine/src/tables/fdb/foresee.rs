//! What a sighting would do, for traces: [`Fdb::learn`] without the doing.

use super::{Fdb, Learned, Quota, Station};
use crate::clock::Millis;
use crate::flow::PortId;

/// What would come of a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// As [`Fdb::learn`] would return it.
    pub learned: Learned,
    /// Where the station would be from then on; `None` where it stays unknown.
    pub home: Option<PortId>,
    /// The station that would be forgotten.
    pub evicted: Option<Station>,
}

impl Fdb {
    /// What [`Fdb::learn`] would do now.
    pub fn foresee(&self, who: Station, port: PortId, now: Millis) -> Foreseen {
        self.foresee_within(who, port, now, (Quota::default(), |home, _, _| home))
    }

    /// What [`Fdb::learn_within`] would do now.
    pub(in crate::tables) fn foresee_within(
        &self,
        who: Station,
        port: PortId,
        now: Millis,
        rules: (Quota, impl Fn(PortId, PortId, PortId) -> PortId),
    ) -> Foreseen {
        let found = self.find(who);
        if let Some(at) = found.filter(|&at| self.port_at(at) == Some(port)) {
            let learned = if self.telling_is_due(at, now) { Learned::Again } else { Learned::Known };
            return Foreseen { learned, home: Some(port), evicted: None };
        }
        let judgement = self.judge(found, port, now, rules);
        let evicted = judgement.victim.map(|at| Station(self.buckets.entry(at).who));
        Foreseen { learned: judgement.learned, home: judgement.home, evicted }
    }
}
