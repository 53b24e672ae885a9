//! Learns which port a source address lives on (802.1Q, section 8.7).

use super::Stage;
use crate::drop::DropReason;
use crate::flow::{Depth, Flow, Verdict};
use crate::tables::fdb::Learned;

/// Source address learning.
pub struct Learn;

impl Stage for Learn {
    fn name(&self) -> &'static str {
        "learn"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        let (source, port, vlan) = (flow.key().eth_src, flow.key().port, flow.vlan());
        if !source.is_station() {
            return Verdict::Drop(DropReason::SourceInvalid);
        }
        let Some(domain) = flow.domain() else { return Verdict::Drop(DropReason::NoDomain) };
        if flow.tables.topology.domain(domain).is_some_and(|domain| domain.mac == Some(source)) {
            return Verdict::Drop(DropReason::SourceOwn);
        }
        let learned = flow.tables.learn(domain, (vlan, source), port, flow.now);
        flow.explain(why(learned));
        match learned {
            Learned::Refused => {
                flow.once();
                return Verdict::Drop(DropReason::MacFlapping);
            }
            // The next frame from here is refused: this one's way must not be cached.
            Learned::Pinned => flow.once(),
            // A flood of addresses that are seen once fills no cache; who talks is cached by the second frame.
            // What could not be learned yet is tried again with the next frame.
            Learned::New | Learned::Evicted | Learned::Deferred => flow.once(),
            _ => {}
        }
        Verdict::Continue
    }
}

/// A trace's words.
fn why(learned: Learned) -> &'static str {
    match learned {
        Learned::Known | Learned::Again => "source known here",
        Learned::New => "source new: learned",
        Learned::Evicted => "source new: learned, the table is full and forgets another address",
        Learned::Moved => "source known elsewhere: moves here",
        Learned::Pinned => "source jumps between ports: pinned to the one it had before",
        Learned::Refused => "source jumps between ports, and is pinned to another",
        Learned::Deferred => "source not learned now: the other workers must hear of it first",
        Learned::Fixed => "source set by the configuration: stays where it is",
        Learned::Full => "source new, but every entry is set by the configuration: not learned",
    }
}
