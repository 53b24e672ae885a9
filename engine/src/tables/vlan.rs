//! How ports take part in the VLANs of their domain (IEEE 802.1Q-2022, clauses 6.9 and 8.6).
//!
//! # Theory of operation
//!
//! Every frame that comes in is classified: it gets the VLAN it is switched in and the tag that says so on a trunk
//! ([`Tagging::classify`]). Every port it leaves by says whether it carries that VLAN ([`Tagging::carries`]) and with
//! which tag ([`Tagging::leaving`]). What lies between, learning and forwarding, knows only the VLAN.
//!
//! | the frame has | transparent | access | trunk | tunnel |
//! |---|---|---|---|---|
//! | no tag | - | its VLAN | native VLAN, or refused | its VLAN, pushed |
//! | a tag of VLAN 0 | - | its VLAN, priority kept | native, priority kept | its VLAN, pushed |
//! | another tag | - | refused, unless it is its VLAN and may be | that VLAN if carried, or refused | its VLAN, pushed |
//! | it leaves with | what it came with | no tag | a tag; untagged if native and no tag is inside | its outer tag taken off |
//!
//! A customer's VLAN 100 (C-TAG, 0x8100) and a provider's VLAN 100 (S-TAG, 0x88a8 or 0x9100) are two VLANs: a tag that
//! a tunnel's customer wrote can never stand for the provider's. Access and native VLANs are customers'. A trunk
//! carries the numbers in its list of both kinds, each with the tag it was given.

use crate::drop::DropReason;
use crate::flow::FlowKey;
use crate::wire::vlan::{Tag, Tci, Tpid, Vid};
use std::fmt;
use std::ops::RangeInclusive;

/// A VLAN inside a domain: its number, and whether it is a provider's. What addresses are learned in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vlan(u16);

impl Vlan {
    /// The one VLAN of a domain that has no VLANs.
    pub const NONE: Vlan = Vlan(0);
    const SERVICE: u16 = 1 << 12;

    /// The VLAN that a tag of this kind and number stands for.
    #[inline]
    pub const fn of(tpid: Tpid, vid: Vid) -> Vlan {
        Vlan(if tpid.is_service() { vid.number() | Vlan::SERVICE } else { vid.number() })
    }

    /// Its number; `None` for [`Vlan::NONE`].
    #[inline]
    pub const fn vid(self) -> Option<Vid> {
        Vid::new(self.0 & !Vlan::SERVICE)
    }

    /// Whether it is a provider's (802.1ad).
    #[inline]
    pub const fn is_service(self) -> bool {
        self.0 & Vlan::SERVICE != 0
    }

    /// 13 bits, for tables.
    #[inline]
    pub(crate) const fn bits(self) -> u16 {
        self.0
    }

    /// The inverse of [`Vlan::bits`].
    pub(crate) const fn from_bits(bits: u16) -> Vlan {
        Vlan(bits)
    }
}

/// A set of VLAN numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct VidSet(Box<[u64; 64]>);

impl VidSet {
    /// No VLAN.
    pub fn new() -> VidSet {
        VidSet(Box::new([0; 64]))
    }

    /// Adds one.
    pub fn insert(&mut self, vid: Vid) {
        let n = usize::from(vid.number());
        self.0[n / 64] |= 1 << (n % 64);
    }

    /// Whether it is in.
    #[inline]
    pub fn contains(&self, vid: Vid) -> bool {
        let n = usize::from(vid.number());
        self.0[n / 64] >> (n % 64) & 1 == 1
    }

    /// All, in order, as few ranges as possible.
    pub fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for n in (1..=Vid::MAX.number()).filter(|&n| Vid::new(n).is_some_and(|vid| self.contains(vid))) {
            match ranges.last_mut() {
                Some(last) if *last.end() + 1 == n => *last = *last.start()..=n,
                _ => ranges.push(n..=n),
            }
        }
        ranges
    }
}

impl Default for VidSet {
    fn default() -> VidSet {
        VidSet::new()
    }
}

impl FromIterator<Vid> for VidSet {
    fn from_iter<I: IntoIterator<Item = Vid>>(vids: I) -> VidSet {
        let mut set = VidSet::new();
        vids.into_iter().for_each(|vid| set.insert(vid));
        set
    }
}

impl fmt::Debug for VidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ranges()).finish()
    }
}

/// The VLAN of a trunk's untagged frames. A trunk always carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Native {
    /// Its number.
    pub vid: Vid,
    /// Whether its frames leave with a tag all the same (Open vSwitch's `native-tagged`).
    pub tagged: bool,
}

/// How a port takes part in VLANs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tagging {
    /// It knows of none: tags are payload. In a domain where another port has VLANs, [`Topology::settle`] makes it an
    /// access port of VLAN 1.
    ///
    /// [`Topology::settle`]: super::topology::Topology::settle
    #[default]
    Transparent,
    /// An untagged port of one VLAN.
    Access {
        /// Its VLAN.
        vid: Vid,
        /// Whether it also admits frames that carry its VLAN's own tag.
        admit_tagged: bool,
    },
    /// A tagged port of many VLANs.
    Trunk {
        /// Those it carries.
        vids: VidSet,
        /// What untagged frames belong to; without it they are refused.
        native: Option<Native>,
    },
    /// A provider's port towards a customer (802.1ad): all that comes in, tagged or not, gets the provider's tag.
    Tunnel {
        /// The provider's VLAN.
        vid: Vid,
        /// The kind of its tag.
        tpid: Tpid,
    },
}

/// What a frame is to the port it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// The VLAN it is switched in.
    pub vlan: Vlan,
    /// The tag that says so on a trunk, with the priority it came with.
    pub tag: Tag,
    /// The outermost tag, where it is one of the switch's VLANs and may be changed or taken off; `None` where the frame
    /// has none, or has some that are payload.
    pub carried: Option<Tag>,
    /// What follows that tag, or the frame's addresses where the switch takes its tags for payload, is a tag.
    pub is_nested: bool,
}

impl Class {
    /// A frame where nobody knows of VLANs.
    pub const TRANSPARENT: Class = Class { vlan: Vlan::NONE, tag: Tag::NONE, carried: None, is_nested: false };

    /// Of this VLAN, by a tag that the frame need not have yet.
    fn of(vid: Vid, tpid: Tpid, carried: Option<Tag>, is_nested: bool) -> Class {
        let tci = carried.map_or(Tci(0), |tag| tag.tci()).with_vid(vid);
        Class { vlan: Vlan::of(tpid, vid), tag: Tag::new(tpid, tci), carried, is_nested }
    }

    /// A frame of the switch's own in a VLAN, without any tag yet.
    pub(crate) fn without_tag(vlan: Vlan) -> Class {
        let tpid = if vlan.is_service() { Tpid::SERVICE } else { Tpid::CUSTOMER };
        let class = vlan.vid().map(|vid| Class::of(vid, tpid, None, false));
        class.map_or(Class::TRANSPARENT, |class| Class { vlan, ..class })
    }

    /// Of a provider's VLAN, with the priority of the customer's tag, which is payload.
    fn of_tunnel(vid: Vid, tpid: Tpid, payload: Option<Tag>) -> Class {
        Class { carried: None, ..Class::of(vid, tpid, payload, payload.is_some()) }
    }
}

impl Tagging {
    /// The VLAN of a frame that comes in.
    ///
    /// # Errors
    /// [`DropReason::VlanFiltered`] when the port admits no such frame, [`DropReason::VlanInvalid`] when its tag is no
    /// VLAN's.
    #[inline]
    pub fn classify(&self, key: &FlowKey) -> Result<Class, DropReason> {
        let is_nested = key.tags.is_nested();
        match self {
            Tagging::Transparent => Ok(Class::TRANSPARENT),
            Tagging::Tunnel { vid, tpid } => Ok(Class::of_tunnel(*vid, *tpid, key.tag())),
            Tagging::Access { vid, admit_tagged } => {
                let tag = tag_of(key)?;
                let admitted = is_admitted_at_access(*vid, *admit_tagged, tag);
                admitted.then(|| Class::of(*vid, Tpid::CUSTOMER, tag, is_nested)).ok_or(DropReason::VlanFiltered)
            }
            Tagging::Trunk { vids, native } => {
                let tag = tag_of(key)?;
                let (vid, tpid) = vlan_at_trunk(vids, *native, tag).ok_or(DropReason::VlanFiltered)?;
                Ok(Class::of(vid, tpid, tag, is_nested))
            }
        }
    }

    /// Whether frames of `vlan` may leave by the port.
    #[inline]
    pub fn carries(&self, vlan: Vlan) -> bool {
        let customer = |vid| vlan == Vlan::of(Tpid::CUSTOMER, vid);
        match self {
            Tagging::Transparent => vlan == Vlan::NONE,
            Tagging::Access { vid, .. } => customer(*vid),
            Tagging::Trunk { vids, native } => {
                vlan.vid().is_some_and(|vid| vids.contains(vid)) || native.is_some_and(|native| customer(native.vid))
            }
            Tagging::Tunnel { vid, tpid } => vlan == Vlan::of(*tpid, *vid),
        }
    }

    /// The tag that a frame of this class has when it leaves by the port. One whose content begins with a tag leaves a trunk
    /// with the native VLAN's own: without it the next switch would take it for a frame of the inner VLAN ("VLAN hopping").
    #[inline]
    pub fn leaving(&self, class: &Class) -> Option<Tag> {
        match self {
            Tagging::Transparent => class.carried,
            Tagging::Access { .. } | Tagging::Tunnel { .. } => None,
            Tagging::Trunk { native: Some(Native { vid, tagged: false }), .. }
                if class.vlan == Vlan::of(Tpid::CUSTOMER, *vid) && !class.is_nested =>
            {
                None
            }
            Tagging::Trunk { .. } => Some(class.tag),
        }
    }
}

/// The outermost tag of a frame at a port that reads tags. An EtherType that promises a tag where none is, is a frame
/// cut short.
fn tag_of(key: &FlowKey) -> Result<Option<Tag>, DropReason> {
    let tag = key.tag();
    let cut = tag.is_none() && Tpid::of(key.ethertype()) != Tpid::NONE;
    let reserved = tag.is_some_and(|tag| tag.tci().vid() > Vid::MAX.number());
    if cut || reserved { Err(DropReason::VlanInvalid) } else { Ok(tag) }
}

/// Whether an access port of this VLAN takes a frame with this tag.
fn is_admitted_at_access(vid: Vid, admit_tagged: bool, tag: Option<Tag>) -> bool {
    tag.is_none_or(|tag| {
        let own = tag.tci().vid() == vid.number() && !tag.tpid().is_service();
        tag.tci().vid() == 0 || (admit_tagged && own)
    })
}

/// The VLAN at a trunk of a frame with this tag, and its kind; `None` where the trunk does not carry it.
fn vlan_at_trunk(vids: &VidSet, native: Option<Native>, tag: Option<Tag>) -> Option<(Vid, Tpid)> {
    let named = tag.and_then(|tag| Vid::new(tag.tci().vid()).map(|vid| (vid, tag.tpid())));
    let by_default = native.map(|native| (native.vid, Tpid::CUSTOMER));
    let (vid, tpid) = named.or(by_default)?;
    (vids.contains(vid) || by_default == Some((vid, tpid))).then_some((vid, tpid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vid(n: u16) -> Vid {
        Vid::new(n).unwrap()
    }

    fn trunk(vids: &[u16], native: Option<Native>) -> Tagging {
        Tagging::Trunk { vids: vids.iter().map(|&n| vid(n)).collect(), native }
    }

    #[test]
    fn sets_show_as_ranges() {
        let set: VidSet = [4094, 10, 12, 11, 63, 64, 1].into_iter().map(vid).collect();
        assert_eq!(set.ranges(), [1..=1, 10..=12, 63..=64, 4094..=4094]);
        assert!(set.contains(vid(64)) && !set.contains(vid(65)));
    }

    #[test]
    fn a_customers_number_is_not_a_providers() {
        let (customer, service) = (Vlan::of(Tpid::CUSTOMER, vid(100)), Vlan::of(Tpid::SERVICE, vid(100)));
        assert_ne!(customer, service);
        assert_eq!(service, Vlan::of(Tpid::LEGACY, vid(100)));
        assert_eq!((customer.vid(), service.vid()), (Some(vid(100)), Some(vid(100))));
        let tunnel = Tagging::Tunnel { vid: vid(100), tpid: Tpid::SERVICE };
        assert!(tunnel.carries(service) && !tunnel.carries(customer));
        let native = Some(Native { vid: vid(100), tagged: false });
        assert!(trunk(&[], native).carries(customer) && !trunk(&[], native).carries(service));
    }
}
