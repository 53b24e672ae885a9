//! Source guard: whom the frames of a port may come from.
//!
//! # Theory of operation
//!
//! What stands in a frame as its sender is the word of whoever sent it: the Ethernet source, the IP source, the sender of an ARP
//! packet, and the target and link-layer addresses of Neighbour Discovery, which neighbours put into their caches. A guarded
//! port may name there what its [`Guard`] lists, and nothing else (RFC 7513; in other switches "port security", `no-mac-spoofing`,
//! `no-ip-spoofing`, `no-arp-spoofing`). Every frame is looked at, before anything is learned and before the flow cache is
//! asked: the key of a flow does not hold what ARP and Neighbour Discovery say.
//!
//! | frame | passes when |
//! |---|---|
//! | any | its source MAC is listed, and its VLAN tags, which are looked through, are whole and at most eight |
//! | IPv4, also a fragment | its source is listed; or is 0.0.0.0, from UDP port 68 to 67 (RFC 2131) |
//! | ARP (RFC 826, 5227) | it is a request or a reply, for IPv4 over Ethernet, its sender's MAC is the frame's source, and its sender's address is listed; or it is a probe, from 0.0.0.0, for an address that is |
//! | RARP | never |
//! | IPv6, also a fragment | its source is listed, or is a link-local address that is made of a listed MAC (RFC 4291, appendix A); or is `::`, for a solicitation that looks for a duplicate of such an address (RFC 4862), and for a report to multicast routers (RFC 3590) |
//! | Neighbour Discovery (RFC 4861) | it is in no fragment (RFC 6980), its link-layer addresses are listed MACs, the target of an advertisement is an address as above, and it is no Router Advertisement and no Redirect (RFC 6105, 7113) |
//!
//! A header that is cut short ends the frame. IPv6 extension headers are walked, at most [`MAX_EXTENSIONS`](crate::parse::MAX_EXTENSIONS) of them (RFC 7045);
//! of a first fragment all must be there (RFC 7112). What comes behind a transport header is nobody's business here: a port may
//! well have a DHCP server.
//!
//! A list that is absent limits nothing.

mod addresses;
mod arp;
mod ipv6;
mod neighbour;
#[cfg(test)]
mod tests;

use crate::wire::ethernet::{ARP, HEADER_LEN, IPV4, IPV6, RARP};
use crate::wire::transport::{UDP, network};
use crate::wire::{Cidr, Mac};
use addresses::Addresses;

/// Bits of a MAC address in [`Mac::to_u64`].
const MAC_BITS: u64 = (1 << 48) - 1;
/// Bytes of an IPv4 header without options.
const IPV4_HEADER_LEN: usize = 20;
/// The bits of an IPv4 header that say that it is a fragment: more follow, or an offset.
const IS_FRAGMENT: u16 = 0x3fff;
/// From the DHCP client's port to the server's.
const TO_DHCP_SERVER: [u8; 4] = [0, 68, 0, 67];

/// The sources that a port may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// As numbers, in order.
    macs: Option<Box<[u64]>>,
    addresses: Option<Addresses>,
}

/// What a frame does that its port may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The Ethernet source.
    SourceMac,
    /// What is behind the tags cannot be told.
    Tags,
    /// A header is cut short, or contradicts itself.
    Malformed,
    /// The IPv4 source.
    Ipv4Source,
    /// ARP for something else, or an operation that no host has.
    ArpForm,
    /// The sender's MAC.
    ArpMac,
    /// The sender's IP address.
    ArpSender,
    /// A probe.
    ArpProbe,
    /// Reverse ARP.
    Rarp,
    /// The IPv6 source.
    Ipv6Source,
    /// The unspecified address.
    Unspecified,
    /// IPv6 extension headers.
    Extensions,
    /// Neighbour Discovery in a fragment.
    NeighbourFragment,
    /// A link-layer address in Neighbour Discovery.
    NeighbourMac,
    /// The target of Neighbour Discovery.
    NeighbourTarget,
    /// What only a router may say.
    Router,
}

impl Breach {
    /// A few words for people.
    pub const fn words(self) -> &'static str {
        match self {
            Breach::SourceMac => "the source MAC is not the port's",
            Breach::Tags => "a VLAN tag that is cut short, or more than eight: what is behind cannot be told",
            Breach::Malformed => "a header is cut short, or contradicts itself",
            Breach::Ipv4Source => "the source IPv4 address is not the port's",
            Breach::ArpForm => "ARP that is neither a request nor a reply for IPv4 over Ethernet",
            Breach::ArpMac => "the MAC of the ARP sender is not the frame's source",
            Breach::ArpSender => "the IP address of the ARP sender is not the port's",
            Breach::ArpProbe => "an ARP probe for an address that is not the port's",
            Breach::Rarp => "reverse ARP",
            Breach::Ipv6Source => "the source IPv6 address is not the port's",
            Breach::Unspecified => {
                "no source IPv6 address, but neither duplicate address detection nor a multicast report"
            }
            Breach::Extensions => "too many IPv6 extension headers, or not all of them in the first fragment",
            Breach::NeighbourFragment => "Neighbour Discovery in a fragment",
            Breach::NeighbourMac => "the link-layer address in Neighbour Discovery is not the port's",
            Breach::NeighbourTarget => "Neighbour Discovery for an address that is not the port's",
            Breach::Router => "a Router Advertisement or a Redirect",
        }
    }
}

impl Guard {
    /// Lets pass these sources and no other; an absent list limits nothing. Host bits of prefixes are ignored.
    pub fn new(macs: Option<&[Mac]>, prefixes: Option<&[Cidr]>) -> Guard {
        let numbers = |macs: &[Mac]| {
            let mut numbers: Vec<u64> = macs.iter().map(|mac| mac.to_u64()).collect();
            numbers.sort_unstable();
            numbers.into()
        };
        Guard { macs: macs.map(numbers), addresses: prefixes.map(Addresses::new) }
    }

    /// Whether a frame comes from whom it says. A runt passes: it has no source, and is dropped by its own name.
    ///
    /// # Errors
    /// What it does that its port may not.
    #[inline]
    pub fn check(&self, frame: &[u8]) -> Result<(), Breach> {
        let Some(header) = frame.first_chunk::<HEADER_LEN>() else { return Ok(()) };
        let source = header.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) & MAC_BITS;
        if !self.may_have(source) {
            return Err(Breach::SourceMac);
        }
        let (ethertype, at) = network(frame).ok_or(Breach::Tags)?;
        let packet = frame.get(at..).unwrap_or_default();
        match ethertype {
            IPV4 => self.check_ipv4(packet),
            IPV6 => self.check_ipv6(packet),
            ARP => self.check_arp(Mac::from_u64(source), packet),
            RARP => Err(Breach::Rarp),
            _ => Ok(()),
        }
    }

    /// Whether a MAC address is listed.
    #[inline]
    fn may_have(&self, mac: u64) -> bool {
        self.macs.as_ref().is_none_or(|macs| macs.binary_search(&mac).is_ok())
    }

    #[inline]
    fn check_ipv4(&self, packet: &[u8]) -> Result<(), Breach> {
        let header = packet.first_chunk::<IPV4_HEADER_LEN>().ok_or(Breach::Malformed)?;
        let len = usize::from(header[0] & 15) * 4;
        let payload = packet.get(len..).ok_or(Breach::Malformed)?;
        if header[0] >> 4 != 4 || len < IPV4_HEADER_LEN {
            return Err(Breach::Malformed);
        }
        let Some(addresses) = &self.addresses else { return Ok(()) };
        let &[.., a, b, c, d, _, _, _, _] = header;
        let passes = addresses.has_ipv4([a, b, c, d]) || [a, b, c, d] == [0; 4] && asks_for_address(header, payload);
        if passes { Ok(()) } else { Err(Breach::Ipv4Source) }
    }
}

/// Whether an IPv4 packet is a DHCP client's.
#[cold]
fn asks_for_address(header: &[u8; IPV4_HEADER_LEN], payload: &[u8]) -> bool {
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & IS_FRAGMENT != 0;
    header[9] == UDP && !is_fragment && payload.starts_with(&TO_DHCP_SERVER)
}
