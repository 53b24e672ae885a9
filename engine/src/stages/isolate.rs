//! Keeps isolated ports from each other: two that share an isolation group exchange no frames (private VLAN edge).

use super::Stage;
use crate::flow::{Depth, Flow, Verdict};
use crate::tables::topology::IsolationGroups;

/// Port isolation.
pub struct Isolate;

impl Stage for Isolate {
    fn name(&self) -> &'static str {
        "isolate"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    #[inline]
    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        let Some(port) = flow.tables.topology.port(flow.key().port) else { return Verdict::Continue };
        flow.isolation = port.isolation();
        if flow.isolation != IsolationGroups::default() {
            flow.explain("isolated: only ports that are not may receive it");
        }
        Verdict::Continue
    }
}
