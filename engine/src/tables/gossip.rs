//! What a worker learned and the other workers of its switch must hear.
//!
//! A sighting that cannot be told is not learned either: the next frame from that address tries again. So no worker ever
//! knows a place of which the others are not going to hear.

use super::topology::DomainId;
use crate::clock::Millis;
use crate::flow::PortId;
use crate::wire::Mac;

/// An address was seen on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The domain.
    pub domain: DomainId,
    /// The address.
    pub mac: Mac,
    /// Where.
    pub port: PortId,
    /// When.
    pub seen: Millis,
}

/// Sightings to tell at the end of the batch.
#[derive(Debug, Default)]
pub struct Gossip {
    news: Vec<Sighting>,
    /// How many more the others can take; `None` when there are no others.
    room: Option<usize>,
}

impl Gossip {
    /// Most sightings told at once.
    const MOST: usize = 256;

    /// There are others, who can take `room` sightings now.
    pub fn open(&mut self, room: usize) {
        self.news.reserve(Self::MOST);
        self.room = Some(room.min(Self::MOST).saturating_sub(self.news.len()));
    }

    /// Whether one more can be told, or needs no telling.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.room != Some(0)
    }

    /// Tells the others, if there are any.
    #[inline]
    pub fn tell(&mut self, sighting: Sighting) {
        if let Some(room) = self.room.as_mut().filter(|room| **room > 0) {
            *room -= 1;
            self.news.push(sighting);
        }
    }

    /// What there is to tell.
    pub fn news(&self) -> &[Sighting] {
        &self.news
    }

    /// All was told.
    pub fn clear(&mut self) {
        self.news.clear();
    }
}
