//! What would happen to a frame, and why: the answer to `xdock trace`.
//!
//! # Theory of operation
//!
//! A trace is no second implementation of the switch. The worker parses the described frame, walks the real stages and
//! runs the real `execute` on a copy of it, with two things exchanged:
//!
//! * **The tables rehearse.** While a trace walks, [`Tables`](crate::tables::Tables) answer what they would do, note it
//!   and change nothing; a later stage of the same walk sees what an earlier one would have taught. A stage with state
//!   of its own asks [`Flow::is_rehearsal`] before it changes that. `engine/tests/trace.rs` holds all stages to it:
//!   lives with and without traces in between are compared byte by byte, and so is each trace with what happens next.
//! * **The exit is blind.** Frames that leave the program are looked at and freed instead of sent.
//!
//! The flow cache is asked but not filled, and nothing is counted. Stages say why by [`Flow::explain`], which costs a
//! real frame one branch in the slow path.

use crate::drop::DropReason;
use crate::flow::{Flow, FlowKey, PortId, Verdict};
use crate::frame::Offload;
use crate::program::Action;
use std::borrow::Cow;

/// A frame that might come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hypothesis {
    /// The port it would come from.
    pub port: PortId,
    /// Its bytes, without FCS.
    pub frame: Vec<u8>,
    /// What its sender would leave undone.
    pub offload: Offload,
}

/// What would become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What it has in common with others of its flow, or why it is not even a frame.
    pub key: Result<FlowKey, DropReason>,
    /// The stages that would see it, in order; the last one may have stopped it.
    pub steps: Vec<Step>,
    /// What they decided, compiled. Empty when the switch answers, or when there is no key.
    pub program: Vec<Action>,
    /// Whether the program would be kept for the frames that follow.
    pub caching: Caching,
    /// The program that the flow cache holds for this flow now: such a frame would not see the stages at all.
    pub cached: Option<Cached>,
    /// What would leave, in order.
    pub departures: Vec<Departure>,
    /// Why the frame itself would end here, if it would.
    pub dropped: Option<DropReason>,
}

impl Trace {
    /// Of a frame of this key, or of what is no frame, before anything was decided.
    pub(crate) fn of(key: Result<FlowKey, DropReason>) -> Trace {
        Trace {
            key,
            steps: Vec::new(),
            program: Vec::new(),
            caching: Caching::Nothing,
            cached: None,
            departures: Vec::new(),
            dropped: key.err(),
        }
    }
}

/// One stage's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub stage: &'static str,
    /// What it decided.
    pub verdict: Verdict,
    /// Why, in its own words.
    pub notes: Vec<Note>,
    /// The header fields it rewrote.
    pub edits: Vec<Edit>,
    /// The ports it chose.
    pub egress: Vec<PortId>,
    /// Whether it was this stage that kept the decision out of the flow cache.
    pub once: bool,
}

/// A stage's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A few words; where a port belongs to them, they end before its name.
    pub text: Cow<'static, str>,
    /// The port.
    pub port: Option<PortId>,
}

/// A header field that was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The field, by the name it has in flow keys.
    pub field: &'static str,
    /// Its value before.
    pub before: String,
    /// Its value after.
    pub after: String,
}

/// Whether a decision is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// It holds for the whole flow, until the epoch changes.
    Flow,
    /// It holds for this frame only.
    Once,
    /// It holds for the flow, but has more steps than a cache entry takes.
    TooLong,
    /// There is nothing to keep: the switch answers, or there is no key.
    Nothing,
}

/// A decision that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Its program.
    pub program: Vec<Action>,
    /// Frames it handled.
    pub frames: u64,
}

/// A frame that would leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The port.
    pub port: PortId,
    /// The frame as it would leave.
    pub frame: Vec<u8>,
    /// What it would leave undone.
    pub offload: Offload,
    /// Why the port would not take it, as far as that is known before trying.
    pub refused: Option<DropReason>,
}

/// Watches a walk through the stages.
pub(crate) struct Recorder {
    pub steps: Vec<Step>,
    key: FlowKey,
    egress: usize,
    cacheable: bool,
}

impl Recorder {
    pub fn new(key: &FlowKey) -> Recorder {
        Recorder { steps: Vec::new(), key: *key, egress: 0, cacheable: true }
    }

    /// Notes what a stage did to the flow.
    pub fn record(&mut self, stage: &'static str, verdict: Verdict, flow: &mut Flow<'_>) {
        let before = std::mem::replace(&mut self.key, *flow.edited());
        let egress = flow.egress()[self.egress..].to_vec();
        self.egress += egress.len();
        let once = std::mem::replace(&mut self.cacheable, flow.is_cacheable()) && !self.cacheable;
        let (notes, edits) = (flow.tables.take_notes(), edits(&before, &self.key));
        self.steps.push(Step { stage, verdict, notes, edits, egress, once });
    }
}

/// The fields that differ. One without a setter on [`Flow`] cannot; it is named here so that whoever adds the setter
/// must come by.
fn edits(before: &FlowKey, after: &FlowKey) -> Vec<Edit> {
    let FlowKey { eth_src, eth_dst, port: _, vlan: _, tags: _, vni: _, ethertype: _, .. } = *after;
    let FlowKey { inner_vlan: _, inner_tpid: _, ip_proto: _, ip_tos: _, ip_src: _, ip_dst: _, .. } = *after;
    let FlowKey { l4_src: _, l4_dst: _, fragment: _, .. } = *after;
    let macs = [("eth_src", before.eth_src, eth_src), ("eth_dst", before.eth_dst, eth_dst)];
    let changed = macs.into_iter().filter(|(_, before, after)| before != after);
    changed.map(|(field, before, after)| Edit { field, before: before.to_string(), after: after.to_string() }).collect()
}
