//! One value for one meaning: what can be written in several ways is brought into one form when it has been read, so
//! that two configurations that mean the same are equal, and a reload finds nothing to do.

use std::net::IpAddr;
use std::path::Component;

use super::kind::Pace;
use super::{Fault, Guard, PortConfig, PortKind, Prefix, netns_path};

impl PortConfig {
    /// The same port in the form that is compared: a key that says the default is absent, a namespace under `/run/netns` has
    /// its name, and networks and routes are sorted. Among addresses of one network the order stays, because the
    /// kernel prefers the first.
    pub(super) fn normal(mut self) -> Self {
        self.mtu = self.mtu.filter(|mtu| Some(*mtu) != self.kind.default_mtu());
        self.queues = self.queues.filter(|queues| Some(*queues) != self.kind.default_queues());
        self.files.pace = self.files.pace.filter(|pace| *pace != Pace::Original);
        self.files.times = self.files.times.filter(|times| *times != 1);
        self.fault = self.fault.filter(Fault::befalls);
        self.guard = self.guard.map(Guard::normal);
        self.storm = self.storm.normal(self.kind);
        self.netns = self.netns.map(|netns| name_of(&netns).unwrap_or(netns));
        self.address.sort_by_key(network);
        self.routes.sort_by_key(|route| route.to.to_string());
        self
    }
}

impl PortKind {
    /// The MTU of a port that does not say, in bytes; `None`: what its interface has.
    #[must_use]
    pub fn default_mtu(self) -> Option<u16> {
        match self {
            Self::Tap => Some(crossdock_engine::ports::tap::MTU),
            Self::Pcap => Some(crossdock_engine::ports::pcap::MTU),
            Self::Xdp | Self::Packet => None,
        }
    }

    /// The queues of a port that does not say; `None`: as many as its interface has.
    #[must_use]
    pub fn default_queues(self) -> Option<u8> {
        matches!(self, Self::Tap | Self::Packet).then_some(1)
    }
}

/// The name under `/run/netns` of a namespace that is named by its path.
fn name_of(netns: &str) -> Option<String> {
    let path = netns_path(netns);
    let mut rest = path.strip_prefix("/run/netns").ok()?.components();
    match (rest.next(), rest.next()) {
        (Some(Component::Normal(name)), None) => name.to_str().map(str::to_owned),
        _ => None,
    }
}

fn network(address: &Prefix) -> (IpAddr, u8) {
    (address.network(), address.0.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    fn read(port: &Json) -> PortConfig {
        PortConfig::from_json(port).unwrap_or_else(|report| panic!("{port}: {report}"))
    }

    /// Ports of each kind, written briefly.
    fn brief(kind: &str) -> Json {
        let mut port = json!({"name": "a", "domain": "lan", "kind": kind});
        match kind {
            "tap" => {
                port["netns"] = json!("h1");
                port["address"] = json!(["10.0.0.1/24", "10.0.0.9/24", "10.1.0.1/16", "fd00::1/64"]);
                port["routes"] = json!([{"to": "10.2.0.0/16"}, {"to": "default", "via": "10.0.0.254"}]);
            }
            "pcap" => port["replay"] = json!("/a.pcap"),
            _ => port["netns"] = json!("/proc/1/ns/net"),
        }
        port
    }

    /// What may be written besides without saying anything.
    fn besides(kind: &str) -> Vec<(&'static str, Json)> {
        let common = vec![
            ("fault", json!({})),
            ("fault", json!({"drop": 0, "seed": 7, "direction": "in"})),
            ("isolated", json!(false)),
            ("storm", json!({})),
        ];
        let caps = match kind {
            "tap" => json!({"broadcast": 1000, "multicast": 10_000, "unknown": 10_000}),
            _ => json!(false),
        };
        let own = match kind {
            "tap" => vec![
                ("mtu", json!(1500)),
                ("queues", json!(1)),
                ("ifname", json!("a")),
                ("netns", json!("/run/netns/h1")),
                ("netns", json!("/var/run/netns/h1")),
                ("address", json!(["fd00::1/64", "10.1.0.1/16", "10.0.0.1/24", "10.0.0.9/24"])),
                ("routes", json!([{"to": "default", "via": "10.0.0.254"}, {"to": "10.2.0.0/16"}])),
            ],
            "packet" => vec![("queues", json!(1)), ("ifname", json!("a"))],
            "pcap" => vec![("mtu", json!(65521)), ("pace", json!("original")), ("times", json!(1))],
            _ => vec![("ifname", json!("a"))],
        };
        [common, own, vec![("storm", caps)]].concat()
    }

    proptest! {
        #[test]
        fn what_means_the_same_is_equal(
            kind in prop::sample::select(vec!["tap", "packet", "xdp", "pcap"]),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let (said, besides) = (brief(kind), besides(kind));
            let mut long = said.clone();
            picks.iter().map(|pick| pick.get(&besides)).for_each(|(key, value)| long[*key] = value.clone());
            prop_assert_eq!(read(&said), read(&long), "{}", long);
        }
    }

    #[test]
    fn what_means_something_else_is_not() {
        let tap = brief("tap");
        let other = [
            ("mtu", json!(1499)),
            ("queues", json!(2)),
            ("netns", json!("/run/netns/deeper/h1")),
            ("address", json!(["10.0.0.9/24", "10.0.0.1/24", "10.1.0.1/16", "fd00::1/64"])),
            ("fault", json!({"delay_ms": 1})),
        ];
        for (key, value) in other {
            let mut port = tap.clone();
            port[key] = value;
            assert_ne!(read(&port), read(&tap), "{port}");
        }
        let mut one_queue = brief("xdp");
        one_queue["queues"] = json!(1);
        assert_ne!(read(&one_queue), read(&brief("xdp")), "an AF_XDP port takes all queues unless it says");
    }
}
