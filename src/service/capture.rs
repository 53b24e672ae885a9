//! Captures: from the worker's copies to a stream of pcapng or text.
//!
//! A capture has a thread of its own, which looks at the worker's ring every few milliseconds, so neither traffic nor
//! other requests wait for it. It ends when it has seen enough, when it is told to, or when nobody reads it any more.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crossdock_engine::capture::{Captured, Direction};
use crossdock_engine::flow::PortId;
use crossdock_engine::pcapng::{self, Interface, Packet, Writer};
use crossdock_engine::switch::{Capture, CaptureConfig};

use super::{Kind, Refusal, Service};
use crate::control::api::capture::{CaptureRequest, Format};
use crate::packet::fields::Fields;
use crate::packet::summary::summary;

/// How often the ring is looked at.
const PAUSE: Duration = Duration::from_millis(5);
/// Looks without a frame after which the reader is asked whether it is still there.
const SILENCE: u32 = 20;
/// Frames after which a piece is handed on.
const LOOKS: usize = 1024;
/// Most captures at a time: each costs the worker a copy of every frame.
const MOST: usize = 8;

/// The captures under way, by number.
#[derive(Default)]
pub(super) struct Captures {
    next: AtomicU64,
    running: Mutex<BTreeMap<u64, Arc<AtomicBool>>>,
}

/// What came of a capture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames in the stream.
    pub captured: u64,
    /// Frames whose copies were missed.
    pub missed: u64,
}

/// A capture that is ready to be read.
pub struct Stream {
    /// What ends it: see [`Service::end_capture`].
    pub number: u64,
    capture: Capture,
    service: Weak<Service>,
    request: CaptureRequest,
    fields: Fields,
    stop: Arc<AtomicBool>,
}

impl Service {
    /// Begins a capture. From now on frames are copied, until the stream is dropped.
    ///
    /// # Errors
    /// There is no such port, the fields are wrong, or enough captures are under way.
    pub fn capture(self: &Arc<Self>, request: CaptureRequest) -> Result<Stream, Refusal> {
        let wrong = |error: crate::packet::fields::FieldError| {
            Refusal::new(Kind::Invalid, error.to_string(), "like host=10.0.0.1 proto=tcp port=80")
        };
        let fields = Fields::parse(request.fields.iter().map(String::as_str)).map_err(wrong)?;
        let snaplen = if request.snaplen == 0 { usize::MAX } else { request.snaplen as usize };
        let (port, drops_only) = (request.port.clone(), request.drops);
        let (number, stop) = self.captures.begin()?;
        let config = CaptureConfig { port, drops_only, snaplen, ..CaptureConfig::default() };
        match self.switch.capture(&config) {
            Ok(capture) => Ok(Stream { number, capture, service: Arc::downgrade(self), request, fields, stop }),
            Err(error) => {
                self.captures.forget(number);
                Err(error.into())
            }
        }
    }

    /// Tells a capture to end. What was seen until now still comes.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn end_capture(&self, number: &str) -> Result<(), Refusal> {
        let running = self.captures.running();
        let found = number.parse().ok().and_then(|number: u64| running.get(&number));
        let unknown = || Refusal::new(Kind::Unknown, format!("no capture {number}"), "it may have ended");
        found.map(|stop| stop.store(true, Relaxed)).ok_or_else(unknown)
    }
}

impl Captures {
    fn begin(&self) -> Result<(u64, Arc<AtomicBool>), Refusal> {
        let mut running = self.running();
        if running.len() >= MOST {
            return Err(Refusal::new(Kind::Conflict, format!("{MOST} captures are under way"), "end one first"));
        }
        let (number, stop) = (self.next.fetch_add(1, Relaxed), Arc::<AtomicBool>::default());
        running.insert(number, Arc::clone(&stop));
        Ok((number, stop))
    }

    fn forget(&self, number: u64) {
        self.running().remove(&number);
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<AtomicBool>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(service) = self.service.upgrade() {
            service.captures.forget(self.number);
        }
    }
}

impl Stream {
    /// Hands the capture on, piece by piece, until it ends. An empty piece only asks whether somebody still reads.
    ///
    /// # Errors
    /// What `give` says, which may be that nobody reads any more.
    pub fn run(mut self, mut give: impl FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<Tally> {
        let mut output = Output::new(&self.request)?;
        let (mut tally, mut silent) = (Tally::default(), 0_u32);
        loop {
            // What is in the ring when it is told to end is still read.
            let ending = self.stop.load(Relaxed);
            if ending {
                self.capture.end();
            }
            let looked = self.drain(&mut output, &mut tally)?;
            silent = if looked == 0 { silent + 1 } else { 0 };
            let piece = output.take();
            if !piece.is_empty() || silent.is_multiple_of(SILENCE) {
                give(piece)?;
            }
            if self.enough(tally) || (ending && looked == 0) {
                return Ok(Tally { missed: self.capture.missed(), ..tally });
            }
            if looked < LOOKS && !ending {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn enough(&self, tally: Tally) -> bool {
        self.request.count.is_some_and(|count| tally.captured >= count)
    }

    /// Writes what waits, up to a bound; returns how many frames it looked at.
    fn drain(&mut self, output: &mut Output, tally: &mut Tally) -> io::Result<usize> {
        let mut names = Names { service: self.service.upgrade(), known: BTreeMap::new() };
        for looked in 0..LOOKS {
            if self.enough(*tally) {
                return Ok(looked);
            }
            let Some(frame) = self.capture.read() else { return Ok(looked) };
            if self.fields.is_empty() || self.fields.pick(frame.bytes, frame.len) {
                output.write(&frame, names.of(frame.port))?;
                tally.captured += 1;
            }
        }
        Ok(LOOKS)
    }
}

/// The names of ports, asked for once a piece: numbers are used again.
struct Names {
    service: Option<Arc<Service>>,
    known: BTreeMap<PortId, String>,
}

impl Names {
    fn of(&mut self, port: PortId) -> &str {
        let name = || self.service.as_ref().and_then(|service| service.switch.port_name(port));
        self.known.entry(port).or_insert_with(|| name().unwrap_or_else(|| format!("port {port}")))
    }
}

/// Frames in the shape that was asked for; what was written waits in memory.
enum Output {
    Pcapng(Writer<Vec<u8>>, BTreeMap<String, Interface>),
    Text(String),
}

impl Output {
    fn new(request: &CaptureRequest) -> io::Result<Output> {
        Ok(match request.format {
            Format::Pcapng => {
                Output::Pcapng(Writer::new(Vec::new(), concat!("xdock ", env!("CARGO_PKG_VERSION")))?, BTreeMap::new())
            }
            Format::Text => Output::Text(String::new()),
        })
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Output::Pcapng(writer, _) => std::mem::take(writer.get_mut()),
            Output::Text(text) => std::mem::take(text).into_bytes(),
        }
    }

    fn write(&mut self, frame: &Captured<'_>, port: &str) -> io::Result<()> {
        let comment = comment(frame);
        match self {
            Output::Text(text) => *text += &line(frame, port, &comment),
            Output::Pcapng(writer, interfaces) => {
                let interface = match interfaces.get(port) {
                    Some(&interface) => interface,
                    None => *interfaces.entry(port.into()).or_insert(writer.interface(port)?),
                };
                writer.packet(&packet(frame, interface, &comment))?;
            }
        }
        Ok(())
    }
}

fn packet<'a>(frame: &Captured<'a>, interface: Interface, comment: &'a str) -> Packet<'a> {
    Packet {
        interface,
        time: Duration::from_nanos(frame.at),
        data: frame.bytes,
        len: frame.len,
        direction: Some(match frame.direction {
            Direction::In => pcapng::Direction::Inbound,
            Direction::Out => pcapng::Direction::Outbound,
        }),
        comment: Some(comment).filter(|comment| !comment.is_empty()),
    }
}

/// What the bytes do not say.
fn comment(frame: &Captured<'_>) -> String {
    let dropped = frame.dropped.map(|reason| format!("dropped: {}: {}", reason.name(), reason.meaning()));
    let gso = frame.gso.map(|size| format!("super-frame: segments of {size} bytes"));
    dropped.into_iter().chain(gso).collect::<Vec<_>>().join("; ")
}

/// `12:34:56.123456789 h1 in  ...`, in UTC.
fn line(frame: &Captured<'_>, port: &str, comment: &str) -> String {
    let (seconds, nanos) = (frame.at / 1_000_000_000, frame.at % 1_000_000_000);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let way = match (frame.dropped, frame.direction) {
        (Some(_), _) => "drop",
        (None, Direction::In) => "in  ",
        (None, Direction::Out) => "out ",
    };
    let told = summary(frame.bytes, frame.len);
    let comment = if comment.is_empty() { String::new() } else { format!(" ({comment})") };
    format!("{hour:02}:{minute:02}:{second:02}.{nanos:09} {port} {way} {told}{comment}\n")
}
