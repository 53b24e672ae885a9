//! IPv6 of a guarded port, down to the header that says what a packet is.

use super::addresses::maker;
use super::neighbour::{self, DONE, REPORT, REPORT_V2, SOLICITATION};
use super::{Breach, Guard};
use crate::parse::MAX_EXTENSIONS;
use crate::wire::transport::IPV6_HEADER_LEN;

/// IPv6 next header numbers (IANA).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMPV6: u8 = 58;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// What a packet is, behind its extension headers.
struct Upper<'a> {
    protocol: u8,
    /// It is the first fragment of several, or pretends to be one.
    is_fragment: bool,
    payload: &'a [u8],
}

impl Guard {
    #[inline]
    pub(super) fn check_ipv6(&self, packet: &[u8]) -> Result<(), Breach> {
        let (header, rest) = packet.split_first_chunk::<IPV6_HEADER_LEN>().ok_or(Breach::Malformed)?;
        let &[version, _, _, _, high, low, next, _, ..] = header;
        if version >> 4 != 6 {
            return Err(Breach::Malformed);
        }
        // A jumbogram says 0 (RFC 2675). What comes behind the packet is padding.
        let payload = match usize::from(u16::from_be_bytes([high, low])) {
            0 => rest,
            len => rest.get(..len).ok_or(Breach::Malformed)?,
        };
        let source = header[8..].first_chunk().copied().unwrap_or_default();
        let is_listed = self.may_send_from(source);
        if !is_listed && source != [0; 16] {
            return Err(Breach::Ipv6Source);
        }
        let upper = Upper::of(next, payload)?;
        match (is_listed, upper.protocol) {
            (_, ICMPV6) => self.check_icmpv6(&upper, is_listed),
            (true, _) => Ok(()),
            (false, _) => Err(Breach::Unspecified),
        }
    }

    /// Whether an IPv6 address is one of the port's.
    #[inline]
    pub(super) fn may_send_from(&self, address: [u8; 16]) -> bool {
        let Some(addresses) = &self.addresses else { return true };
        addresses.has_ipv6(address) || maker(address).is_some_and(|mac| self.may_have(mac.to_u64()))
    }

    /// Whether an ICMPv6 message may come from the port, from an address of it or from the unspecified one.
    fn check_icmpv6(&self, upper: &Upper<'_>, has_source: bool) -> Result<(), Breach> {
        let kind = *upper.payload.first().ok_or(Breach::Malformed)?;
        if neighbour::KINDS.contains(&kind) && upper.is_fragment {
            return Err(Breach::NeighbourFragment);
        }
        let may_be_without = !upper.is_fragment && [SOLICITATION, REPORT, DONE, REPORT_V2].contains(&kind);
        if !has_source && !may_be_without {
            return Err(Breach::Unspecified);
        }
        self.check_neighbour(kind, upper.payload, has_source)
    }
}

impl Upper<'_> {
    /// Walks the extension headers.
    #[inline]
    fn of(mut next: u8, mut rest: &[u8]) -> Result<Upper<'_>, Breach> {
        let mut is_fragment = false;
        for _ in 0..=MAX_EXTENSIONS {
            let len = match (next, rest) {
                (HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6, [_, len, ..]) => {
                    8 + 8 * usize::from(*len)
                }
                (AUTHENTICATION, [_, len, ..]) => 8 + 4 * usize::from(*len),
                // Later fragments are nothing without the first, which tells what they are.
                (FRAGMENT, [_, _, high, low, ..]) if u16::from_be_bytes([*high, *low]) >> 3 != 0 => {
                    return Ok(Upper { protocol: NO_NEXT, is_fragment: true, payload: &[] });
                }
                (FRAGMENT, _) => {
                    is_fragment = true;
                    8
                }
                (HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 | AUTHENTICATION, _) => usize::MAX,
                _ => return Ok(Upper { protocol: next, is_fragment, payload: rest }),
            };
            let cut = if is_fragment { Breach::Extensions } else { Breach::Malformed };
            next = *rest.first().ok_or(cut)?;
            rest = rest.get(len..).ok_or(cut)?;
        }
        Err(Breach::Extensions)
    }
}
