//! A frame in one line, much as tcpdump prints it.

use crossdock_engine::wire::Mac;
use etherparse::{ArpOperation, ArpPacketSlice, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};

use super::fields::{ips, ports};

/// Says what a frame of `len` bytes is, of which `bytes` are known.
#[must_use]
pub fn summary(bytes: &[u8], len: usize) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else { return format!("{len} bytes") };
    let mac = |at: usize| bytes[at..].first_chunk().map_or(Mac::ZERO, |mac| Mac(*mac));
    let mut line = format!("{} > {}, ", mac(6), mac(0));
    for vlan in packet.vlan_ids() {
        line += &format!("vlan {}, ", vlan.value());
    }
    line += &match &packet.net {
        Some(LaxNetSlice::Arp(arp)) => speak(arp),
        Some(_) => internet(&packet),
        None => format!("type {:#06x}", packet.ether_payload().map_or(0, |payload| payload.ether_type.0)),
    };
    line + &format!(", {len} bytes")
}

fn speak(arp: &ArpPacketSlice<'_>) -> String {
    let ip = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
    let (sender, target) = (ip(arp.sender_protocol_addr()), ip(arp.target_protocol_addr()));
    match arp.operation() {
        ArpOperation::REQUEST => format!("ARP who has {target} tell {sender}"),
        _ => match arp.sender_hw_addr().first_chunk() {
            Some(mac) => format!("ARP {sender} is at {}", Mac(*mac)),
            None => format!("ARP from {sender}"),
        },
    }
}

fn internet(packet: &LaxSlicedPacket<'_>) -> String {
    let Some((source, destination)) = ips(packet) else { return "IP".into() };
    let family = if source.is_ipv4() { "IP" } else { "IP6" };
    let (from, to) = match ports(packet) {
        Some((sport, dport)) => (format!("{source}.{sport}"), format!("{destination}.{dport}")),
        None => (source.to_string(), destination.to_string()),
    };
    format!("{family} {from} > {to}: {}", transport(packet))
}

fn transport(packet: &LaxSlicedPacket<'_>) -> String {
    match &packet.transport {
        Some(TransportSlice::Udp(udp)) => format!("UDP, length {}", udp.length().saturating_sub(8)),
        Some(TransportSlice::Tcp(tcp)) => stream(tcp),
        Some(TransportSlice::Icmpv4(icmp)) => match icmp.type_u8() {
            8 => "ICMP echo request".into(),
            0 => "ICMP echo reply".into(),
            kind => format!("ICMP type {kind} code {}", icmp.code_u8()),
        },
        Some(TransportSlice::Icmpv6(icmp)) => match icmp.type_u8() {
            128 => "ICMP6 echo request".into(),
            129 => "ICMP6 echo reply".into(),
            135 => "ICMP6 neighbor solicitation".into(),
            136 => "ICMP6 neighbor advertisement".into(),
            kind => format!("ICMP6 type {kind} code {}", icmp.code_u8()),
        },
        _ => format!("protocol {}", packet.ip_payload().map_or(0, |payload| payload.ip_number.0)),
    }
}

fn stream(tcp: &TcpSlice<'_>) -> String {
    let flags = [(tcp.syn(), 'S'), (tcp.fin(), 'F'), (tcp.rst(), 'R'), (tcp.psh(), 'P'), (tcp.ack(), '.')];
    let flags: String = flags.into_iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect();
    format!("TCP [{flags}] seq {} ack {} win {}", tcp.sequence_number(), tcp.acknowledgment_number(), tcp.window_size())
}

#[cfg(test)]
mod tests {
    use super::super::fields::Fields;
    use super::*;

    fn told(fields: &str) -> String {
        let frame = Fields::parse(fields.split_whitespace()).unwrap().frame(Mac([2, 0, 0, 0, 0, 1])).unwrap();
        summary(&frame, frame.len())
    }

    #[test]
    fn one_line_each() {
        let macs = "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff";
        assert_eq!(
            told("vlan=7 ip_src=10.0.0.1 ip_dst=10.0.0.2 sport=4000 dport=53"),
            format!("{macs}, vlan 7, IP 10.0.0.1.4000 > 10.0.0.2.53: UDP, length 14, 60 bytes")
        );
        assert_eq!(
            told("ip_src=fd00::1 ip_dst=fd00::2 proto=tcp dport=80"),
            format!("{macs}, IP6 fd00::1.0 > fd00::2.80: TCP [S] seq 0 ack 0 win 65535, 74 bytes")
        );
        assert_eq!(told("type=0x88cc"), format!("{macs}, type 0x88cc, 60 bytes"));
        assert_eq!(summary(&[1, 2, 3], 3), "3 bytes");
    }

    #[test]
    fn a_cut_frame_is_told_as_far_as_it_goes() {
        let fields = Fields::parse(["proto=tcp", "dport=80"]).unwrap();
        let frame = fields.frame(Mac([2; 6])).unwrap();
        for cut in 0..frame.len() {
            assert!(summary(&frame[..cut], frame.len()).ends_with("60 bytes"));
        }
    }
}
