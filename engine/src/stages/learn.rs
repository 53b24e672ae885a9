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
        match flow.tables.learn(domain, (vlan, source), port, flow.now) {
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
