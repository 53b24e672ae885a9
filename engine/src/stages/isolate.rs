//! Keeps isolated ports from each other: each may talk only to ports that are not isolated (private VLAN edge).

use super::Stage;
use crate::flow::{Depth, Flow, Verdict};

/// Port isolation.
pub struct Isolate;

impl Stage for Isolate {
    fn name(&self) -> &'static str {
        "isolate"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        let port = flow.tables.topology.port(flow.key().port);
        if port.is_some_and(|port| port.isolated) {
            flow.promiscuous_only = true;
            flow.explain("isolated: only ports that are not may receive it");
        }
        Verdict::Continue
    }
}
