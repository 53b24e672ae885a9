//! What is done to a forwarding database by hand: addresses are set for good, forgotten, flushed.

use super::{Fdb, Learned, Station};
use crate::clock::Millis;
use crate::flow::PortId;
use crate::wire::vlan::Vid;

impl Fdb {
    /// The port that an address is set to for good.
    pub(in crate::tables) fn fixed_port(&self, who: impl Into<Station>) -> Option<PortId> {
        let at = self.find(who.into())?;
        self.port_at(at).filter(|_| self.owners.is_fixed(self.buckets.entry(at).owner))
    }

    /// Sets an address to a port for good. In a full table a learned one goes for it.
    pub(in crate::tables) fn set_fixed(&mut self, who: impl Into<Station>, port: PortId, now: Millis) -> Learned {
        let who = who.into();
        self.remove(who);
        let victim = if self.len() < self.max { None } else { self.victim(port, now) };
        victim.into_iter().for_each(|at| self.remove_at(at));
        match self.insert(who, port, now, true) {
            Some(_) => Learned::New,
            None => Learned::Full,
        }
    }

    /// Forgets an address, also one that was set for good; whether it was known.
    pub(in crate::tables) fn remove(&mut self, who: impl Into<Station>) -> bool {
        let Some(at) = self.find(who.into()) else { return false };
        let known = self.port_at(at).is_some();
        self.remove_at(at);
        known
    }

    /// Forgets what was learned on a port; says how many.
    pub fn flush_port(&mut self, port: PortId) -> usize {
        self.version = self.version.wrapping_add(1);
        self.owners.give_up(port, false)
    }

    /// Forgets all that was learned; says how many.
    pub(in crate::tables) fn flush(&mut self) -> usize {
        self.version = self.version.wrapping_add(1);
        self.owners.give_up_learned()
    }

    /// Forgets what was learned in a VLAN, on one port or on all, in `limit` buckets from number `from` on; says how many, and
    /// where to go on.
    pub(in crate::tables) fn flush_vlan(
        &mut self,
        vid: Vid,
        port: Option<PortId>,
        (from, limit): (usize, usize),
    ) -> (usize, Option<usize>) {
        self.version = self.version.wrapping_add(1);
        let (owners, mut flushed) = (&mut self.owners, 0);
        let next = self.buckets.sweep(from, limit, |entry| {
            let Some(home) = owners.port(entry.owner).filter(|_| !owners.is_fixed(entry.owner)) else { return false };
            let goes = Station(entry.who).vlan().vid() == Some(vid) && port.is_none_or(|port| port == home);
            if goes {
                flushed += 1;
                owners.remove(entry.owner);
            }
            goes
        });
        (flushed, Some(next).filter(|&next| next > 0))
    }

    /// Forgets a port, and what was set to it for good.
    pub(in crate::tables) fn forget_port(&mut self, port: PortId) -> usize {
        self.version = self.version.wrapping_add(1);
        self.owners.give_up(port, false) + self.owners.give_up(port, true)
    }
}
