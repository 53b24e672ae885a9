//! What becomes of a sighting: known, moved, pinned, refused; and who makes room in a full table.

use super::buckets::At;
use super::{CANDIDATES, Fdb, HOLD_MS, LIMIT, Learned, PATIENCE, Quota, Record, Station, WINDOW_MS};
use crate::clock::Millis;
use crate::flow::PortId;

/// What a sighting will do.
#[derive(Clone, Copy)]
pub(super) struct Judgement {
    pub learned: Learned,
    /// The entry it is about.
    pub at: Option<At>,
    /// Where the address is from then on; `None` where it stays unknown.
    pub home: Option<PortId>,
    /// Who has to go for it.
    pub victim: Option<At>,
    /// What is to be remembered of a move.
    pub record: Option<Record>,
}

impl Judgement {
    pub fn of(learned: Learned, at: Option<At>, home: Option<PortId>) -> Judgement {
        Judgement { learned, at, home, victim: None, record: None }
    }
}

impl Fdb {
    /// What a sighting of an address elsewhere than where it is known will do.
    #[inline]
    pub(super) fn judge(
        &self,
        found: Option<At>,
        port: PortId,
        now: Millis,
        (quota, pin): (Quota, impl Fn(PortId, PortId, PortId) -> PortId),
    ) -> Judgement {
        let known = found.and_then(|at| Some((at, self.port_at(at)?)));
        if let Some((at, from)) = known
            && self.owners.is_fixed(self.buckets.entry(at).owner)
        {
            return Judgement::of(Learned::Fixed, found, Some(from));
        }
        if quota.limit > 0 && self.owners.learned(port) >= quota.limit {
            return Judgement::of(Learned::Limited, found, known.map(|(_, from)| from));
        }
        match known {
            Some((at, from)) => self.judge_move(at, (from, port), now, pin),
            None => self.judge_new(found, port, now, quota),
        }
    }

    pub(super) fn judge_new(&self, void: Option<At>, port: PortId, now: Millis, quota: Quota) -> Judgement {
        if self.len() < self.max {
            return Judgement::of(Learned::New, void, Some(port));
        }
        match self.victim(port, now).filter(|_| !quota.refuse) {
            Some(victim) => Judgement { victim: Some(victim), ..Judgement::of(Learned::Evicted, void, Some(port)) },
            None => Judgement::of(Learned::Full, void, None),
        }
    }

    #[cold]
    pub(super) fn judge_move(
        &self,
        at: At,
        (from, to): (PortId, PortId),
        now: Millis,
        pin: impl Fn(PortId, PortId, PortId) -> PortId,
    ) -> Judgement {
        let before = self.buckets.record(at).unwrap_or_default();
        let is_pinned = before.jumps >= Fdb::PINNED;
        let is_over = now.since(before.since) > if is_pinned { HOLD_MS } else { WINDOW_MS };
        let moved = |record| Judgement { record: Some(record), ..Judgement::of(Learned::Moved, Some(at), Some(to)) };
        if before.jumps == 0 || is_over {
            // One that goes back to where it once came from is at home there, not where it was meanwhile.
            let home = if before.jumps > 0 && before.home == to { to } else { from };
            return moved(Record { since: now, home, jumps: 1, ..before });
        }
        if is_pinned {
            // It may have been learned elsewhere meanwhile, but may always go home.
            return if to == before.home {
                moved(before)
            } else {
                Judgement::of(Learned::Refused, Some(at), Some(from))
            };
        }
        if before.jumps < LIMIT {
            return moved(Record { jumps: before.jumps + 1, ..before });
        }
        let home = pin(before.home, from, to);
        let record = Record { since: now, home, jumps: Fdb::PINNED, ..before };
        Judgement { record: Some(record), ..Judgement::of(Learned::Pinned, Some(at), Some(home)) }
    }

    pub(super) fn carry_out(&mut self, who: Station, judgement: Judgement, now: Millis) -> Learned {
        let Judgement { learned, at, home, victim, record } = judgement;
        match (learned, home, at) {
            (Learned::New | Learned::Evicted, Some(port), void) => {
                // Who goes is found again: removing another entry may move it.
                let victim = victim.map(|at| Station(self.buckets.entry(at).who));
                void.into_iter().for_each(|at| self.remove_at(at));
                if let Some(victim) = victim {
                    self.remove(victim);
                    self.hand = (self.hand + CANDIDATES) % self.buckets.buckets();
                }
                if self.insert(who, port, now, false).is_none() {
                    return Learned::Full;
                }
            }
            (Learned::Moved | Learned::Pinned, Some(port), Some(at)) => {
                let record = record.unwrap_or_default();
                let moves = record.moves.wrapping_add(1);
                self.rehome(at, port, now, Record { told: now, moves, ..record });
            }
            _ => {}
        }
        learned
    }

    /// Who goes for an address on `port`: the oldest of a few entries that come next, of the port with the most. The look
    /// ends where a port was met that has nearly as many as any, which takes the longer the more evenly they are shared.
    pub(super) fn victim(&self, port: PortId, now: Millis) -> Option<At> {
        let most = self.owners.most().max(self.owners.learned(port));
        let (mut best, mut from) = (None, self.hand);
        for _ in 0..PATIENCE {
            let next = self.buckets.visit(from, CANDIDATES, |at, entry| {
                let entries = self.owners.entries(entry.owner);
                let rank = (entries, now.since(entry.seen));
                let may_go = !self.owners.is_fixed(entry.owner) && self.owners.port(entry.owner).is_some();
                if may_go && best.is_none_or(|(other, _)| rank > other) {
                    best = Some((rank, at));
                }
            });
            if best.is_some_and(|((entries, _), _)| entries >= most - most / 8) {
                break;
            }
            from = next.unwrap_or(0);
        }
        best.map(|(_, at)| at)
    }
}
