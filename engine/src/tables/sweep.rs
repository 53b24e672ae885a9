//! Ageing: every forwarding database is swept once a second, a little at a time.

use super::Tables;
use super::topology::DomainId;
use crate::clock::Millis;

/// Milliseconds in which every forwarding database is swept once.
const SWEEP_MS: usize = 1000;

/// Most buckets swept together: some ten microseconds.
const SWEEP: usize = 2048;

impl Tables {
    /// Removes all that was not seen for its domain's ageing time.
    pub fn age(&mut self, now: Millis) {
        for domain in (0..self.domains.len()).map(|id| DomainId(id as u16)) {
            if self.fdb_mut(domain).map_or(0, |fdb| fdb.expire(now)) > 0 {
                self.invalidate_domain(Some(domain));
            }
        }
    }

    /// Removes what was not seen for its domain's ageing time from the databases whose turn comes within `elapsed`
    /// milliseconds: each has one a second. Looks at a bounded part of them; false when some are due still.
    pub fn sweep(&mut self, now: Millis, elapsed: u32) -> bool {
        let all = self.domains.len();
        self.due = (self.due + all * (elapsed as usize).min(SWEEP_MS)).min(all * SWEEP_MS);
        let mut left = SWEEP;
        while self.due >= SWEEP_MS && left > 0 {
            let (looked_at, is_done) = self.sweep_next(now, left);
            left = left.saturating_sub(looked_at.max(1));
            if is_done {
                self.sweeping = (self.sweeping + 1) % all.max(1);
                self.due -= SWEEP_MS;
            }
        }
        self.due < SWEEP_MS
    }

    /// Sweeps up to `limit` buckets of the database whose turn it is; says how many there were, and whether those were the last.
    fn sweep_next(&mut self, now: Millis, limit: usize) -> (usize, bool) {
        let domain = DomainId(self.sweeping as u16);
        let Some(fdb) = self.fdb_mut(domain).filter(|fdb| fdb.extent() > 0) else { return (0, true) };
        let (expired, is_done) = fdb.sweep(now, limit);
        let looked_at = fdb.extent().min(limit);
        if expired > 0 {
            self.invalidate_domain(Some(domain));
        }
        (looked_at, is_done)
    }
}
