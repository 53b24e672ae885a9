//! Ethernet II (IEEE 802.3, clause 3).

use std::fmt;
use std::str::FromStr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of an Ethernet header: destination, source, type.
pub const HEADER_LEN: usize = 14;
/// Bytes one VLAN tag adds.
pub const VLAN_TAG_LEN: usize = 4;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of reverse ARP (RFC 903).
pub const RARP: u16 = 0x8035;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of a customer VLAN tag (802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of a service VLAN tag (802.1ad).
pub const SERVICE_VLAN: u16 = 0x88a8;
/// EtherType of a service VLAN tag before 802.1ad, still in use.
pub const LEGACY_SERVICE_VLAN: u16 = 0x9100;

/// A MAC address.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// 00:00:00:00:00:00, which no station has.
    pub const ZERO: Mac = Mac([0; 6]);

    /// Whether it names a group (multicast or broadcast).
    #[inline]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it can be the source of a frame.
    #[inline]
    pub fn is_station(self) -> bool {
        !self.is_group() && self.to_u64() != 0
    }

    /// Whether it is one of 01:80:c2:00:00:00 to 0f, which bridges keep to themselves (802.1Q, table 8-1).
    #[inline]
    pub fn is_reserved(self) -> bool {
        self.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && self.0[5] < 0x10
    }

    /// The address in the low 48 bits, for tables.
    #[inline]
    pub fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// The inverse of [`Mac::to_u64`]; the high 16 bits are ignored.
    #[inline]
    pub fn from_u64(bits: u64) -> Mac {
        let [a, b, c, d, e, f, _, _] = bits.to_le_bytes();
        Mac([a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six hexadecimal bytes separated by colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: six hexadecimal bytes with colons, as in 02:00:00:00:00:01")]
pub struct MacError;

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(s: &str) -> Result<Mac, MacError> {
        let mut bytes = [0; 6];
        let mut parts = s.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(MacError)?;
            let hex = part.len() <= 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| hex).ok_or(MacError)?;
        }
        parts.next().is_none().then_some(Mac(bytes)).ok_or(MacError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let mac: Mac = "02:00:5e:00:53:af".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:00:53:af");
        assert_eq!(Mac::from_u64(mac.to_u64()), mac);
        for bad in ["", "02:00", "02:00:5e:00:53:af:00", "g2:00:5e:00:53:af", "+2:00:5e:00:53:af", "002:00:5e:00:53:af"]
        {
            assert_eq!(bad.parse::<Mac>(), Err(MacError), "{bad}");
        }
    }

    #[test]
    fn kinds() {
        assert!(Mac::BROADCAST.is_group() && !Mac::ZERO.is_station());
        assert!(Mac([1, 0x80, 0xc2, 0, 0, 0x0f]).is_reserved());
        assert!(!Mac([1, 0x80, 0xc2, 0, 0, 0x10]).is_reserved());
    }
}
