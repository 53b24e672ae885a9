//! The values of the configuration that have a syntax of their own: MAC addresses, prefixes, routes, rates.
//!
//! Each reads itself from text (`FromStr`), for TOML, JSON and command-line flags alike, and prints the same text.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crossdock_engine::wire::{Cidr, Mac};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

/// Why a value was refused, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({hint})")]
pub struct Invalid {
    /// What is wrong, starting with the value: `"10.0.0.300/24" is not an IP prefix`.
    pub what: String,
    /// What would be right.
    pub hint: String,
}

impl Invalid {
    /// An `Invalid` from its two sentences.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

/// Reads a MAC address that an interface may have: unicast and not zero.
///
/// # Errors
/// The text is no such address.
pub fn station(text: &str) -> Result<Mac, Invalid> {
    let example = "six bytes, like 02:00:00:00:00:01";
    let mac: Mac = text.parse().map_err(|_| Invalid::new(format!("\"{text}\" is not a MAC address"), example))?;
    if mac.is_group() {
        let [first, rest @ ..] = mac.0;
        let [b, c, d, e, f] = rest;
        let unicast = Mac([first & !1, b, c, d, e, f]);
        let hint = format!("an interface has a unicast one, like {unicast}");
        return Err(Invalid::new(format!("{mac} is a multicast address"), hint));
    }
    if mac == Mac::ZERO {
        return Err(Invalid::new("the MAC address is all zero", "leave mac out for a random one"));
    }
    Ok(mac)
}

/// An IP address with the length of its network's prefix: `10.0.0.1/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix(pub Cidr);

impl FromStr for Prefix {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.parse().map(Self).map_err(|_| {
            let hint = "like 10.0.0.1/24 or fd00::1/64, with at most 32 bits for IPv4 and 128 for IPv6";
            Invalid::new(format!("\"{text}\" is not an IP prefix"), hint)
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Prefix {
    /// The address, host bits included.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0.addr()
    }

    /// The network's address: the host bits cleared.
    #[must_use]
    pub fn network(self) -> IpAddr {
        self.masked(self.address())
    }

    /// Whether `address` is of this network.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address().is_ipv4() && self.masked(address) == self.network()
    }

    /// `address` without its host bits; it is of the same IP version.
    fn masked(self, address: IpAddr) -> IpAddr {
        let length = u32::from(self.0.prefix_len());
        match address {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & !u32::MAX.checked_shr(length).unwrap_or(0)).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::MAX.checked_shr(length).unwrap_or(0)).into()),
        }
    }

    /// This prefix, if its address is one that an interface may have.
    pub(super) fn check_host(self) -> Result<Self, Invalid> {
        let broadcast = matches!(self.address(), IpAddr::V4(v4) if v4.is_broadcast());
        if self.address().is_multicast() || self.address().is_unspecified() || broadcast {
            return Err(Invalid::new(format!("{self} is not a host's address"), "a unicast address, like 10.0.0.1/24"));
        }
        Ok(self)
    }
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Everything that no other route matches.
    Default,
    /// One network; its host bits are zero.
    Network(Prefix),
}

impl FromStr for Destination {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "default" {
            return Ok(Self::Default);
        }
        let prefix: Prefix =
            text.parse().map_err(|e: Invalid| Invalid::new(e.what, "\"default\" or a network, like 10.1.0.0/16"))?;
        if prefix.address() != prefix.network() {
            return Err(Invalid::new(
                format!("\"{text}\" has host bits set"),
                format!("the network is {}/{}", prefix.network(), prefix.0.prefix_len()),
            ));
        }
        Ok(Self::Network(prefix))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Network(prefix) => prefix.fmt(f),
        }
    }
}

/// A route of a port's interface. As text: `default via 10.0.0.254`, or `10.1.0.0/16` for one without gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Where it leads.
    pub to: Destination,
    /// The gateway; without one the destination is on the link itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
}

impl Route {
    /// This route, if its parts agree with each other.
    pub(super) fn check(self) -> Result<Self, Invalid> {
        match (self.to, self.via) {
            (Destination::Default, None) => {
                Err(Invalid::new("a default route needs a gateway", "{ to = \"default\", via = \"10.0.0.254\" }"))
            }
            (Destination::Network(to), Some(via)) if to.address().is_ipv4() != via.is_ipv4() => Err(Invalid::new(
                format!("{to} and its gateway {via} are of different IP versions"),
                "a gateway of the network's own IP version",
            )),
            _ => Ok(self),
        }
    }
}

impl FromStr for Route {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (to, via) = match words.as_slice() {
            [to] => (to, None),
            [to, "via", via] => (to, Some(gateway(via)?)),
            _ => return Err(Invalid::new(format!("\"{text}\" is not a route"), "like \"default via 10.0.0.254\"")),
        };
        Self { to: to.parse()?, via }.check()
    }
}

/// Reads a gateway's address.
///
/// # Errors
/// The text is no IP address.
pub(super) fn gateway(text: &str) -> Result<IpAddr, Invalid> {
    text.parse().map_err(|_| Invalid::new(format!("\"{text}\" is not an IP address"), "like 10.0.0.254 or fd00::fe"))
}

/// A table of the configuration as a flag has it: `drop=0.01,seed=7`, `trunk=10,20-29,native=10`. A word without `=` goes on with
/// the list before it. Whether the keys make sense is the schema's matter.
///
/// # Errors
/// The text does not begin with a key.
pub fn keys_of_flag(flag: &str) -> Result<Json, Invalid> {
    table_of_flag(flag, &["trunk"])
}

/// The same, with the keys that are lists.
pub(super) fn table_of_flag(flag: &str, lists: &[&str]) -> Result<Json, Invalid> {
    let mut keys = Map::new();
    let mut last = String::new();
    for word in flag.split([',', ' ']).filter(|word| !word.is_empty()) {
        let value = match word.split_once('=') {
            Some((key, value)) => {
                last = key.to_owned();
                value
            }
            None => word,
        };
        match (keys.get_mut(&last), last.as_str()) {
            (_, "") => return Err(Invalid::new(format!("\"{flag}\" does not begin with a key"), "like access=10")),
            (Some(Json::Array(list)), _) => list.push(scalar(value)),
            (_, key) if lists.contains(&key) => drop(keys.insert(last.clone(), Json::Array(vec![scalar(value)]))),
            _ => drop(keys.insert(last.clone(), scalar(value))),
        }
    }
    Ok(keys.into())
}

fn scalar(text: &str) -> Json {
    let hexadecimal = text.strip_prefix("0x").and_then(|digits| i64::from_str_radix(digits, 16).ok());
    match (hexadecimal, serde_json::from_str(text)) {
        (Some(number), _) => number.into(),
        (_, Ok(value @ (Json::Number(_) | Json::Bool(_)))) => value,
        _ => text.into(),
    }
}

/// Serialises a MAC address as the text it prints.
pub(super) fn as_text<S: Serializer>(mac: &Option<Mac>, serializer: S) -> Result<S::Ok, S::Error> {
    match mac {
        Some(mac) => serializer.collect_str(mac),
        None => serializer.serialize_none(),
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr<Err = Invalid> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().expect_err(text).to_string()
    }

    #[test]
    fn a_station_has_a_unicast_address() {
        assert_eq!(station("02:00:00:0A:ff:01"), Ok(Mac([2, 0, 0, 10, 255, 1])));
        let refused = |text| station(text).expect_err(text).to_string();
        assert!(refused("02:00:00:00:01").contains("not a MAC"));
        assert!(refused("03:00:00:00:00:01").contains("like 02:00:00:00:00:01"));
        assert!(refused("00:00:00:00:00:00").contains("all zero"));
    }

    #[test]
    fn prefix_knows_its_network() {
        let host: Prefix = "10.1.2.3/20".parse().unwrap();
        assert_eq!(host.network().to_string(), "10.1.0.0");
        assert!(host.contains("10.1.15.255".parse().unwrap()));
        assert!(!host.contains("10.1.16.0".parse().unwrap()));
        assert!(!host.contains("fd00::1".parse().unwrap()));
        let all: Prefix = "fd00::1/0".parse().unwrap();
        assert_eq!(all.network().to_string(), "::");
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        let one: Prefix = "10.1.2.3/32".parse().unwrap();
        assert!(one.contains("10.1.2.3".parse().unwrap()) && !one.contains("10.1.2.2".parse().unwrap()));
    }

    #[test]
    fn prefix_refuses() {
        for text in ["10.0.0.1", "10.0.0.300/24", "10.0.0.1/", "10.0.0.1/+8", "10.0.0.1/x", "/24"] {
            assert!(refused::<Prefix>(text).contains("not an IP prefix"), "{text}");
        }
        assert!(refused::<Prefix>("10.0.0.1/33").contains("at most 32 bits"));
        assert!(refused::<Prefix>("fd00::1/129").contains("128 for IPv6"));
        for text in ["224.0.0.1/24", "0.0.0.0/8", "255.255.255.255/32", "ff02::1/64", "::/64"] {
            assert!(text.parse::<Prefix>().unwrap().check_host().is_err(), "{text}");
        }
    }

    #[test]
    fn routes() {
        let route: Route = "default via 10.0.0.254".parse().unwrap();
        assert_eq!(route, Route { to: Destination::Default, via: "10.0.0.254".parse().ok() });
        assert!("10.1.0.0/16".parse::<Route>().unwrap().via.is_none());
        assert!(refused::<Route>("default").contains("needs a gateway"));
        assert!(refused::<Route>("10.1.0.0/16 via fd00::1").contains("different IP versions"));
        assert!(refused::<Route>("10.1.0.1/16").contains("the network is 10.1.0.0/16"));
        assert!(refused::<Route>("default dev eth0").contains("not a route"));
    }
}
