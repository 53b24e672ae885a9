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

/// Where a stage of the embedding program comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Before the source address is learned: a frame that is refused here teaches nothing.
    BeforeLearning,
    /// Before the egress is chosen, when the source address has been learned.
    #[default]
    BeforeForwarding,
}

/// One decision about a flow.
pub trait Stage: Send {
    /// Its name in traces.
    fn name(&self) -> &'static str;

    /// The deepest header it reads.
    fn depth(&self) -> Depth;

    /// Where it comes among the built-in stages.
    fn place(&self) -> Place {
        Place::BeforeForwarding
    }

    /// Decides: reads and edits the flow, never bytes. Called for the first frame of a flow and whenever the decision
    /// is not cached.
    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict;
}
