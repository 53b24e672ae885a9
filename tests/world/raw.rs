//! Whole Ethernet frames into and out of a host's interface: a packet socket (packet(7)).
#![expect(unsafe_code, reason = "packet sockets have no safe wrapper")]

use crate::lab::Namespace;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Longer than any frame.
const ROOM: usize = 65_536 + 64;
/// Bytes that may wait to be read: thousands of frames.
const BACKLOG: usize = 64 << 20;

/// Whether a frame is one by which a switch looks for loops.
pub fn is_probe(frame: &[u8]) -> bool {
    frame.starts_with(&[0x03, 0x78, 0x64, 0x6f, 0x63, 0x6b])
}

/// Sends from an interface, and receives what comes in by it, not what goes out.
pub struct Raw(OwnedFd);

impl Raw {
    pub fn open(namespace: &Namespace, interface: &str) -> io::Result<Raw> {
        namespace.run(|| open(interface))?
    }

    /// One that only sends, frames that follow a virtio-net header of 10 bytes (`PACKET_VNET_HDR`, packet(7)): the kernel
    /// finishes what the header says and the interface cannot.
    pub fn with_vnet_header(namespace: &Namespace, interface: &str) -> io::Result<Raw> {
        let raw = Raw::open(namespace, interface)?;
        switch_on(&raw.0, libc::PACKET_VNET_HDR)?;
        Ok(raw)
    }

    /// Sends one frame of at least 14 bytes.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.0, frame, SendFlags::empty())?;
        Ok(())
    }

    /// Sends one frame, waiting while the interface's queue is full.
    pub fn send_patiently(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            match self.send(frame) {
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    std::thread::sleep(Duration::from_micros(50));
                }
                result => return result,
            }
        }
    }

    /// The next frame, or `None` when none comes for `patience`. Those by which the switch looks for loops do not count.
    pub fn receive(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let timeout = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
        loop {
            if poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout))? == 0 {
                return Ok(None);
            }
            let frame = read(&self.0)?;
            if !is_probe(&frame) {
                return Ok(Some(frame));
            }
        }
    }

    /// All frames until none comes for `patience`.
    pub fn drain(&self, patience: Duration) -> io::Result<Vec<Vec<u8>>> {
        std::iter::from_fn(|| self.receive(patience).transpose()).collect()
    }
}

fn open(interface: &str) -> io::Result<Raw> {
    // Without a protocol it receives nothing before it is bound.
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BACKLOG)?;
    switch_on(&socket, libc::PACKET_AUXDATA)?;
    switch_on(&socket, libc::PACKET_IGNORE_OUTGOING)?;
    let name = CString::new(interface)?;
    // SAFETY: a C string is lent for the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    // SAFETY: a plain structure of integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is valid for its length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if index == 0 || bound < 0 { Err(io::Error::last_os_error()) } else { Ok(Raw(socket)) }
}

fn switch_on(socket: &OwnedFd, option: i32) -> io::Result<()> {
    let (on, length) = (1_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the value is valid for its length.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), length) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads one frame. The kernel takes a VLAN tag out of the bytes and tells it beside them: it is put back.
fn read(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let (mut frame, mut control) = (vec![0_u8; ROOM], [0_u64; 16]);
    let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
    // SAFETY: a plain structure of integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control) as _);
    // SAFETY: all that the message points to lives here and is as long as it says.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    frame.truncate(length);
    if let Some(tag) = tag(&message) {
        frame.splice(12..12, tag);
    }
    Ok(frame)
}

/// The VLAN tag told beside a frame.
fn tag(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: recvmsg filled the message in; its control buffer is alive.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: the kernel puts a whole tpacket_auxdata into a message of this type.
    let beside = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
    if beside.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let ([a, b], [c, d]) = (beside.tp_vlan_tpid.to_be_bytes(), beside.tp_vlan_tci.to_be_bytes());
    Some([a, b, c, d])
}

/// Makes a UDP socket hand everything over in one piece that stands for datagrams of `length` (`UDP_SEGMENT`, udp(7)).
pub fn segment(socket: &std::net::UdpSocket, length: usize) -> io::Result<()> {
    let (value, size) = (i32::try_from(length).map_err(io::Error::other)?, size_of::<i32>() as libc::socklen_t);
    let option = (libc::SOL_UDP, libc::UDP_SEGMENT);
    // SAFETY: the value is valid for its length.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), option.0, option.1, (&raw const value).cast(), size) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
