//! Any bytes, by a guarded port.

use crossdock_engine::flow::{Depth, PortId};
use crossdock_engine::guard::Guard;
use crossdock_engine::parse::parse;
use crossdock_engine::wire::Mac;
use crossdock_engine::wire::ethernet::{IPV4, IPV6};

/// No frame makes the guard panic, and what passes has the one source that may be, as the parser sees it.
pub fn guard(frame: &[u8]) {
    let Some(source) = frame.get(6..).and_then(|rest| rest.first_chunk()) else { return };
    let Ok(nobody) = ["192.0.2.1/32", "2001:db8::1/128"].map(str::parse).into_iter().collect::<Result<Vec<_>, _>>()
    else {
        return;
    };
    let _ = Guard::new(Some(&[Mac(*source)]), None).check(frame);
    let passes = Guard::new(Some(&[Mac(*source)]), Some(&nobody)).check(frame).is_ok();
    let Ok(key) = parse(frame, PortId(0), Depth::L3) else { return };
    if passes && [IPV4, IPV6].contains(&key.ethertype()) {
        let listed = key.ip_src[12..] == [192, 0, 2, 1] || key.ip_src[..4] == [0x20, 1, 0x0d, 0xb8];
        let own = key.ip_src[..2] == [0xfe, 0x80] && key.ip_src[13..] == source[3..];
        assert!(listed || own || key.ip_src == [0; 16], "{:02x?}", key.ip_src);
    }
    assert!(Guard::new(Some(&[]), None).check(frame).is_err() || frame.len() < 14, "nobody may pass");
}
