//! Neighbour Discovery of a guarded port (RFC 4861).

use super::{Breach, Guard};
use crate::wire::Mac;
use std::ops::RangeInclusive;

/// ICMPv6 types.
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
pub(super) const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// Reports to multicast routers (RFC 2710, RFC 3810).
pub(super) const REPORT: u8 = 131;
pub(super) const DONE: u8 = 132;
pub(super) const REPORT_V2: u8 = 143;

/// All messages of Neighbour Discovery.
pub(super) const KINDS: RangeInclusive<u8> = ROUTER_SOLICITATION..=REDIRECT;

/// Options with a link-layer address, the sender's and the target's.
const LINK_LAYER: RangeInclusive<u8> = 1..=2;

impl Guard {
    /// Whether a message names nobody else. Messages of other kinds name nobody. One without source looks for another host that
    /// has its target.
    pub(super) fn check_neighbour(&self, kind: u8, message: &[u8], has_source: bool) -> Result<(), Breach> {
        let names_itself = match kind {
            ROUTER_SOLICITATION => return self.check_options(message.get(8..).ok_or(Breach::Malformed)?),
            SOLICITATION => !has_source,
            ADVERTISEMENT => true,
            ROUTER_ADVERTISEMENT | REDIRECT => return Err(Breach::Router),
            _ => return Ok(()),
        };
        let (header, options) = message.split_first_chunk::<24>().ok_or(Breach::Malformed)?;
        let target = header.last_chunk().copied().unwrap_or_default();
        if names_itself && !self.may_send_from(target) {
            return Err(Breach::NeighbourTarget);
        }
        self.check_options(options)
    }

    /// Whether every link-layer address among the options is one of the port's.
    fn check_options(&self, mut options: &[u8]) -> Result<(), Breach> {
        while let [kind, len, ..] = *options {
            let (option, rest) = options.split_at_checked(8 * usize::from(len)).ok_or(Breach::Malformed)?;
            let &[_, _, a, b, c, d, e, f, ..] = option else { return Err(Breach::Malformed) };
            if LINK_LAYER.contains(&kind) && !self.may_have(Mac([a, b, c, d, e, f]).to_u64()) {
                return Err(Breach::NeighbourMac);
            }
            options = rest;
        }
        if options.is_empty() { Ok(()) } else { Err(Breach::Malformed) }
    }
}
