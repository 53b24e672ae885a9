//! What `POST /v1/trace` takes and says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A frame that might come: its bytes, or fields to build it of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// The port it would come from.
    pub port: String,
    /// Its bytes in hexadecimal, without FCS; spaces and colons between them are ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// Or its fields, each `key=value`: see [`crate::packet::fields`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// What would become of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceInfo {
    /// The port it would come from.
    pub port: String,
    /// What the frame is, in one line.
    pub frame: String,
    /// Its flow's key; `None` for what is no frame.
    pub key: Option<BTreeMap<String, String>>,
    /// The stages that would see it, in order.
    pub stages: Vec<StageInfo>,
    /// What they decided, compiled; empty when the switch answers.
    pub program: Vec<String>,
    /// Whether the program would be kept for the frames that follow: `flow`; `once`: no, it rests on more than the key;
    /// `too_long`: no, it has too many steps; `nothing`: there is none.
    pub caching: String,
    /// What the flow cache holds for this flow now; such a frame would not see the stages at all.
    pub cached: Option<CachedInfo>,
    /// What would leave, in order.
    pub departures: Vec<DepartureInfo>,
    /// Why the frame itself would end here, if it would.
    pub dropped: Option<LossInfo>,
}

/// One stage's decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageInfo {
    /// Its name.
    pub stage: String,
    /// `continue`, `drop` or `reply`.
    pub verdict: String,
    /// Why it dropped, if it did.
    pub dropped: Option<LossInfo>,
    /// Why, in its own words.
    pub why: Vec<String>,
    /// The header fields it rewrote.
    pub edits: Vec<EditInfo>,
    /// The ports it chose.
    pub egress: Vec<String>,
    /// Whether it kept the decision out of the flow cache.
    pub once: bool,
}

/// A header field that was rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditInfo {
    /// Its name.
    pub field: String,
    /// Its value before.
    pub before: String,
    /// Its value after.
    pub after: String,
}

/// The entry of the flow cache: see [`super::FlowInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedInfo {
    /// Its program.
    pub program: Vec<String>,
    /// Frames that it handled.
    pub frames: u64,
}

/// A frame that would leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartureInfo {
    /// The port.
    pub port: String,
    /// What it is, in one line.
    pub frame: String,
    /// Its bytes in hexadecimal.
    pub hex: String,
    /// Why the port would not take it, as far as that is known before trying.
    pub dropped: Option<LossInfo>,
}

/// A reason to drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossInfo {
    /// Its name, as in `show drops`.
    pub reason: String,
    /// What it means.
    pub meaning: String,
}
