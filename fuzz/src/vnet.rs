//! A hostile sender: any virtio-net header in front of any frame, any VLAN tag, as a device hands it over.

use arbitrary::Unstructured;
use crossdock_engine::frame::{Batch, Pool};
use crossdock_engine::offload::{Outbound, Takes};
use crossdock_engine::ports::{Caps, Io, Queue, fuzzing};
use crossdock_engine::stats::PortCounters;
use crossdock_engine::wire::vnet::{self as header, MAX_FRAME};

/// The frame is delivered or counted as dropped; a request that is accepted can be written again, and is carried out
/// towards a port that can do nothing itself.
pub fn vnet(data: &[u8]) {
    let Some((waiting, tag)) = waiting(Unstructured::new(data)) else { return };
    let Ok(mut queue) = fuzzing::device((waiting, tag)) else { return };
    crate::memory::with_pool(|pool| {
        let (mut batch, count) = (Batch::new(4), PortCounters::default());
        let received = queue.receive(&mut Io::new(pool, &count), &mut batch);
        assert!(received.is_ok() && batch.len() <= 1);
        assert_eq!(batch.len() as u64 + count.dropped(), 1, "delivered or dropped");
        check(&batch, tag.is_some());
        send(queue.as_mut(), &mut batch, pool);
    });
}

/// A header, a frame of some bytes and some zeros, and a tag.
fn waiting(mut input: Unstructured<'_>) -> Option<(Vec<u8>, Option<[u8; 4]>)> {
    let (tagged, zeros): (bool, u16) = (input.arbitrary().ok()?, input.arbitrary().ok()?);
    let tag = if tagged { Some(input.arbitrary().ok()?) } else { None };
    let mut bytes = input.take_rest().to_vec();
    bytes.resize(bytes.len() + usize::from(zeros), 0);
    Some((bytes, tag))
}

/// The promises of a frame that was received.
fn check(batch: &Batch, tagged: bool) {
    for frame in batch.iter() {
        assert!(frame.len() <= MAX_FRAME);
        let again = header::parse(&header::emit(&frame.offload), frame);
        assert!(tagged || again == Ok(frame.offload), "{:?} is not accepted again", frame.offload);
        if let Some(csum) = frame.offload.csum {
            let result = usize::from(csum.start) + usize::from(csum.offset);
            assert!(csum.start >= 14 && result + 2 <= frame.len(), "{csum:?} in {} bytes", frame.len());
        }
        if let Some(gso) = frame.offload.gso {
            assert!(gso.size > 0 && usize::from(gso.hdr_len) <= frame.len());
        }
    }
}

/// Sends to a port without offloads: every frame that went in comes out, cut and complete, or is dropped by name.
fn send(queue: &mut dyn Queue, batch: &mut Batch, pool: &mut Pool) {
    let (frames, count) = (batch.len() as u64, PortCounters::default());
    let plain = Caps { mtu: 1500, ..Caps::default() };
    let sent = Outbound::new(4).transmit(Takes::of(&plain), queue, &mut Io::new(pool, &count), batch, false);
    assert!(sent.is_ok() && batch.is_empty());
    assert_eq!(count.tx_frames.get() + count.dropped(), frames + count.generated.get());
}
