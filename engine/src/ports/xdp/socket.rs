//! One AF_XDP socket on one queue: the first of a UMEM of its own, or one that joins a shared UMEM.
//!
//! `xsk-rs` opens, binds and tears down the first socket of every UMEM. What joins is set up here, by the same system calls:
//! the library would map each ring once more, give all sockets rings of one size, and remember each socket for ever.
#![expect(unsafe_code, reason = "socket options")]

use super::BusyPoll;
use super::ring::{Rings, Sizes};
use super::umem::{Chunks, Seated, Umem};
use rustix::net::sockopt::{
    set_socket_send_buffer_size_force, set_xdp_rx_ring_size, set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size,
    set_xdp_umem_fill_ring_size, socket_error, xdp_options, xdp_statistics,
};
use rustix::net::xdp::{SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XdpOptionsFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes of frames that the kernel may hold for the socket: a ring full of large ones.
const SEND_BUFFER: usize = 32 << 20;
/// `XDP_MAX_TX_SKB_BUDGET`: how many frames one system call sends in copy mode; 32 unless asked for more. Since Linux 6.18.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// A bound socket. Its fields are dropped in this order: a mapping of a ring holds the file open, and only when the last
/// reference to that is gone does the kernel let go of the memory (`xsk_release` in net/xdp/xsk.c waits until nobody uses
/// the socket any more).
pub(super) struct Socket {
    pub rings: Rings,
    /// `None`: the UMEM's first socket.
    file: Option<OwnedFd>,
    pub chunks: Chunks,
    /// Whether the driver reads and writes the UMEM itself. Then it says when it wants to be woken.
    pub zero_copy: bool,
    seated: Seated,
}

impl Socket {
    /// The first socket of a UMEM that is nobody else's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn first(seated: Seated) -> io::Result<Socket> {
        let umem = &seated.umem;
        let rings = Rings::map(umem.as_fd(), umem.shape().rings)?;
        let zero_copy = xdp_options(umem.as_fd())?.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY);
        Ok(Socket { rings, file: None, chunks: umem.chunks(), zero_copy, seated })
    }

    /// A socket on `queue` of the interface `index` of this thread's namespace, which shares a UMEM. How it is bound is what
    /// the first one was told: copy mode, frames in pieces or not.
    ///
    /// # Errors
    /// What the kernel says; EBUSY while an earlier socket there is being closed, EINVAL before Linux 5.10.
    pub fn joined(seated: Seated, index: u32, queue: u32, sizes: Sizes) -> io::Result<Socket> {
        let file = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        set_xdp_umem_fill_ring_size(&file, sizes.fill)?;
        set_xdp_umem_completion_ring_size(&file, sizes.completion)?;
        set_xdp_rx_ring_size(&file, sizes.rx)?;
        set_xdp_tx_ring_size(&file, sizes.tx)?;
        let rings = Rings::map(file.as_fd(), sizes)?;
        let addr = SocketAddrXdp::new(SocketAddrXdpFlags::XDP_SHARED_UMEM, index, queue);
        bind(&file, &SocketAddrXdpWithSharedUmem { addr, shared_umem_fd: seated.umem.as_fd() })?;
        Ok(Socket { rings, file: Some(file), chunks: seated.umem.chunks(), zero_copy: false, seated })
    }

    /// Lets the kernel send as much at once as the ring holds. Only busy polling is not a hint.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn tune(&self, busy_poll: Option<BusyPoll>) -> io::Result<()> {
        // Without CAP_NET_ADMIN, and before 6.18: what there is must do.
        let _ = set_socket_send_buffer_size_force(self.as_fd(), SEND_BUFFER);
        let _ = self.set(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, self.rings.tx.len());
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

    /// The memory that its frames lie in.
    pub fn umem(&self) -> &Umem {
        &self.seated.umem
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
        self.file.as_ref().map_or_else(|| self.seated.umem.as_fd(), OwnedFd::as_fd)
    }
}
