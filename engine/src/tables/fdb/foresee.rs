//! What a sighting would do, for traces: [`Fdb::learn`] without the doing.

use super::{Fdb, Judgement, Learned, Slot, Station};
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
    pub fn foresee(&self, Station(key): Station, port: PortId, now: Millis) -> Foreseen {
        let Some(slot) = self.find(key, self.hasher.hash_one(key)) else { return self.foresee_new(port) };
        let Slot { port: from, fixed, .. } = self.slots[slot as usize];
        let (learned, home) = match fixed {
            _ if from == port && self.telling_is_due(slot, now) => (Learned::Again, port),
            _ if from == port => (Learned::Known, port),
            true => (Learned::Fixed, from),
            false => match self.flaps.foresee(key, (from, port), now) {
                Judgement::Believe => (Learned::Moved, port),
                Judgement::Pin(home) => (Learned::Pinned, home),
                Judgement::Refuse => (Learned::Refused, from),
            },
        };
        Foreseen { learned, home: Some(home), evicted: None }
    }

    fn foresee_new(&self, port: PortId) -> Foreseen {
        if self.len < self.slots.len() {
            return Foreseen { learned: Learned::New, home: Some(port), evicted: None };
        }
        let evicted = self.victim(port).map(|slot| Station(self.slots[slot as usize].who));
        let learned = if evicted.is_some() { Learned::Evicted } else { Learned::Full };
        Foreseen { learned, home: evicted.map(|_| port), evicted }
    }
}
