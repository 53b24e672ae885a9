//! Kinds of ports, and the keys that only some of them take.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::Report;
use super::fields::{Fields, integer, text};
use super::node::Value;
use super::value::Invalid;

/// What a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortKind {
    /// A TAP, created with the port.
    Tap,
    /// An interface of somebody else, through AF_XDP.
    Xdp,
    /// An interface of somebody else, through a packet socket.
    Packet,
    /// Files in the formats of tcpdump: one is played in, another takes what is sent.
    Pcap,
}

impl PortKind {
    /// Whether there is an interface at the other end.
    #[must_use]
    pub fn has_interface(self) -> bool {
        self != Self::Pcap
    }
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tap => "tap",
            Self::Xdp => "xdp",
            Self::Packet => "packet",
            Self::Pcap => "pcap",
        })
    }
}

impl FromStr for PortKind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let kinds = [Self::Tap, Self::Xdp, Self::Packet, Self::Pcap];
        let known = kinds.into_iter().find(|kind| kind.to_string() == text);
        known
            .ok_or_else(|| Invalid::new(format!("unknown kind \"{text}\""), "\"tap\", \"xdp\", \"packet\" or \"pcap\""))
    }
}

const OF_A_TAP: &[&str] = &["mac", "address", "routes", "mtu"];
const OF_AN_INTERFACE: &[&str] = &["ifname", "netns", "mac", "address", "routes", "queues"];
const OF_XDP: &[&str] = &["busy_poll", "ring"];
const OF_FILES: &[&str] = &["replay", "record", "pace", "times"];

/// Reports the keys that make no sense for a port of this kind. All of them have been read.
pub(super) fn reject_senseless(kind: PortKind, fields: &mut Fields<'_>) {
    let foreign = "leave it out: the interface is somebody else's, and keeps what it has";
    let (senseless, hint) = match kind {
        PortKind::Tap => (&[][..], ""),
        PortKind::Xdp | PortKind::Packet => (OF_A_TAP, foreign),
        PortKind::Pcap => (OF_AN_INTERFACE, "leave it out: files are no interface"),
    };
    reject(kind, senseless, hint, fields);
    if kind != PortKind::Xdp {
        reject(kind, OF_XDP, "only with kind = \"xdp\"", fields);
    }
    if kind != PortKind::Pcap {
        reject(kind, OF_FILES, "only with kind = \"pcap\"", fields);
    }
}

fn reject(kind: PortKind, keys: &[&'static str], hint: &str, fields: &mut Fields<'_>) {
    for key in keys {
        if fields.has(key) {
            fields.reject(key, Invalid::new(format!("makes no sense for kind \"{kind}\""), hint));
        }
    }
}

/// How system calls of the switch poll the device of an xdp port, in place of interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BusyPoll {
    /// Microseconds in one call (`SO_BUSY_POLL`, socket(7)).
    pub micros: u32,
    /// Most frames in one call (`SO_BUSY_POLL_BUDGET`).
    pub budget: u16,
}

impl BusyPoll {
    /// Reads the table; what is left out is as in the kernel's documentation of AF_XDP.
    pub(super) fn read(mut fields: Fields<'_>, report: &mut Report) -> Self {
        let micros = fields.value("micros", integer(1..=1_000_000, "microseconds")).unwrap_or(20);
        let budget = fields.value("budget", integer(1..=u16::MAX, "frames")).unwrap_or(64);
        fields.finish(report);
        Self { micros, budget }
    }
}

/// The frames that may wait at a queue of an xdp port: a power of two, as the kernel's rings are.
pub(super) fn ring(value: &Value) -> Result<u32, Invalid> {
    let ring: u32 = integer(64..=8192, "frames")(value)?;
    let wrong = || Invalid::new(format!("{ring} is not a power of two"), format!("like {}", ring.next_power_of_two()));
    ring.is_power_of_two().then_some(ring).ok_or_else(wrong)
}

/// The files of a pcap port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Files {
    /// The file whose frames come in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<PathBuf>,
    /// The file that takes the frames sent to the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<PathBuf>,
    /// How fast frames come in; `None`: as in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// How often the file is played; `None`: once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl Files {
    /// Reads the keys of a pcap port.
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            replay: fields.value("replay", file),
            record: fields.value("record", file),
            pace: fields.value("pace", pace),
            times: fields.value("times", integer(1..=1_000_000_000, "times")),
        }
    }
}

/// How fast a file is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// With the pauses that the file has.
    Original,
    /// As fast as the switch takes them.
    Max,
    /// So many frames per second.
    Rate(u32),
}

impl FromStr for Pace {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "original" => Ok(Self::Original),
            "max" => Ok(Self::Max),
            rate => rate.parse().ok().filter(|rate| *rate > 0).map(Self::Rate).ok_or_else(|| {
                Invalid::new(format!("\"{text}\" is no pace"), "\"original\", \"max\" or frames per second")
            }),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Original => f.write_str("original"),
            Self::Max => f.write_str("max"),
            Self::Rate(rate) => rate.fmt(f),
        }
    }
}

impl Serialize for Pace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number is a rate, as in text.
fn pace(value: &Value) -> Result<Pace, Invalid> {
    match value {
        Value::Integer(rate) => rate.to_string().parse(),
        _ => text(value)?.parse(),
    }
}

fn file(value: &Value) -> Result<PathBuf, Invalid> {
    let path = text(value)?;
    if !path.starts_with('/') || path.contains('\0') || path.ends_with('/') {
        let hint = "an absolute path, like /tmp/frames.pcapng";
        return Err(Invalid::new(format!("\"{path}\" is no file"), hint));
    }
    Ok(path.into())
}
