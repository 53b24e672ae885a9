//! Frames out of capture files: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), of either byte order.

/// Why there is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Not a capture file.
    #[error("neither pcap nor pcapng")]
    Format,
    /// The file has fewer frames.
    #[error("it has no frame of that number")]
    TooFew,
    /// Only the beginning of the frame was kept.
    #[error("the frame was cut when it was captured (a larger snaplen keeps it whole)")]
    Cut,
}

/// The `number`th frame of a file, from 1.
///
/// # Errors
/// The file is of another kind, has no such frame, or not all of it.
pub fn frame(file: &[u8], number: usize) -> Result<&[u8], FileError> {
    let magic = file.first_chunk::<4>().ok_or(FileError::Format)?;
    let (captured, len) = match u32::from_le_bytes(*magic) {
        0xa1b2_c3d4 | 0xa1b2_3c4d => pcap(file, number, u32::from_le_bytes),
        0xd4c3_b2a1 | 0x4d3c_b2a1 => pcap(file, number, u32::from_be_bytes),
        0x0a0d_0d0a => pcapng(file, number),
        _ => return Err(FileError::Format),
    }
    .ok_or(FileError::TooFew)?;
    if captured.len() < len { Err(FileError::Cut) } else { Ok(captured) }
}

type Read = fn([u8; 4]) -> u32;

/// The 32-bit word at a position.
fn word(bytes: &[u8], at: usize, read: Read) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|word| read(*word) as usize)
}

/// What was kept of a frame, and how long it was.
type Found<'a> = Option<(&'a [u8], usize)>;

fn pcap(file: &[u8], number: usize, read: Read) -> Found<'_> {
    let mut rest = file.get(24..)?;
    for _ in 1..number {
        rest = rest.get(16 + word(rest, 8, read)?..)?;
    }
    Some((rest.get(16..16 + word(rest, 8, read)?)?, word(rest, 12, read)?))
}

/// Sections may differ in byte order: each says its own.
fn pcapng(mut rest: &[u8], number: usize) -> Found<'_> {
    const ENHANCED: usize = 6;
    let (mut read, mut left): (Read, usize) = (u32::from_le_bytes, number);
    loop {
        if word(rest, 0, read)? == 0x0a0d_0d0a {
            read =
                if word(rest, 8, u32::from_le_bytes)? == 0x1a2b_3c4d { u32::from_le_bytes } else { u32::from_be_bytes };
        }
        left -= usize::from(word(rest, 0, read)? == ENHANCED);
        if left == 0 {
            return Some((rest.get(28..28 + word(rest, 20, read)?)?, word(rest, 24, read)?));
        }
        rest = rest.get(word(rest, 4, read)?.max(12)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_engine::pcapng::{Packet, Writer};
    use std::time::Duration;

    fn written(frames: &[&[u8]], len: usize) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), "test").unwrap();
        let interface = writer.interface("a").unwrap();
        for data in frames {
            let (time, direction, comment) = (Duration::ZERO, None, Some("x"));
            writer.packet(&Packet { interface, time, data, len, direction, comment }).unwrap();
        }
        writer.into_inner()
    }

    #[test]
    fn frames_are_found_in_both_formats_and_orders() {
        let file = written(&[&[1; 5], &[2; 60]], 60);
        assert_eq!((frame(&file, 1), frame(&file, 2)), (Err(FileError::Cut), Ok(&[2; 60][..])));
        assert_eq!(frame(&file, 3), Err(FileError::TooFew));
        for (magic, write) in [
            ([0xd4, 0xc3, 0xb2, 0xa1], u32::to_le_bytes as fn(u32) -> [u8; 4]),
            ([0xa1, 0xb2, 0x3c, 0x4d], u32::to_be_bytes),
        ] {
            let header = [&magic[..], &[0; 20]].concat();
            let record = |n: u8| [&[0; 8][..], &write(3), &write(3), &[n; 3]].concat();
            let file = [header, record(1), record(2)].concat();
            assert_eq!((frame(&file, 2), frame(&file, 3)), (Ok(&[2; 3][..]), Err(FileError::TooFew)));
        }
        assert_eq!(frame(b"hello, world", 1), Err(FileError::Format));
    }

    #[test]
    fn a_broken_file_ends_the_search() {
        let file = written(&[&[1; 3]], 3);
        for cut in 0..file.len() {
            let _ = frame(&file[..cut], 1);
            let mut noisy = file.clone();
            noisy[cut] ^= 0xff;
            let _ = frame(&noisy, 2);
        }
    }
}
