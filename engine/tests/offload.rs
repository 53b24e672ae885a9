//! Ports that differ in what they take: super-frames are cut, segments joined, checksums completed on the way.
#![cfg(test)]

mod support;

use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::{Csum, Gso, GsoKind, Offload};
use crossdock_engine::tables::topology::{Domain, PortView};
use crossdock_engine::wire::Mac;
use etherparse::PacketBuilder;
use support::{Rig, Seen, Setup, Takes, frame, mac, one_domain};

const HEADERS: usize = 54;
const SIZE: usize = 1460;
const CSUM: Csum = Csum { start: 34, offset: 16 };

/// Port 0 takes everything, 1 nothing, 2 partial checksums, 3 everything.
fn rig() -> Rig {
    let setup = Setup::new(one_domain(Domain::new("lan"), vec![PortView::default(); 4]));
    let takes = vec![Takes::SuperFrames, Takes::Nothing, Takes::PartialChecksums, Takes::SuperFrames];
    Rig::build(Setup { takes, ..setup })
}

/// A TCP segment with a whole checksum, number `n` of a stream.
fn segment(source: Mac, destination: Mac, n: u16, len: usize) -> Vec<u8> {
    let sequence = 1000 + u32::from(n) * SIZE as u32;
    let packet = PacketBuilder::ethernet2(source.0, destination.0).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let mut frame = Vec::new();
    packet.tcp(1, 2, sequence, 9).ack(5).write(&mut frame, &payload(n.into(), len)).unwrap();
    frame[18..20].copy_from_slice(&n.to_be_bytes());
    let (header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
    frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    frame
}

fn payload(n: usize, len: usize) -> Vec<u8> {
    (n * SIZE..n * SIZE + len).map(|i| (i % 253) as u8).collect()
}

/// Three segments and a short one.
fn segments(source: Mac, destination: Mac) -> Vec<Vec<u8>> {
    [SIZE, SIZE, SIZE, 700].iter().zip(0..).map(|(&len, n)| segment(source, destination, n, len)).collect()
}

/// The super-frame of [`segments`]: what [`rig`] makes of them for a port that takes it.
fn super_frame(rig: &mut Rig, source: Mac, destination: Mac) -> Seen {
    segments(source, destination).iter().for_each(|s| rig.send(1, s));
    rig.settle();
    let mut all = rig.received(0);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn segments_from_a_wire_are_joined_for_a_port_that_takes_super_frames() {
    let mut rig = rig();
    rig.introduce(0, mac(10));
    let (bytes, offload) = super_frame(&mut rig, mac(11), mac(10));
    let gso = Gso { size: SIZE as u16, hdr_len: HEADERS as u16, kind: GsoKind::Tcp4, ecn: false };
    assert_eq!(offload, Offload { csum: Some(CSUM), gso: Some(gso) });
    assert_eq!(bytes[HEADERS..], payload(0, 3 * SIZE + 700));
    assert_eq!(rig.counters[0].coalesced.get(), 3);
    assert_eq!(rig.balance().0, rig.balance().1);
    assert!(rig.ends_at_rest());
}

#[test]
fn segments_are_not_joined_between_wires_nor_between_ports_that_carry_super_frames() {
    for (from, to) in [(1, 2), (2, 1), (0, 3)] {
        let mut rig = rig();
        rig.introduce(to, mac(10));
        let frames = segments(mac(11), mac(10));
        frames.iter().for_each(|s| rig.send(from, s));
        rig.settle();
        let received: Vec<_> = rig.received(to).into_iter().map(|(bytes, _)| bytes).collect();
        assert_eq!(received, frames, "{from} to {to}");
    }
}

#[test]
fn a_super_frame_to_everybody_is_cut_where_it_must_be() {
    let mut rig = rig();
    rig.introduce(0, mac(10));
    let whole = super_frame(&mut rig, mac(11), mac(10));
    let mut bytes = whole.0.clone();
    bytes[..12].copy_from_slice(&[mac(99).0, mac(10).0].concat());
    rig.all_received();
    assert!(rig.offer(0, &bytes, whole.1));
    rig.settle();
    assert_eq!(rig.received(3), [(bytes, whole.1)], "as it is");
    let completed: Vec<_> = segments(mac(10), mac(99)).into_iter().map(|s| (s, Offload::default())).collect();
    assert_eq!(rig.received(1), completed);
    let partial = rig.received(2);
    assert!(partial.iter().all(|(_, offload)| *offload == Offload { csum: Some(CSUM), gso: None }));
    assert!(partial.iter().zip(&completed).all(|(a, b)| a.0[..50] == b.0[..50] && a.0[52..] == b.0[52..]));
    assert_eq!((rig.counters[1].generated.get(), rig.counters[2].generated.get()), (3, 3));
    assert_eq!(rig.balance().0, rig.balance().1);
    assert!(rig.ends_at_rest());
}

#[test]
fn what_cannot_be_finished_is_dropped_where_it_would_leave() {
    let mut rig = rig();
    rig.introduce(1, mac(10));
    let short = frame(mac(11), mac(10));
    let csum = Csum { start: short.len() as u16, offset: 0 };
    assert!(rig.offer(0, &short, Offload { csum: Some(csum), gso: None }));
    rig.settle();
    assert_eq!(rig.dropped_at(1, DropReason::OffloadUnfit), 1);
    assert_eq!(rig.balance().0, rig.balance().1);
    assert!(rig.ends_at_rest());
}
