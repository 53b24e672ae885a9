//! What forwarding databases know stations by.

use super::vlan::Vlan;
use crate::wire::Mac;

/// Whom an entry is about: a MAC address in a VLAN. The VLAN stands above the 48 bits of the address; never 0, since
/// no station has the address 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Station(pub(super) u64);

impl Station {
    /// The VLAN.
    pub fn vlan(self) -> Vlan {
        Vlan::from_bits((self.0 >> 48) as u16)
    }

    /// The address.
    pub fn mac(self) -> Mac {
        Mac::from_u64(self.0)
    }
}

impl From<(Vlan, Mac)> for Station {
    #[inline]
    fn from((vlan, mac): (Vlan, Mac)) -> Station {
        Station(u64::from(vlan.bits()) << 48 | mac.to_u64())
    }
}

/// In a domain without VLANs.
impl From<Mac> for Station {
    #[inline]
    fn from(mac: Mac) -> Station {
        (Vlan::NONE, mac).into()
    }
}
