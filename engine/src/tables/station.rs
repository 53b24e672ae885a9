//! What forwarding databases know stations by.

use super::vlan::Vlan;
use crate::wire::Mac;

/// Whom an entry is about: a MAC address in a VLAN. The VLAN stands above the 48 bits of the address, and above all a bit that is
/// always set, so that it is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Station(pub(super) u64);

const MARK: u64 = 1 << 63;
const ADDRESS: u64 = (1 << 48) - 1;

impl Station {
    /// No station: it has the address 0.
    pub const NOBODY: Station = Station(MARK);

    /// The station of an address that was read with what stands behind it ([`Mac::to_u64`]).
    #[inline(always)]
    pub(crate) fn of_bits(vlan: Vlan, bits: u64) -> Station {
        Station(MARK | u64::from(vlan.bits()) << 48 | bits & ADDRESS)
    }

    /// The VLAN.
    pub fn vlan(self) -> Vlan {
        Vlan::from_bits(((self.0 & !MARK) >> 48) as u16)
    }

    /// The address.
    pub fn mac(self) -> Mac {
        Mac::from_u64(self.0)
    }
}

impl Default for Station {
    fn default() -> Station {
        Station::NOBODY
    }
}

impl From<(Vlan, Mac)> for Station {
    #[inline]
    fn from((vlan, mac): (Vlan, Mac)) -> Station {
        Station::of_bits(vlan, mac.to_u64())
    }
}

/// In a domain without VLANs.
impl From<Mac> for Station {
    #[inline]
    fn from(mac: Mac) -> Station {
        (Vlan::NONE, mac).into()
    }
}
