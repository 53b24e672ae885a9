//! What workers tell each other of an address, and whom they believe.

use super::buckets::At;
use super::{Fdb, Learned, Quota, Record, Sighting, Station};
use crate::clock::Millis;
use crate::tables::topology::DomainId;

impl Fdb {
    #[inline(never)]
    pub(super) fn need_not_tell(&self, hash: u64, who: u64, now: Millis) -> bool {
        self.buckets.find(hash, who).is_none_or(|at| !self.telling_is_due(at, now))
    }

    /// Takes over what another worker saw, unless this one saw the address elsewhere after that: then that is due to be
    /// told, [`Learned::Again`]. How often the address jumped is taken over too, so that all workers judge alike.
    pub(in crate::tables) fn hear(&mut self, told: Sighting) -> Learned {
        let known = self.find(told.who).and_then(|at| Some((at, self.port_at(at)?)));
        let Some((at, port)) = known else { return self.take_over(None, told) };
        let (seen, record) = (self.buckets.entry(at).seen, self.buckets.record(at).unwrap_or_default());
        let is_newer = told.is_after(&Sighting { port, seen, moves: record.moves, ..told });
        if port == told.port {
            let jumps = if told.moves > record.moves { told.record() } else { record };
            self.buckets.set_record(at, Record { told: told.seen, moves: record.moves.max(told.moves), ..jumps });
            if told.seen.ahead_of(seen) > 0 {
                self.buckets.stamp(at, told.seen);
            }
            return Learned::Known;
        }
        if is_newer && !self.owners.is_fixed(self.buckets.entry(at).owner) {
            return self.take_over(Some(at), told);
        }
        let long_ago = Millis(seen.0.wrapping_sub(self.ageing_ms / 4 + 1));
        self.buckets.set_record(at, Record { told: long_ago, ..record });
        Learned::Again
    }

    /// Learns what another worker saw, as of then.
    pub(super) fn take_over(&mut self, known: Option<At>, told: Sighting) -> Learned {
        if let Some(at) = known {
            self.rehome(at, told.port, told.seen, told.record());
            return Learned::Moved;
        }
        let void = self.find(told.who);
        let learned = self.carry_out(told.who, self.judge_new(void, told.port, told.seen, Quota::default()), told.seen);
        if let Some(at) = self.find(told.who) {
            self.buckets.set_record(at, told.record());
        }
        learned
    }

    /// The entry of an address as the other workers are to hear it: from now on it is told.
    pub(in crate::tables) fn tell(&mut self, who: Station, domain: DomainId, era: u32) -> Option<Sighting> {
        let at = self.find(who)?;
        let (port, seen) = (self.port_at(at)?, self.buckets.entry(at).seen);
        let record = self.buckets.record(at).unwrap_or_default();
        self.buckets.set_record(at, Record { told: seen, ..record });
        let Record { moves, since, home, jumps, .. } = record;
        Some(Sighting { domain, who, port, seen, moves, since, home, jumps, era })
    }

    /// Whether the others would soon forget an address that this worker still sees.
    #[inline]
    pub(super) fn telling_is_due(&self, at: At, now: Millis) -> bool {
        let Some(record) = self.buckets.record(at) else { return false };
        now.since(record.told) > self.ageing_ms / 4 && !self.owners.is_fixed(self.buckets.entry(at).owner)
    }
}
