//! What a worker learned and the other workers of its switch must hear.
//!
//! A sighting that cannot be told is not learned either: the next frame from that address tries again. So no worker ever
//! knows a place of which the others are not going to hear.

use super::fdb::{Record, Station};
use super::topology::DomainId;
use crate::clock::Millis;
use crate::flow::PortId;

/// An address was seen on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The domain.
    pub domain: DomainId,
    /// The address, in its VLAN.
    pub who: Station,
    /// Where.
    pub port: PortId,
    /// When.
    pub seen: Millis,
    /// How often the address had moved: what a worker saw after it heard of another place is later than that, even
    /// within one millisecond.
    pub moves: u32,
    /// When the present window of moves began; see [`super::fdb`].
    pub since: Millis,
    /// Where it was then.
    pub home: PortId,
    /// Moves in this window.
    pub jumps: u8,
    /// How many topologies the worker had taken that saw it. All take the same, in the same order.
    pub era: u32,
}

/// Milliseconds by which sightings differ that are told apart by time alone.
const CLEARLY_MS: i32 = 1000;

impl Sighting {
    /// What the teller remembers of the address's moves.
    pub(super) fn record(&self) -> Record {
        Record { told: self.seen, moves: self.moves, since: self.since, home: self.home, jumps: self.jumps }
    }

    /// Whether this one is to be believed rather than another of the same address. All workers answer alike.
    pub(super) fn is_after(&self, other: &Sighting) -> bool {
        let ms = self.seen.ahead_of(other.seen);
        if ms.abs() > CLEARLY_MS { ms > 0 } else { (self.moves, ms, self.port) > (other.moves, 0, other.port) }
    }
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

    /// Whether there are others.
    #[inline]
    pub fn has_others(&self) -> bool {
        self.room.is_some()
    }

    /// Whether there are others who can take one more.
    #[inline]
    pub fn can_tell(&self) -> bool {
        self.room.is_some_and(|room| room > 0)
    }

    /// Whether one more can be told, or needs no telling.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.room != Some(0)
    }

    /// Tells the others; only where [`Gossip::can_tell`] says so.
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
