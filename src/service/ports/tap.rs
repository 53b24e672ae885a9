//! TAP ports: from the configuration's words to the engine's, and its complaints back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crossdock_engine::ports::tap::{Route, Tap, TapConfig, TapError, TapHandle};
use crossdock_engine::ports::{NetnsId, Whereabouts};
use crossdock_engine::wire::Cidr;

use super::{Handle, Kind, Made, Refusal, no_file, no_netns};
use crate::config::{self, Destination, PortConfig};

/// Creates the TAP, or takes over the one that is there.
pub(super) fn make(port: &PortConfig, adopt: bool) -> Result<Made, Refusal> {
    let tap = Tap::create(&config(port, adopt)).map_err(|error| refusal(port, &error))?;
    let handle = Arc::new(tap.handle());
    Ok(Made { port: Box::new(tap), handle })
}

impl Handle for TapHandle {
    fn whereabouts(&self) -> Option<Whereabouts> {
        self.whereabouts()
    }

    fn holds(&self) -> Option<NetnsId> {
        self.holds()
    }

    fn tap(&self) -> Option<&TapHandle> {
        Some(self)
    }

    fn keep(&self) -> io::Result<()> {
        self.keep()
    }

    fn release(&self) {
        // Refused only for an interface that is gone, and then there is nothing to remove.
        let _ = self.release();
    }
}

/// What the engine is to create.
fn config(port: &PortConfig, adopt: bool) -> TapConfig {
    let default = TapConfig::new(&port.name, &port.ifname);
    TapConfig {
        netns: port.netns.clone(),
        mac: port.mac,
        mtu: port.mtu.unwrap_or(default.mtu),
        addresses: port.address.iter().map(|prefix| prefix.0).collect(),
        routes: port.routes.iter().filter_map(route).collect(),
        queues: port.queues.unwrap_or(1).into(),
        adopt,
        inside: true,
        ..default
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
fn refusal(port: &PortConfig, error: &TapError) -> Refusal {
    if let Some(refusal) = no_file(port, error) {
        return refusal;
    }
    let kind = match error {
        TapError::Netns(missing) => return no_netns(port, missing),
        TapError::BadName(_) | TapError::NoQueues => Kind::Invalid,
        TapError::NameTaken { .. } => Kind::Conflict,
        _ => Kind::Failed,
    };
    Refusal { kind, what: format!("port {}: {error}", port.name), hint: hint(port, error) }
}

fn hint(port: &PortConfig, error: &TapError) -> Option<String> {
    match error {
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
}
