//! A source of raw frames: AF_PACKET, `sendmmsg`, no queueing discipline (Linux `packet(7)`).
#![expect(unsafe_code, reason = "packet sockets and sendmmsg are used through libc")]

use crate::packets::Source;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Frames a system call takes.
pub const BATCH: usize = 64;

/// Bytes of a 64-byte frame without its FCS.
pub const FRAME: usize = 60;

/// A packet socket that sends a few frames over and over.
#[derive(Debug)]
pub struct Generator {
    socket: OwnedFd,
    /// What it sends, at most [`BATCH`] of them, each behind its virtio-net header where the socket wants one.
    pub frames: Vec<Vec<u8>>,
    next: usize,
}

impl Generator {
    /// Opens it on an interface of the calling thread's namespace.
    pub fn open(interface: &str, frames: Vec<Vec<u8>>) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        let index = name_to_index(&socket, interface)?;
        switch_on(&socket, libc::PACKET_QDISC_BYPASS)?;
        bind(&socket, index)?;
        Ok(Self { socket, frames, next: 0 })
    }

    /// The same for frames that follow a virtio-net header of 10 bytes (`PACKET_VNET_HDR`): super-frames.
    pub fn with_vnet_header(interface: &str, frames: Vec<Vec<u8>>) -> io::Result<Self> {
        let generator = Self::open(interface, frames)?;
        switch_on(&generator.socket, libc::PACKET_VNET_HDR)?;
        Ok(generator)
    }

    /// Sends up to [`BATCH`] frames in one call; returns how many were taken, 0 when the interface is full.
    pub fn send(&mut self, count: usize) -> io::Result<u64> {
        // SAFETY: all zeroes is a valid iovec: an empty one.
        let mut parts: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: all zeroes is a valid mmsghdr: no name, no data, no control.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for (message, part) in messages.iter_mut().zip(&mut parts) {
            let frame = &mut self.frames[self.next];
            *part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
            self.next = (self.next + 1) % self.frames.len();
            message.msg_hdr.msg_iov = &raw mut *part;
            message.msg_hdr.msg_iovlen = 1;
        }
        let count = count.min(BATCH) as libc::c_uint;
        // SAFETY: `count` messages are valid, and the parts and frames outlive the call, which only reads them.
        let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        u64::try_from(sent).or_else(|_| full_or_error(io::Error::last_os_error()))
    }
}

impl Source for Generator {
    /// Sends for `time` as fast as it can; returns how many frames it offered. One that finds the interface's queue
    /// full is dropped by the kernel, ends its system call, and counts.
    fn send_for(&mut self, time: Duration) -> io::Result<u64> {
        let end = Instant::now() + time;
        let mut offered = 0;
        while Instant::now() < end {
            offered += self.send(BATCH)?.max(1);
        }
        Ok(offered)
    }
}

/// A full transmit queue is no error of a load test.
fn full_or_error(error: io::Error) -> io::Result<u64> {
    match error.raw_os_error() {
        Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR) => Ok(0),
        _ => Err(error),
    }
}

fn switch_on(socket: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let (fd, on) = (socket.as_raw_fd(), 1_i32);
    // SAFETY: the option is an int, and `on` is one that outlives the call.
    let result = unsafe {
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(fd, libc::SOL_PACKET, option, (&raw const on).cast(), size)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind(socket: &OwnedFd, index: u32) -> io::Result<()> {
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index.cast_signed();
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` is a sockaddr_ll of `size` bytes that outlives the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
