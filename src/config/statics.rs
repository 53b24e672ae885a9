//! Addresses that belong to a port of a domain for good: `static = [{ mac = "02:00:00:00:00:09", port = "h1", vlan = 10 }]`.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use crossdock_engine::switch;
use crossdock_engine::wire::Mac;
use crossdock_engine::wire::vlan::Vid;
use serde::{Serialize, Serializer};

use super::fields::{Fields, name, text};
use super::node::Value;
use super::value::{Invalid, station};
use super::vlan::vid;
use super::{Config, DomainConfig, Report};

/// An address in a VLAN; without one, in that of its port's untagged frames.
pub type StaticKey = (Mac, Option<Vid>);

/// The static entries of a domain, and the port of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statics(pub BTreeMap<StaticKey, String>);

/// One entry, as JSON and flags have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StaticEntry {
    /// The address.
    #[serde(serialize_with = "as_text")]
    mac: Mac,
    /// The VLAN.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_number")]
    vlan: Option<Vid>,
    /// The port's name.
    port: String,
}

fn as_text<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(mac)
}

fn as_number<S: Serializer>(vlan: &Option<Vid>, serializer: S) -> Result<S::Ok, S::Error> {
    vlan.map(Vid::number).serialize(serializer)
}

impl Statics {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn entries(&self) -> impl Iterator<Item = StaticEntry> {
        self.0.iter().map(|(&(mac, vlan), port)| StaticEntry { mac, vlan, port: port.clone() })
    }

    /// As the switch takes them.
    #[must_use]
    pub fn to_engine(&self) -> Vec<switch::StaticEntry> {
        self.entries().map(|StaticEntry { mac, vlan, port }| switch::StaticEntry { mac, vlan, port }).collect()
    }

    /// Reads the list of a domain.
    pub(super) fn read(fields: &mut Fields<'_>, report: &mut Report) -> Self {
        let mut statics = Self::default();
        for mut item in fields.tables("static") {
            if let Some(StaticEntry { mac, vlan, port }) = read(&mut item)
                && statics.0.insert((mac, vlan), port).is_some()
            {
                let hint = "each address once in a VLAN: it is at one place";
                item.reject("mac", Invalid::new(format!("{mac} is set twice"), hint));
            }
            item.finish(report);
        }
        statics
    }
}

impl Config {
    /// Static entries that wait for their ports, as far as the configuration says: one sentence each. The ports may come at run
    /// time.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        let homes: HashMap<&str, &str> = self.port.iter().map(|port| (&*port.name, &*port.domain)).collect();
        let why = |domain: &str, port: &str| match homes.get(port) {
            None => Some(format!("there is no port \"{port}\"")),
            Some(home) => (*home != domain).then(|| format!("port \"{port}\" is in domain \"{home}\"")),
        };
        let entries = |domain: &DomainConfig| {
            let waiting = domain.statics.0.iter().filter_map(|((mac, _), port)| Some((mac, why(&domain.name, port)?)));
            waiting
                .map(|(mac, why)| format!("domain \"{}\": static {mac} waits: {why}", domain.name))
                .collect::<Vec<_>>()
        };
        self.domain.iter().flat_map(entries).collect()
    }
}

/// Reads one entry.
fn read(fields: &mut Fields<'_>) -> Option<StaticEntry> {
    let mac = fields.required("mac", |value| address(&text(value)?));
    let port = fields.required("port", name);
    let vlan = fields.value("vlan", vid);
    let wrong_vlan = vlan.is_none() && fields.has("vlan");
    Some(StaticEntry { mac: mac?, vlan, port: port? }).filter(|_| !wrong_vlan)
}

/// Reads an address that a station may have.
///
/// # Errors
/// The text is no such address.
pub fn address(text: &str) -> Result<Mac, Invalid> {
    let wrong = |error: Invalid| match error.what.contains("all zero") {
        true => Invalid::new(error.what, "a station's address, like 02:00:00:00:00:01"),
        false => error,
    };
    station(text).map_err(wrong)
}

impl Serialize for Statics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.entries())
    }
}

/// As a flag has it: `mac=02:00:00:00:00:09,port=h1,vlan=10`.
impl FromStr for StaticEntry {
    type Err = Invalid;

    fn from_str(flag: &str) -> Result<Self, Invalid> {
        let wrong = || {
            Invalid::new(
                format!("\"{flag}\" is no static entry"),
                "like mac=02:00:00:00:00:09,port=h1 and maybe ,vlan=10",
            )
        };
        let (mut mac, mut port, mut vlan) = (None, None, None);
        for word in flag.split(',') {
            match word.split_once('=').ok_or_else(wrong)? {
                ("mac", text) => mac = Some(address(text)?),
                ("port", text) => port = Some(name(&Value::Text(text.into()))?),
                ("vlan", text) => vlan = Some(vid(&Value::Integer(text.parse().map_err(|_| wrong())?))?),
                _ => return Err(wrong()),
            }
        }
        Ok(Self { mac: mac.ok_or_else(wrong)?, vlan, port: port.ok_or_else(wrong)? })
    }
}
