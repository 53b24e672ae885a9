//! One AF_XDP socket on one queue: set up, bound and torn down by `xsk-rs`.
#![expect(unsafe_code, reason = "socket options, and the promises that xsk-rs asks for")]

use super::BusyPoll;
use super::ring::{Rings, Sizes};
use super::umem::{CHUNK, Chunks};
use rustix::net::sockopt::{set_socket_send_buffer_size_force, socket_error, xdp_options, xdp_statistics};
use rustix::net::xdp::XdpOptionsFlags;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::error::Error;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::str::FromStr;
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, RxQueue, TxQueue, Umem};

/// Descriptors of a ring, and chunks for receiving and for sending: at 1.5 Mpps, what comes in 1.4 ms.
pub(super) const RING: u32 = 2048;
/// The fill ring is twice as long as there are chunks for it. The kernel tells how far it has come only when it has taken all
/// that it knew of (`xskq_cons_get_entries` in net/xdp/xsk_queue.h); until then every chunk may come back once more.
const FILL_RING: u32 = 2 * RING;
const SIZES: Sizes = Sizes { rx: RING, tx: RING, fill: FILL_RING, completion: RING };
/// Bytes of frames that the kernel may hold for the socket: a ring full of large ones.
const SEND_BUFFER: usize = 32 << 20;
/// `XDP_MAX_TX_SKB_BUDGET`: how many frames one system call sends in copy mode; 32 unless asked for more. Since Linux 6.18.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// A bound socket. Its fields are dropped in this order: a mapping of a ring holds the file open.
pub(super) struct Socket {
    pub rings: Rings,
    pub chunks: Chunks,
    /// Whether the driver reads and writes the UMEM itself. Then it says when it wants to be woken.
    pub zero_copy: bool,
    tx: TxQueue,
    _rx: RxQueue,
    _fill: Option<(FillQueue, CompQueue)>,
    _umem: Umem,
}

impl Socket {
    /// Binds `queue` of the interface `name` of this thread's namespace. `frags`: frames may be in pieces.
    ///
    /// # Errors
    /// What the kernel says; EBUSY while an earlier socket there is being closed.
    pub fn bind(name: &str, queue: u32, frags: bool, busy_poll: Option<BusyPoll>) -> io::Result<Socket> {
        let (umem, frames) = Umem::new(umem_config()?, CHUNKS, false).map_err(cause)?;
        let interface = Interface::from_str(name).map_err(io::Error::other)?;
        // SAFETY: this UMEM has no other socket, and no program is loaded.
        let (tx, rx, fill) =
            unsafe { xsk_rs::Socket::new(socket_config(frags)?, &umem, &interface, queue) }.map_err(cause)?;
        let chunks = Chunks::new(&umem, &frames).ok_or(io::ErrorKind::OutOfMemory)?;
        let rings = Rings::map(file_of(&tx), SIZES)?;
        let zero_copy = xdp_options(file_of(&tx))?.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY);
        let socket = Socket { rings, chunks, zero_copy, tx, _rx: rx, _fill: fill, _umem: umem };
        socket.tune(busy_poll)?;
        Ok(socket)
    }

    /// Lets the kernel send as much at once as the ring holds. Only busy polling is not a hint.
    fn tune(&self, busy_poll: Option<BusyPoll>) -> io::Result<()> {
        // Without CAP_NET_ADMIN, and before 6.18: what there is must do.
        let _ = set_socket_send_buffer_size_force(self.as_fd(), SEND_BUFFER);
        let _ = self.set(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, RING);
        let Some(BusyPoll { micros, budget }) = busy_poll else { return Ok(()) };
        self.set(libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, 1)?;
        self.set(libc::SOL_SOCKET, libc::SO_BUSY_POLL, micros)?;
        self.set(libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET, budget.into())
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: u32) -> io::Result<()> {
        let (from, len) = ((&raw const value).cast(), size_of::<u32>() as libc::socklen_t);
        // SAFETY: the option is an integer, read during the call.
        let result = unsafe { libc::setsockopt(self.as_fd().as_raw_fd(), level, option, from, len) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes the kernel look at the tx ring.
    pub fn wake_tx(&self) -> rustix::io::Result<()> {
        send(self.as_fd(), &[], SendFlags::DONTWAIT).map(drop)
    }

    /// Makes the kernel look at the fill ring, and poll the device where it is asked to.
    pub fn wake_rx(&self) {
        // It says nothing that a look at the rings does not say.
        let _ = recv(self.as_fd(), &mut [0; 0], RecvFlags::DONTWAIT);
    }

    /// Frames that the kernel has thrown away for want of a chunk or of a place in the rx ring.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn overrun(&self) -> io::Result<u64> {
        let lost = xdp_statistics(self.as_fd())?;
        Ok(lost.rx_dropped + lost.rx_ring_full.unwrap_or(0))
    }

    /// Whether the kernel has told that the interface is gone. It tells once.
    pub fn is_lost(&self) -> bool {
        !matches!(socket_error(self.as_fd()), Ok(Ok(())))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        file_of(&self.tx)
    }
}

/// The chunks of a UMEM: the rx half first, then the tx half.
const CHUNKS: NonZeroU32 = NonZeroU32::MIN.saturating_add(2 * RING - 1);

fn umem_config() -> io::Result<UmemConfig> {
    let (fill, completion) = (QueueSize::new(FILL_RING), QueueSize::new(RING));
    let chunk = FrameSize::new(CHUNK).map_err(io::Error::other)?;
    let mut config = UmemConfig::builder();
    config.frame_size(chunk).fill_queue_size(fill.map_err(io::Error::other)?);
    config.comp_queue_size(completion.map_err(io::Error::other)?);
    config.build().map_err(io::Error::other)
}

fn socket_config(frags: bool) -> io::Result<SocketConfig> {
    let ring = QueueSize::new(RING).map_err(io::Error::other)?;
    let pieces = if frags { BindFlags::XDP_USE_SG } else { BindFlags::empty() };
    let mut config = SocketConfig::builder();
    config.rx_queue_size(ring).tx_queue_size(ring);
    config.libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD);
    config.bind_flags(BindFlags::XDP_USE_NEED_WAKEUP | pieces);
    Ok(config.build())
}

/// What the kernel said, inside an error of `xsk-rs`.
fn cause(error: impl Error + Send + Sync + 'static) -> io::Error {
    let code = error.source().and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    code.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}

fn file_of(tx: &TxQueue) -> BorrowedFd<'_> {
    // SAFETY: the file stays open for as long as the queue lives, and it is borrowed here.
    unsafe { BorrowedFd::borrow_raw(tx.fd().as_raw_fd()) }
}
