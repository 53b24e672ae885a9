//! Reading capture files: pcap in all its byte orders and precisions, and pcapng.

use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use std::io;
use std::time::Duration;

/// Bytes read at once; more only where a block is longer.
const CHUNK: usize = 1 << 20;
/// Longest block, in bytes.
const BLOCK_MAX: usize = 64 << 20;
const NANOS: u128 = 1_000_000_000;

/// A capture file being read, packet by packet: pcap or pcapng, of Ethernet frames.
///
/// ```
/// # fn lengths(file: std::fs::File) -> std::io::Result<()> {
/// let mut reader = crossdock_engine::ports::pcap::Reader::new(file)?;
/// let mut bytes = Vec::new();
/// while let Some(head) = reader.next(&mut bytes)? {
///     println!("{:?}: {} of {} bytes", head.time, bytes.len(), head.len);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Reader {
    blocks: Box<dyn PcapReaderIterator + Send>,
    times: Times,
    room: usize,
}

/// What a file says of a packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHead {
    /// When it was captured, since 1970 (UTC). One that has no time of its own (a simple packet block) has that of the one
    /// before it.
    pub time: Duration,
    /// How many bytes it had; more than were kept, if it was cut when it was captured.
    pub len: usize,
}

impl Reader {
    /// Begins at the file's present position.
    ///
    /// # Errors
    /// It cannot be read, or it is no capture file.
    pub fn new(file: impl io::Read + Send + 'static) -> io::Result<Reader> {
        let blocks = create_reader(CHUNK, file).map_err(|error| invalid(&error))?;
        Ok(Reader { blocks, times: Times::default(), room: CHUNK })
    }

    /// Reads the next packet into `bytes`, which are replaced by what was kept of it; `None` after the last.
    ///
    /// # Errors
    /// The file ends too early, is damaged, or holds packets of another link type, which is named.
    pub fn next(&mut self, bytes: &mut Vec<u8>) -> io::Result<Option<PacketHead>> {
        loop {
            if self.times.is_sectioned && is_too_short(self.blocks.data()) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"));
            }
            match self.blocks.next() {
                Ok((used, block)) => {
                    let head = self.times.packet(&block, bytes)?;
                    self.blocks.consume(used);
                    if head.is_some() {
                        return Ok(head);
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => self.blocks.refill().map_err(|error| invalid(&error))?,
                Err(PcapError::BufferTooSmall) => self.grow()?,
                Err(error) => return Err(invalid(&error)),
            }
        }
    }

    fn grow(&mut self) -> io::Result<()> {
        self.room *= 2;
        if self.room > BLOCK_MAX || !self.blocks.grow(self.room) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block is too long"));
        }
        self.blocks.refill().map_err(|error| invalid(&error))
    }
}

/// What is needed to understand the times of packets.
#[derive(Default)]
struct Times {
    /// Nanoseconds in the fraction of an old file's times.
    fraction: u32,
    /// Units per second, and seconds to add, of the section's interfaces.
    interfaces: Vec<(u64, i64)>,
    last: Duration,
    /// The file is pcapng.
    is_sectioned: bool,
}

impl Times {
    /// Takes a block in: the head of a packet, whose bytes are copied, or `None` for any other block.
    fn packet(&mut self, block: &PcapBlockOwned<'_>, bytes: &mut Vec<u8>) -> io::Result<Option<PacketHead>> {
        let (head, data) = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.fraction = if header.is_nanosecond_precision() { 1 } else { 1000 };
                ethernet(header.network)?;
                return Ok(None);
            }
            PcapBlockOwned::Legacy(packet) => {
                let nanos = packet.ts_usec.saturating_mul(self.fraction);
                let time = Duration::new(packet.ts_sec.into(), 0) + Duration::from_nanos(nanos.into());
                (PacketHead { time, len: packet.origlen as usize }, packet.data)
            }
            PcapBlockOwned::NG(block) => match self.section(block)? {
                Some(packet) => packet,
                None => return Ok(None),
            },
        };
        bytes.clear();
        bytes.extend_from_slice(data);
        self.last = head.time;
        Ok(Some(head))
    }

    fn section<'a>(&mut self, block: &'a Block<'_>) -> io::Result<Option<(PacketHead, &'a [u8])>> {
        match block {
            Block::SectionHeader(_) => {
                self.is_sectioned = true;
                self.interfaces.clear();
            }
            Block::InterfaceDescription(interface) => {
                let resolution = interface.ts_resolution().filter(|units| *units > 0);
                self.interfaces.push((resolution.unwrap_or(1_000_000), interface.ts_offset()));
                ethernet(interface.linktype)?;
            }
            Block::EnhancedPacket(packet) => {
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let head = PacketHead { time: self.time(packet.if_id, units)?, len: packet.origlen as usize };
                return Ok(Some((head, packet.packet_data())));
            }
            Block::SimplePacket(packet) => {
                let head = PacketHead { time: self.last, len: packet.origlen as usize };
                return Ok(Some((head, packet.packet_data())));
            }
            _ => {}
        }
        Ok(None)
    }

    fn time(&self, interface: u32, units: u64) -> io::Result<Duration> {
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, "a packet of an interface that is not described");
        let (resolution, offset) = *self.interfaces.get(interface as usize).ok_or_else(unknown)?;
        let nanos = u128::from(units % resolution) * NANOS / u128::from(resolution);
        let seconds = (units / resolution).saturating_add_signed(offset);
        Ok(Duration::new(seconds, nanos as u32))
    }
}

/// Whether a pcapng block of less than 12 bytes comes next. None is that short, in either byte order, and the parser
/// (pcap-parser 0.17) subtracts 12 from what a process information block says.
fn is_too_short(data: &[u8]) -> bool {
    let len = data.first_chunk().map(|&[_, _, _, _, a, b, c, d]| [a, b, c, d]);
    len.is_some_and(|len| u32::from_le_bytes(len).min(u32::from_be_bytes(len)) < 12)
}

/// Whether the packets are Ethernet frames; nothing else can be switched.
fn ethernet(kind: Linktype) -> io::Result<()> {
    if kind == Linktype::ETHERNET {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("its packets are {kind}, not Ethernet frames")))
}

fn invalid(error: &PcapError<&[u8]>) -> io::Error {
    let what = match error {
        PcapError::Eof | PcapError::Incomplete(_) | PcapError::UnexpectedEof => "it ends too early",
        PcapError::HeaderNotRecognized => "it is neither pcap nor pcapng",
        PcapError::ReadError => "it cannot be read",
        _ => "it is damaged",
    };
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcapng::{Packet, Writer};
    use std::fs::File;
    use std::io::{Seek, Write};

    fn file(bytes: &[u8]) -> File {
        let path =
            std::env::temp_dir().join(format!("xd-read-{}-{:?}", std::process::id(), std::thread::current().id()));
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<(PacketHead, Vec<u8>)>> {
        let mut reader = Reader::new(file(bytes))?;
        let (mut packets, mut packet) = (Vec::new(), Vec::new());
        while let Some(head) = reader.next(&mut packet)? {
            packets.push((head, packet.clone()));
        }
        Ok(packets)
    }

    /// A file of the old format with 3 of the 60 bytes of one packet, at 5.25 s.
    fn legacy(magic: u32, fraction: u32, link: u32, swap: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let u32s = |bytes: &mut Vec<u8>, values: &[u32]| {
            let swapped = |value: &u32| if swap { value.swap_bytes() } else { *value };
            values.iter().for_each(|value| bytes.extend(swapped(value).to_le_bytes()));
        };
        let version: u32 = if swap { 2 << 16 | 4 } else { 4 << 16 | 2 };
        u32s(&mut bytes, &[magic, version, 0, 0, 65535, link, 5, fraction, 3, 60]);
        bytes.extend([1, 2, 3]);
        bytes
    }

    #[test]
    fn the_old_format_is_read_in_both_orders_and_precisions() {
        for (magic, fraction) in [(0xa1b2_c3d4, 250_000), (0xa1b2_3c4d, 250_000_000)] {
            for swap in [false, true] {
                let packets = read(&legacy(magic, fraction, 1, swap)).unwrap();
                let head = PacketHead { time: Duration::from_millis(5250), len: 60 };
                assert_eq!(packets, [(head, vec![1, 2, 3])], "{magic:x} {swap}");
            }
        }
    }

    #[test]
    fn what_the_writer_wrote_is_read() {
        let mut writer = Writer::new(Vec::new(), "test").unwrap();
        let interface = writer.interface("a").unwrap();
        let packet =
            |n: u64| (Duration::from_nanos(1_700_000_000_123_456_000 + n), vec![n as u8; 60 + n as usize * 700]);
        for (time, data) in (0..100).map(packet) {
            writer
                .packet(&Packet { interface, time, data: &data, len: data.len(), direction: None, comment: None })
                .unwrap();
        }
        let written: Vec<_> = (0..100).map(packet).collect();
        let found = read(&writer.into_inner()).unwrap();
        assert!(found.iter().all(|(head, data)| head.len == data.len()));
        assert_eq!(found.into_iter().map(|(head, data)| (head.time, data)).collect::<Vec<_>>(), written);
    }

    #[test]
    fn a_simple_packet_has_the_time_of_the_one_before() {
        let mut writer = Writer::new(Vec::new(), "test").unwrap();
        let interface = writer.interface("a").unwrap();
        let time = Duration::from_secs(9);
        writer.packet(&Packet { interface, time, data: &[1; 4], len: 4, direction: None, comment: None }).unwrap();
        let mut bytes = writer.into_inner();
        // Type 3, its length, 60 bytes of which 5 were kept, and its length again (draft-ietf-opsawg-pcapng, 4.4).
        for word in [3_u32, 24, 60, u32::from_le_bytes([7; 4]), u32::from_le_bytes([7, 0, 0, 0]), 24] {
            bytes.extend(word.to_le_bytes());
        }
        let packets = read(&bytes).unwrap();
        assert_eq!(packets[1].0, PacketHead { time, len: 60 });
        assert_eq!(packets[1].1[..5], [7; 5]);
    }

    #[test]
    fn wrong_files_say_why() {
        let cut = legacy(0xa1b2_c3d4, 0, 1, false);
        let cases: [(&[u8], &str); 4] = [
            (b"", "ends too early"),
            (b"this is no capture file, but some text", "neither pcap nor pcapng"),
            (&cut[..cut.len() - 1], "ends too early"),
            (&legacy(0xa1b2_c3d4, 0, 101, false), "its packets are RAW, not Ethernet frames"),
        ];
        for (bytes, what) in cases {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn a_block_that_cannot_be_is_damage() {
        let mut bytes = Writer::new(Vec::new(), "test").unwrap().into_inner();
        bytes.extend([0x8000_0001u32, 8, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
        assert!(read(&bytes).unwrap_err().to_string().contains("damaged"));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic_or_hang(edits in proptest::collection::vec((0..200usize, 0u8..), 0..8), cut in 0..200usize) {
            let mut writer = Writer::new(Vec::new(), "test").unwrap();
            let interface = writer.interface("a").unwrap();
            let packet = Packet { interface, time: Duration::ZERO, data: &[7; 60], len: 60, direction: None, comment: None };
            writer.packet(&packet).unwrap();
            let mut bytes = writer.into_inner();
            edits.into_iter().for_each(|(at, byte)| bytes.get_mut(at).into_iter().for_each(|b| *b = byte));
            bytes.truncate(cut);
            drop(read(&bytes));
        }
    }
}
