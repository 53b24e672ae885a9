//! TAP ports: from the configuration's words to the engine's, and its complaints back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crossdock_engine::ports::tap::{Route, TapConfig, TapError};
use crossdock_engine::wire::Cidr;

use super::{Kind, Refusal};
use crate::config::{self, Destination, PortConfig};

/// What the engine is to create.
pub(super) fn config(port: &PortConfig, persist: bool) -> TapConfig {
    TapConfig {
        netns: port.netns.clone(),
        mac: port.mac,
        mtu: port.mtu,
        addresses: port.address.iter().map(|prefix| prefix.0).collect(),
        routes: port.routes.iter().filter_map(route).collect(),
        queues: port.queues.into(),
        persist,
        ..TapConfig::new(&port.name, &port.ifname)
    }
}

/// A default route is of its gateway's IP version.
fn route(route: &config::Route) -> Option<Route> {
    let everything: IpAddr = match route.via {
        Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let to = match route.to {
        Destination::Default => Cidr::new(everything, 0)?,
        Destination::Network(prefix) => prefix.0,
    };
    Some(Route { to, via: route.via })
}

/// Tells why there is no TAP for `port`.
pub(super) fn refusal(port: &PortConfig, error: &TapError) -> Refusal {
    let kind = match error {
        TapError::Netns { .. } => Kind::Unknown,
        TapError::BadName(_) | TapError::NoQueues => Kind::Invalid,
        TapError::NameTaken { .. } => Kind::Conflict,
        _ => Kind::Failed,
    };
    Refusal { kind, what: format!("port {}: {}", port.name, sentence(error)), hint: hint(port, error) }
}

fn sentence(error: &TapError) -> String {
    match error {
        TapError::Netns { name, source, .. } if source.kind() == io::ErrorKind::NotFound => match name.contains('/') {
            true => format!("no namespace \"{name}\""),
            false => format!("no namespace \"{name}\" under /run/netns"),
        },
        other => other.to_string(),
    }
}

fn hint(port: &PortConfig, error: &TapError) -> Option<String> {
    match error {
        TapError::Netns { name, .. } if !name.contains('/') => Some(format!("create it with \"ip netns add {name}\"")),
        TapError::Netns { .. } => Some("a path like /proc/PID/ns/net".into()),
        TapError::NoTun(_) => Some("modprobe tun; in a container also --device /dev/net/tun".into()),
        TapError::Privilege { .. } => Some("run as root".into()),
        TapError::NameTaken { ifname, .. } => {
            Some(format!("another ifname for port {}, or remove the interface \"{ifname}\"", port.name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_take_the_family_of_their_gateway() {
        let default = |via: &str| config::Route { to: Destination::Default, via: Some(via.parse().unwrap()) };
        assert_eq!(route(&default("10.0.0.254")).unwrap().to.to_string(), "0.0.0.0/0");
        assert_eq!(route(&default("fd00::fe")).unwrap().to.to_string(), "::/0");
    }

    #[test]
    fn a_missing_namespace_is_one_clear_sentence() {
        let port = PortConfig::new("h1".into(), "lan".into());
        let missing = |name: &str| TapError::Netns {
            name: name.into(),
            path: config::netns_path(name),
            source: io::ErrorKind::NotFound.into(),
        };
        let named = refusal(&port, &missing("red"));
        assert_eq!(named.to_string(), "port h1: no namespace \"red\" under /run/netns");
        assert_eq!(named.hint.unwrap(), "create it with \"ip netns add red\"");
        assert_eq!(refusal(&port, &missing("/proc/1/ns/x")).to_string(), "port h1: no namespace \"/proc/1/ns/x\"");
    }
}
