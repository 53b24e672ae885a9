//! Writes capture files in the pcapng format (IETF draft-ietf-opsawg-pcapng), which Wireshark and tcpdump read.
//!
//! # Theory of operation
//!
//! A file is one section: a section header block (SHB), an interface description block (IDB) for each interface before
//! its first packet, and an enhanced packet block (EPB) for each packet. Every block is
//!
//! ```text
//!  | type 4 | total length 4 | body, padded to 4 | total length 4 |
//! ```
//!
//! in the byte order of the machine, which the section header's magic tells the reader. Options follow the body as
//! `| code 2 | length 2 | value, padded to 4 |`, closed by four zero bytes. Times are nanoseconds (`if_tsresol` 9).
//!
//! A block is put together in memory and written with one call. Behind a buffer, a call costs a copy.

use std::io::{self, Write};
use std::time::Duration;

const SHB: u32 = 0x0a0d_0d0a;
const IDB: u32 = 1;
const EPB: u32 = 6;
/// Tells the reader the byte order.
const MAGIC: u32 = 0x1a2b_3c4d;
/// LINKTYPE_ETHERNET (tcpdump.org/linktypes.html).
const ETHERNET: u16 = 1;

const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
/// 10 to the power of minus this: nanoseconds.
const NANOSECONDS: u8 = 9;
/// Longest option: its length is 16 bits, and the padding must fit too.
const OPTION_MAX: usize = 0xfffc;

/// An interface of the file: its position among the interface description blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface(u32);

/// Which way a packet passed its interface (`epb_flags`, bits 0 and 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the switch.
    Inbound = 1,
    /// Out of the switch.
    Outbound = 2,
}

/// One packet of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Where it passed.
    pub interface: Interface,
    /// When, since 1970-01-01 UTC.
    pub time: Duration,
    /// Its bytes from the Ethernet header on, without FCS; at most what is kept of them.
    pub data: &'a [u8],
    /// Its length in bytes; more than `data` has where that was cut.
    pub len: usize,
    /// Which way it went, if that is known.
    pub direction: Option<Direction>,
    /// What to say about it (`opt_comment`); at most 65,532 bytes are kept.
    pub comment: Option<&'a str>,
}

/// A capture file being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    interfaces: u32,
    /// The block in the making.
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file; `application` names who writes it.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(out: W, application: &str) -> io::Result<Writer<W>> {
        let mut writer = Writer { out, interfaces: 0, block: Vec::new() };
        writer.begin(SHB);
        writer.put(&MAGIC.to_ne_bytes());
        // Version 1.0, and a section of unknown length.
        writer.put(&1u16.to_ne_bytes());
        writer.put(&0u16.to_ne_bytes());
        writer.put(&u64::MAX.to_ne_bytes());
        writer.option(SHB_USERAPPL, application.as_bytes());
        writer.end_options();
        writer.end()?;
        Ok(writer)
    }

    /// Adds an Ethernet interface, before or between packets.
    ///
    /// # Errors
    /// What the output says.
    pub fn interface(&mut self, name: &str) -> io::Result<Interface> {
        self.begin(IDB);
        self.put(&ETHERNET.to_ne_bytes());
        self.put(&0u16.to_ne_bytes());
        // No limit on the bytes kept of a packet.
        self.put(&0u32.to_ne_bytes());
        self.option(IF_NAME, name.as_bytes());
        self.option(IF_TSRESOL, &[NANOSECONDS]);
        self.end_options();
        self.end()?;
        self.interfaces += 1;
        Ok(Interface(self.interfaces - 1))
    }

    /// Adds a packet.
    ///
    /// # Errors
    /// What the output says.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        // Wraps in the year 2554.
        let time = packet.time.as_nanos() as u64;
        self.begin(EPB);
        self.put(&packet.interface.0.to_ne_bytes());
        self.put(&((time >> 32) as u32).to_ne_bytes());
        self.put(&(time as u32).to_ne_bytes());
        self.put(&(packet.data.len() as u32).to_ne_bytes());
        self.put(&(packet.len as u32).to_ne_bytes());
        self.put_padded(packet.data);
        if let Some(direction) = packet.direction {
            self.option(EPB_FLAGS, &(direction as u32).to_ne_bytes());
        }
        if let Some(comment) = packet.comment {
            self.option(OPT_COMMENT, comment.as_bytes());
        }
        if packet.direction.is_some() || packet.comment.is_some() {
            self.end_options();
        }
        self.end()
    }

    /// Hands everything to the file.
    ///
    /// # Errors
    /// What the output says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The output: for one in memory, from which blocks are taken.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// The output, with everything that was written to it.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// Begins a block; its length is filled in at the end.
    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.put(&kind.to_ne_bytes());
        self.put(&[0; 4]);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }

    fn put_padded(&mut self, bytes: &[u8]) {
        self.put(bytes);
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    /// Adds an option, cut to what fits one.
    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(OPTION_MAX)];
        self.put(&code.to_ne_bytes());
        self.put(&(value.len() as u16).to_ne_bytes());
        self.put_padded(value);
    }

    fn end_options(&mut self) {
        self.put(&[0; 4]);
    }

    /// Ends the block and writes it.
    fn end(&mut self) -> io::Result<()> {
        let total = (self.block.len() as u32 + 4).to_ne_bytes();
        self.block[4..8].copy_from_slice(&total);
        self.put(&total);
        self.out.write_all(&self.block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
    use pcap_parser::{Block, Linktype, OptionCode, PcapBlockOwned, PcapError, PcapNGReader};

    /// A packet as another program reads it: interface, seconds, nanoseconds, bytes, length, flags and comment.
    type Read = (u32, u32, u32, Vec<u8>, u32, Option<u32>, Option<String>);

    fn read(file: &[u8]) -> (Vec<String>, Vec<Read>) {
        let mut reader = PcapNGReader::new(1 << 20, file).unwrap();
        let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
        loop {
            match reader.next() {
                Ok((used, block)) => {
                    match block {
                        PcapBlockOwned::NG(Block::InterfaceDescription(idb)) => {
                            assert_eq!((idb.linktype, idb.if_tsresol), (Linktype::ETHERNET, 9));
                            interfaces.push(idb.if_name().unwrap().unwrap().to_owned());
                        }
                        PcapBlockOwned::NG(Block::EnhancedPacket(epb)) => {
                            let (seconds, rest) = epb.decode_ts(0, 1_000_000_000);
                            let option = |code| epb.options.iter().find(|option| option.code == code);
                            let flags = option(OptionCode(EPB_FLAGS));
                            let flags = flags.map(|o| u32::from_ne_bytes(o.as_bytes().unwrap().try_into().unwrap()));
                            let comment = option(OptionCode::Comment).map(|o| o.as_str().unwrap().to_owned());
                            let data = epb.packet_data().to_vec();
                            packets.push((epb.if_id, seconds, rest, data, epb.origlen, flags, comment));
                        }
                        PcapBlockOwned::NG(Block::SectionHeader(_)) => {}
                        _ => panic!("another block"),
                    }
                    reader.consume(used);
                }
                Err(PcapError::Eof) => return (interfaces, packets),
                Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn another_program_reads_what_was_written() {
        let mut writer = Writer::new(Vec::new(), "crossdock").unwrap();
        let first = writer.interface("h1").unwrap();
        let time = Duration::new(1_700_000_000, 123_456_789);
        let packet = Packet { interface: first, time, data: &[7; 61], len: 61, direction: None, comment: None };
        writer.packet(&packet).unwrap();
        let second = writer.interface("a name").unwrap();
        let told =
            Packet { interface: second, direction: Some(Direction::Outbound), comment: Some("drop: runt"), ..packet };
        writer.packet(&Packet { data: &[1, 2, 3], len: 1500, ..told }).unwrap();
        writer.packet(&Packet { data: &[], len: 0, ..packet }).unwrap();
        let (interfaces, packets) = read(&writer.into_inner());
        assert_eq!(interfaces, ["h1", "a name"]);
        let (seconds, nanoseconds) = (1_700_000_000, 123_456_789);
        let comment = Some("drop: runt".to_owned());
        assert_eq!(packets[0], (0, seconds, nanoseconds, vec![7; 61], 61, None, None));
        assert_eq!(packets[1], (1, seconds, nanoseconds, vec![1, 2, 3], 1500, Some(2), comment));
        assert_eq!(packets[2], (0, seconds, nanoseconds, vec![], 0, None, None));
    }

    #[test]
    fn long_comments_are_cut() {
        let mut writer = Writer::new(Vec::new(), "").unwrap();
        let interface = writer.interface("").unwrap();
        let comment = "x".repeat(70_000);
        let (time, comment) = (Duration::ZERO, Some(comment.as_str()));
        writer.packet(&Packet { interface, time, data: &[0; 60], len: 60, direction: None, comment }).unwrap();
        let (_, packets) = read(&writer.into_inner());
        assert_eq!(packets[0].6.as_ref().unwrap().len(), OPTION_MAX);
    }
}
