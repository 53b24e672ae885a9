//! One queue of a TAP: one read or write per frame.
//!
//! # Theory of operation
//!
//! A frame is read into a super chunk, the *landing*, because its length is known only afterwards; the virtio-net
//! header lands in the headroom, directly in front of the frame. A frame that fits a small chunk is copied into one
//! and the landing goes back to the pool, where it is the next to be taken, still in cache. Only super-frames
//! consume super chunks.
//!
//! A call stops after about [`SUPER_BURST`] bytes of super-frames, so that they are switched and written while they
//! are in the second-level cache.
//!
//! Without free memory, a call that already has frames stops, and the rest waits in the kernel's queue, which slows
//! the sender down without loss. A call that has none would be repeated for ever, since its worker does not sleep
//! while frames wait: it throws them away by name.

use crate::drop::DropReason;
use crate::frame::{Batch, Frame, Offload, SMALL_ROOM, SUPER_ROOM};
use crate::ports::{Io, Queue};
use crate::wire::vnet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Bytes of super-frames after which a receive call ends.
const SUPER_BURST: usize = 64 * 1024;
/// Reads after which a receive call ends, even if every frame had to be dropped: more than the kernel queues (1000).
const MOST_READS: usize = 1024;

/// An open TAP.
pub(super) trait Device: AsFd + Send + Sync + 'static {
    /// Whether a virtio-net header precedes every frame.
    const VNET: bool;

    /// Reads one frame without blocking.
    fn read(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes one frame without blocking.
    fn write(&self, buf: &[u8]) -> io::Result<usize>;
}

/// One worker's end of a TAP.
pub(super) struct TapQueue<D>(pub Arc<D>);

/// What one read found.
enum Landed {
    Frame,
    Refused,
    Nothing,
}

impl<D: Device> Queue for TapQueue<D> {
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let mut budget = SUPER_BURST;
        for _ in 0..MOST_READS {
            if batch.room() == 0 || budget == 0 {
                break;
            }
            let Some(mut landing) = io.pool.alloc(SUPER_ROOM) else { return self.starve(io, batch) };
            match self.land(&mut landing) {
                Ok(Landed::Frame) => budget = budget.saturating_sub(deliver(io, landing, batch)),
                Ok(Landed::Refused) => refuse(io, landing, DropReason::BadVnetHeader),
                nothing => {
                    io.pool.free(landing);
                    return nothing.map(drop);
                }
            }
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

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    /// Frames may have been left by a call that ended early.
    fn arm(&mut self) -> bool {
        self.polls(PollFlags::IN)
    }

    /// A TAP is writable exactly while its interface is up (`tun_sock_writeable` in drivers/net/tun.c).
    fn is_up(&mut self) -> bool {
        self.polls(PollFlags::OUT)
    }
}

impl<D: Device> TapQueue<D> {
    const HEADER_LEN: usize = if D::VNET { vnet::LEN } else { 0 };

    fn polls(&self, event: PollFlags) -> bool {
        let mut fds = [PollFd::new(&*self.0, event)];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok() && fds[0].revents().contains(event)
    }

    /// Reads one frame into an empty super chunk.
    fn land(&self, landing: &mut Frame) -> io::Result<Landed> {
        let room = landing.prepend(Self::HEADER_LEN) && landing.set_len(Self::HEADER_LEN + SUPER_ROOM);
        debug_assert!(room, "a fresh frame has full headroom");
        let read = uninterrupted(|| self.0.read(landing));
        let whole = landing.set_len(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(_) if whole && self.take_header(landing) => Ok(Landed::Frame),
            Ok(_) => Ok(Landed::Refused),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Landed::Nothing),
            // An offload the header has no word for: the kernel has thrown the frame away.
            Err(error) if is(&error, &[libc::EINVAL]) => Ok(Landed::Refused),
            Err(error) => Err(error),
        }
    }

    /// Takes the virtio-net header off. False when it does not fit the frame.
    fn take_header(&self, frame: &mut Frame) -> bool {
        if !D::VNET {
            return true;
        }
        let Some(header) = frame.first_chunk().copied() else { return false };
        let offload = frame.strip(vnet::LEN).then(|| vnet::parse(&header, frame).ok()).flatten();
        offload.map(|offload| frame.offload = offload).is_some()
    }

    /// Without memory: see the theory of operation.
    #[cold]
    fn starve(&self, io: &mut Io<'_>, batch: &Batch) -> io::Result<()> {
        if !batch.is_empty() {
            return Ok(());
        }
        for _ in 0..MOST_READS {
            match uninterrupted(|| self.0.read(&mut [0; vnet::LEN])) {
                Ok(_) => io.refuse(0, DropReason::PoolEmpty),
                // As in `land`: thrown away by the kernel.
                Err(error) if is(&error, &[libc::EINVAL]) => io.refuse(0, DropReason::BadVnetHeader),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
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
        let gone = is(&error, &[libc::EBADFD, libc::ENODEV, libc::EBADF]);
        let reason = match error.kind() {
            io::ErrorKind::WouldBlock => DropReason::TxFull,
            // Interface down: drivers/net/tun.c, tun_get_user.
            _ if gone || is(&error, &[libc::EIO]) => DropReason::PortDown,
            _ => DropReason::TxError,
        };
        io.discard(frame, reason);
        if gone { Err(error) } else { Ok(()) }
    }

    fn write(&self, frame: &mut Frame) -> io::Result<()> {
        let header = vnet::emit(&frame.offload);
        let room = match D::VNET {
            true => frame.prepend(vnet::LEN),
            false => frame.offload == Offload::default(),
        };
        if !room {
            return Err(io::ErrorKind::Unsupported.into());
        }
        frame[..Self::HEADER_LEN].copy_from_slice(&header[..Self::HEADER_LEN]);
        uninterrupted(|| self.0.write(frame))?;
        let stripped = frame.strip(Self::HEADER_LEN);
        debug_assert!(stripped, "what was put in front");
        Ok(())
    }
}

/// Puts a landed frame into the batch, which has room. Returns how many bytes of super-frame that were.
#[inline]
fn deliver(io: &mut Io<'_>, landing: Frame, batch: &mut Batch) -> usize {
    let Some(frame) = shelve(io, landing) else { return 0 };
    let supers = if frame.is_super() { frame.len() } else { 0 };
    if let Err(frame) = batch.push(frame) {
        refuse(io, frame, DropReason::PoolEmpty);
    }
    supers
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
        None => refuse(io, landing, DropReason::PoolEmpty),
    }
    small
}

/// Drops a frame that was received.
#[cold]
fn refuse(io: &mut Io<'_>, frame: Frame, reason: DropReason) {
    io.refuse(frame.len(), reason);
    io.pool.free(frame);
}

/// Repeats a system call that a signal interrupted.
#[inline]
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn is(error: &io::Error, codes: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Arena, Csum, Pool};
    use crate::stats::PortCounters;
    use std::collections::VecDeque;
    use std::fs::File;
    use std::sync::Mutex;

    /// A device that answers from a script.
    struct Script {
        file: File,
        answers: Mutex<VecDeque<Result<Vec<u8>, i32>>>,
        written: Mutex<Vec<Vec<u8>>>,
    }

    impl AsFd for Script {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.file.as_fd()
        }
    }

    impl Device for Script {
        const VNET: bool = true;

        fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Err(libc::EAGAIN));
            let bytes = answer.map_err(io::Error::from_raw_os_error)?;
            let len = bytes.len().min(buf.len());
            buf[..len].copy_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn write(&self, buf: &[u8]) -> io::Result<usize> {
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(Vec::new()));
            answer.map_err(io::Error::from_raw_os_error)?;
            self.written.lock().unwrap().push(buf.to_vec());
            Ok(buf.len())
        }
    }

    struct Bench {
        queue: TapQueue<Script>,
        pool: Pool,
        count: PortCounters,
        batch: Batch,
    }

    impl Bench {
        fn new(answers: impl IntoIterator<Item = Result<Vec<u8>, i32>>) -> Bench {
            let file = File::open("/dev/null").unwrap();
            let answers = Mutex::new(answers.into_iter().collect());
            let queue = TapQueue(Arc::new(Script { file, answers, written: Mutex::default() }));
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
        assert_eq!(bench.receive().unwrap(), [60]);
        assert_eq!(bench.drops(DropReason::BadVnetHeader), 4);
        assert_eq!((bench.count.rx_frames.get(), bench.count.rx_bytes.get()), (4, 60 + 9 + oversized as u64));
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
        assert_eq!(*bench.queue.0.written.lock().unwrap(), [[&header[..], &[7; 60]].concat()]);
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
}
