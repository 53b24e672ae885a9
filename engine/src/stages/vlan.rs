//! Finds the VLAN a frame belongs to, and refuses what its port does not admit (802.1Q, section 8.6.2).

use super::Stage;
use crate::drop::DropReason;
use crate::flow::{Depth, Flow, Verdict};

/// VLAN classification and ingress filtering.
pub struct Vlan;

impl Stage for Vlan {
    fn name(&self) -> &'static str {
        "vlan"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    #[inline]
    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        if flow.tables.is_blocked(flow.key().port) {
            flow.explain("the port is blocked: it leads back to the switch by another");
            return Verdict::Drop(DropReason::Loop);
        }
        let Some(port) = flow.tables.topology.port(flow.key().port) else { return Verdict::Continue };
        match port.vlan.classify(flow.key()) {
            Ok(class) => {
                flow.class = class;
                Verdict::Continue
            }
            Err(reason) => Verdict::Drop(reason),
        }
    }
}
