//! The table of what passes, frame by frame, and what holds of any frame that does.

use super::*;
use etherparse::{ArpPacketSlice, LaxNetSlice, LaxSlicedPacket, SlicedPacket};
use proptest::prelude::*;
use std::net::IpAddr;

const OWN: [u8; 6] = [0x02, 0x42, 0xac, 0x11, 0, 2];
const OTHER: [u8; 6] = [0x02, 0x42, 0xac, 0x11, 0, 3];
const ALL: [u8; 6] = [0xff; 6];

/// What a Docker endpoint was given.
fn guard() -> Guard {
    let prefixes = ["172.17.0.2/32", "fd00::2/128"].map(|text| text.parse().unwrap());
    Guard::new(Some(&[Mac(OWN)]), Some(&prefixes))
}

fn ethernet(source: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&ALL[..], &source, &ethertype.to_be_bytes(), payload].concat()
}

fn tagged(tags: &[(u16, u16)], frame: &[u8]) -> Vec<u8> {
    let tags: Vec<u8> = tags.iter().flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()].concat()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn ipv4(source: &str, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let [f, g] = fragment.to_be_bytes();
    let len = (20 + payload.len() as u16).to_be_bytes();
    let header = [0x45, 0, len[0], len[1], 0, 1, f, g, 64, protocol, 0, 0];
    let packet = [&header[..], &octets(source), &octets("172.17.0.9"), payload].concat();
    ethernet(OWN, IPV4, &packet)
}

fn arp(operation: u8, sender: ([u8; 6], &str), target: &str) -> Vec<u8> {
    let form = [0, 1, 8, 0, 6, 4, 0, operation];
    let packet = [&form[..], &sender.0, &octets(sender.1), &[0; 6], &octets(target)].concat();
    ethernet(OWN, ARP, &packet)
}

fn ipv6(source: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let header = [0x60, 0, 0, 0, high, low, next, 255];
    ethernet(OWN, IPV6, &[&header[..], &octets(source), &octets("ff02::1"), payload].concat())
}

/// A message of Neighbour Discovery with a target, and an option with a link-layer address.
fn neighbour(kind: u8, target: &str, option: Option<(u8, [u8; 6])>) -> Vec<u8> {
    let option = option.map_or_else(Vec::new, |(kind, mac)| [&[kind, 1][..], &mac].concat());
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &octets(target), &option].concat()
}

/// `payload` of protocol `next` behind an extension header of 8 bytes.
fn extended(next: u8, payload: &[u8]) -> Vec<u8> {
    [&[next, 0, 1, 4, 0, 0, 0, 0][..], payload].concat()
}

fn fragment(next: u8, offset_and_more: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = offset_and_more.to_be_bytes();
    [&[next, 0, high, low, 0, 0, 0, 7][..], payload].concat()
}

const LINK_LOCAL: &str = "fe80::42:acff:fe11:2";
const DHCP: [u8; 8] = [0, 68, 0, 67, 0, 8, 0, 0];
const ECHO: [u8; 8] = [128, 0, 0, 0, 0, 1, 0, 1];

/// What a well-behaved host sends.
fn passing() -> Vec<(&'static str, Vec<u8>)> {
    let own_arp = arp(1, (OWN, "172.17.0.2"), "172.17.0.1");
    let solicitation = neighbour(135, "fd00::1", Some((1, OWN)));
    vec![
        ("an unknown type", ethernet(OWN, 0x88b5, &[])),
        ("IPv4", ipv4("172.17.0.2", 6, 0x4000, &[0; 20])),
        ("the first fragment", ipv4("172.17.0.2", 17, 0x2000, &[0; 8])),
        ("a later fragment", ipv4("172.17.0.2", 17, 185, &[0; 8])),
        ("DHCP", ipv4("0.0.0.0", 17, 0, &DHCP)),
        ("ARP request", own_arp.clone()),
        ("ARP reply", arp(2, (OWN, "172.17.0.2"), "172.17.0.1")),
        ("ARP announcement", arp(1, (OWN, "172.17.0.2"), "172.17.0.2")),
        ("ARP probe", arp(1, (OWN, "0.0.0.0"), "172.17.0.2")),
        ("a tag", tagged(&[(0x8100, 10)], &own_arp)),
        ("two tags", tagged(&[(0x88a8, 10), (0x8100, 0)], &own_arp)),
        ("IPv6", ipv6("fd00::2", 6, &[0; 20])),
        ("IPv6, link-local", ipv6(LINK_LOCAL, 17, &[0; 8])),
        ("echo", ipv6("fd00::2", 58, &ECHO)),
        ("echo in a first fragment", ipv6("fd00::2", 44, &fragment(58, 1, &ECHO))),
        ("a later fragment of IPv6", ipv6("fd00::2", 44, &fragment(58, 184 << 3, &[134; 40]))),
        ("no next header", ipv6("fd00::2", 59, &[])),
        ("a jumbogram", [ipv6("fd00::2", 6, &[]), vec![0; 20]].concat()),
        ("NS", ipv6("fd00::2", 58, &solicitation)),
        ("NS without option", ipv6("fd00::2", 58, &neighbour(135, "fd00::1", None))),
        ("NS with a nonce", ipv6("fd00::2", 58, &[&solicitation[..], &[14, 1, 1, 2, 3, 4, 5, 6]].concat())),
        ("NS behind options", ipv6("fd00::2", 0, &extended(60, &extended(58, &solicitation)))),
        ("NS in a padded frame", [ipv6("fd00::2", 58, &solicitation), vec![0; 9]].concat()),
        ("NA", ipv6("fd00::2", 58, &neighbour(136, "fd00::2", Some((2, OWN))))),
        ("NA, link-local", ipv6(LINK_LOCAL, 58, &neighbour(136, LINK_LOCAL, Some((2, OWN))))),
        ("DAD", ipv6("::", 58, &neighbour(135, "fd00::2", None))),
        ("DAD, link-local", ipv6("::", 58, &neighbour(135, LINK_LOCAL, None))),
        ("RS", ipv6(LINK_LOCAL, 58, &[&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1][..], &OWN].concat())),
        ("MLD report", ipv6("::", 0, &extended(58, &[143, 0, 0, 0, 0, 0, 0, 0]))),
        ("MLD report, link-local", ipv6(LINK_LOCAL, 0, &extended(58, &[131, 0, 0, 0, 0, 0, 0, 0]))),
        ("MLD done", ipv6("::", 0, &extended(58, &[132, 0, 0, 0, 0, 0, 0, 0]))),
        ("a runt, which has its own name", OWN.to_vec()),
    ]
}

/// What spoofers send.
fn refused() -> Vec<(&'static str, Vec<u8>, Breach)> {
    [refused_in_general(), refused_arp(), refused_ipv6(), refused_neighbours()].concat()
}

fn refused_in_general() -> Vec<(&'static str, Vec<u8>, Breach)> {
    let spoofed = arp(1, (OWN, "172.17.0.1"), "172.17.0.9");
    vec![
        ("another MAC", ethernet(OTHER, 0x88b5, &[]), Breach::SourceMac),
        ("another MAC, the first byte", ethernet([0, 0x42, 0xac, 0x11, 0, 2], 0x88b5, &[]), Breach::SourceMac),
        ("a group", ethernet(ALL, 0x88b5, &[]), Breach::SourceMac),
        ("three tags", tagged(&[(0x8100, 0); 3], &spoofed), Breach::ArpSender),
        ("eight tags", tagged(&[(0x8100, 0); 8], &spoofed), Breach::ArpSender),
        ("nine tags", tagged(&[(0x8100, 0); 9], &spoofed), Breach::Tags),
        ("half a tag", ethernet(OWN, 0x8100, &[0, 10]), Breach::Tags),
        ("IPv4", ipv4("172.17.0.1", 6, 0, &[0; 20]), Breach::Ipv4Source),
        ("IPv4 in a tag", tagged(&[(0x8100, 0)], &ipv4("172.17.0.1", 6, 0, &[0; 20])), Breach::Ipv4Source),
        ("a later fragment", ipv4("172.17.0.1", 6, 100, &[0; 20]), Breach::Ipv4Source),
        ("IPv4 from nowhere", ipv4("0.0.0.0", 17, 0, &[0, 53, 0, 67]), Breach::Ipv4Source),
        ("TCP as DHCP", ipv4("0.0.0.0", 6, 0, &DHCP), Breach::Ipv4Source),
        ("DHCP in a fragment", ipv4("0.0.0.0", 17, 1, &DHCP), Breach::Ipv4Source),
        ("DHCP cut short", ipv4("0.0.0.0", 17, 0, &DHCP[..3]), Breach::Ipv4Source),
        ("half an IPv4 header", ethernet(OWN, IPV4, &[0x45; 19]), Breach::Malformed),
        ("IPv4 options cut short", ethernet(OWN, IPV4, &[0x46; 20]), Breach::Malformed),
        ("an IPv4 header of 16 bytes", ethernet(OWN, IPV4, &[0x44; 40]), Breach::Malformed),
        ("version 5", ethernet(OWN, IPV4, &[0x55; 40]), Breach::Malformed),
        ("reverse ARP", ethernet(OWN, RARP, &[0; 28]), Breach::Rarp),
    ]
}

fn refused_arp() -> Vec<(&'static str, Vec<u8>, Breach)> {
    let own = arp(1, (OWN, "172.17.0.2"), "172.17.0.1");
    let with = |at: usize, byte: u8| {
        let mut frame = own.clone();
        frame[14 + at] = byte;
        frame
    };
    vec![
        ("another's address", arp(2, (OWN, "172.17.0.1"), "172.17.0.9"), Breach::ArpSender),
        (
            "another's address, in a tag",
            tagged(&[(0x8100, 0)], &arp(2, (OWN, "172.17.0.1"), "172.17.0.9")),
            Breach::ArpSender,
        ),
        ("another's MAC", arp(2, (OTHER, "172.17.0.2"), "172.17.0.9"), Breach::ArpMac),
        ("a probe for another's address", arp(1, (OWN, "0.0.0.0"), "172.17.0.1"), Breach::ArpProbe),
        ("a reply from nowhere", arp(2, (OWN, "0.0.0.0"), "172.17.0.2"), Breach::ArpSender),
        ("reverse ARP's operation", arp(3, (OWN, "172.17.0.2"), "172.17.0.9"), Breach::ArpForm),
        ("another hardware", with(1, 6), Breach::ArpForm),
        ("another protocol", with(2, 0x86), Breach::ArpForm),
        ("another length", with(4, 8), Breach::ArpForm),
        ("another length of addresses", with(5, 16), Breach::ArpForm),
        ("cut short", own[..41].to_vec(), Breach::Malformed),
    ]
}

fn refused_ipv6() -> Vec<(&'static str, Vec<u8>, Breach)> {
    let advertisement = neighbour(136, "fd00::1", Some((2, OWN)));
    let many = (0..9).fold((58, ECHO.to_vec()), |(next, payload), _| (60, extended(next, &payload))).1;
    let cut = fragment(60, 1, &extended(58, &[])[..7]);
    vec![
        ("another's address", ipv6("fd00::1", 6, &[0; 20]), Breach::Ipv6Source),
        ("another's link-local address", ipv6("fe80::1", 17, &[0; 8]), Breach::Ipv6Source),
        ("another's later fragment", ipv6("fd00::1", 44, &fragment(6, 8, &[0; 8])), Breach::Ipv6Source),
        ("TCP from nowhere", ipv6("::", 6, &[0; 20]), Breach::Unspecified),
        ("echo from nowhere", ipv6("::", 58, &ECHO), Breach::Unspecified),
        ("RS from nowhere", ipv6("::", 58, &[133, 0, 0, 0, 0, 0, 0, 0]), Breach::Unspecified),
        ("NA from nowhere", ipv6("::", 58, &advertisement), Breach::Unspecified),
        ("a report in a fragment", ipv6("::", 44, &fragment(58, 1, &[143, 0, 0, 0])), Breach::Unspecified),
        ("a later fragment from nowhere", ipv6("::", 44, &fragment(58, 8, &[143])), Breach::Unspecified),
        ("half a header", ethernet(OWN, IPV6, &[0x60; 39]), Breach::Malformed),
        ("version 4", ethernet(OWN, IPV6, &[0x40; 40]), Breach::Malformed),
        ("longer than the frame", ipv6("fd00::2", 17, &[0; 8])[..60].to_vec(), Breach::Malformed),
        ("options cut short", ipv6("fd00::2", 60, &[58, 1, 0, 0, 0, 0, 0, 0]), Breach::Malformed),
        ("one byte of options", ipv6("fd00::2", 60, &[58]), Breach::Malformed),
        ("no ICMPv6 at all", ipv6("fd00::2", 58, &[]), Breach::Malformed),
        ("nine extension headers", ipv6("fd00::2", 60, &many), Breach::Extensions),
        ("a first fragment without all headers", ipv6("fd00::2", 44, &cut), Breach::Extensions),
    ]
}

fn refused_neighbours() -> Vec<(&'static str, Vec<u8>, Breach)> {
    let own = |message: &[u8]| ipv6("fd00::2", 58, message);
    let advertisement = neighbour(134, "fd00::1", None);
    let poison = neighbour(136, "fd00::1", Some((2, OWN)));
    let hidden = extended(60, &extended(58, &poison));
    let option = |bytes: &[u8]| own(&[&neighbour(136, "fd00::2", None)[..], bytes].concat());
    vec![
        ("NA for another", own(&poison), Breach::NeighbourTarget),
        ("NA for another, without option", own(&neighbour(136, "fd00::1", None)), Breach::NeighbourTarget),
        ("NA for another behind options", ipv6("fd00::2", 0, &hidden), Breach::NeighbourTarget),
        ("NA with another's MAC", own(&neighbour(136, "fd00::2", Some((2, OTHER)))), Breach::NeighbourMac),
        ("NS with another's MAC", own(&neighbour(135, "fd00::1", Some((1, OTHER)))), Breach::NeighbourMac),
        ("RS with another's MAC", own(&[&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1][..], &OTHER].concat()), Breach::NeighbourMac),
        ("DAD for another", ipv6("::", 58, &neighbour(135, "fd00::1", None)), Breach::NeighbourTarget),
        ("RA", ipv6(LINK_LOCAL, 58, &advertisement), Breach::Router),
        ("RA behind options", ipv6(LINK_LOCAL, 60, &extended(58, &advertisement)), Breach::Router),
        ("RA in two tags", tagged(&[(0x8100, 0); 2], &ipv6(LINK_LOCAL, 58, &advertisement)), Breach::Router),
        ("RA in a fragment", ipv6(LINK_LOCAL, 44, &fragment(58, 1, &advertisement)), Breach::NeighbourFragment),
        ("NS in an atomic fragment", ipv6("fd00::2", 44, &fragment(58, 0, &poison)), Breach::NeighbourFragment),
        ("Redirect", own(&neighbour(137, "fd00::1", None)), Breach::Router),
        ("NA cut short", own(&poison[..23]), Breach::Malformed),
        ("an option of no length", option(&[2, 0, 0, 0, 0, 0, 0, 0]), Breach::Malformed),
        ("an option longer than the packet", option(&[14, 2, 0, 0, 0, 0, 0, 0]), Breach::Malformed),
        ("one byte of an option", option(&[2]), Breach::Malformed),
    ]
}

#[test]
fn a_well_behaved_host_is_not_in_the_way_of_its_guard() {
    for (what, frame) in passing() {
        assert_eq!(guard().check(&frame), Ok(()), "{what}");
    }
}

#[test]
fn a_spoofer_is() {
    for (what, frame, breach) in refused() {
        assert_eq!(guard().check(&frame), Err(breach), "{what}");
    }
}

#[test]
fn an_absent_list_limits_nothing() {
    let (macs, prefixes) = ([Mac(OWN)], ["172.17.0.2/32".parse().unwrap()]);
    let [by_mac, by_address] = [Guard::new(Some(&macs), None), Guard::new(None, Some(&prefixes))];
    assert_eq!(by_mac.check(&ipv4("10.0.0.1", 6, 0, &[])), Ok(()));
    assert_eq!(by_mac.check(&ipv6("::", 6, &[])), Ok(()));
    assert_eq!(by_mac.check(&arp(2, (OWN, "10.0.0.1"), "10.0.0.2")), Ok(()));
    assert_eq!(by_mac.check(&arp(2, (OTHER, "10.0.0.1"), "10.0.0.2")), Err(Breach::ArpMac));
    assert_eq!(by_mac.check(&ethernet(OTHER, 0x88b5, &[])), Err(Breach::SourceMac));
    assert_eq!(by_address.check(&ethernet(OTHER, 0x88b5, &[])), Ok(()));
    assert_eq!(by_address.check(&ipv4("10.0.0.1", 6, 0, &[])), Err(Breach::Ipv4Source));
    assert_eq!(by_address.check(&ipv6("fe80::ff:fe00:9", 6, &[])), Ok(()), "that of some MAC");
    assert_eq!(by_address.check(&ipv6("fe80::9", 6, &[])), Err(Breach::Ipv6Source));
    let nothing = Guard::new(Some(&[]), Some(&[]));
    assert_eq!(nothing.check(&ethernet(OWN, 0x88b5, &[])), Err(Breach::SourceMac));
}

#[test]
fn of_many_sources_each_passes() {
    let macs: Vec<Mac> = (0..200).map(|n| Mac([2, n, 0, 0, 0, 255 - n])).collect();
    let prefixes: Vec<Cidr> = (0..200).map(|n| format!("10.{n}.0.0/24").parse().unwrap()).collect();
    let guard = Guard::new(Some(&macs), Some(&prefixes));
    for (n, mac) in macs.iter().enumerate() {
        let mut frame = ipv4(&format!("10.{n}.0.77"), 17, 0, &[0; 8]);
        frame[6..12].copy_from_slice(&mac.0);
        assert_eq!(guard.check(&frame), Ok(()));
        frame[28] = 1;
        assert_eq!(guard.check(&frame), Err(Breach::Ipv4Source), "10.{n}.1.77");
    }
}

/// The senders that etherparse finds in a frame: MAC addresses and IP addresses.
fn senders(frame: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut macs, mut addresses) = (vec![frame[6..12].to_vec()], Vec::new());
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else { return (macs, addresses) };
    match packet.net {
        Some(LaxNetSlice::Ipv4(packet)) => addresses.push(packet.header().source().to_vec()),
        Some(LaxNetSlice::Ipv6(packet)) => addresses.push(packet.header().source().to_vec()),
        Some(LaxNetSlice::Arp(packet)) => note_arp(&packet, &mut macs, &mut addresses),
        None => {}
    }
    (macs, addresses)
}

fn note_arp(packet: &ArpPacketSlice<'_>, macs: &mut Vec<Vec<u8>>, addresses: &mut Vec<Vec<u8>>) {
    macs.push(packet.sender_hw_addr().to_vec());
    addresses.push(packet.sender_protocol_addr().to_vec());
}

/// The link-layer address and the target that a receiver would believe of an advertisement, read as etherparse finds it.
fn advertised(frame: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(etherparse::TransportSlice::Icmpv6(message)) = packet.transport else { return None };
    let message = message.slice();
    let target = (message[0] == 136).then(|| message.get(8..24)).flatten()?.to_vec();
    let option = message.get(24..32).filter(|option| option[..2] == [2, 1]);
    Some((target, option.map(|option| option[2..].to_vec())))
}

/// Any frame of the table, with a few bytes changed, cut or grown.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let frames: Vec<Vec<u8>> = passing()
        .into_iter()
        .map(|(_, frame)| frame)
        .chain(refused().into_iter().map(|(_, frame, _)| frame))
        .filter(|frame| frame.len() >= 14)
        .collect();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let cut = prop::option::of(any::<prop::sample::Index>());
    (prop::sample::select(frames), changes, cut).prop_map(|(mut frame, changes, cut)| {
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        let most = frame.len() - 13;
        frame.truncate(cut.map_or(frame.len(), |cut| 14 + cut.index(most)));
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn what_passes_comes_from_nobody_else(frame in mutated()) {
        if guard().check(&frame).is_err() {
            return Ok(());
        }
        let (macs, addresses) = senders(&frame);
        prop_assert!(macs.iter().all(|mac| *mac == OWN), "{:02x?}", frame);
        let own = ["172.17.0.2", "fd00::2", LINK_LOCAL, "0.0.0.0", "::"].map(octets);
        prop_assert!(addresses.iter().all(|address| own.contains(address)), "{:02x?}", frame);
        if let Some((target, mac)) = advertised(&frame) {
            prop_assert!(own[1..3].contains(&target), "{:02x?}", frame);
            prop_assert!(mac.is_none_or(|mac| mac == OWN), "{:02x?}", frame);
        }
    }

    #[test]
    fn no_bytes_are_too_strange(
        head in prop::sample::select(passing()),
        at in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = guard().check(&noise);
        let frame = [&head.1[..at.index(head.1.len())], &noise].concat();
        let _ = guard().check(&frame);
    }
}
