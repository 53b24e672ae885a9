//! A queue over a file of the kernel that gives and takes one frame per call: a TAP's, or a packet socket.
//!
//! # Theory of operation
//!
//! A frame is read into a super chunk, the *landing*, because its length is known only afterwards; the virtio-net
//! header lands in the headroom, directly in front of the frame. A frame that fits a small chunk is copied into one
//! and the landing goes back to the pool, where it is the next to be taken, still in cache. Only super-frames
//! consume super chunks. A VLAN tag that the kernel took out of the frame is put back where it was, and the offsets of
//! the header move with it.
//!
//! A call stops after about [`SUPER_BURST`] bytes of super-frames, so that they are switched and written while they
//! are in the second-level cache. Frames that have to be dropped count like others: reading them costs as much.
//!
//! Without free memory, a call that already has frames stops, and the rest waits in the kernel's queue: a TAP's holds as many
//! frames as its interface's `txqueuelen`, a packet socket's as many bytes as its buffer. Beyond that the kernel drops. What a
//! packet socket lost is counted as `rx_overrun`; what a TAP lost is told only by the host's own interface, as its
//! `tx_dropped` (`ip -s link`). A call that has no frames would be repeated for ever, since its worker does not sleep while
//! frames wait: it throws them away by name.

use crate::drop::DropReason;
use crate::execute::push_vlan;
use crate::frame::{Batch, Csum, Frame, SMALL_ROOM, SUPER_ROOM};
use crate::offload::{Unfit, complete_sctp};
use crate::ports::{Io, Queue};
use crate::wire::ethernet::VLAN_TAG_LEN;
use crate::wire::transport::{SCTP, SCTP_CHECKSUM, Transport};
use crate::wire::vlan::Tag;
use crate::wire::vnet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Bytes of super-frames after which a receive call ends, those included that were dropped.
const SUPER_BURST: usize = 64 * 1024;
/// Reads after which a receive call ends, even if every frame had to be dropped.
const MOST_READS: usize = 64;

/// An open file that frames pass through.
pub(super) trait Device: AsFd + Send + Sync + 'static {
    /// Whether a virtio-net header precedes every frame.
    const VNET: bool;

    /// Reads one frame without blocking.
    fn read(&self, buf: &mut [u8]) -> io::Result<Read>;

    /// Writes one frame without blocking.
    fn write(&self, buf: &[u8]) -> io::Result<usize>;

    /// What an error of either call means.
    fn trouble(&self, error: &io::Error) -> Trouble;

    /// Whether the interface is up.
    ///
    /// # Errors
    /// It is gone.
    fn is_up(&self) -> io::Result<bool>;

    /// Frames that the kernel has thrown away for want of room since it was last asked.
    fn overrun(&self) -> u32 {
        0
    }
}

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Bytes, the virtio-net header included.
    pub len: usize,
    /// The VLAN tag that the kernel took out, as it stands in a frame.
    pub tag: Option<[u8; VLAN_TAG_LEN]>,
    /// The frame was longer than the buffer.
    pub cut: bool,
}

impl From<usize> for Read {
    #[inline]
    fn from(len: usize) -> Read {
        Read { len, tag: None, cut: false }
    }
}

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing to read, or no room to write.
    Busy,
    /// The header has no word for the frame's offload; when reading, the kernel has thrown the frame away.
    Refused,
    /// The interface is down.
    Down,
    /// The interface is gone for good.
    Gone,
    /// Anything else. Reading will not get better.
    Other,
}

/// One worker's end of a device.
pub(super) struct DeviceQueue<D> {
    device: Arc<D>,
    news: Option<News>,
    /// The last call found nothing more to read.
    drained: bool,
}

/// What was found between two calls, to be told in the next.
struct News {
    overrun: u32,
    gone: io::Result<()>,
}

/// What one read found.
enum Landed {
    Frame,
    Refused(DropReason),
    Nothing,
}

impl<D: Device> Queue for DeviceQueue<D> {
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        if self.news.is_some() {
            self.tell(io)?;
        }
        self.drained = false;
        let mut budget = SUPER_BURST;
        for _ in 0..MOST_READS {
            if batch.room() == 0 || budget == 0 {
                break;
            }
            let Some(mut landing) = io.pool.alloc(SUPER_ROOM) else { return self.starve(io, batch) };
            let read = match self.land(&mut landing) {
                Ok(Landed::Frame) => match deliver(io, landing, batch) {
                    Some(bytes) => bytes,
                    None if batch.is_empty() => 0,
                    None => break,
                },
                Ok(Landed::Refused(reason)) => refuse(io, landing, reason),
                nothing => {
                    io.pool.free(landing);
                    self.drained = nothing.is_ok();
                    return nothing.map(drop);
                }
            };
            budget = budget.saturating_sub(read);
        }
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let mut gone = Ok(());
        for frame in batch.drain() {
            match &gone {
                Ok(()) => gone = self.send(io, frame),
                Err(_) => io.discard(frame, DropReason::PortDown),
            }
        }
        gone
    }

    /// The kernel copies what is written.
    fn lend(&mut self, io: &mut Io<'_>, frame: &mut Frame) -> io::Result<bool> {
        match self.write(frame) {
            Ok(()) => io.lent(frame),
            Err(error) => {
                let trouble = self.device.trouble(&error);
                io.refuse_lent(frame, reason(trouble));
                if trouble == Trouble::Gone {
                    return Err(error);
                }
            }
        }
        Ok(true)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.device.as_fd())
    }

    /// Frames may have been left by a call that ended early, and something to be told.
    fn arm(&mut self) -> bool {
        !self.drained || self.news.is_some()
    }

    fn is_up(&mut self) -> bool {
        let up = self.device.is_up();
        let overrun = self.device.overrun();
        let (up, gone) = match up {
            Ok(up) => (up, Ok(())),
            Err(error) => (false, Err(error)),
        };
        if overrun > 0 || gone.is_err() {
            self.news = Some(News { overrun, gone });
        }
        up
    }
}

impl<D: Device> DeviceQueue<D> {
    /// A queue of an open device.
    pub fn new(device: Arc<D>) -> DeviceQueue<D> {
        DeviceQueue { device, news: None, drained: false }
    }

    const HEADER_LEN: usize = if D::VNET { vnet::LEN } else { 0 };

    /// Tells what was found when the link was looked at.
    #[cold]
    fn tell(&mut self, io: &mut Io<'_>) -> io::Result<()> {
        let Some(news) = self.news.take() else { return Ok(()) };
        io.lost(news.overrun.into(), DropReason::RxOverrun);
        news.gone
    }

    /// Reads one frame into an empty super chunk.
    fn land(&self, landing: &mut Frame) -> io::Result<Landed> {
        let room = landing.prepend(Self::HEADER_LEN) && landing.set_len(Self::HEADER_LEN + SUPER_ROOM);
        debug_assert!(room, "a fresh frame has full headroom");
        let read = match uninterrupted(|| self.device.read(landing)) {
            Ok(read) => read,
            Err(error) => {
                let emptied = landing.set_len(0);
                debug_assert!(emptied, "always possible");
                return self.explain(error);
            }
        };
        let whole = landing.set_len(read.len);
        if read.cut {
            return Ok(Landed::Refused(DropReason::TooBig));
        }
        Ok(match self.take_header(landing) {
            Ok(()) if whole && insert(read.tag, landing) => Landed::Frame,
            Ok(()) => Landed::Refused(DropReason::BadVnetHeader),
            Err(reason) => Landed::Refused(reason),
        })
    }

    /// What an error of reading is to the caller.
    fn explain(&self, error: io::Error) -> io::Result<Landed> {
        match self.device.trouble(&error) {
            Trouble::Busy | Trouble::Down => Ok(Landed::Nothing),
            Trouble::Refused => Ok(Landed::Refused(DropReason::BadVnetHeader)),
            Trouble::Gone | Trouble::Other => Err(error),
        }
    }

    /// Takes the virtio-net header off, which may not fit the frame.
    fn take_header(&self, frame: &mut Frame) -> Result<(), DropReason> {
        if !D::VNET {
            return Ok(());
        }
        let header = frame.first_chunk().copied().ok_or(DropReason::BadVnetHeader)?;
        let offload = frame.strip(vnet::LEN).then(|| vnet::parse(&header, frame).ok()).flatten();
        frame.offload = offload.ok_or(DropReason::BadVnetHeader)?;
        match frame.offload.csum {
            Some(csum) if usize::from(csum.offset) == SCTP_CHECKSUM => finish_sctp(frame, csum),
            _ => Ok(()),
        }
    }

    /// Without memory: see the theory of operation.
    #[cold]
    fn starve(&self, io: &mut Io<'_>, batch: &Batch) -> io::Result<()> {
        if !batch.is_empty() {
            return Ok(());
        }
        for _ in 0..MOST_READS {
            match uninterrupted(|| self.device.read(&mut [0; vnet::LEN])) {
                Ok(_) => io.refuse(0, DropReason::PoolEmpty),
                Err(error) => match self.explain(error)? {
                    Landed::Refused(reason) => io.refuse(0, reason),
                    _ => break,
                },
            }
        }
        Ok(())
    }

    /// Sends one frame, or drops it by name. An error says that the device is gone.
    fn send(&self, io: &mut Io<'_>, mut frame: Frame) -> io::Result<()> {
        let Err(error) = self.write(&mut frame) else {
            io.sent(frame);
            return Ok(());
        };
        let trouble = self.device.trouble(&error);
        io.discard(frame, reason(trouble));
        if trouble == Trouble::Gone { Err(error) } else { Ok(()) }
    }

    fn write(&self, frame: &mut Frame) -> io::Result<()> {
        let header = vnet::emit(&frame.offload);
        let room = match D::VNET {
            true => frame.prepend(vnet::LEN),
            false => frame.offload.is_none(),
        };
        if !room {
            return Err(io::ErrorKind::Unsupported.into());
        }
        frame[..Self::HEADER_LEN].copy_from_slice(&header[..Self::HEADER_LEN]);
        let written = uninterrupted(|| self.device.write(frame));
        let stripped = frame.strip(Self::HEADER_LEN);
        debug_assert!(stripped, "what was put in front");
        written.map(drop)
    }
}

/// Completes a partial checksum if it is SCTP's. The header has no word for a CRC (`skb->csum_not_inet` is not told), and who
/// takes it at its word writes two bytes of an Internet checksum.
#[cold]
fn finish_sctp(frame: &mut Frame, csum: Csum) -> Result<(), DropReason> {
    let transport = Transport::of(frame).filter(|t| t.protocol == SCTP && t.start == usize::from(csum.start));
    let Some(transport) = transport else { return Ok(()) };
    frame.offload.csum = None;
    complete_sctp(frame, &transport).map_err(|Unfit| DropReason::OffloadUnfit)
}

/// Puts a landed frame into the batch, which has room. Returns how many bytes of super-frame that were; `None` when there
/// was no memory for it.
#[inline]
fn deliver(io: &mut Io<'_>, landing: Frame, batch: &mut Batch) -> Option<usize> {
    let frame = shelve(io, landing)?;
    let supers = if frame.is_super() { frame.len() } else { 0 };
    if let Err(frame) = batch.push(frame) {
        _ = refuse(io, frame, DropReason::PoolEmpty);
    }
    Some(supers)
}

/// Moves a frame into a small chunk if it fits one.
#[inline]
fn shelve(io: &mut Io<'_>, landing: Frame) -> Option<Frame> {
    if landing.len() > SMALL_ROOM {
        return Some(landing);
    }
    let small = io.pool.copy(&landing);
    match small {
        Some(_) => io.pool.free(landing),
        None => _ = refuse(io, landing, DropReason::PoolEmpty),
    }
    small
}

/// Drops a frame that was received; says how many bytes of super-frame that were.
#[cold]
fn refuse(io: &mut Io<'_>, frame: Frame, reason: DropReason) -> usize {
    let len = frame.len();
    io.refuse(len, reason);
    io.pool.free(frame);
    if len > SMALL_ROOM { len } else { 0 }
}

/// What a frame is dropped for that could not be written.
fn reason(trouble: Trouble) -> DropReason {
    match trouble {
        Trouble::Busy => DropReason::TxFull,
        Trouble::Down | Trouble::Gone => DropReason::PortDown,
        Trouble::Refused | Trouble::Other => DropReason::TxError,
    }
}

/// Puts a VLAN tag behind the addresses. False when there is no room, or no frame.
#[inline]
fn insert(tag: Option<[u8; VLAN_TAG_LEN]>, frame: &mut Frame) -> bool {
    let inserted = tag.is_none_or(|tag| push_vlan(frame, Tag::from_bytes(tag)).is_ok());
    inserted && frame.len() <= vnet::MAX_FRAME
}

/// Repeats a system call that a signal interrupted.
#[inline]
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether a file is ready for `event` now.
pub(super) fn polls(file: BorrowedFd<'_>, event: PollFlags) -> bool {
    let mut fds = [PollFd::new(&file, event)];
    let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok() && fds[0].revents().contains(event)
}

/// Whether an error is one of these.
pub(super) fn is(error: &io::Error, codes: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Direction, Scope, Tap, Watch, ring};
    use crate::flow::PortId;
    use crate::frame::{Arena, Gso, GsoKind, Offload, Pool};
    use crate::stats::PortCounters;
    use std::collections::VecDeque;
    use std::fs::File;
    use std::sync::Mutex;

    /// A device that answers from a script.
    struct Script {
        file: File,
        answers: Mutex<VecDeque<Result<Vec<u8>, i32>>>,
        written: Mutex<Vec<Vec<u8>>>,
        tag: Mutex<Option<[u8; VLAN_TAG_LEN]>>,
    }

    impl AsFd for Script {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.file.as_fd()
        }
    }

    impl Device for Script {
        const VNET: bool = true;

        fn read(&self, buf: &mut [u8]) -> io::Result<Read> {
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Err(libc::EAGAIN));
            let bytes = answer.map_err(io::Error::from_raw_os_error)?;
            let len = bytes.len().min(buf.len());
            buf[..len].copy_from_slice(&bytes[..len]);
            Ok(Read { len, tag: *self.tag.lock().unwrap(), cut: len < bytes.len() })
        }

        fn trouble(&self, error: &io::Error) -> Trouble {
            match error.raw_os_error() {
                Some(libc::EAGAIN) => Trouble::Busy,
                Some(libc::EINVAL) => Trouble::Refused,
                Some(libc::EIO | libc::ENETDOWN) => Trouble::Down,
                Some(libc::EBADFD | libc::ENODEV) => Trouble::Gone,
                _ => Trouble::Other,
            }
        }

        fn is_up(&self) -> io::Result<bool> {
            Err(io::Error::from_raw_os_error(libc::ENODEV))
        }

        fn overrun(&self) -> u32 {
            7
        }

        fn write(&self, buf: &[u8]) -> io::Result<usize> {
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(Vec::new()));
            answer.map_err(io::Error::from_raw_os_error)?;
            self.written.lock().unwrap().push(buf.to_vec());
            Ok(buf.len())
        }
    }

    struct Bench {
        queue: DeviceQueue<Script>,
        pool: Pool,
        count: PortCounters,
        batch: Batch,
    }

    impl Bench {
        fn new(answers: impl IntoIterator<Item = Result<Vec<u8>, i32>>) -> Bench {
            let file = File::open("/dev/null").unwrap();
            let answers = Mutex::new(answers.into_iter().collect());
            let queue =
                DeviceQueue::new(Arc::new(Script { file, answers, written: Mutex::default(), tag: Mutex::default() }));
            let pool = Arena::new(64, 32).unwrap().pool(64, 32);
            Bench { queue, pool, count: PortCounters::default(), batch: Batch::new(8) }
        }

        fn receive(&mut self) -> io::Result<Vec<usize>> {
            let mut io = Io::new(&mut self.pool, &self.count);
            let result = self.queue.receive(&mut io, &mut self.batch);
            let lengths = self.batch.iter().map(|f| f.len()).collect();
            self.batch.drain().for_each(|f| self.pool.free(f));
            result.map(|()| lengths)
        }

        fn transmit(&mut self, frame: Frame) -> io::Result<()> {
            let mut io = Io::new(&mut self.pool, &self.count);
            self.batch.push(frame).unwrap();
            self.queue.transmit(&mut io, &mut self.batch)
        }

        fn drops(&self, reason: DropReason) -> u64 {
            self.count.drops[reason.index()].get()
        }
    }

    fn read(len: usize) -> Result<Vec<u8>, i32> {
        Ok(vec![0; vnet::LEN + len])
    }

    #[test]
    fn a_call_ends_after_64_kib_of_super_frames_or_a_full_batch() {
        let mut bench = Bench::new([read(60), read(40_000), read(60), read(30_000), read(60)]);
        assert_eq!(bench.receive().unwrap(), [60, 40_000, 60, 30_000]);
        assert_eq!(bench.receive().unwrap(), [60]);
        let mut bench = Bench::new((0..9).map(|_| read(1514)));
        assert_eq!((bench.receive().unwrap().len(), bench.receive().unwrap().len()), (8, 1));
    }

    #[test]
    fn only_super_frames_keep_super_chunks() {
        let mut bench = Bench::new([read(SMALL_ROOM), read(SMALL_ROOM + 1)]);
        let mut io = Io::new(&mut bench.pool, &bench.count);
        bench.queue.receive(&mut io, &mut bench.batch).unwrap();
        assert_eq!(bench.batch.iter().map(Frame::is_super).collect::<Vec<_>>(), [false, true]);
        bench.batch.drain().for_each(|f| bench.pool.free(f));
        assert_eq!(bench.pool.free_frames() + bench.pool.arena().free(), bench.pool.arena().total());
    }

    #[test]
    fn hostile_headers_and_runts_are_dropped_by_name_and_counted_as_received() {
        let mut hostile = vec![0; vnet::LEN + 60];
        hostile[1] = 1;
        let oversized = vnet::MAX_FRAME + 1;
        let mut bench = Bench::new([Ok(hostile), Ok(vec![0; 9]), Err(libc::EINVAL), read(oversized), read(60)]);
        assert_eq!(bench.receive().unwrap(), [], "what was dropped uses the call up");
        assert_eq!(bench.receive().unwrap(), [60]);
        assert_eq!(bench.drops(DropReason::BadVnetHeader), 4);
        assert_eq!((bench.count.rx_frames.get(), bench.count.rx_bytes.get()), (4, 60 + 9 + oversized as u64));
    }

    /// Super-frames that have to be dropped cost as much as others.
    #[test]
    fn super_frames_that_are_dropped_use_the_call_up() {
        let mut hostile = vec![0; vnet::LEN + 60_000];
        hostile[1] = 1;
        let mut bench = Bench::new((0..8).map(|_| Ok(hostile.clone())));
        assert_eq!(bench.receive().unwrap().len(), 0);
        assert_eq!((bench.drops(DropReason::BadVnetHeader), bench.queue.arm()), (2, true));
        (0..3).for_each(|_| _ = bench.receive().unwrap());
        assert!(bench.receive().unwrap().is_empty() && !bench.queue.arm(), "drained");
    }

    #[test]
    fn a_flood_of_hostile_frames_cannot_hold_a_call() {
        let mut bench = Bench::new((0..2 * MOST_READS).map(|_| Err(libc::EINVAL)));
        assert_eq!(bench.receive().unwrap().len(), 0);
        assert_eq!(bench.drops(DropReason::BadVnetHeader), MOST_READS as u64);
    }

    #[test]
    fn interrupted_calls_are_repeated_and_a_lost_device_is_an_error() {
        let mut bench = Bench::new([Err(libc::EINTR), read(60), Err(libc::EAGAIN), Err(libc::EBADFD)]);
        assert_eq!(bench.receive().unwrap(), [60]);
        assert_eq!(bench.receive().unwrap_err().raw_os_error(), Some(libc::EBADFD));
    }

    #[test]
    fn the_header_goes_in_front_and_is_not_counted() {
        let mut bench = Bench::new([Err(libc::EINTR)]);
        let mut frame = bench.pool.alloc(60).unwrap();
        assert!(frame.fill(&[7; 60]));
        frame.offload.csum = Some(Csum { start: 34, offset: 16 });
        let header = vnet::emit(&frame.offload);
        bench.transmit(frame).unwrap();
        assert_eq!(*bench.queue.device.written.lock().unwrap(), [[&header[..], &[7; 60]].concat()]);
        assert_eq!((bench.count.tx_frames.get(), bench.count.tx_bytes.get()), (1, 60));
    }

    #[test]
    fn refusals_are_dropped_by_name() {
        let codes = [libc::EAGAIN, libc::EIO, libc::EINVAL, libc::EMSGSIZE, libc::ENODEV];
        let mut bench = Bench::new(codes.map(Err));
        for code in codes {
            let frame = bench.pool.alloc(60).unwrap();
            assert_eq!(bench.transmit(frame).is_err(), code == libc::ENODEV, "{code}");
        }
        let drops = [DropReason::TxFull, DropReason::PortDown, DropReason::TxError].map(|r| bench.drops(r));
        assert_eq!((drops, bench.count.tx_frames.get()), ([1, 2, 2], 0));
    }

    #[test]
    fn a_frame_that_is_refused_is_captured_as_it_was() {
        let mut bench = Bench::new([Err(libc::EAGAIN)]);
        let (sink, mut source) = ring(Scope { port: None, drops_only: true, snaplen: 100 }, 4096);
        let mut tap = Tap::default();
        tap.add(sink);
        let mut frame = bench.pool.alloc(60).unwrap();
        assert!(frame.fill(&[7; 60]));
        bench.batch.push(frame).unwrap();
        let watch = Some(Watch { tap: &mut tap, port: PortId(1), direction: Direction::Out });
        let mut io = Io { pool: &mut bench.pool, count: &bench.count, watch };
        bench.queue.transmit(&mut io, &mut bench.batch).unwrap();
        let seen = source.read().unwrap();
        assert_eq!((seen.len, seen.bytes, seen.dropped), (60, &[7; 60][..], Some(DropReason::TxFull)));
    }

    #[test]
    fn without_small_chunks_a_call_ends_where_it_has_frames_and_throws_away_where_it_has_none() {
        let mut bench = Bench::new((0..9).map(|_| read(60)));
        let mut held: Vec<_> = std::iter::from_fn(|| bench.pool.alloc(60)).collect();
        bench.pool.free(held.pop().unwrap());
        for lost in 1..=2 {
            assert_eq!(bench.receive().unwrap(), [60]);
            assert_eq!(bench.drops(DropReason::PoolEmpty), lost, "the rest waits");
        }
        held.push(bench.pool.alloc(60).unwrap());
        assert!(bench.receive().unwrap().is_empty());
        assert_eq!(bench.drops(DropReason::PoolEmpty), 7);
        held.into_iter().for_each(|frame| bench.pool.free(frame));
    }

    #[test]
    fn a_tag_that_moves_the_checksum_beyond_16_bits_is_refused() {
        let offload = Offload { csum: Some(Csum { start: u16::MAX - 1, offset: 0 }), gso: None };
        let mut bench = Bench::new([Ok([&vnet::emit(&offload)[..], &[0; vnet::MAX_FRAME - VLAN_TAG_LEN]].concat())]);
        *bench.queue.device.tag.lock().unwrap() = Some([0x81, 0, 0, 7]);
        assert_eq!(bench.receive().unwrap(), []);
        assert_eq!(bench.count.drops[DropReason::BadVnetHeader.index()].get(), 1);
    }

    #[test]
    fn a_tag_goes_back_and_the_offsets_move() {
        let mut packet = Vec::new();
        let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        builder.tcp(1, 2, 3, 4).write(&mut packet, &[9; 5000]).unwrap();
        let gso = Gso { size: 1448, hdr_len: 54, kind: GsoKind::Tcp4, ecn: false };
        let offload = Offload { csum: Some(Csum { start: 34, offset: 16 }), gso: Some(gso) };
        let mut bench = Bench::new([Ok([&vnet::emit(&offload)[..], &packet].concat())]);
        *bench.queue.device.tag.lock().unwrap() = Some([0x88, 0xa8, 0x20, 0x07]);
        let mut io = Io::new(&mut bench.pool, &bench.count);
        bench.queue.receive(&mut io, &mut bench.batch).unwrap();
        let frame = bench.batch.remove(0);
        assert_eq!(frame[..], [&packet[..12], &[0x88, 0xa8, 0x20, 0x07], &packet[12..]].concat());
        let moved = Gso { hdr_len: 58, ..gso };
        assert_eq!(frame.offload, Offload { csum: Some(Csum { start: 38, offset: 16 }), gso: Some(moved) });
        assert_eq!(vnet::parse(&vnet::emit(&frame.offload), &frame), Ok(frame.offload));
        bench.pool.free(frame);
    }

    /// Linux tells SCTP's unfinished CRC as an unfinished Internet checksum.
    #[test]
    fn the_checksum_of_sctp_is_completed_or_the_frame_dropped() {
        let packet = crate::wire::sample::sctp(&[7; 20]);
        let csum = Csum { start: 34, offset: SCTP_CHECKSUM as u16 };
        let header = vnet::emit(&Offload { csum: Some(csum), gso: None });
        let [mut undone, mut cut] = [(); 2].map(|()| [&header[..], &packet].concat());
        undone[vnet::LEN + 42..][..4].fill(0);
        cut.truncate(vnet::LEN + 50);
        let mut bench = Bench::new([Ok(undone), Ok(cut)]);
        let mut io = Io::new(&mut bench.pool, &bench.count);
        bench.queue.receive(&mut io, &mut bench.batch).unwrap();
        let frame = bench.batch.remove(0);
        assert_eq!((&frame[..], frame.offload), (&packet[..], Offload::default()));
        bench.pool.free(frame);
        assert_eq!((bench.batch.len(), bench.drops(DropReason::OffloadUnfit)), (0, 1));
    }

    #[test]
    fn a_frame_that_was_cut_is_dropped_by_name() {
        let mut bench = Bench::new([read(vnet::LEN + SUPER_ROOM + 1), read(60)]);
        assert_eq!((bench.receive().unwrap(), bench.receive().unwrap()), (vec![], vec![60]));
        assert_eq!(bench.drops(DropReason::TooBig), 1);
    }

    #[test]
    fn a_link_that_is_gone_ends_the_next_call_and_what_the_kernel_lost_is_counted() {
        let mut bench = Bench::new([read(60)]);
        assert!(!bench.queue.is_up());
        assert_eq!(bench.receive().unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!((bench.drops(DropReason::RxOverrun), bench.count.rx_frames.get()), (7, 7));
        assert_eq!(bench.receive().unwrap(), [60]);
    }

    #[test]
    fn what_the_kernel_lost_is_counted_as_one_and_shown_to_nobody() {
        let mut bench = Bench::new([]);
        let (sink, mut source) = ring(Scope { port: None, drops_only: true, snaplen: 100 }, 4096);
        let mut tap = Tap::default();
        tap.add(sink);
        assert!(!bench.queue.is_up());
        let watch = Some(Watch { tap: &mut tap, port: PortId(1), direction: Direction::In });
        let mut io = Io { pool: &mut bench.pool, count: &bench.count, watch };
        assert!(bench.queue.receive(&mut io, &mut bench.batch).is_err());
        assert_eq!((bench.drops(DropReason::RxOverrun), bench.count.rx_frames.get()), (7, 7));
        assert!(source.read().is_none());
    }

    #[test]
    fn a_link_that_is_down_is_no_error() {
        let mut bench = Bench::new([Err(libc::ENETDOWN), read(60)]);
        assert!(bench.receive().unwrap().is_empty());
        assert_eq!(bench.receive().unwrap(), [60]);
    }
}
