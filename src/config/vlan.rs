//! A port's VLANs: `{ access = 10 }`, `{ trunk = [10, "20-29"], native = 10 }` or `{ tunnel = 100 }`.

use crossdock_engine::tables::vlan::{Native, Tagging, VidSet};
use crossdock_engine::wire::vlan::{Tpid, Vid};
use serde::{Deserialize, Serialize, Serializer};

use super::Report;
use super::fields::{Fields, boolean, integer, text};
use super::node::Value;
use super::value::Invalid;

const MODES: [&str; 3] = ["access", "trunk", "tunnel"];
const EXAMPLES: &str = "{ access = 10 }, { trunk = [10, \"20-29\"], native = 10 } or { tunnel = 100 }";

/// How a port takes part in VLANs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vlan(pub Tagging);

impl Vlan {
    /// Whether frames without a tag may come in.
    #[must_use]
    pub fn takes_untagged(&self) -> bool {
        !matches!(self.0, Tagging::Trunk { native: None, .. })
    }
}

impl Serialize for Vlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        VlanKeys::of(&self.0).serialize(serializer)
    }
}

/// The keys of a port's VLANs, for JSON. Those that say nothing are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VlanKeys {
    /// The VLAN of an untagged port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<u16>,
    /// It also admits frames with its VLAN's own tag.
    #[serde(skip_serializing_if = "is_false")]
    pub admit_tagged: bool,
    /// The VLANs of a tagged port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<Vec<VidRange>>,
    /// The VLAN of a tagged port's untagged frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<u16>,
    /// They leave with a tag all the same.
    #[serde(skip_serializing_if = "is_false")]
    pub native_tagged: bool,
    /// The provider's VLAN of a customer's port (802.1ad).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<u16>,
    /// The EtherType of the provider's tag, where it is not 0x88a8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpid: Option<u16>,
}

/// One VLAN, or several: `"20-29"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum VidRange {
    /// One.
    One(u16),
    /// The first and the last.
    Many(String),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

impl VlanKeys {
    /// The keys that say this.
    #[must_use]
    pub fn of(tagging: &Tagging) -> Self {
        match tagging {
            Tagging::Transparent => Self::default(),
            Tagging::Access { vid, admit_tagged } => {
                Self { access: Some(vid.number()), admit_tagged: *admit_tagged, ..Self::default() }
            }
            Tagging::Trunk { vids, native } => Self {
                trunk: Some(ranges(vids)),
                native: native.map(|native| native.vid.number()),
                native_tagged: native.is_some_and(|native| native.tagged),
                ..Self::default()
            },
            Tagging::Tunnel { vid, tpid } => Self {
                tunnel: Some(vid.number()),
                tpid: (*tpid != Tpid::SERVICE).then_some(tpid.ethertype()),
                ..Self::default()
            },
        }
    }
}

fn ranges(vids: &VidSet) -> Vec<VidRange> {
    let range =
        |(first, last)| if first == last { VidRange::One(first) } else { VidRange::Many(format!("{first}-{last}")) };
    vids.ranges().into_iter().map(|vids| range(vids.into_inner())).collect()
}

/// For tables: `trunk 10,20-29 native 10`.
impl std::fmt::Display for VlanKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |ranges: &Vec<VidRange>| {
            let text = |range: &VidRange| match range {
                VidRange::One(vid) => vid.to_string(),
                VidRange::Many(vids) => vids.clone(),
            };
            ranges.iter().map(text).collect::<Vec<_>>().join(",")
        };
        let words = [
            self.access.map(|vid| format!("access {vid}")),
            self.trunk.as_ref().map(|ranges| format!("trunk {}", list(ranges))),
            self.native.map(|vid| format!("native {vid}")),
            self.native_tagged.then(|| "tagged".to_owned()),
            self.tunnel.map(|vid| format!("tunnel {vid}")),
        ];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(" ").replace("trunk  ", "trunk "))
    }
}

/// Reads the table `vlan` of a port.
pub(super) fn vlan(mut fields: Fields<'_>, report: &mut Report) -> Option<Vlan> {
    let modes: Vec<_> = MODES.into_iter().filter(|mode| fields.has(mode)).collect();
    let access = access(&mut fields);
    let trunk = trunk(&mut fields);
    let tunnel = tunnel(&mut fields);
    match modes[..] {
        [] => fields.lack(Invalid::new("does not say how the port takes part", EXAMPLES)),
        [mode] => misplaced(&mut fields, mode),
        [first, second, ..] => {
            fields.reject(second, Invalid::new(format!("excludes {first}: a port is one of them"), EXAMPLES));
        }
    }
    fields.finish(report);
    access.or(trunk).or(tunnel).map(Vlan)
}

/// Reports keys that belong to another mode.
fn misplaced(fields: &mut Fields<'_>, mode: &str) {
    for (key, of) in [("admit_tagged", "access"), ("native", "trunk"), ("native_tagged", "trunk"), ("tpid", "tunnel")] {
        if mode != of && fields.has(key) {
            fields.reject(key, Invalid::new(format!("belongs to {of}, and this port has {mode}"), "leave it out"));
        }
    }
}

fn access(fields: &mut Fields<'_>) -> Option<Tagging> {
    let vid = fields.value("access", vid);
    let admit_tagged = fields.value("admit_tagged", boolean).unwrap_or(false);
    Some(Tagging::Access { vid: vid?, admit_tagged })
}

fn trunk(fields: &mut Fields<'_>) -> Option<Tagging> {
    let vids: VidSet = fields.list("trunk", vids).into_iter().flatten().collect();
    let native = fields.value("native", vid);
    let tagged = fields.value("native_tagged", boolean).unwrap_or(false);
    if fields.has("native_tagged") && !fields.has("native") {
        fields.reject("native_tagged", Invalid::new("there is no native VLAN", "add native = 10, or leave it out"));
    }
    fields.has("trunk").then(|| Tagging::Trunk { vids, native: native.map(|vid| Native { vid, tagged }) })
}

fn tunnel(fields: &mut Fields<'_>) -> Option<Tagging> {
    let vid = fields.value("tunnel", vid);
    let tpid = fields.value("tpid", tpid).unwrap_or(Tpid::SERVICE);
    Some(Tagging::Tunnel { vid: vid?, tpid })
}

/// The number of a VLAN.
pub(super) fn vid(value: &Value) -> Result<Vid, Invalid> {
    let number: u16 = integer(1..=Vid::MAX.number(), "")(value)?;
    Vid::new(number).ok_or_else(|| Invalid::new(format!("{number} is out of range"), "1 to 4094"))
}

/// One VLAN as an integer, or the first and the last as text.
fn vids(value: &Value) -> Result<Vec<Vid>, Invalid> {
    if !matches!(value, Value::Text(_)) {
        return Ok(vec![vid(value)?]);
    }
    let text = text(value)?;
    let wrong = || Invalid::new(format!("\"{text}\" is no range of VLANs"), "like \"20-29\", of 1 to 4094");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.parse().ok().and_then(Vid::new).map(Vid::number).ok_or_else(wrong);
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(wrong()) } else { Ok((first..=last).filter_map(Vid::new).collect()) }
}

fn tpid(value: &Value) -> Result<Tpid, Invalid> {
    let ethertype: u16 = integer(0..=u16::MAX, "")(value)?;
    let known = Some(Tpid::of(ethertype)).filter(|&tpid| tpid != Tpid::NONE);
    known.ok_or_else(|| Invalid::new(format!("{ethertype:#06x} is no VLAN tag's"), "0x88a8, 0x9100 or 0x8100"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PortConfig, keys_of_flag};
    use serde_json::{Value as Json, json};

    fn read(vlan: Json) -> Result<PortConfig, Report> {
        PortConfig::from_json(&json!({"name": "a", "domain": "lan", "vlan": vlan}))
    }

    fn shown(vlan: Json) -> String {
        VlanKeys::of(&read(vlan).unwrap().vlan.unwrap().0).to_string()
    }

    #[test]
    fn what_is_written_comes_back() {
        let written = [
            json!({"access": 10}),
            json!({"access": 10, "admit_tagged": true}),
            json!({"trunk": [10, "20-29"]}),
            json!({"trunk": [10], "native": 20, "native_tagged": true}),
            json!({"tunnel": 100}),
            json!({"tunnel": 100, "tpid": 0x9100}),
        ];
        for vlan in written {
            let port = read(vlan.clone()).unwrap();
            assert_eq!(json!(port)["vlan"], vlan);
            let keys: VlanKeys = serde_json::from_value(vlan).unwrap();
            assert_eq!(keys, VlanKeys::of(&port.vlan.unwrap().0));
        }
    }

    #[test]
    fn modes_have_short_names() {
        assert_eq!(shown(json!({"access": 10})), "access 10");
        assert_eq!(shown(json!({"trunk": [20, 10, 11], "native": 10})), "trunk 10-11,20 native 10");
        assert_eq!(shown(json!({"trunk": [], "native": 10, "native_tagged": true})), "trunk native 10 tagged");
        assert_eq!(shown(json!({"tunnel": 100})), "tunnel 100");
    }

    #[test]
    fn flags_are_the_same_keys() {
        let cases = [
            ("access=10", json!({"access": 10})),
            ("trunk=10,20-29,native=10", json!({"trunk": [10, "20-29"], "native": 10})),
            (
                "trunk=10 20 native=10 native_tagged=true",
                json!({"trunk": [10, 20], "native": 10, "native_tagged": true}),
            ),
            ("tunnel=100,tpid=0x9100", json!({"tunnel": 100, "tpid": 0x9100})),
        ];
        for (flag, keys) in cases {
            assert_eq!(keys_of_flag(flag).unwrap(), keys, "{flag}");
            assert!(read(keys).is_ok(), "{flag}");
        }
        assert!(keys_of_flag("10").is_err());
    }

    #[test]
    fn contradictions_are_refused() {
        let cases = [
            (json!({}), "does not say how"),
            (json!({"access": 0}), "0 is out of range"),
            (json!({"access": 4095}), "4095 is out of range"),
            (json!({"access": 10, "trunk": [20]}), "excludes access"),
            (json!({"access": 10, "native": 10}), "belongs to trunk"),
            (json!({"trunk": [10], "native_tagged": true}), "no native VLAN"),
            (json!({"trunk": ["29-20"]}), "no range of VLANs"),
            (json!({"trunk": ["1-4095"]}), "no range of VLANs"),
            (json!({"tunnel": 100, "tpid": 0x0800}), "0x0800 is no VLAN tag's"),
            (json!({"acces": 10}), "unknown key \"acces\""),
            (json!(10), "an integer"),
        ];
        for (vlan, what) in cases {
            let report = read(vlan.clone()).unwrap_err();
            assert!(report.to_string().contains(what), "{vlan}: {report}");
            assert!(report.problems.iter().all(|problem| !problem.hint.is_empty()));
        }
    }
}
