//! VLANs in few words.

use crossdock_engine::tables::vlan::{Native, Tagging};
use crossdock_engine::wire::vlan::{Tag, Tci, Tpid, Vid};

/// A customer's tag.
pub const C: Tpid = Tpid::CUSTOMER;
/// A provider's tag.
pub const S: Tpid = Tpid::SERVICE;
/// A provider's tag as of old.
pub const LEGACY: Tpid = Tpid::LEGACY;

fn vid(n: u16) -> Vid {
    Vid::new(n).unwrap()
}

pub fn access(n: u16) -> Tagging {
    Tagging::Access { vid: vid(n), admit_tagged: false }
}

pub fn trunk(vids: &[u16]) -> Tagging {
    Tagging::Trunk { vids: vids.iter().map(|&n| vid(n)).collect(), native: None }
}

pub fn native(vids: &[u16], n: u16, tagged: bool) -> Tagging {
    Tagging::Trunk { vids: vids.iter().map(|&n| vid(n)).collect(), native: Some(Native { vid: vid(n), tagged }) }
}

pub fn tunnel(n: u16, tpid: Tpid) -> Tagging {
    Tagging::Tunnel { vid: vid(n), tpid }
}

/// A tag without priority; of any number, valid or not.
pub fn tag(tpid: Tpid, vid: u16) -> Tag {
    Tag::new(tpid, Tci(vid))
}

/// The frame with these tags behind its addresses, the first outermost.
pub fn tagged(tags: &[Tag], frame: &[u8]) -> Vec<u8> {
    let tags: Vec<u8> = tags.iter().flat_map(|tag| tag.to_bytes()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}
