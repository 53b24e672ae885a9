//! Announcing the addresses of a port's host: whoever knew it behind another interface learns of the new one.
//!
//! # Theory of operation
//!
//! When a TAP is open, the switch says in the host's name what the host's kernel does not say of itself: an ARP announcement
//! (RFC 5227, section 2.3) for each IPv4 address, an unsolicited Neighbour Advertisement with the override flag (RFC 4861,
//! section 7.2.6) for each IPv6 address, once at once and once more about a second later. The frames come in by the port, so
//! the switch itself learns the place too.
//!
//! An announcement is copied to every port of its domain. What may be made in a second is therefore bounded: at the start of
//! a switch with thousands of ports most stay unsaid, where nobody could know anything yet.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crossdock_engine::wire::Mac;
use etherparse::PacketBuilder;

use super::{Service, locked};
use crate::config::{PortConfig, PortKind};

/// Copies that may be made in a second, unless a single port's are more.
const COPIES: usize = 4096;
/// The time between the first and the second announcement.
const PAUSE: Duration = Duration::from_secs(1);
/// How long after its time an announcement is worth being made.
const USEFUL: Duration = Duration::from_secs(5);

/// Announcements to be made.
#[derive(Default)]
pub(super) struct Announcements {
    due: VecDeque<Due>,
    /// The second under way, and the copies made in it.
    second: Option<Instant>,
    copies: usize,
}

/// A port to be announced.
struct Due {
    port: String,
    at: Instant,
    /// It is to be announced once more.
    again: bool,
}

impl Announcements {
    fn add(&mut self, port: &str, at: Instant, again: bool) {
        self.due.push_back(Due { port: port.into(), at, again });
    }

    /// The port whose turn it is.
    fn next(&mut self, now: Instant) -> Option<Due> {
        while self.due.front().is_some_and(|due| due.at + USEFUL < now) {
            self.due.pop_front();
        }
        self.due.pop_front_if(|due| due.at <= now)
    }

    /// Whether so many copies may be made now; then they are counted.
    fn allow(&mut self, now: Instant, copies: usize) -> bool {
        if self.second.is_none_or(|began| now.duration_since(began) >= PAUSE) {
            (self.second, self.copies) = (Some(now), 0);
        }
        let allowed = self.copies == 0 || self.copies + copies <= COPIES;
        self.copies += if allowed { copies } else { 0 };
        allowed
    }
}

impl Service {
    /// Announces a port that has just been opened.
    pub(super) fn announce(&self, port: &str) {
        locked(&self.announcements).add(port, Instant::now(), true);
        self.make_announcements();
    }

    /// Makes the announcements that are due.
    pub(super) fn make_announcements(&self) {
        let now = Instant::now();
        loop {
            let Some(due) = locked(&self.announcements).next(now) else { return };
            let Some(frames) = self.announcements_of(&due.port) else { continue };
            let mut announcements = locked(&self.announcements);
            if !announcements.allow(now, frames.copies) {
                return announcements.due.push_front(due);
            }
            if due.again {
                announcements.add(&due.port, now + PAUSE, false);
            }
            drop(announcements);
            // A port that is gone by now has nothing to announce.
            frames.frames.into_iter().for_each(|frame| _ = self.switch.inject(&due.port, frame));
        }
    }

    fn announcements_of(&self, port: &str) -> Option<Frames> {
        let port = self.roster().get(port).filter(|entry| entry.is_open())?.to_make();
        let frames = frames(&port);
        let copies = frames.len() * self.switch.member_count(&port.domain);
        (!frames.is_empty()).then_some(Frames { frames, copies })
    }
}

/// What announces a port, and how many copies that makes.
struct Frames {
    frames: Vec<Vec<u8>>,
    copies: usize,
}

/// The frames that announce a port's addresses. Only a TAP has some, and a port that takes no untagged frames none that
/// could be announced.
fn frames(port: &PortConfig) -> Vec<Vec<u8>> {
    let untagged = port.vlan.as_ref().is_none_or(|vlan| vlan.takes_untagged());
    let mac = port.mac.filter(|_| port.kind == PortKind::Tap && untagged);
    let announce = |mac| port.address.iter().filter_map(move |prefix| announcement(mac, prefix.address()));
    mac.into_iter().flat_map(announce).collect()
}

fn announcement(mac: Mac, address: IpAddr) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(address) => Some(arp(mac, address)),
        IpAddr::V6(address) => advertisement(mac, address),
    }
}

/// An ARP announcement: a request for the sender's own address.
fn arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&Mac::BROADCAST.0[..], &mac.0, &[0x08, 0x06]].concat();
    // Ethernet, IPv4, six and four bytes of address, a request.
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend([&mac.0[..], &address.octets(), &[0; 6], &address.octets()].concat());
    // The least that an Ethernet frame has, without its checksum.
    frame.resize(60, 0);
    frame
}

/// An unsolicited Neighbour Advertisement to all nodes.
fn advertisement(mac: Mac, address: Ipv6Addr) -> Option<Vec<u8>> {
    const ADVERTISEMENT: u8 = 136;
    const OVERRIDE: [u8; 4] = [0x20, 0, 0, 0];
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let packet = PacketBuilder::ethernet2(mac.0, [0x33, 0x33, 0, 0, 0, 1]);
    let packet = packet.ipv6(address.octets(), all_nodes.octets(), 255).icmpv6_raw(ADVERTISEMENT, 0, OVERRIDE);
    // The address, and the option for the link-layer address: type 2, one unit of eight bytes.
    let words = [&address.octets()[..], &[2, 1], &mac.0].concat();
    let mut frame = Vec::new();
    packet.write(&mut frame, &words).ok().map(|()| frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use etherparse::{Icmpv6Type, LinkSlice, NetSlice, SlicedPacket, TransportSlice};

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    fn port(keys: &str) -> PortConfig {
        let text = format!("[[domain]]\nname = \"lan\"\n[[port]]\nname = \"p\"\ndomain = \"lan\"\n{keys}");
        PortConfig { mac: Some(MAC), ..Config::parse(&text, &[0]).unwrap().port.remove(0) }
    }

    #[test]
    fn every_address_of_a_tap_is_announced() {
        let frames = frames(&port("address = [\"10.0.0.7/24\", \"fd00::7/64\"]"));
        assert_eq!(frames.len(), 2);
        let arp = SlicedPacket::from_ethernet(&frames[0]).unwrap();
        let Some(NetSlice::Arp(arp)) = arp.net else { panic!("{arp:?}") };
        assert_eq!((arp.sender_protocol_addr(), arp.target_protocol_addr()), (&[10, 0, 0, 7][..], &[10, 0, 0, 7][..]));
        assert_eq!((arp.sender_hw_addr(), arp.target_hw_addr(), arp.operation().0), (&MAC.0[..], &[0; 6][..], 1));
        let sliced = SlicedPacket::from_ethernet(&frames[1]).unwrap();
        let (Some(LinkSlice::Ethernet2(link)), Some(NetSlice::Ipv6(ip))) = (&sliced.link, &sliced.net) else {
            panic!()
        };
        assert_eq!((link.source(), link.destination()), (MAC.0, [0x33, 0x33, 0, 0, 0, 1]));
        assert_eq!((ip.header().hop_limit(), ip.header().source_addr()), (255, "fd00::7".parse().unwrap()));
        let Some(TransportSlice::Icmpv6(icmp)) = &sliced.transport else { panic!() };
        assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
        let Icmpv6Type::NeighborAdvertisement(told) = icmp.icmp_type() else { panic!("{:?}", icmp.icmp_type()) };
        assert!(told.r#override && !told.solicited && !told.router);
        assert_eq!(icmp.payload()[16..], [&[2, 1][..], &MAC.0].concat());
    }

    #[test]
    fn who_has_no_address_or_takes_no_untagged_frame_says_nothing() {
        assert!(frames(&port("")).is_empty());
        let keys = |vlan| format!("address = [\"10.0.0.7/24\"]\nvlan = {vlan}");
        assert!(frames(&port(&keys("{ trunk = [10] }"))).is_empty());
        for vlan in ["{ access = 10 }", "{ trunk = [10], native = 20 }", "{ tunnel = 100 }"] {
            assert_eq!(frames(&port(&keys(vlan))).len(), 1, "{vlan}");
        }
    }

    #[test]
    fn so_many_copies_a_second_and_what_is_old_is_forgotten() {
        let (mut all, now) = (Announcements::default(), Instant::now());
        assert!(all.allow(now, 10 * COPIES), "a single one is always made");
        assert!(!all.allow(now, 1));
        let later = now + PAUSE;
        assert!(all.allow(later, COPIES / 2) && all.allow(later, COPIES / 2) && !all.allow(later, 1));
        ["a", "b"].iter().for_each(|port| all.add(port, now, true));
        all.add("c", now + 2 * USEFUL, false);
        assert_eq!(all.next(now).map(|due| due.port), Some("a".into()));
        assert!(all.next(now + USEFUL + PAUSE).is_none(), "b is too late, c too early");
        assert_eq!(all.next(now + 2 * USEFUL).map(|due| (due.port, due.again)), Some(("c".into(), false)));
    }
}
