//! The stages: one decision, one file. See `README.md` beside this file for how to add one.

mod forward;
mod isolate;
mod learn;
mod vlan;

pub use forward::Forward;
pub use isolate::Isolate;
pub use learn::Learn;
pub use vlan::Vlan;

use crate::flow::{Depth, Flow, Verdict};

/// One decision about a flow.
pub trait Stage: Send {
    /// Its name in traces.
    fn name(&self) -> &'static str;

    /// The deepest header it reads.
    fn depth(&self) -> Depth;

    /// Decides: reads and edits the flow, never bytes. Called for the first frame of a flow and whenever the decision
    /// is not cached.
    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict;
}
