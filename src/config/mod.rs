//! The configuration: what a switch consists of, as plain data, and how it is read.
//!
//! Reading goes text -> `node` (a tree with lines) -> `schema` (typed values, key by key) -> `check` (what needs
//! more than one key). Every step collects its problems in one [`Report`], so that a user sees all of them at once.
//! The control socket's JSON enters at the tree, so a port added at run time meets the same rules.

mod check;
pub mod difference;
mod fault;
mod fields;
mod file;
mod guard;
mod kind;
mod mirror;
mod node;
mod normal;
mod schema;
mod storm;
mod value;
mod vlan;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crossdock_engine::switch;
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::wire::Mac;
use crossdock_engine::worker::SPIN;
use serde::Serialize;
use toml::de::DeTable;

use fields::Fields;
use node::{Lines, Node};

pub use fault::{Direction, Fault, Share};
pub use file::{LoadError, load};
pub use guard::{Block, Guard, Sources, guard_of_flag};
pub use kind::{BusyPoll, Files, Pace, PortKind};
pub use mirror::Mirror;
pub use schema::{AGEING_S, FDB_MAX, MTU, QUEUES};
pub use storm::{Cap, Storm};
pub use value::{Destination, Invalid, Prefix, Route, keys_of_flag, station};
pub use vlan::{VidRange, Vlan, VlanKeys};

/// Where the control socket is unless a configuration or a flag says otherwise.
pub const DEFAULT_CONTROL: &str = "/run/crossdock/control.sock";

/// A whole switch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    /// The process: cores, polling, memory.
    pub engine: EngineConfig,
    /// The bridge domains.
    pub domain: Vec<DomainConfig>,
    /// The ports; each belongs to one of the domains.
    pub port: Vec<PortConfig>,
}

/// How the switch process runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineConfig {
    /// One worker is pinned to each of these cores; none: one unpinned worker.
    pub cores: Vec<usize>,
    /// When the worker sleeps.
    pub poll: Poll,
    /// With [`Poll::Adaptive`]: how long to spin after the last frame, in microseconds.
    pub spin_us: u32,
    /// The control socket.
    pub control: PathBuf,
    /// Where Prometheus may read `/metrics` over HTTP, in the switch's own namespace; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whether TAPs stay when the switch ends (`TUNSETPERSIST`).
    pub persist: bool,
    /// Flow-cache entries of a worker.
    pub flows_max: u32,
    /// Most frames of 4 KiB.
    pub frames: u32,
    /// Most frames of 68 KiB.
    pub super_frames: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let engine = switch::Config::default();
        Self {
            cores: Vec::new(),
            poll: Poll::Adaptive,
            spin_us: SPIN.as_micros() as u32,
            control: DEFAULT_CONTROL.into(),
            metrics: None,
            persist: false,
            flows_max: engine.worker.flows as u32,
            frames: engine.frames as u32,
            super_frames: engine.super_frames as u32,
        }
    }
}

/// When a worker without frames sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Poll {
    /// It spins for `spin_us` after the last frame, then sleeps.
    Adaptive,
    /// Never.
    Busy,
    /// At once.
    Interrupt,
}

/// A bridge domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DomainConfig {
    /// Unique among the domains.
    pub name: String,
    /// How long a MAC address is remembered after its last frame, in seconds.
    pub ageing_s: u32,
    /// Most MAC addresses remembered.
    pub fdb_max: u32,
    /// The bridge's own address: no station is learned under it, and frames to it are flooded like those to any other
    /// that is not known.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "value::as_text")]
    pub mac: Option<Mac>,
    /// Whether ports without `vlan` are untagged ports of VLAN 1. Otherwise they know of no VLANs, and tags pass untouched
    /// between them.
    pub vlan_filtering: bool,
}

impl DomainConfig {
    /// A domain with every default.
    #[must_use]
    pub fn new(name: String) -> Self {
        let Domain { ageing_s, fdb_max, .. } = Domain::new(&name);
        Self { name, ageing_s, fdb_max: fdb_max as u32, mac: None, vlan_filtering: false }
    }

    /// Reads the JSON that this type serialises to.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, Report> {
        let mut report = Report::default();
        let domain = schema::domain(Fields::new("the domain", &Node::from_json(json)), &mut report);
        report.or(domain.value)
    }
}

/// A port of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortConfig {
    /// Unique among the ports.
    pub name: String,
    /// What it is.
    pub kind: PortKind,
    /// The interface's name where it is created; others may rename it later. Empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ifname: String,
    /// The interface's namespace, a name under `/run/netns` or a path; `None`: the switch's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// The MAC address of a TAP; `None`: one drawn from the machine's identity and the port's name.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "value::as_text")]
    pub mac: Option<Mac>,
    /// The addresses of a TAP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub address: Vec<Prefix>,
    /// Routes through a TAP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The IP MTU in bytes; `None`: 1500 for a TAP, 65521 for files, else what there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The domain it belongs to.
    pub domain: String,
    /// Queues of the interface; each belongs to one worker. `None`: 1, and all there are for AF_XDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<u8>,
    /// How the device of an xdp port is polled; `None`: by interrupts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_poll: Option<BusyPoll>,
    /// Frames that may wait at each queue of an xdp port, in memory of its own; `None`: as its interface suggests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring: Option<u32>,
    /// An isolated port reaches no other isolated port.
    pub isolated: bool,
    /// Caps on frames that the switch must copy.
    pub storm: Storm,
    /// The files of a pcap port.
    #[serde(flatten)]
    pub files: Files,
    /// What befalls its frames on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// How it takes part in VLANs; `None`: as the other ports of its domain let it, see `Topology::settle` of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// Whom its frames may come from; `None`: anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
    /// Where copies of its frames go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
}

impl PortConfig {
    /// A TAP port with every default; its interface is called as the port.
    #[must_use]
    pub fn new(name: String, domain: String) -> Self {
        Self {
            kind: PortKind::Tap,
            ifname: name.clone(),
            netns: None,
            mac: None,
            address: Vec::new(),
            routes: Vec::new(),
            mtu: None,
            domain,
            queues: None,
            busy_poll: None,
            ring: None,
            isolated: false,
            storm: Storm::default(),
            files: Files::default(),
            fault: None,
            vlan: None,
            guard: None,
            mirror: None,
            name,
        }
    }

    /// Reads the JSON that this type serialises to.
    ///
    /// # Errors
    /// Everything that is wrong with it; whether the domain exists is not looked at.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, Report> {
        let mut report = Report::default();
        let port = schema::port(Fields::new("the port", &Node::from_json(json)), &mut report);
        check::port(&port, &mut report);
        report.or(port.value.normal())
    }

    /// The file that holds the interface's namespace; `None`: the switch's own.
    #[must_use]
    pub fn netns_path(&self) -> Option<PathBuf> {
        self.netns.as_deref().map(netns_path)
    }
}

impl Config {
    /// Reads a configuration from TOML; `cores` are the cores that exist.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the lines.
    pub fn parse(text: &str, cores: &[usize]) -> Result<Self, Report> {
        let lines = Lines::of(text);
        let (document, syntax) = DeTable::parse_recoverable(text);
        let mut report = Report::default();
        let config = read(&Node::from_toml(&document, &lines), cores, &mut report);
        report.prefer_syntax(syntax.iter().map(|error| syntax_problem(error, &lines)).collect());
        report.or(config)
    }
}

fn read(document: &Node, cores: &[usize], report: &mut Report) -> Config {
    let mut top = Fields::new("", document);
    let engine = top.table("engine").map(|fields| schema::engine(fields, cores, report)).unwrap_or_default();
    let domains: Vec<_> = top.tables("domain").into_iter().map(|fields| schema::domain(fields, report)).collect();
    let ports: Vec<_> = top.tables("port").into_iter().map(|fields| schema::port(fields, report)).collect();
    top.later(&["uplink", "vxlan", "gateway", "docker"]);
    top.finish(report);
    ports.iter().for_each(|port| check::port(port, report));
    check::together(&domains, &ports, report);
    Config {
        engine,
        domain: domains.into_iter().map(|domain| domain.value).collect(),
        port: ports.into_iter().map(|port| port.value.normal()).collect(),
    }
}

fn syntax_problem(error: &toml::de::Error, lines: &Lines) -> Problem {
    let line = error.span().map(|span| lines.at(span.start));
    Problem::new(line, error.message().replace('\n', ", "), "TOML: key = value, strings in double quotes")
}

/// The file of a namespace: a name is one under `/run/netns`, as `ip netns` keeps them.
#[must_use]
pub fn netns_path(netns: &str) -> PathBuf {
    let path = Path::new("/run/netns").join(netns);
    path.strip_prefix("/var/run").map_or_else(|_| path.clone(), |rest| Path::new("/run").join(rest))
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line in the file, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub hint: String,
}

impl Problem {
    fn new(line: Option<usize>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { line, what: what.into(), hint: hint.into() }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Report {
    /// In the order of the lines.
    pub problems: Vec<Problem>,
}

impl Report {
    fn add(&mut self, line: Option<usize>, what: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(line, what, hint));
    }

    /// Adds what the TOML parser found. It went on reading after an error, so what else is said about the same line would
    /// only be a consequence.
    fn prefer_syntax(&mut self, mut syntax: Vec<Problem>) {
        syntax.dedup_by_key(|error| error.line);
        self.problems.retain(|problem| syntax.iter().all(|error| error.line != problem.line));
        self.problems.extend(syntax);
    }

    fn or<T>(mut self, value: T) -> Result<T, Self> {
        self.problems.sort_by_key(|problem| problem.line);
        if self.problems.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentences: Vec<&str> = self.problems.iter().map(|problem| problem.what.as_str()).collect();
        f.write_str(&sentences.join("; "))
    }
}
