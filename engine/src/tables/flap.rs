//! Tells a host that moved from a loop outside the switch.
//!
//! A virtual machine or container moves once and stays. In a loop, or when two hosts use one address, the same MAC
//! jumps between ports thousands of times a second, each jump carrying a frame round once more. After [`LIMIT`] moves
//! within [`WINDOW_MS`] the address is pinned to the port it had before, for [`HOLD_MS`]: frames from it elsewhere are
//! dropped, which ends the loop's circulation, while the real host stays reachable. (Linux and OVS leave this to STP.)

use crate::clock::Millis;
use crate::flow::PortId;

/// Moves within the window that are still believed.
pub const LIMIT: u16 = 8;
/// Length of the window.
pub const WINDOW_MS: u32 = 1000;
/// How long an address stays pinned.
pub const HOLD_MS: u32 = 5000;
/// Movers remembered. A newer one may displace an older of the same slot: detection then only starts again.
const SLOTS: usize = 256;

#[derive(Clone, Copy, Default)]
struct Mover {
    key: u64,
    home: PortId,
    moves: u16,
    pinned: bool,
    since: Millis,
}

/// What to think of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// A host moved.
    Believe,
    /// It jumps: it belongs to this port until further notice.
    Pin(PortId),
    /// It is pinned elsewhere.
    Refuse,
}

/// Recent movers.
pub struct FlapGuard(Vec<Mover>);

impl FlapGuard {
    pub fn new() -> FlapGuard {
        FlapGuard(vec![Mover::default(); SLOTS])
    }

    /// Judges that the address `key` wants to leave the port `from` for `to`. Its slot follows from the address alone, so that the
    /// same frames are judged alike in every run.
    pub fn judge(&mut self, key: u64, places: (PortId, PortId), now: Millis) -> Judgement {
        self.0[slot(key)].judge(key, places, now)
    }

    /// What [`FlapGuard::judge`] would say.
    pub fn foresee(&self, key: u64, places: (PortId, PortId), now: Millis) -> Judgement {
        let mut mover = self.0[slot(key)];
        mover.judge(key, places, now)
    }

    /// Forgets the movers that began at `port`: it is gone, nobody can be pinned to it.
    pub fn forget(&mut self, port: PortId) {
        let homeless = self.0.iter_mut().filter(|mover| mover.home == port);
        homeless.for_each(|mover| *mover = Mover::default());
    }
}

impl Mover {
    fn judge(&mut self, key: u64, (from, to): (PortId, PortId), now: Millis) -> Judgement {
        let age = now.since(self.since);
        if self.key != key || age > if self.pinned { HOLD_MS } else { WINDOW_MS } {
            // One that goes back to where it once came from is at home there, not where it was meanwhile.
            let home = if self.key == key && self.home == to { to } else { from };
            *self = Mover { key, home, moves: 1, pinned: false, since: now };
            return Judgement::Believe;
        }
        if self.pinned {
            // It may have been learned elsewhere meanwhile, but may always go home.
            return if to == self.home { Judgement::Believe } else { Judgement::Refuse };
        }
        self.moves += 1;
        if self.moves <= LIMIT {
            return Judgement::Believe;
        }
        (self.pinned, self.since) = (true, now);
        Judgement::Pin(self.home)
    }
}

/// Fibonacci hashing (Knuth, volume 3, section 6.4).
fn slot(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jumper_is_pinned_home_and_released() {
        let mut guard = FlapGuard::new();
        let ports = [PortId(1), PortId(2)];
        let mut judge = |i: usize, now| guard.judge(9, (ports[i % 2], ports[1 - i % 2]), Millis(now));
        for i in 0..usize::from(LIMIT) {
            assert_eq!(judge(i, 10), Judgement::Believe);
        }
        assert_eq!(judge(0, 20), Judgement::Pin(PortId(1)));
        assert_eq!(judge(0, 20 + HOLD_MS), Judgement::Refuse);
        assert_eq!(judge(1, 20 + HOLD_MS), Judgement::Believe, "it may always go home");
        assert_eq!(judge(0, 21 + HOLD_MS), Judgement::Believe);
    }

    #[test]
    fn slow_moves_are_believed() {
        let mut guard = FlapGuard::new();
        for i in 0..50 {
            let judgement = guard.judge(9, (PortId(i % 2), PortId(1 - i % 2)), Millis(u32::from(i) * (WINDOW_MS / 4)));
            assert_eq!(judgement, Judgement::Believe);
        }
    }

    #[test]
    fn moves_told_a_moment_ahead_are_counted() {
        let mut guard = FlapGuard::new();
        let judgements: Vec<_> = (0..=LIMIT)
            .map(|i| guard.judge(9, (PortId(i % 2), PortId(1 - i % 2)), Millis(20 - u32::from(i))))
            .collect();
        assert_eq!(judgements.last(), Some(&Judgement::Pin(PortId(0))));
    }

    #[test]
    fn a_station_whose_broadcast_came_round_is_pinned_to_its_own_port() {
        let mut guard = FlapGuard::new();
        let (own, looped) = (PortId(1), PortId(2));
        assert_eq!(guard.judge(9, (own, looped), Millis(0)), Judgement::Believe);
        let later = Millis(10 * WINDOW_MS);
        let jumps = (0..=LIMIT).map(|i| if i % 2 == 0 { (looped, own) } else { (own, looped) });
        let judgements: Vec<_> = jumps.map(|jump| guard.judge(9, jump, later)).collect();
        assert_eq!(judgements.last(), Some(&Judgement::Pin(own)));
    }
}
