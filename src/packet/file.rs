//! One frame out of a capture file.

use std::io::{self, Read};

use crossdock_engine::ports::pcap::Reader;

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read, or is no capture of Ethernet frames.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// The file has fewer frames.
    #[error("it has no frame of that number")]
    TooFew,
    /// Only the beginning of the frame was kept.
    #[error("the frame was cut when it was captured (a larger snaplen keeps it whole)")]
    Cut,
}

/// The `number`th frame of a file (pcap or pcapng), from 1.
///
/// # Errors
/// The file is of another kind, has no such frame, or not all of it.
pub fn frame(file: impl Read + Send + 'static, number: usize) -> Result<Vec<u8>, FileError> {
    let mut reader = Reader::new(file)?;
    let mut bytes = Vec::new();
    for _ in 1..number {
        reader.next(&mut bytes)?.ok_or(FileError::TooFew)?;
    }
    let head = reader.next(&mut bytes)?.ok_or(FileError::TooFew)?;
    if bytes.len() < head.len { Err(FileError::Cut) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_engine::pcapng::{Packet, Writer};
    use std::io::Cursor;
    use std::time::Duration;

    fn told(file: &[u8], number: usize) -> Result<Vec<u8>, String> {
        frame(Cursor::new(file.to_vec()), number).map_err(|error| error.to_string())
    }

    #[test]
    fn frames_have_numbers_and_must_be_whole() {
        let mut writer = Writer::new(Vec::new(), "test").unwrap();
        let interface = writer.interface("a").unwrap();
        for data in [&[1; 5][..], &[2; 60]] {
            let (time, direction, comment) = (Duration::ZERO, None, Some("x"));
            writer.packet(&Packet { interface, time, data, len: 60, direction, comment }).unwrap();
        }
        let mut file = writer.into_inner();
        // A simple packet block of four bytes.
        file.extend([3_u32, 20, 4, 0x0303_0303, 20].iter().flat_map(|word| word.to_le_bytes()));
        assert!(told(&file, 1).unwrap_err().contains("was cut"));
        assert_eq!((told(&file, 2), told(&file, 3)), (Ok(vec![2; 60]), Ok(vec![3; 4])));
        assert!(told(&file, 4).unwrap_err().contains("no frame of that number"));
    }

    #[test]
    fn what_is_not_ethernet_is_refused_by_its_name() {
        // An old file of raw IP packets (link type 101), with one of four bytes.
        let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 101, 0, 0, 4, 4, 0x4545_4545];
        let file: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(told(&file, 1).unwrap_err(), "its packets are RAW, not Ethernet frames");
        assert!(told(b"this is no capture file, but some text", 1).unwrap_err().contains("neither pcap nor pcapng"));
    }
}
