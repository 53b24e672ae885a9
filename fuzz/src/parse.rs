//! Any bytes, at every depth.

use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::{Depth, FlowKey, PortId};
use crossdock_engine::parse::parse as parse_frame;
use crossdock_engine::wire::transport::Transport;

/// No frame makes the parser panic; a deeper look finds the same and more, and what it finds lies inside the frame.
pub fn parse(frame: &[u8]) {
    let port = PortId(7);
    let [l2, l3, l4] = [Depth::L2, Depth::L3, Depth::L4].map(|depth| parse_frame(frame, port, depth));
    assert_eq!(l2.is_ok(), frame.len() >= 14, "all that layer 2 needs is an Ethernet header");
    for (shallow, deep) in [(l2, l3), (l3, l4)] {
        match (shallow, deep) {
            (Ok(shallow), Ok(deep)) => assert!(contains(&deep, &shallow), "{deep:?} contradicts {shallow:?}"),
            (Ok(_), Err(reason)) => assert_eq!(reason, DropReason::Malformed),
            (shallow, deep) => assert_eq!(shallow, deep, "deeper finds no more in what is broken"),
        }
    }
    if let Some(t) = Transport::of(frame) {
        assert!(t.network < t.start && t.start <= t.end && t.end <= frame.len(), "{t:?}");
    }
}

/// Whether `deep` says what `shallow` says, and fills only fields that were zero.
fn contains(deep: &FlowKey, shallow: &FlowKey) -> bool {
    let layer2 = |key: &FlowKey| (key.port, key.eth_src, key.eth_dst, key.ethertype());
    let ip = |key: &FlowKey| (key.ip_src, key.ip_dst, key.ip_tos, key.fragment);
    layer2(deep) == layer2(shallow) && (ip(shallow) == ip(&FlowKey::default()) || ip(deep) == ip(shallow))
}
