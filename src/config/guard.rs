//! The source guard of a port: `true`, or `{ mac = ["02:00:00:00:00:01"], ip = ["10.0.0.1", "fd00::/64"] }`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use crossdock_engine::guard;
use crossdock_engine::wire::{Cidr, Mac};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::fields::{Fields, boolean, parsed, text};
use super::schema::Located;
use super::value::{Invalid, Prefix, station, table_of_flag};
use super::{PortConfig, PortKind, Report};

const EXAMPLE: &str = "true, false, or { mac = [\"02:00:00:00:00:01\"], ip = [\"10.0.0.1\", \"fd00::/64\"] }";

/// Whom the frames of a port may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// From the interface's own MAC address, and the addresses of the port.
    Own,
    /// From these.
    Listed(Sources),
}

/// Addresses that frames may come from. An absent list limits nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sources {
    /// MAC addresses.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_texts")]
    pub mac: Option<Vec<Mac>>,
    /// IP addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Vec<Block>>,
}

/// One IP address, or a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block(Cidr);

impl Guard {
    /// Reads the key `guard`.
    pub(super) fn read(fields: &mut Fields<'_>, report: &mut Report) -> Option<Self> {
        if fields.is_table("guard") {
            return fields.table("guard").map(|keys| Self::Listed(Sources::read(keys, report)));
        }
        let flag = |value: &_| boolean(value).map_err(|Invalid { what, .. }| Invalid::new(what, EXAMPLE));
        fields.value("guard", flag).filter(|guarded| *guarded).map(|_| Self::Own)
    }

    /// The same with lists in order, in which nothing stands twice.
    pub(super) fn normal(self) -> Self {
        let Self::Listed(Sources { mut mac, mut ip }) = self else { return self };
        mac.iter_mut().for_each(|macs| {
            macs.sort_unstable();
            macs.dedup();
        });
        ip.iter_mut().for_each(|blocks| {
            blocks.sort_unstable_by_key(|block| (block.0.addr(), block.0.prefix_len()));
            blocks.dedup();
        });
        Self::Listed(Sources { mac, ip })
    }

    /// What the engine looks for in frames of this port, whose MAC address is known.
    pub(crate) fn of(port: &PortConfig) -> Option<Arc<guard::Guard>> {
        let cidrs = |blocks: &Vec<Block>| blocks.iter().map(|block| block.0).collect::<Vec<_>>();
        Some(Arc::new(match port.guard.as_ref()? {
            Self::Own => {
                let own: Vec<Cidr> = port.address.iter().filter_map(|prefix| whole(prefix.address())).collect();
                guard::Guard::new(Some(port.mac.as_slice()), Some(&own))
            }
            Self::Listed(Sources { mac, ip }) => guard::Guard::new(mac.as_deref(), ip.as_ref().map(cidrs).as_deref()),
        }))
    }
}

impl Sources {
    fn read(mut fields: Fields<'_>, report: &mut Report) -> Self {
        let mac = fields.list("mac", |value| station(&text(value)?));
        let ip = fields.list("ip", parsed::<Block>);
        let sources = Self { mac: fields.has("mac").then_some(mac), ip: fields.has("ip").then_some(ip) };
        if sources == Self::default() {
            fields.lack(Invalid::new("limits nothing", EXAMPLE));
        }
        fields.finish(report);
        sources
    }
}

/// Whether a port has what its guard rests on.
pub(super) fn check(port: &Located<PortConfig>, report: &mut Report) {
    let PortConfig { name, kind, guard, .. } = &port.value;
    if *guard == Some(Guard::Own) && *kind != PortKind::Tap {
        let what =
            format!("port \"{name}\": guard: true stands for the addresses of a tap, and this is kind \"{kind}\"");
        report.add(port.line_of("guard"), what, "name them: { mac = [...], ip = [...] }");
    }
}

/// The flag's form of the key: `true`, `false`, or `mac=02:00:00:00:00:01,ip=10.0.0.1,fd00::/64`.
///
/// # Errors
/// The text does not begin with a key.
pub fn guard_of_flag(flag: &str) -> Result<Json, Invalid> {
    flag.parse::<bool>().map_or_else(|_| table_of_flag(flag, &["mac", "ip"]), |guarded| Ok(guarded.into()))
}

fn whole(address: IpAddr) -> Option<Cidr> {
    Cidr::new(address, if address.is_ipv4() { 32 } else { 128 })
}

impl FromStr for Block {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong =
            || Invalid::new(format!("\"{text}\" is no IP address and no network"), "like 10.0.0.1 or fd00::/64");
        let Some(cidr) = text.parse().ok().and_then(whole).or_else(|| text.parse().ok()) else { return Err(wrong()) };
        let prefix = Prefix(cidr);
        if prefix.address() != prefix.network() {
            let hint = format!("{} alone, or {}/{}", prefix.address(), prefix.network(), cidr.prefix_len());
            return Err(Invalid::new(format!("\"{text}\" has host bits set"), hint));
        }
        Ok(Self(cidr))
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if whole(self.0.addr()) == Some(self.0) { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Guard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Own => serializer.serialize_bool(true),
            Self::Listed(sources) => sources.serialize(serializer),
        }
    }
}

fn as_texts<S: Serializer>(macs: &Option<Vec<Mac>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(macs.iter().flatten().map(Mac::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn port(kind: &str, guard: &Json) -> Result<PortConfig, String> {
        let port = json!({"name": "a", "domain": "lan", "kind": kind, "guard": guard});
        PortConfig::from_json(&port).map_err(|report| report.to_string())
    }

    #[test]
    fn it_comes_back_as_it_was_read() {
        let listed = json!({"mac": ["02:00:00:00:00:01"], "ip": ["10.0.0.1", "10.1.0.0/16", "fd00::1", "fd01::/64"]});
        for guard in [json!(true), listed, json!({"mac": []}), json!({"ip": ["0.0.0.0/0"]})] {
            let read = port("tap", &guard).unwrap();
            assert_eq!(json!(read)["guard"], guard);
            assert_eq!(PortConfig::from_json(&json!(read)), Ok(read));
        }
        assert_eq!(port("tap", &json!(false)).unwrap(), PortConfig::new("a".into(), "lan".into()));
        let [long, brief] = [
            json!({"ip": ["fd00::1/128", "10.0.0.1", "10.0.0.1/32"], "mac": ["02:00:00:00:00:0A", "02:00:00:00:00:0a"]}),
            json!({"ip": ["10.0.0.1", "fd00::1"], "mac": ["02:00:00:00:00:0a"]}),
        ];
        assert_eq!(port("xdp", &long), port("xdp", &brief));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (json!("yes"), "guard: has the wrong type: a string"),
            (json!({}), "guard limits nothing"),
            (json!({"mac": ["03:00:00:00:00:01"]}), "03:00:00:00:00:01 is a multicast address"),
            (json!({"ip": ["10.0.0"]}), "\"10.0.0\" is no IP address and no network"),
            (json!({"ip": ["10.0.0.1/24"]}), "\"10.0.0.1/24\" has host bits set"),
            (json!({"ip": "10.0.0.1"}), "guard: ip: is a string where a list belongs"),
            (json!({"ports": [1]}), "unknown key \"ports\""),
        ];
        for (guard, why) in cases {
            let said = port("tap", &guard).unwrap_err();
            assert!(said.contains(why), "{guard}: {said}");
        }
        assert!(port("packet", &json!(true)).unwrap_err().contains("true stands for the addresses of a tap"));
        assert!(port("packet", &json!({"ip": ["10.0.0.1"]})).is_ok());
    }

    #[test]
    fn a_flag_has_the_same_keys() {
        let keys = json!({"mac": ["02:00:00:00:00:01"], "ip": ["10.0.0.1", "fd00::/64"]});
        assert_eq!(guard_of_flag("mac=02:00:00:00:00:01,ip=10.0.0.1,fd00::/64").unwrap(), keys);
        assert_eq!((guard_of_flag("true"), guard_of_flag("false")), (Ok(json!(true)), Ok(json!(false))));
        assert!(guard_of_flag("10.0.0.1").is_err());
    }

    #[test]
    fn true_stands_for_what_the_tap_has() {
        let mut port = port("tap", &json!(true)).unwrap();
        port.mac = Some(Mac([2, 0, 0, 0, 0, 1]));
        port.address = vec!["10.0.0.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()];
        let own = ["10.0.0.1/32", "fd00::1/128"].map(|text| text.parse().unwrap());
        assert_eq!(*Guard::of(&port).unwrap(), guard::Guard::new(port.mac.as_slice().into(), Some(&own)));
        port.guard = None;
        assert_eq!(Guard::of(&port), None);
    }
}
