//! IP addresses that a port may have.

use crate::wire::{Cidr, Mac};
use std::net::IpAddr;

/// Single addresses and whole prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Addresses {
    /// Those of `prefixes`.
    pub fn new(prefixes: &[Cidr]) -> Addresses {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            let len = prefix.prefix_len().into();
            match prefix.addr() {
                IpAddr::V4(address) => v4.push(range(address.to_bits(), u32::MAX.checked_shr(len).unwrap_or(0))),
                IpAddr::V6(address) => v6.push(range(address.to_bits(), u128::MAX.checked_shr(len).unwrap_or(0))),
            }
        }
        Addresses { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    #[inline]
    pub fn has_ipv4(&self, address: [u8; 4]) -> bool {
        self.v4.contains(u32::from_be_bytes(address))
    }

    #[inline]
    pub fn has_ipv6(&self, address: [u8; 16]) -> bool {
        self.v6.contains(u128::from_be_bytes(address))
    }
}

/// The first and the last address of a prefix.
fn range<T: Copy + std::ops::BitOr<Output = T> + std::ops::BitAnd<Output = T> + std::ops::Not<Output = T>>(
    address: T,
    host_bits: T,
) -> (T, T) {
    (address & !host_bits, address | host_bits)
}

/// The MAC address that an IPv6 link-local address is made of (RFC 4291, appendix A: modified EUI-64), if it is of that kind.
pub(super) fn maker(address: [u8; 16]) -> Option<Mac> {
    match address {
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f] => Some(Mac([a ^ 2, b, c, d, e, f])),
        _ => None,
    }
}

/// Ranges of numbers, apart from each other and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ranges<T>(Box<[(T, T)]>);

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Ranges<T> {
        ranges.sort_unstable();
        ranges.dedup_by(|(first, last), (_, before)| {
            let overlap = first <= before;
            *before = if overlap { (*before).max(*last) } else { *before };
            overlap
        });
        Ranges(ranges.into())
    }

    #[inline]
    fn contains(&self, number: T) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= number);
        self.0[..behind].last().is_some_and(|(_, last)| number <= *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mac_makes_a_link_local_address() {
        let maker_of = |text: &str| maker(text.parse::<std::net::Ipv6Addr>().unwrap().octets());
        assert_eq!(maker_of("fe80::42:acff:fe11:2"), Some(Mac([0x02, 0x42, 0xac, 0x11, 0, 2])));
        for other in ["fe80::1", "fe80::1:0:42:acff:fe11:2", "fd00::42:acff:fe11:2", "fe80::42:acff:ff11:2"] {
            assert_eq!(maker_of(other), None, "{other}");
        }
    }

    #[test]
    fn prefixes_have_all_their_addresses() {
        let prefixes = ["10.0.0.9/24", "10.0.1.7/32", "fd00::9/64", "0.0.0.0/32"].map(|text| text.parse().unwrap());
        let addresses = Addresses::new(&prefixes);
        let has = |text: &str| match text.parse().unwrap() {
            IpAddr::V4(address) => addresses.has_ipv4(address.octets()),
            IpAddr::V6(address) => addresses.has_ipv6(address.octets()),
        };
        assert!(["10.0.0.0", "10.0.0.255", "10.0.1.7", "fd00::", "fd00::ffff:0:0:1", "0.0.0.0"].into_iter().all(has));
        assert!(!["10.0.1.0", "10.0.1.8", "9.255.255.255", "fd00:0:0:1::", "::", "fe80::1"].into_iter().any(has));
        let all = Addresses::new(&["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap()));
        assert!(all.has_ipv4([255; 4]) && all.has_ipv4([0; 4]) && all.has_ipv6([255; 16]));
    }

    proptest! {
        #[test]
        fn ranges_have_what_one_of_them_has(ranges in prop::collection::vec((0..50_u32, 0..9_u32), 0..9), number in 0..64_u32) {
            let ranges: Vec<_> = ranges.into_iter().map(|(first, more)| (first, first + more)).collect();
            let one_has = ranges.iter().any(|(first, last)| (first..=last).contains(&&number));
            prop_assert_eq!(Ranges::new(ranges).contains(number), one_has);
        }
    }
}
