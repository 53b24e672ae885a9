//! Checks that look at more than one key: within a port, and between ports and domains.

use std::collections::HashMap;
use std::net::IpAddr;

use super::schema::Located;
use super::value::{Prefix, Route};
use super::{DomainConfig, PortConfig, PortKind, Problem, Report, netns_path};
use super::{guard, mirror};

/// Least MTU of an interface with an IPv6 address (RFC 8200, section 5).
const IPV6_MTU_MIN: u16 = 1280;

/// Whether the keys of one port agree with each other.
pub(super) fn port(port: &Located<PortConfig>, report: &mut Report) {
    let PortConfig { name, mtu, address, routes, kind, files, .. } = &port.value;
    if let Some(mtu) = mtu.filter(|mtu| *mtu < IPV6_MTU_MIN)
        && address.iter().any(|prefix| prefix.address().is_ipv6())
    {
        let line = port.line_of("mtu");
        let what = format!("port \"{name}\": mtu: {mtu} is too small for an interface with an IPv6 address");
        report.add(line, what, format!("{IPV6_MTU_MIN} to 65521 bytes, or no IPv6 address"));
    }
    let no_file = files.replay.is_none() && files.record.is_none();
    if *kind == PortKind::Pcap && no_file && !port.is_flawed("replay") && !port.is_flawed("record") {
        let what = format!("port \"{name}\": a pcap port needs a file");
        report.add(port.line_of("kind"), what, "add replay = \"/...\", record = \"/...\" or both");
    }
    if files.record.is_some() && files.record == files.replay {
        let what = format!("port \"{name}\": record: is replay's file, and would be emptied");
        report.add(port.line_of("record"), what, "another file");
    }
    guard::check(port, report);
    mirror::check(port, report);
    let routes = if port.is_flawed("address") { &[] } else { routes.as_slice() };
    for (at, route) in routes.iter().enumerate() {
        if let Some(hint) = unreachable_gateway(route, address) {
            let what =
                format!("port \"{name}\": routes {}: no address of this port is in its gateway's network", at + 1);
            report.add(port.line_of("routes"), what, hint);
        }
    }
}

/// The kernel refuses a gateway that no address of the interface can reach. IPv6 link-local ones always can.
fn unreachable_gateway(route: &Route, address: &[Prefix]) -> Option<String> {
    let via = route.via?;
    let link_local = matches!(via, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let reachable = link_local || address.iter().any(|prefix| prefix.contains(via));
    (!reachable).then(|| format!("an address whose prefix contains {via}, or another via"))
}

/// Whether names are unique, and every port's domain exists.
pub(super) fn together(domains: &[Located<DomainConfig>], ports: &[Located<PortConfig>], report: &mut Report) {
    unique(domains, "name", |domain| named("domain", &domain.name), report);
    unique(ports, "name", |port| named("port", &port.name), report);
    unique(ports, "ifname", interface, report);
    unique(ports, "record", recording, report);
    for port in ports {
        known_domain(port, domains, report);
    }
}

fn known_domain(port: &Located<PortConfig>, domains: &[Located<DomainConfig>], report: &mut Report) {
    let PortConfig { name, domain, .. } = &port.value;
    if domain.is_empty() || domains.iter().any(|known| known.value.name == *domain) {
        return;
    }
    let names: Vec<String> = domains.iter().map(|known| format!("\"{}\"", known.value.name)).collect();
    let hint = match names.as_slice() {
        [] => format!("add [[domain]] with name = \"{domain}\""),
        names => format!("the domains are {}", names.join(", ")),
    };
    report.add(port.line_of("domain"), format!("port \"{name}\": domain: there is no domain \"{domain}\""), hint);
}

fn named(kind: &str, name: &str) -> Option<String> {
    (!name.is_empty()).then(|| format!("{kind} \"{name}\""))
}

fn interface(port: &PortConfig) -> Option<String> {
    let place = port.netns.as_deref().map_or("this namespace".into(), |netns| netns_path(netns).display().to_string());
    (!port.ifname.is_empty()).then(|| format!("interface \"{}\" in {place}", port.ifname))
}

fn recording(port: &PortConfig) -> Option<String> {
    port.files.record.as_ref().map(|file| format!("recording to {}", file.display()))
}

/// Reports each item whose `identity` an earlier one already has.
fn unique<T>(items: &[Located<T>], key: &str, identity: impl Fn(&T) -> Option<String>, report: &mut Report) {
    let mut first = HashMap::new();
    for item in items {
        let Some(identity) = identity(&item.value) else { continue };
        let line = item.line_of(key);
        match first.get(&identity) {
            None => drop(first.insert(identity, line)),
            Some(earlier) => report.problems.push(twice(&identity, key, line, *earlier)),
        }
    }
}

fn twice(identity: &str, key: &str, line: Option<usize>, earlier: Option<usize>) -> Problem {
    let place = earlier.map_or_else(String::new, |line| format!("; the first is in line {line}"));
    Problem::new(line, format!("{identity} exists twice"), format!("another {key}{place}"))
}

impl<T> Located<T> {
    /// The line of `key`, or of the whole table where the key is absent.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        let line = |key| self.keys.get(key).and_then(|key| key.line);
        line(key).or_else(|| line(""))
    }

    /// Whether the value of `key` was refused, so that what depends on it says nothing.
    fn is_flawed(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|key| key.flawed)
    }
}
