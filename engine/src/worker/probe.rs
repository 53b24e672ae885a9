//! The frame by which a switch finds a loop: one of its own, which must not come back.
//!
//! ```text
//!  0           6        12       14  15     17       19     21    25
//!  | group     | source | 0x88b5 | 1 | port | domain | VLAN | time | mark (8 bytes) | zeros, to 60 bytes
//! ```
//!
//! Its EtherType is the first for local experiments (IEEE 802-2014, clause 9.2.4), its destination a locally administered group,
//! which other switches flood. The mark is a keyed hash (SipHash) of the rest: whoever does not know the secret can only send
//! back what was sent to it, for as long as that is fresh.

use crate::clock::Millis;
use crate::flow::PortId;
use crate::tables::topology::DomainId;
use crate::tables::vlan::Vlan;
use crate::wire::Mac;
use crate::wire::ethernet::HEADER_LEN;
use crate::wire::transport::network;
use std::hash::{BuildHasher, RandomState};

/// Where probes are sent to: "xdock" behind the bits of a group of local meaning.
pub(super) const GROUP: Mac = Mac([0x03, 0x78, 0x64, 0x6f, 0x63, 0x6b]);
const ETHERTYPE: u16 = 0x88b5;
const VERSION: u8 = 1;
const BODY: usize = 19;
/// Bytes of a probe without tag: the shortest frame.
pub(super) const LEN: usize = 60;

/// What a probe says: the port it was sent by, in which domain and VLAN, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub port: PortId,
    pub domain: DomainId,
    pub vlan: Vlan,
    pub sent: Millis,
}

impl Probe {
    fn fields(&self) -> (u16, u16, u16, u32) {
        (self.port.0, self.domain.0, self.vlan.bits(), self.sent.0)
    }

    /// The frame, without a tag.
    pub fn emit(&self, secret: &RandomState) -> [u8; LEN] {
        let (port, domain, vlan, sent) = self.fields();
        let [a, b, c, d, e, f] = GROUP.0;
        // An address for each port: a switch outside must not see one that jumps.
        let [g, h, i, j, k, ..] = secret.hash_one(port).to_be_bytes();
        let mut frame = [0; LEN];
        let header = [a, b, c, d, e, f, 0x02, g, h, i, j, k].into_iter().chain(ETHERTYPE.to_be_bytes());
        let body = [port, domain, vlan].into_iter().flat_map(u16::to_be_bytes).chain(sent.to_be_bytes());
        let mark = secret.hash_one(self.fields()).to_be_bytes();
        let bytes = header.chain([VERSION]).chain(body).chain(mark);
        frame.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        frame
    }

    /// The probe in a frame, if that is one of ours.
    pub fn parse(frame: &[u8], secret: &RandomState) -> Option<Probe> {
        if frame.get(..6)? != GROUP.0 {
            return None;
        }
        let (ethertype, at) = network(frame)?;
        let &[version, a, b, c, d, e, f, g, h, i, j, ref mark @ ..] = frame.get(at..)?.first_chunk::<BODY>()?;
        let probe = Probe {
            port: PortId(u16::from_be_bytes([a, b])),
            domain: DomainId(u16::from_be_bytes([c, d])),
            vlan: Vlan::from_bits(u16::from_be_bytes([e, f])),
            sent: Millis(u32::from_be_bytes([g, h, i, j])),
        };
        let is_ours = (ethertype, version) == (ETHERTYPE, VERSION)
            && u64::from_be_bytes(*mark) == secret.hash_one(probe.fields());
        is_ours.then_some(probe)
    }
}

const _: () = assert!(HEADER_LEN + BODY <= LEN);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::vlan::{Tag, Tci, Tpid, Vid};
    use proptest::prelude::*;

    fn probe() -> impl Strategy<Value = Probe> {
        (any::<u16>(), any::<u16>(), 0..8192u16, any::<u32>()).prop_map(|(port, domain, vlan, sent)| Probe {
            port: PortId(port),
            domain: DomainId(domain),
            vlan: Vlan::from_bits(vlan),
            sent: Millis(sent),
        })
    }

    proptest! {
        #[test]
        fn what_was_sent_is_known_again(probe in probe(), tags in prop::collection::vec(1..4095u16, 0..3)) {
            let secret = RandomState::new();
            let tag = |vid| Tag::new(Tpid::CUSTOMER, Tci(0).with_vid(Vid::new(vid).unwrap()));
            let mut frame = probe.emit(&secret).to_vec();
            tags.iter().for_each(|&vid| drop(frame.splice(12..12, tag(vid).to_bytes())));
            prop_assert_eq!(Probe::parse(&frame, &secret), Some(probe));
            prop_assert_eq!(Probe::parse(&frame, &RandomState::new()), None, "another switch's");
        }

        #[test]
        fn what_was_changed_is_not(probe in probe(), at in 14..33usize, flip in 1..=255u8) {
            let secret = RandomState::new();
            let mut frame = probe.emit(&secret);
            frame[at] ^= flip;
            prop_assert_eq!(Probe::parse(&frame, &secret), None);
        }

        #[test]
        fn no_bytes_make_it_panic(frame in prop::collection::vec(any::<u8>(), 0..80), ours: bool) {
            let mut frame = frame;
            let end = frame.len().min(6);
            if ours {
                frame[..end].copy_from_slice(&GROUP.0[..end]);
            }
            prop_assert_eq!(Probe::parse(&frame, &RandomState::new()), None);
        }
    }
}
