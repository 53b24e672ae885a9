//! What the control socket says: the JSON of each path.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/version` | [`Version`] |
//! | `GET /v1/ports` | list of [`PortInfo`] |
//! | `POST /v1/ports` with a [`PortConfig`](crate::config::PortConfig) | the [`PortInfo`] |
//! | `DELETE /v1/ports/NAME` | nothing |
//! | `GET /v1/domains` | list of [`DomainInfo`] |
//! | `POST /v1/domains` with a [`DomainConfig`](crate::config::DomainConfig) | the [`DomainInfo`] |
//! | `DELETE /v1/domains/NAME` | nothing |
//! | `POST /v1/trace` with a [`trace::TraceRequest`] | [`trace::TraceInfo`] |
//! | `POST /v1/capture` with a [`capture::CaptureRequest`] | a stream of pcapng or text |
//! | `DELETE /v1/capture/NUMBER` | nothing; the stream ends |
//! | `POST /v1/reload` | [`Reloaded`] |
//! | `GET /v1/metrics` | Prometheus text, as at `[engine] metrics` |
//! | `GET /v1/fdb` | list of [`FdbInfo`] |
//! | `GET /v1/flows` | list of [`FlowInfo`] |
//! | `GET /v1/drops` | [`Drops`] |
//! | `GET /v1/workers` | list of [`WorkerInfo`] |
//!
//! A refused request gets a status of 400 or above and an [`ErrorBody`].

pub mod capture;
pub mod trace;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::VlanKeys;

/// The running program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its version, as `xdock --version` prints.
    pub version: String,
    /// Its process id.
    pub pid: u32,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Everything that is wrong with a configuration file, in the order of its lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemInfo>,
}

/// One thing that is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemInfo {
    /// The file, and the line where it is known: `FILE:LINE`.
    pub place: String,
    /// What is wrong.
    pub error: String,
    /// What would be right.
    pub hint: String,
}

/// What a reload did. What is not named was not touched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The file that was read.
    pub file: String,
    /// What was not there before.
    pub added: Vec<ReloadedItem>,
    /// What is not there any more.
    pub removed: Vec<ReloadedItem>,
    /// What is different.
    pub changed: Vec<ReloadedItem>,
    /// What stayed as it was.
    pub unchanged: Vec<ReloadedItem>,
    /// Keys of `[engine]` that differ from what runs and are applied by a restart only.
    pub restart: Vec<String>,
    /// What could not be done.
    pub failed: Vec<ReloadFailure>,
}

/// A port or a domain that a reload looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedItem {
    /// `port` or `domain`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The keys that changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Whether it was made anew; otherwise it worked on and lost nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recreated: bool,
}

/// What a reload could not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadFailure {
    /// `port` or `domain`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub error: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A port and what passed it since it was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// Its kind, as in the configuration.
    pub kind: String,
    /// The interface's present name; as it was made, once it is gone.
    pub ifname: String,
    /// The present namespace, by its name under /run/netns, else as it was made; `None`: the switch's own.
    pub netns: Option<String>,
    /// The bridge domain it belongs to.
    pub domain: String,
    /// How it takes part in the VLANs of its domain, in the configuration's keys; `None`: the domain has none.
    pub vlan: Option<VlanKeys>,
    /// Whom its frames may come from, as in the configuration; `None`: anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<serde_json::Value>,
    /// Where copies of its frames go, in the configuration's keys; and whether they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorInfo>,
    /// Whether frames can pass.
    pub up: bool,
    /// How it is.
    #[serde(default)]
    pub state: PortState,
    /// Why no frame can pass, as a sentence without a full stop; `None`: some can.
    #[serde(default)]
    pub reason: Option<String>,
    /// IP MTU in bytes.
    pub mtu: u16,
    /// The interface's MAC address, where it is known.
    pub mac: Option<String>,
    /// Frames received from the port; a super-frame counts once.
    pub rx_frames: u64,
    /// Their bytes, without FCS.
    pub rx_bytes: u64,
    /// Frames sent to the port.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames that the switch made: copies of frames from this port for a flood, of frames that pass it for its mirror, announcements of its addresses, and segments of
    /// super-frames to this port, of which the last is not counted. Over all ports that ever were,
    /// `rx_frames + generated = tx_frames + coalesced + drops`.
    pub generated: u64,
    /// Frames to this port that were joined to others, into super-frames.
    pub coalesced: u64,
    /// Times that a MAC address jumped between this port and others faster than hosts move, and was pinned to one of them.
    #[serde(default)]
    pub mac_flaps: u64,
    /// Frames dropped at this port, by reason; reasons that never occurred are absent.
    pub drops: BTreeMap<String, u64>,
    /// What may be left undone in a frame to or from the port.
    pub offload: OffloadInfo,
}

/// The mirror of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorInfo {
    /// The port that shows it.
    pub to: String,
    /// Whether frames that come in are copied.
    pub ingress: bool,
    /// Whether frames that leave are copied.
    pub egress: bool,
    /// Whether the port that shows it is there and up.
    pub active: bool,
}

/// How a port is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// Frames can pass.
    Up,
    /// Its interface is there, but not up.
    #[default]
    Down,
    /// It leads back to the switch by another port. It is opened when the loop is gone.
    Blocked,
    /// Its interface, or its namespace, is not there. It is opened again when that is back.
    Gone,
}

impl PortState {
    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Blocked => "blocked",
            Self::Gone => "gone",
        }
    }
}

/// What a port's frames may leave to the receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffloadInfo {
    /// Checksums.
    pub csum: bool,
    /// Segmentation of TCP.
    pub tso: bool,
    /// Segmentation of UDP.
    pub uso: bool,
    /// Segmentation inside a UDP tunnel: no port leaves that yet.
    pub tunnel: bool,
}

/// A bridge domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainInfo {
    /// Its name.
    pub name: String,
    /// Ageing time of its FDB, in seconds.
    pub ageing_s: u32,
    /// Most entries of its FDB.
    pub fdb_max: u32,
    /// The bridge's own MAC address.
    pub mac: Option<String>,
    /// Whether ports that have no VLANs of their own are untagged ports of VLAN 1.
    pub vlan_filtering: bool,
    /// Its ports.
    pub ports: Vec<String>,
    /// Entries of its FDB now.
    pub fdb_entries: u64,
}

/// A learned MAC address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbInfo {
    /// The domain it was learned in.
    pub domain: String,
    /// The VLAN it was learned in; `None`: the domain has none.
    pub vlan: Option<u16>,
    /// Whether the VLAN is a provider's (802.1ad): another one than a customer's of the same number.
    #[serde(default)]
    pub service: bool,
    /// The address.
    pub mac: String,
    /// The port it is behind.
    pub port: String,
    /// Seconds since its last frame.
    pub age_s: u64,
    /// Whether it never ages: a stage of an embedding program set it. The configuration has no such entries.
    #[serde(rename = "static")]
    pub fixed: bool,
}

/// An entry of a worker's flow cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowInfo {
    /// The worker, from 0.
    pub worker: usize,
    /// The port its frames come from.
    pub in_port: String,
    /// The header fields that select it.
    pub key: BTreeMap<String, String>,
    /// What is done to its frames, in order.
    pub program: Vec<String>,
    /// Frames that it handled.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds since the last.
    pub idle_s: u64,
}

/// Dropped frames of all ports, by reason.
pub type Drops = BTreeMap<String, DropInfo>;

/// One reason for drops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropInfo {
    /// Frames dropped for it.
    pub count: u64,
    /// What it means.
    pub meaning: String,
}

/// A worker since it began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// The core it is pinned to; `None`: unpinned.
    pub core: Option<usize>,
    /// Rounds that found frames.
    pub batches: u64,
    /// Frames received.
    pub frames: u64,
    /// Share of its time without frames, 0 to 1.
    pub idle_fraction: f64,
    /// Processor cycles (TSC ticks) per frame, where there were frames.
    pub cycles_per_frame: Option<f64>,
    /// Time-stamp counter ticks spent in rounds that found frames.
    pub busy_ticks: u64,
    /// Time-stamp counter ticks since it began.
    pub total_ticks: u64,
    /// Frames that missed its flow cache.
    pub misses: u64,
    /// MAC addresses that moved to another port.
    #[serde(default)]
    pub moves: u64,
    /// Entries of its flow cache.
    pub flow_entries: u64,
    /// Free frames of the whole switch, the same at every worker.
    pub pool_free: u64,
    /// All frames of the whole switch.
    pub pool_total: u64,
}
