//! VLAN tags (IEEE 802.1Q-2022, clause 9): four bytes between the source address and the EtherType.
//!
//! ```text
//!  12      14      16
//!  | TPID  | TCI   | EtherType of what follows
//!            PCP (3 bits), DEI (1), VID (12)
//! ```

use super::ethernet::{LEGACY_SERVICE_VLAN, SERVICE_VLAN, VLAN, VLAN_TAG_LEN};
use std::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which kind of tag: what its EtherType says. A number of our own, so that it takes a byte of the flow key.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Tpid(u8);

impl Tpid {
    /// No tag.
    pub const NONE: Tpid = Tpid(0);
    /// A customer tag, C-TAG: 0x8100 (802.1Q).
    pub const CUSTOMER: Tpid = Tpid(1);
    /// A service tag, S-TAG: 0x88a8 (802.1ad).
    pub const SERVICE: Tpid = Tpid(2);
    /// A service tag as it was written before 802.1ad: 0x9100.
    pub const LEGACY: Tpid = Tpid(3);

    /// The kind of an EtherType; [`Tpid::NONE`] where it is no tag's.
    #[inline(always)]
    pub const fn of(ethertype: u16) -> Tpid {
        match ethertype {
            VLAN => Tpid::CUSTOMER,
            SERVICE_VLAN => Tpid::SERVICE,
            LEGACY_SERVICE_VLAN => Tpid::LEGACY,
            _ => Tpid::NONE,
        }
    }

    /// The EtherType; 0 for [`Tpid::NONE`].
    #[inline]
    pub const fn ethertype(self) -> u16 {
        match self {
            Tpid::CUSTOMER => VLAN,
            Tpid::SERVICE => SERVICE_VLAN,
            Tpid::LEGACY => LEGACY_SERVICE_VLAN,
            _ => 0,
        }
    }

    /// Whether it marks a service provider's VLAN, not a customer's.
    #[inline]
    pub const fn is_service(self) -> bool {
        self.0 >= Tpid::SERVICE.0
    }

    /// The kind as a small number: 0 for no tag.
    #[inline(always)]
    pub(crate) const fn code(self) -> u8 {
        self.0
    }
}

/// What the parser sees of a frame's tags: the outermost one's kind, and whether another follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct TagStack(u8);

impl TagStack {
    /// No tag.
    pub const NONE: TagStack = TagStack(0);
    const NESTED: u8 = 0x80;

    /// A tag of this kind; `is_nested` says that another follows.
    #[inline(always)]
    pub const fn new(outer: Tpid, is_nested: bool) -> TagStack {
        TagStack(if is_nested { outer.0 | TagStack::NESTED } else { outer.0 })
    }

    /// The outermost tag's kind.
    #[inline(always)]
    pub const fn outer(self) -> Tpid {
        Tpid(self.0 & !TagStack::NESTED)
    }

    /// Whether what the outermost tag holds begins with a tag.
    #[inline]
    pub const fn is_nested(self) -> bool {
        self.0 & TagStack::NESTED != 0
    }

    /// A small number, 0 for no tag.
    #[inline(always)]
    pub(crate) const fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Debug for Tpid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.ethertype())
    }
}

/// A VLAN's number on a wire: 1 to 4094. 0 is no VLAN (a priority tag), 4095 is reserved (802.1Q, table 9-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vid(u16);

impl Vid {
    /// VLAN 1, the default of 802.1Q.
    pub const DEFAULT: Vid = Vid(1);
    /// The highest.
    pub const MAX: Vid = Vid(4094);

    /// The VLAN of this number, if it is one.
    #[inline]
    pub const fn new(number: u16) -> Option<Vid> {
        if number == 0 || number > Vid::MAX.0 { None } else { Some(Vid(number)) }
    }

    /// Its number.
    #[inline]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tag control information: priority (PCP), drop eligibility (DEI) and VLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Tci(pub u16);

impl Tci {
    const VID: u16 = 0x0fff;

    /// The 12 bits of the VLAN.
    #[inline]
    pub const fn vid(self) -> u16 {
        self.0 & Tci::VID
    }

    /// The same priority and drop eligibility in another VLAN.
    #[inline]
    pub const fn with_vid(self, vid: Vid) -> Tci {
        Tci(self.0 & !Tci::VID | vid.0)
    }
}

/// A whole tag, as it stands in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Tag([u8; VLAN_TAG_LEN]);

impl Tag {
    /// No tag: what stands for one where there are no VLANs.
    pub(crate) const NONE: Tag = Tag([0; VLAN_TAG_LEN]);

    /// The tag of this kind and content.
    #[inline]
    pub const fn new(tpid: Tpid, tci: Tci) -> Tag {
        let ([a, b], [c, d]) = (tpid.ethertype().to_be_bytes(), tci.0.to_be_bytes());
        Tag([a, b, c, d])
    }

    /// The tag of these bytes.
    pub const fn from_bytes(bytes: [u8; VLAN_TAG_LEN]) -> Tag {
        Tag(bytes)
    }

    /// Its kind.
    #[inline]
    pub const fn tpid(self) -> Tpid {
        let [a, b, _, _] = self.0;
        Tpid::of(u16::from_be_bytes([a, b]))
    }

    /// Its content.
    #[inline]
    pub const fn tci(self) -> Tci {
        let [_, _, c, d] = self.0;
        Tci(u16::from_be_bytes([c, d]))
    }

    /// Its bytes.
    #[inline]
    pub const fn to_bytes(self) -> [u8; VLAN_TAG_LEN] {
        self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.tpid(), self.tci().vid())?;
        let priority = self.tci().0 >> 13;
        if priority != 0 { write!(f, "/pcp {priority}") } else { Ok(()) }
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_their_ethertypes() {
        for tpid in [Tpid::CUSTOMER, Tpid::SERVICE, Tpid::LEGACY] {
            assert_eq!(Tpid::of(tpid.ethertype()), tpid);
            assert_eq!(tpid.is_service(), tpid != Tpid::CUSTOMER);
        }
        assert_eq!((Tpid::of(0x0800), Tpid::of(0x86dd), Tpid::of(0x88cc)), (Tpid::NONE, Tpid::NONE, Tpid::NONE));
    }

    #[test]
    fn numbers_of_vlans() {
        assert_eq!([0, 1, 4094, 4095].map(|n| Vid::new(n).map(Vid::number)), [None, Some(1), Some(4094), None]);
    }

    #[test]
    fn a_tag_in_bytes() {
        let tag = Tag::new(Tpid::SERVICE, Tci(0xb000).with_vid(Vid::DEFAULT));
        assert_eq!(tag.to_bytes(), [0x88, 0xa8, 0xb0, 0x01]);
        assert_eq!(tag.to_string(), "0x88a8/1/pcp 5");
    }
}
