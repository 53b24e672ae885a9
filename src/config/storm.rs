//! Storm caps: what a port may bring in of the frames that a switch must copy.

use serde::{Serialize, Serializer};
use std::str::FromStr;

use crossdock_engine::tables::storm::StormCaps;

use super::fields::{Fields, integer};
use super::node::Value;
use super::value::Invalid;
use super::{PortKind, Report};

/// Caps of a TAP that does not say otherwise: more than a host needs, which asks for its neighbours by broadcast, announces
/// services by multicast, and may talk to one that has not answered yet; and little enough for a thousand neighbours to bear.
const OF_A_TAP: StormCaps = StormCaps { broadcast: Some(1000), multicast: Some(10_000), unknown: Some(10_000) };

/// Frames a second; `None` for no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap(pub Option<u32>);

/// The caps as they were asked for. Absent: as the kind of the port has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Storm {
    /// Frames to the broadcast address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<Cap>,
    /// Frames to multicast addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multicast: Option<Cap>,
    /// Frames to unicast addresses that the switch has not learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<Cap>,
}

impl Serialize for Cap {
    /// A number, or `false`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(frames) => serializer.serialize_u32(frames),
            None => serializer.serialize_bool(false),
        }
    }
}

impl Storm {
    const NONE: Storm = Storm { broadcast: Some(Cap(None)), multicast: Some(Cap(None)), unknown: Some(Cap(None)) };

    /// Reads the key `storm` of a port: a table, or `false` for no caps.
    pub(super) fn read(fields: &mut Fields<'_>, report: &mut Report) -> Storm {
        if fields.is_false("storm") {
            return Storm::NONE;
        }
        let Some(mut caps) = fields.table("storm") else { return Storm::default() };
        let mut cap = |key| caps.value(key, cap);
        let storm = Storm { broadcast: cap("broadcast"), multicast: cap("multicast"), unknown: cap("unknown") };
        caps.finish(report);
        storm
    }

    /// What holds for a port of this kind.
    #[must_use]
    pub fn caps(&self, kind: PortKind) -> StormCaps {
        let default = default_of(kind);
        StormCaps {
            broadcast: self.broadcast.map_or(default.broadcast, |cap| cap.0),
            multicast: self.multicast.map_or(default.multicast, |cap| cap.0),
            unknown: self.unknown.map_or(default.unknown, |cap| cap.0),
        }
    }

    /// The same for a port of this kind, without what goes without saying.
    pub(super) fn normal(self, kind: PortKind) -> Storm {
        let default = default_of(kind);
        Storm {
            broadcast: self.broadcast.filter(|cap| cap.0 != default.broadcast),
            multicast: self.multicast.filter(|cap| cap.0 != default.multicast),
            unknown: self.unknown.filter(|cap| cap.0 != default.unknown),
        }
    }
}

/// Containers are behind TAPs; behind other ports there may be a whole network.
fn default_of(kind: PortKind) -> StormCaps {
    if kind == PortKind::Tap { OF_A_TAP } else { StormCaps::default() }
}

fn cap(value: &Value) -> Result<Cap, Invalid> {
    match value {
        Value::Boolean(false) => Ok(Cap(None)),
        number => integer(0..=u32::MAX, "frames per second")(number).map(|frames| Cap(Some(frames))),
    }
}

impl FromStr for Storm {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "false" {
            return Ok(Storm::NONE);
        }
        let mut storm = Self::default();
        for part in text.split(',') {
            let wrong = || {
                let hint = "like broadcast=1000,unknown=false, or false for no caps";
                Invalid::new(format!("\"{part}\" is not a storm cap"), hint)
            };
            let (kind, rate) = part.split_once('=').ok_or_else(wrong)?;
            let cap = match kind {
                "broadcast" => &mut storm.broadcast,
                "multicast" => &mut storm.multicast,
                "unknown" => &mut storm.unknown,
                _ => return Err(wrong()),
            };
            let frames = if rate == "false" { None } else { Some(rate.parse().map_err(|_| wrong())?) };
            *cap = Some(Cap(frames));
        }
        Ok(storm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_from_a_flag() {
        let storm: Storm = "broadcast=5,unknown=false".parse().unwrap();
        assert_eq!(storm.caps(PortKind::Tap), StormCaps { broadcast: Some(5), unknown: None, ..OF_A_TAP });
        assert_eq!(storm.caps(PortKind::Xdp), StormCaps { broadcast: Some(5), ..StormCaps::default() });
        assert_eq!("false".parse::<Storm>().unwrap().caps(PortKind::Tap), StormCaps::default());
        for text in ["", "broadcast", "broadcast=", "broadcast=x", "flood=1", "broadcast=1,,", "true", "unknown=-1"] {
            let refused = text.parse::<Storm>().unwrap_err().to_string();
            assert!(refused.contains("not a storm cap"), "{text}: {refused}");
        }
    }

    #[test]
    fn what_goes_without_saying_is_not_said() {
        let said = Storm { broadcast: Some(Cap(Some(1000))), multicast: Some(Cap(None)), unknown: None };
        assert_eq!(said.normal(PortKind::Tap), Storm { multicast: said.multicast, ..Storm::default() });
        assert_eq!(said.normal(PortKind::Packet), Storm { broadcast: said.broadcast, ..Storm::default() });
        assert_eq!(serde_json::json!(said).to_string(), r#"{"broadcast":1000,"multicast":false}"#);
    }
}
