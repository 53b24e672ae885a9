//! Super-frames: cut from anything, and joined from segments that were right until something befell them.

use arbitrary::{Result, Unstructured};
use crossdock_engine::frame::{Batch, Csum, Frame, Gso, GsoKind, Offload, Pool};
use crossdock_engine::offload::{Checksums, Coalescer, Segments, Unfit, add, complete, pseudo_header, sum};
use crossdock_engine::wire::ethernet::IPV4;
use crossdock_engine::wire::transport::{TCP, TCP_CHECKSUM, Transport};
use std::collections::BTreeMap;

/// Any offload of any frame is cut or refused. What is cut has all the payload, in order, and no segment is longer than
/// asked for.
pub fn gso(data: &[u8]) {
    let Ok((offload, bytes)) = super_frame(Unstructured::new(data)) else { return };
    crate::memory::with_pool(|pool| {
        let Some(frame) = crate::memory::frame(&bytes, offload, pool) else { return };
        for checksums in [Checksums::Complete, Checksums::Partial] {
            cut_and_check(&frame, checksums, pool);
        }
        pool.free(frame);
    });
}

fn super_frame(mut input: Unstructured<'_>) -> Result<(Offload, Vec<u8>)> {
    let csum = match input.arbitrary()? {
        true => Some(Csum { start: input.arbitrary()?, offset: input.arbitrary()? }),
        false => None,
    };
    let kind = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp][usize::from(input.arbitrary::<u8>()? % 3)];
    let gso = Gso { size: input.arbitrary()?, hdr_len: input.arbitrary()?, kind, ecn: input.arbitrary()? };
    let zeros: u16 = input.arbitrary()?;
    let mut bytes = input.take_rest().to_vec();
    bytes.resize(bytes.len() + usize::from(zeros), 0);
    Ok((Offload { csum, gso: Some(gso) }, bytes))
}

fn cut_and_check(frame: &Frame, checksums: Checksums, pool: &mut Pool) {
    let Ok(mut segments) = Segments::of(frame, checksums) else { return };
    let Some(end) = Transport::of(frame).map(|t| t.end) else { unreachable!("it was cut behind its headers") };
    let size = frame.offload.gso.map_or(0, |gso| usize::from(gso.size));
    let mut at = end;
    loop {
        let last = segments.at_last();
        let Some(segment) = segments.next(pool) else { unreachable!("there is memory for one segment") };
        let payload = &segment[end..];
        assert!(payload.len() <= size && payload == &frame[at..at + payload.len()]);
        assert!(segment.offload.gso.is_none() && segment.offload.csum.is_some() == (checksums == Checksums::Partial));
        at += payload.len();
        pool.free(segment);
        if last {
            break;
        }
    }
    assert_eq!(at, frame.len(), "all the payload left");
    assert!(segments.next(pool).is_none());
}

/// Joining conserves frames, and cutting what was joined gives back what came, in order within each stream.
pub fn gro(data: &[u8]) {
    const MOST: usize = 48;
    crate::memory::with_pool(|pool| {
        let mut batch = Batch::new(MOST);
        for (bytes, offload) in Stream::default().segments(Unstructured::new(data)).into_iter().take(MOST) {
            let Some(frame) = crate::memory::frame(&bytes, offload, pool) else { continue };
            assert!(batch.push(frame).is_ok());
        }
        let (came, before) = (wire(&batch, pool), batch.len());
        let coalesced = Coalescer::new(MOST).join(&mut batch, pool);
        assert_eq!(batch.len() + coalesced, before, "frames are conserved");
        assert_eq!(wire(&batch, pool), came);
        batch.drain().for_each(|frame| pool.free(frame));
    });
}

/// Which stream a frame is of: what is in front of its IP header, its addresses and its ports.
type Key = Option<[Vec<u8>; 3]>;

/// What a wire would carry of these frames, by stream.
fn wire(frames: &[Frame], pool: &mut Pool) -> BTreeMap<Key, Vec<Vec<u8>>> {
    let mut streams: BTreeMap<Key, Vec<Vec<u8>>> = BTreeMap::new();
    for frame in frames {
        for bytes in on_wire(frame, pool) {
            streams.entry(key(&bytes)).or_default().push(bytes);
        }
    }
    streams
}

fn key(frame: &[u8]) -> Key {
    let t = Transport::of(frame).filter(|t| t.protocol == TCP)?;
    let addresses = if t.ethertype == IPV4 { t.network + 12..t.network + 20 } else { t.network + 8..t.network + 40 };
    Some([frame[..t.network].to_vec(), frame[addresses].to_vec(), frame[t.start..t.start + 4].to_vec()])
}

fn on_wire(frame: &Frame, pool: &mut Pool) -> Vec<Vec<u8>> {
    if frame.offload.gso.is_none() {
        let mut bytes = frame.to_vec();
        // One that cannot be completed is dropped at its port; here it stays as it is.
        let _: Result<(), Unfit> = frame.offload.csum.map_or(Ok(()), |csum| complete(&mut bytes, csum)).or(Ok(()));
        return vec![with_one_zero(bytes)];
    }
    let Ok(mut segments) = Segments::of(frame, Checksums::Complete) else { unreachable!("what was joined can be cut") };
    let mut all = Vec::new();
    while let Some(segment) = segments.next(pool) {
        all.push(with_one_zero(segment.to_vec()));
        pool.free(segment);
    }
    all
}

/// A TCP checksum of 0xffff is one of 0 (RFC 1071): completing and cutting write it differently, as in Linux.
fn with_one_zero(mut frame: Vec<u8>) -> Vec<u8> {
    if let Some(t) = Transport::of(&frame).filter(|t| t.protocol == TCP) {
        let field = &mut frame[t.start + TCP_CHECKSUM..t.start + TCP_CHECKSUM + 2];
        if field == [0xff, 0xff] {
            field.fill(0);
        }
    }
    frame
}

/// Makes segments of four streams (IPv4 and IPv6, tagged or not), each continuing the one before it.
#[derive(Default)]
struct Stream {
    sequence: [u32; 4],
    id: [u16; 4],
}

/// What befalls a segment after it was made.
struct Mishap {
    at: u8,
    flip: u8,
}

impl Stream {
    fn segments(&mut self, mut input: Unstructured<'_>) -> Vec<(Vec<u8>, Offload)> {
        std::iter::from_fn(|| self.segment(&mut input).ok()).collect()
    }

    fn segment(&mut self, input: &mut Unstructured<'_>) -> Result<(Vec<u8>, Offload)> {
        if input.is_empty() {
            return Err(arbitrary::Error::NotEnoughData);
        }
        let [kind, flags, low, high]: [u8; 4] = input.arbitrary()?;
        let mishap = if kind & 8 != 0 { Mishap { at: input.arbitrary()?, flip: input.arbitrary()? } } else { NONE };
        let stream = usize::from(kind & 3);
        let payload = usize::from(u16::from_le_bytes([low, high]) % 1449);
        let mut frame = self.headers(stream, payload, 0x10 | flags);
        frame.extend((0..payload).map(|i| (i as u8).wrapping_mul(7) ^ low));
        let offload = seal(&mut frame, kind & 4 != 0);
        self.sequence[stream] = self.sequence[stream].wrapping_add(payload as u32);
        self.id[stream] = self.id[stream].wrapping_add(1);
        frame.get_mut(usize::from(mishap.at)).into_iter().for_each(|byte| *byte ^= mishap.flip);
        Ok((frame, offload))
    }

    fn headers(&self, stream: usize, payload: usize, flags: u8) -> Vec<u8> {
        let mut frame = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat();
        if stream & 2 != 0 {
            frame.extend([0x81, 0, 0, 7]);
        }
        let [high, low] = (payload as u16 + 20 + if stream & 1 == 0 { 20 } else { 0 }).to_be_bytes();
        let [id_high, id_low] = self.id[stream].to_be_bytes();
        match stream & 1 {
            0 => {
                frame.extend([0x08, 0x00, 0x45, 0, high, low, id_high, id_low, 0x40, 0, 64, TCP, 0, 0]);
                frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            }
            _ => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, high, low, TCP, 64]);
                frame.extend([[1; 16], [2; 16]].concat());
            }
        }
        frame.extend([0x0f, 0xa0, 0, 80]);
        frame.extend(self.sequence[stream].to_be_bytes());
        frame.extend([0, 0, 0, 9, 0x50, flags, 1, 0, 0, 0, 0, 0]);
        frame
    }
}

const NONE: Mishap = Mishap { at: 0, flip: 0 };

/// Fills the checksums in: TCP's whole, or only begun.
fn seal(frame: &mut [u8], partial: bool) -> Offload {
    let Some(t) = Transport::of(frame) else { unreachable!("these are headers of TCP") };
    if t.ethertype == IPV4 {
        let checksum = !sum(&frame[t.network..t.start]);
        frame[t.network + 10..t.network + 12].copy_from_slice(&checksum.to_be_bytes());
    }
    let pseudo = pseudo_header(frame, &t, frame.len() - t.start);
    let field = t.start + TCP_CHECKSUM..t.start + TCP_CHECKSUM + 2;
    let whole = !add(pseudo, sum(&frame[t.start..]));
    frame[field].copy_from_slice(&if partial { pseudo } else { whole }.to_be_bytes());
    let csum = Csum { start: t.start as u16, offset: TCP_CHECKSUM as u16 };
    Offload { csum: partial.then_some(csum), gso: None }
}
