//! A packet described by header fields, `src=02:00:00:00:00:01 type=0x0800 proto=udp dport=53`: to build one for a trace,
//! or to pick those of a capture.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crossdock_engine::wire::Mac;
use crossdock_engine::wire::ethernet::{ARP, IPV4, IPV6, VLAN};
use crossdock_engine::wire::vnet::MAX_FRAME;
use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv6Header, LaxNetSlice, LaxSlicedPacket, PacketBuilder, TransportSlice,
};

/// Shortest Ethernet frame, without FCS: shorter ones are padded by their senders.
const SHORTEST: usize = 60;
/// Hop limit of a packet that is built.
const HOPS: u8 = 64;
/// What may be said, for complaints.
const KEYS: &str = "src dst mac type vlan ip_src ip_dst host proto sport dport port len";

/// Header fields; those not named are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    src: Option<Mac>,
    dst: Option<Mac>,
    /// Either MAC address: picks only.
    mac: Option<Mac>,
    ethertype: Option<u16>,
    vlan: Option<u16>,
    ip_src: Option<IpAddr>,
    ip_dst: Option<IpAddr>,
    /// Either IP address: picks only.
    host: Option<IpAddr>,
    proto: Option<u8>,
    sport: Option<u16>,
    dport: Option<u16>,
    /// Either TCP or UDP port: picks only.
    port: Option<u16>,
    /// Bytes of the frame, without FCS.
    len: Option<usize>,
}

/// What is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Not `key=value`.
    #[error("\"{0}\" is no field: key=value, with a key of {KEYS}")]
    Shape(String),
    /// No such key.
    #[error("no field \"{0}\": there are {KEYS}")]
    Unknown(String),
    /// The value does not fit its key.
    #[error("{key}={value}: {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What would fit.
        expected: &'static str,
    },
    /// The fields contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

impl Fields {
    /// Reads `key=value` words.
    ///
    /// # Errors
    /// The first word that is wrong.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Fields, FieldError> {
        let mut fields = Fields::default();
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| FieldError::Shape(word.into()))?;
            fields.set(key, value)?;
        }
        Ok(fields)
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Fields::default()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), FieldError> {
        let mac = || read(key, value, "a MAC address, like 02:00:00:00:00:01");
        let ip = || read(key, value, "an IP address");
        let number = || read(key, value, "a number from 0 to 65535");
        match key {
            "src" => self.src = Some(mac()?),
            "dst" => self.dst = Some(mac()?),
            "mac" => self.mac = Some(mac()?),
            "type" => self.ethertype = Some(ethertype(value)?),
            "vlan" => self.vlan = Some(vlan(value)?),
            "ip_src" => self.ip_src = Some(ip()?),
            "ip_dst" => self.ip_dst = Some(ip()?),
            "host" => self.host = Some(ip()?),
            "proto" => self.proto = Some(proto(value)?),
            "sport" => self.sport = Some(number()?),
            "dport" => self.dport = Some(number()?),
            "port" => self.port = Some(number()?),
            "len" => self.len = Some(read(key, value, "a number of bytes")?),
            _ => return Err(FieldError::Unknown(key.into())),
        }
        Ok(())
    }

    /// A frame of these fields. What is not named is a UDP datagram over IPv4 to everybody, from `source`, of 60 bytes.
    ///
    /// # Errors
    /// The fields contradict each other, or there is a key that only picks.
    pub fn frame(&self, source: Mac) -> Result<Vec<u8>, FieldError> {
        if self.mac.is_some() || self.host.is_some() || self.port.is_some() {
            return Err(FieldError::Contradiction("mac, host and port do not say which: name src or dst and the like"));
        }
        if self.len > Some(MAX_FRAME) {
            return Err(FieldError::Contradiction("no frame is of that len"));
        }
        let mut frame = [self.dst.unwrap_or(Mac::BROADCAST).0, self.src.unwrap_or(source).0].concat();
        if let Some(vlan) = self.vlan {
            frame.extend(VLAN.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        let ethertype = self.ethertype.unwrap_or_else(|| self.family());
        frame.extend(ethertype.to_be_bytes());
        if ethertype == IPV4 || ethertype == IPV6 {
            let room = self.len.unwrap_or(SHORTEST).saturating_sub(frame.len());
            frame.extend(self.packet(ethertype, room)?);
        }
        let len = self.len.unwrap_or_else(|| frame.len().max(SHORTEST));
        if len < frame.len() {
            return Err(FieldError::Contradiction("a frame of these fields is longer than that len"));
        }
        frame.resize(len, 0);
        Ok(frame)
    }

    fn family(&self) -> u16 {
        let six = [self.ip_src, self.ip_dst].into_iter().flatten().any(|ip| ip.is_ipv6());
        if six { IPV6 } else { IPV4 }
    }

    /// The IP packet, with as much payload as makes it `room` bytes.
    fn packet(&self, ethertype: u16, room: usize) -> Result<Vec<u8>, FieldError> {
        let proto = IpNumber(self.proto.unwrap_or(IpNumber::UDP.0));
        let ip = PacketBuilder::ip(self.headers(ethertype)?);
        let (sport, dport) = (self.sport.unwrap_or(0), self.dport.unwrap_or(0));
        let payload = |headers: usize| vec![0; room.saturating_sub(headers)];
        let mut packet = Vec::new();
        let written = match proto {
            IpNumber::UDP => {
                let udp = ip.udp(sport, dport);
                let payload = payload(udp.size(0));
                udp.write(&mut packet, &payload)
            }
            IpNumber::TCP => {
                let tcp = ip.tcp(sport, dport, 0, 65_535).syn();
                let payload = payload(tcp.size(0));
                tcp.write(&mut packet, &payload)
            }
            other => {
                let payload = payload(ip.size(0));
                ip.write(&mut packet, other, &payload)
            }
        };
        written.map_err(|_| FieldError::Contradiction("an IP packet has no room for that len"))?;
        Ok(packet)
    }

    fn headers(&self, ethertype: u16) -> Result<IpHeaders, FieldError> {
        let unspecified: IpAddr =
            if ethertype == IPV4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let ends = (self.ip_src.unwrap_or(unspecified), self.ip_dst.unwrap_or(unspecified));
        match ends {
            (IpAddr::V4(source), IpAddr::V4(destination)) if ethertype == IPV4 => {
                let header = Ipv4Header { source: source.octets(), destination: destination.octets(), ..v4() };
                Ok(IpHeaders::Ipv4(header, Default::default()))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) if ethertype == IPV6 => {
                let (source, destination) = (source.octets(), destination.octets());
                let header = Ipv6Header { source, destination, hop_limit: HOPS, ..Ipv6Header::default() };
                Ok(IpHeaders::Ipv6(header, Default::default()))
            }
            _ => Err(FieldError::Contradiction("type, ip_src and ip_dst are not of one IP version")),
        }
    }

    /// Whether a frame, of which perhaps only the beginning is known, has all these fields; `len` is its whole length.
    #[must_use]
    pub fn pick(&self, frame: &[u8], len: usize) -> bool {
        let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else { return self.is_empty() };
        let [macs, ips, ports] = [self.picks_macs(frame), self.picks_ips(&packet), self.picks_ports(&packet)];
        macs && ips && ports && self.picks_vlan(&packet) && is(self.len, Some(len)) && self.picks_type(&packet)
    }

    /// By any tag: tcpdump looks at the outer one, and people mean that or the customer's.
    fn picks_vlan(&self, packet: &LaxSlicedPacket<'_>) -> bool {
        self.vlan.is_none_or(|vlan| packet.vlan_ids().iter().any(|id| id.value() == vlan))
    }

    fn picks_macs(&self, frame: &[u8]) -> bool {
        let [dst, src] = [0, 6].map(|at| frame.get(at..).and_then(|rest| rest.first_chunk()).copied().map(Mac));
        is(self.src, src) && is(self.dst, dst) && (is(self.mac, src) || is(self.mac, dst))
    }

    fn picks_type(&self, packet: &LaxSlicedPacket<'_>) -> bool {
        is(self.ethertype, packet.ether_payload().map(|payload| payload.ether_type.0))
    }

    fn picks_ips(&self, packet: &LaxSlicedPacket<'_>) -> bool {
        let (src, dst) = ips(packet).unzip();
        let proto = packet.ip_payload().map(|payload| payload.ip_number.0);
        is(self.ip_src, src)
            && is(self.ip_dst, dst)
            && (is(self.host, src) || is(self.host, dst))
            && is(self.proto, proto)
    }

    fn picks_ports(&self, packet: &LaxSlicedPacket<'_>) -> bool {
        let (sport, dport) = ports(packet).unzip();
        is(self.sport, sport) && is(self.dport, dport) && (is(self.port, sport) || is(self.port, dport))
    }
}

/// Whether what was asked for, if anything, is there.
fn is<T: PartialEq>(wanted: Option<T>, found: Option<T>) -> bool {
    wanted.is_none() || wanted == found
}

/// The addresses of an IP packet, or those that an ARP packet speaks of.
pub(super) fn ips(packet: &LaxSlicedPacket<'_>) -> Option<(IpAddr, IpAddr)> {
    match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        LaxNetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        LaxNetSlice::Arp(arp) => {
            let ip = |bytes: &[u8]| Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into());
            Some((ip(arp.sender_protocol_addr())?, ip(arp.target_protocol_addr())?))
        }
    }
}

/// The ports of a TCP or UDP packet.
pub(super) fn ports(packet: &LaxSlicedPacket<'_>) -> Option<(u16, u16)> {
    match packet.transport.as_ref()? {
        TransportSlice::Udp(udp) => Some((udp.source_port(), udp.destination_port())),
        TransportSlice::Tcp(tcp) => Some((tcp.source_port(), tcp.destination_port())),
        _ => None,
    }
}

fn v4() -> Ipv4Header {
    Ipv4Header { time_to_live: HOPS, ..Ipv4Header::default() }
}

fn read<T: FromStr>(key: &str, value: &str, expected: &'static str) -> Result<T, FieldError> {
    value.parse().map_err(|_| FieldError::Value { key: key.into(), value: value.into(), expected })
}

fn ethertype(value: &str) -> Result<u16, FieldError> {
    let known = [("arp", ARP), ("ip", IPV4), ("ipv4", IPV4), ("ipv6", IPV6)];
    let named = known.iter().find(|(name, _)| *name == value).map(|(_, number)| *number);
    let number = || u16::from_str_radix(value.strip_prefix("0x")?, 16).ok();
    named.or_else(number).ok_or_else(|| FieldError::Value {
        key: "type".into(),
        value: value.into(),
        expected: "ip, ipv6, arp or a hexadecimal number, like 0x0800",
    })
}

/// The 12 bits of a tag (802.1Q, 9.6): 0 is a priority tag, and 4095, which no VLAN has, may come all the same.
fn vlan(value: &str) -> Result<u16, FieldError> {
    let expected = "a number from 0 to 4095";
    let vlan = read("vlan", value, expected)?;
    let wrong = || FieldError::Value { key: "vlan".into(), value: value.into(), expected };
    if vlan > 4095 { Err(wrong()) } else { Ok(vlan) }
}

fn proto(value: &str) -> Result<u8, FieldError> {
    match value {
        "icmp" => Ok(IpNumber::ICMP.0),
        "icmp6" => Ok(IpNumber::IPV6_ICMP.0),
        "tcp" => Ok(IpNumber::TCP.0),
        "udp" => Ok(IpNumber::UDP.0),
        _ => read("proto", value, "tcp, udp, icmp, icmp6 or a number from 0 to 255"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn fields(text: &str) -> Fields {
        Fields::parse(text.split_whitespace()).unwrap()
    }

    #[test]
    fn a_frame_has_the_fields_it_was_built_of() {
        let texts = [
            "src=02:00:00:00:00:01 dst=02:00:00:00:00:02 ip_src=10.0.0.1 ip_dst=10.0.0.2 proto=tcp sport=1 dport=80",
            "type=ipv6 ip_src=fd00::1 ip_dst=fd00::2 sport=53 len=1514",
            "vlan=10 ip_dst=10.0.0.2 dport=53 len=100",
            "type=0x0806",
            "proto=icmp len=90",
            "dst=01:80:c2:00:00:00 type=0x88cc",
        ];
        for text in texts {
            let frame = fields(text).frame(SOURCE).unwrap();
            assert!(frame.len() >= 60 && fields(text).pick(&frame, frame.len()), "{text}");
        }
        let frame = fields(texts[0]).frame(SOURCE).unwrap();
        for other in ["src=02:00:00:00:00:03", "host=10.0.0.3", "port=81", "proto=udp", "type=arp", "vlan=1", "len=61"]
        {
            assert!(!fields(other).pick(&frame, 60), "{other}");
        }
        for same in ["mac=02:00:00:00:00:02", "host=10.0.0.1", "port=1", "proto=6", "type=ip", "len=60", ""] {
            assert!(fields(same).pick(&frame, 60), "{same}");
        }
    }

    #[test]
    fn a_vlan_is_that_of_any_tag() {
        let plain = fields("type=0x88b5").frame(SOURCE).unwrap();
        let tags = [0x88, 0xa8, 0x20, 100, 0x81, 0, 0, 10];
        let frame = [&plain[..12], &tags, &plain[12..]].concat();
        let picks = ["vlan=100", "vlan=10", "vlan=8292", "vlan=11"]
            .map(|text| Fields::parse([text]).is_ok_and(|fields| fields.pick(&frame, frame.len())));
        assert_eq!(picks, [true, true, false, false]);
        assert!(!fields("vlan=0").pick(&plain, plain.len()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let wrong = |text: &str| Fields::parse(text.split_whitespace()).unwrap_err().to_string();
        assert!(wrong("src").starts_with("\"src\" is no field: key=value"));
        assert!(wrong("dest=1").starts_with("no field \"dest\": there are src dst"));
        assert_eq!(wrong("sport=70000"), "sport=70000: a number from 0 to 65535");
        for vlan in ["4096", "4097", "65536", "-1"] {
            assert_eq!(wrong(&format!("vlan={vlan}")), format!("vlan={vlan}: a number from 0 to 4095"));
        }
        assert!(fields("vlan=4095").frame(SOURCE).is_ok());
        assert!(fields("ip_src=10.0.0.1 ip_dst=fd00::1").frame(SOURCE).is_err());
        assert!(fields("host=10.0.0.1").frame(SOURCE).is_err());
        assert!(fields("len=70000").frame(SOURCE).is_err());
        for short in ["type=0x88b5 len=13", "vlan=1 type=0x88b5 len=17", "proto=udp dport=53 len=41"] {
            assert!(fields(short).frame(SOURCE).is_err(), "{short}");
        }
        assert_eq!(fields("proto=udp dport=53 len=42").frame(SOURCE).map(|frame| frame.len()), Ok(42));
        assert!(fields("type=arp len=99999999999999").frame(SOURCE).is_err());
    }
}
