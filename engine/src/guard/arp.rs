//! ARP of a guarded port (RFC 826, RFC 5227).

use super::{Breach, Guard};
use crate::wire::Mac;

/// Bytes of a packet for IPv4 over Ethernet.
const LEN: usize = 28;
/// How such a packet begins: Ethernet, IPv4, and the lengths of their addresses.
const FORM: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

impl Guard {
    /// Whether a packet in a frame from `source` names its sender.
    pub(super) fn check_arp(&self, source: Mac, packet: &[u8]) -> Result<(), Breach> {
        let packet = packet.first_chunk::<LEN>().ok_or(Breach::Malformed)?;
        let operation = [packet[6], packet[7]];
        if packet[..6] != FORM || ![REQUEST, REPLY].contains(&operation) {
            return Err(Breach::ArpForm);
        }
        if packet[8..14] != source.0 {
            return Err(Breach::ArpMac);
        }
        let Some(addresses) = &self.addresses else { return Ok(()) };
        let &[.., a, b, c, d, _, _, _, _, _, _, e, f, g, h] = packet;
        let (sender, target) = ([a, b, c, d], [e, f, g, h]);
        if addresses.has_ipv4(sender) {
            return Ok(());
        }
        match (sender, operation) {
            ([0, 0, 0, 0], REQUEST) if addresses.has_ipv4(target) => Ok(()),
            // Whoever asks for an address that another host is about to take keeps it from that.
            ([0, 0, 0, 0], REQUEST) => Err(Breach::ArpProbe),
            _ => Err(Breach::ArpSender),
        }
    }
}
