//! Capture files as a port: what one file holds comes in, what is sent goes into another.
//!
//! # Theory of operation
//!
//! A pcap port is a [`Channel`] whose far end is a thread that plays one file and writes the other. The worker only
//! moves frames to and from rings and never waits for a disk. When the thread does not keep up with what is sent to
//! the port, the ring is full and frames are dropped there as `tx_full`; when the switch does not keep up with the
//! file, the file waits. Without a file to write, what is sent to the port ends here.
//!
//! After its last frame a file is silent, and the port stays. Closing the port waits until everything is written. When
//! a file cannot be read or written any more the port is gone, and says why.

mod read;

use super::channel::{Channel, ChannelEnd};
use super::{Caps, Io, Port, Queue};
use crate::frame::{Arena, Batch, Frame};
use crate::pcapng::{Direction, Interface, Packet, Writer};
use crate::wire::vnet::MAX_FRAME;
pub use read::{PacketHead, Reader};
use std::fs::File;
use std::io::{self, BufWriter, Seek};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Frames that may wait between the worker and the thread, each way.
const RING: usize = 1024;
/// Frames sent in one go before the other file gets its turn.
const BURST: usize = 256;
/// How long to wait for room.
const RETRY: Duration = Duration::from_micros(100);
/// How long to sleep when nothing is due; frames and the port's end wake the thread at once.
const NAP: Duration = Duration::from_secs(1);
/// Bytes gathered before a write.
const BUFFER: usize = 256 << 10;
/// Largest IP packet of a port that does not say, in bytes: the largest whose frame a super-frame's memory holds.
pub const MTU: u16 = 65_521;

/// Which files, and how fast.
#[derive(Clone, Debug)]
pub struct PcapConfig {
    /// The port's name.
    pub name: String,
    /// The file (pcap or pcapng, Ethernet frames) whose frames come in.
    pub replay: Option<PathBuf>,
    /// The file (pcapng) that takes what is sent; what was in it is lost.
    pub record: Option<PathBuf>,
    /// How fast frames come in.
    pub pace: Pace,
    /// How often the file is played.
    pub times: u32,
    /// Largest IP packet that may be sent to the port, in bytes.
    pub mtu: u16,
}

impl PcapConfig {
    /// No files yet; one round in the file's own time, and an MTU of [`MTU`].
    pub fn new(name: impl Into<String>) -> PcapConfig {
        PcapConfig { name: name.into(), replay: None, record: None, pace: Pace::Original, times: 1, mtu: MTU }
    }
}

/// How fast a file is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// With the pauses that the file has; times that go backwards count as no pause.
    Original,
    /// As fast as the switch takes them.
    Max,
    /// So many frames per second; 0 counts as 1.
    Rate(u32),
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub struct PcapError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub source: io::Error,
}

/// A port of two files, both open.
pub struct Pcap {
    config: PcapConfig,
    replay: Option<(File, Reader)>,
    record: Option<Record>,
}

impl Pcap {
    /// Opens the files, and looks whether the one is a capture of Ethernet frames.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn open(config: &PcapConfig) -> Result<Pcap, PcapError> {
        let at = |path: &Path, source| PcapError { path: path.into(), source };
        let replay = config.replay.as_deref().map(|path| replay(path).map_err(|e| at(path, e))).transpose()?;
        if let (Some((played, _)), Some(path)) = (&replay, &config.record) {
            differ(played, path).map_err(|e| at(path, e))?;
        }
        let record = config.record.as_deref().map(|path| Record::new(path, &config.name).map_err(|e| at(path, e)));
        Ok(Pcap { config: config.clone(), replay, record: record.transpose()? })
    }
}

/// Refuses to write the file that is played, by whatever name: it would be empty at once.
fn differ(played: &File, record: &Path) -> io::Result<()> {
    let Ok(record) = std::fs::metadata(record) else { return Ok(()) };
    let played = played.metadata()?;
    if (played.dev(), played.ino()) == (record.dev(), record.ino()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is replay's file and record's, and would be emptied",
        ));
    }
    Ok(())
}

fn replay(path: &Path) -> io::Result<(File, Reader)> {
    let mut file = File::open(path)?;
    // A first look, for its mistakes to be told now.
    Reader::new(file.try_clone()?)?.next(&mut Vec::new())?;
    file.rewind()?;
    let reader = Reader::new(file.try_clone()?)?;
    Ok((file, reader))
}

impl Port for Pcap {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn kind(&self) -> &'static str {
        "pcap"
    }

    fn caps(&self) -> Caps {
        Caps { mtu: self.config.mtu, ..Caps::default() }
    }

    fn open(self: Box<Self>, arena: &Arena, workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        let Pcap { config, replay, record } = *self;
        let (channel, end) = Channel::pair(&config.name, RING, config.mtu, arena)?;
        let play = replay.map(|(file, reader)| Play::new(file, reader, &config));
        let mut far = Far { end, play, record };
        let thread = std::thread::Builder::new().name("xdock-pcap".into()).spawn(move || far.run())?;
        let mut thread = Some(thread);
        let queues = Box::new(channel).open(arena, workers)?.into_iter();
        Ok(queues
            .map(|queue| Box::new(PcapQueue { queue: Some(queue), thread: thread.take() }) as Box<dyn Queue>)
            .collect())
    }
}

/// The worker's end: the channel's, and the thread that its end waits for.
struct PcapQueue {
    /// `None` only while being dropped.
    queue: Option<Box<dyn Queue>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl PcapQueue {
    /// The channel is closed at its far end: what the thread said last is the reason.
    fn explain(&mut self, closed: io::Error) -> io::Error {
        let said = self.thread.take().map(JoinHandle::join);
        if let Some(Ok(Err(error))) = said { error } else { closed }
    }
}

impl Queue for PcapQueue {
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let result = self.queue.as_mut().map_or(Ok(()), |queue| queue.receive(io, batch));
        result.map_err(|closed| self.explain(closed))
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let result = self.queue.as_mut().map_or(Ok(()), |queue| queue.transmit(io, batch));
        result.map_err(|closed| self.explain(closed))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.queue.as_ref().and_then(|queue| queue.fd())
    }

    fn arm(&mut self) -> bool {
        self.queue.as_mut().is_some_and(|queue| queue.arm())
    }
}

impl Drop for PcapQueue {
    fn drop(&mut self) {
        drop(self.queue.take());
        self.thread.take().map(JoinHandle::join);
    }
}

/// The far end of the channel.
struct Far {
    end: ChannelEnd,
    play: Option<Play>,
    record: Option<Record>,
}

impl Far {
    /// Plays and writes until the port is closed.
    fn run(&mut self) -> io::Result<()> {
        loop {
            let closed = self.end.is_closed();
            self.take()?;
            if closed {
                return self.record.as_mut().map_or(Ok(()), |record| record.writer.flush());
            }
            let pause = match &mut self.play {
                Some(play) => play.send(&mut self.end)?,
                None => NAP,
            };
            if !pause.is_zero() {
                self.rest(pause)?;
            }
        }
    }

    /// Takes what was sent to the port.
    fn take(&mut self) -> io::Result<()> {
        while let Some(frame) = self.end.recv_frame() {
            let written = self.record.as_mut().map_or(Ok(()), |record| record.write(&frame));
            self.end.free(frame);
            written?;
        }
        Ok(())
    }

    /// Sleeps, with everything in the file that there was to write.
    fn rest(&mut self, pause: Duration) -> io::Result<()> {
        if let Some(record) = &mut self.record {
            record.flush()?;
        }
        self.end.wait(pause);
        Ok(())
    }
}

/// A file being played.
struct Play {
    file: File,
    reader: Reader,
    pace: Pace,
    /// Rounds after this one.
    left: u32,
    /// The frame that comes next, and when; `None` when it has not been read.
    next: Option<Instant>,
    bytes: Vec<u8>,
    /// When this round began, and the time of its first frame.
    began: Option<(Instant, Duration)>,
    /// Frames of all rounds.
    count: u64,
    over: bool,
}

impl Play {
    fn new(file: File, reader: Reader, config: &PcapConfig) -> Play {
        let left = config.times.saturating_sub(1);
        let (pace, bytes) = (config.pace, Vec::new());
        Play { file, reader, pace, left, next: None, bytes, began: None, count: 0, over: config.times == 0 }
    }

    /// Sends what is due. How long until there is more to send.
    fn send(&mut self, end: &mut ChannelEnd) -> io::Result<Duration> {
        for _ in 0..BURST {
            let Some(due) = self.upcoming()? else { return Ok(NAP) };
            let pause = due.saturating_duration_since(Instant::now());
            if !pause.is_zero() {
                return Ok(pause);
            }
            if end.send(&self.bytes, Default::default()).is_err() {
                return Ok(RETRY);
            }
            self.next = None;
        }
        Ok(Duration::ZERO)
    }

    /// When the next frame is due, which is read if need be; `None` after the last.
    fn upcoming(&mut self) -> io::Result<Option<Instant>> {
        while self.next.is_none() && !self.over {
            match self.reader.next(&mut self.bytes)? {
                Some(head) => self.next = Some(self.due(head.time)?),
                None => self.again()?,
            }
        }
        Ok(self.next)
    }

    fn due(&mut self, time: Duration) -> io::Result<Instant> {
        if self.bytes.len() > MAX_FRAME {
            let what = format!("a frame of {} bytes is too long", self.bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let (began, first) = *self.began.get_or_insert_with(|| (Instant::now(), time));
        let after = match self.pace {
            Pace::Original => time.saturating_sub(first),
            Pace::Max => Duration::ZERO,
            Pace::Rate(rate) => Duration::from_secs_f64(self.count as f64 / f64::from(rate.max(1))),
        };
        self.count += 1;
        let far =
            || io::Error::new(io::ErrorKind::InvalidData, "the time of a packet is further off than a clock can tell");
        began.checked_add(after).ok_or_else(far)
    }

    /// Begins the next round, if there is one.
    fn again(&mut self) -> io::Result<()> {
        // A file without frames has no round to repeat.
        self.over = self.left == 0 || self.began.is_none();
        if self.over {
            return Ok(());
        }
        self.left -= 1;
        self.file.rewind()?;
        self.reader = Reader::new(self.file.try_clone()?)?;
        if self.pace == Pace::Original {
            self.began = None;
        }
        Ok(())
    }
}

/// A file being written.
struct Record {
    writer: Writer<BufWriter<File>>,
    interface: Interface,
    /// Whether anything was written since the last flush.
    dirty: bool,
}

impl Record {
    fn new(path: &Path, port: &str) -> io::Result<Record> {
        let mut writer = Writer::new(BufWriter::with_capacity(BUFFER, File::create(path)?), "crossdock")?;
        let interface = writer.interface(port)?;
        Ok(Record { writer, interface, dirty: true })
    }

    fn write(&mut self, frame: &Frame) -> io::Result<()> {
        self.dirty = true;
        self.writer.packet(&Packet {
            interface: self.interface,
            time: std::time::UNIX_EPOCH.elapsed().unwrap_or_default(),
            data: frame,
            len: frame.len(),
            direction: Some(Direction::Outbound),
            comment: None,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.dirty, false) { self.writer.flush() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A file with this content, that goes with the value.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, bytes: &[u8]) -> Scratch {
            let path = std::env::temp_dir().join(format!("xd-pcap-{}-{name}", std::process::id()));
            File::create(&path).unwrap().write_all(bytes).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    /// A file with one packet, at the first second of 1970.
    fn one_packet() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), "test").unwrap();
        let interface = writer.interface("a").unwrap();
        let packet =
            Packet { interface, time: Duration::ZERO, data: &[7; 60], len: 60, direction: None, comment: None };
        writer.packet(&packet).unwrap();
        writer.into_inner()
    }

    #[test]
    fn a_packet_of_a_time_that_no_clock_tells_is_an_error() {
        let mut bytes = one_packet();
        // An interface whose times begin at the end of all (if_tsoffset), and a packet of it.
        let words: [u32; 18] =
            [1, 36, 1, 0, 14 | 8 << 16, u32::MAX, i32::MAX as u32, 0, 36, 6, 36, 1, 0, 0, 4, 4, 0x0707_0707, 36];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let file = Scratch::new("far", &bytes);
        let config = PcapConfig { replay: Some(file.0.clone()), ..PcapConfig::new("p") };
        let (file, reader) = replay(&file.0).unwrap();
        let mut play = Play::new(file, reader, &config);
        assert!(play.upcoming().unwrap().is_some());
        play.next = None;
        let error = play.upcoming().unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().contains("a clock")),
            (io::ErrorKind::InvalidData, true),
            "{error}"
        );
    }

    #[test]
    fn the_file_that_is_played_is_not_written_by_any_name() {
        let file = Scratch::new("same", &one_packet());
        let link = Scratch(file.0.with_extension("link"));
        std::fs::hard_link(&file.0, &link.0).unwrap();
        for record in [&file.0, &link.0] {
            let both =
                PcapConfig { replay: Some(file.0.clone()), record: Some(record.clone()), ..PcapConfig::new("p") };
            let error = Pcap::open(&both).err().unwrap();
            assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput, "{error}");
            assert_eq!(std::fs::read(&file.0).unwrap(), one_packet(), "nothing was written");
        }
    }
}
