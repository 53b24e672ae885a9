//! The knobs of a port, by the names that `bridge link` of iproute2 has for them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crossdock_engine::switch::Membership;
use crossdock_engine::tables::topology::Floods;
use serde::{Deserialize, Serialize, Serializer};

use super::fields::{Fields, boolean, integer, name, text, wrong_kind};
use super::node::{Node, Value};
use super::value::Invalid;

/// Groups of isolated ports that a switch can have, besides that of `isolated = true`.
pub const GROUPS_MAX: usize = 62;
/// Addresses learned on a port.
pub const MAC_LIMIT_MAX: u32 = 1_000_000;

/// What a port does with the frames of its stations, and which floods it gets. All of it changes while the port works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Knobs {
    /// Whether source addresses are learned on it.
    pub learning: bool,
    /// Most addresses learned on it; 0: no limit.
    pub mac_limit: u32,
    /// What becomes of frames from addresses beyond the limit.
    pub at_limit: AtLimit,
    /// Whether only addresses that are known on it already may be sources.
    pub locked: bool,
    /// Whether frames may leave by it that came in by it.
    pub hairpin: bool,
    /// Whether unicast frames to unknown destinations are flooded to it.
    pub flood: bool,
    /// Whether multicast frames are flooded to it.
    pub mcast_flood: bool,
    /// Whether broadcast frames are flooded to it.
    pub bcast_flood: bool,
    /// The ports that it exchanges no frames with.
    pub isolated: Isolated,
}

impl Default for Knobs {
    fn default() -> Self {
        let Membership { learning, mac_limit, locked, hairpin, floods, .. } = Membership::default();
        let Floods { unknown: flood, multicast: mcast_flood, broadcast: bcast_flood } = floods;
        let (at_limit, isolated) = (AtLimit::Drop, Isolated::No);
        Self { learning, mac_limit, at_limit, locked, hairpin, flood, mcast_flood, bcast_flood, isolated }
    }
}

impl Knobs {
    /// Reads the keys of a port.
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let usual = Self::default();
        let limit = integer(0..=MAC_LIMIT_MAX, "addresses, 0 for no limit");
        let mut switch = |key, usual| fields.value(key, boolean).unwrap_or(usual);
        let (learning, locked) = (switch("learning", usual.learning), switch("locked", usual.locked));
        let (hairpin, flood) = (switch("hairpin", usual.hairpin), switch("flood", usual.flood));
        let mcast_flood = switch("mcast_flood", usual.mcast_flood);
        let bcast_flood = switch("bcast_flood", usual.bcast_flood);
        let mac_limit = fields.value("mac_limit", limit).unwrap_or(usual.mac_limit);
        let at_limit = fields.value("at_limit", |value| text(value)?.parse()).unwrap_or(usual.at_limit);
        let isolated = fields.value("isolated", isolated).unwrap_or(usual.isolated);
        Self { learning, mac_limit, at_limit, locked, hairpin, flood, mcast_flood, bcast_flood, isolated }
    }

    /// What may be flooded to the port.
    #[must_use]
    pub fn floods(&self) -> Floods {
        Floods { unknown: self.flood, multicast: self.mcast_flood, broadcast: self.bcast_flood }
    }
}

/// What becomes of a frame whose source is one address too many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtLimit {
    /// It is dropped.
    #[default]
    Drop,
    /// It passes, and its source is not learned.
    Pass,
}

impl FromStr for AtLimit {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "drop" => Ok(Self::Drop),
            "pass" => Ok(Self::Pass),
            _ => Err(Invalid::new(format!("unknown way \"{text}\""), "\"drop\" or \"pass\"")),
        }
    }
}

/// The ports that a port exchanges no frames with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "IsolatedJson")]
pub enum Isolated {
    /// None.
    #[default]
    No,
    /// All that are isolated like this.
    Yes,
    /// All that are of one of these groups too.
    From(BTreeSet<String>),
}

/// As JSON has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum IsolatedJson {
    Switch(bool),
    Groups(BTreeSet<String>),
}

impl From<IsolatedJson> for Isolated {
    fn from(json: IsolatedJson) -> Self {
        match json {
            IsolatedJson::Switch(true) => Self::Yes,
            IsolatedJson::Switch(false) => Self::No,
            IsolatedJson::Groups(groups) => Self::of(groups),
        }
    }
}

impl Isolated {
    fn of(groups: BTreeSet<String>) -> Self {
        if groups.is_empty() { Self::No } else { Self::From(groups) }
    }

    /// The groups by name.
    pub fn groups(&self) -> impl Iterator<Item = &String> {
        let groups = if let Self::From(groups) = self { Some(groups) } else { None };
        groups.into_iter().flatten()
    }
}

impl Serialize for Isolated {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => serializer.serialize_bool(false),
            Self::Yes => serializer.serialize_bool(true),
            Self::From(groups) => groups.serialize(serializer),
        }
    }
}

/// As a flag has it: `true`, `false`, or groups with commas between.
impl FromStr for Isolated {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "true" | "on" => Ok(Self::Yes),
            "false" | "off" => Ok(Self::No),
            groups => groups.split(',').map(group).collect::<Result<_, _>>().map(Self::of),
        }
    }
}

impl fmt::Display for Isolated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::Yes => f.write_str("from all isolated ports"),
            Self::From(groups) => {
                let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
                write!(f, "in {}", groups.join(", "))
            }
        }
    }
}

fn isolated(value: &Value) -> Result<Isolated, Invalid> {
    match value {
        Value::Boolean(isolated) => Ok(if *isolated { Isolated::Yes } else { Isolated::No }),
        Value::Array(items) => {
            let groups = items.iter().map(|Node { value, .. }| group(&text(value)?));
            groups.collect::<Result<_, _>>().map(Isolated::of)
        }
        other => Err(wrong_kind(other, "true, false, or a list of groups like [\"tenant-a\"]")),
    }
}

/// A group is named as ports are, but for words that mean something else.
fn group(text: &str) -> Result<String, Invalid> {
    match text {
        "true" | "false" | "on" | "off" => {
            Err(Invalid::new(format!("\"{text}\" cannot be a group"), "another name, or true or false without a list"))
        }
        _ => name(&Value::Text(text.to_owned())),
    }
}
