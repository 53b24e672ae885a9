//! The system calls of packet sockets (packet(7), net/packet/af_packet.c).
#![expect(unsafe_code, reason = "socket options, messages and ioctls without a safe form")]

use crate::wire::Mac;
use crate::wire::ethernet::{VLAN, VLAN_TAG_LEN};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::ffi::c_int;
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::from_ref;

/// `SIOCGSKNS` (include/uapi/linux/sockios.h): the namespace of a socket.
const SIOCGSKNS: libc::Ioctl = 0x894c;
/// `ARPHRD_ETHER`: what carries Ethernet frames.
const ETHERNET: libc::sa_family_t = libc::ARPHRD_ETHER;
/// All protocols, in network byte order.
const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// Room for the control messages of one frame: `tpacket_auxdata` (20 bytes) behind its header (16).
#[repr(align(8))]
struct Control([u8; 64]);

/// What a frame came with.
pub(super) struct Message {
    /// Bytes read.
    pub len: usize,
    /// There were more.
    pub cut: bool,
    /// The VLAN tag that the kernel keeps beside the frame, as it stands in one.
    pub tag: Option<[u8; VLAN_TAG_LEN]>,
}

/// A packet socket that receives nothing until it is bound.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?)
}

/// Sets an integer option of packet sockets.
pub(super) fn set(socket: BorrowedFd<'_>, option: c_int, value: c_int) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, option, &value)
}

/// Sizes a buffer of the socket, in bytes; `SO_RCVBUFFORCE` or `SO_SNDBUFFORCE`, which heed no limit of the system.
pub(super) fn set_buffer(socket: BorrowedFd<'_>, option: c_int, bytes: c_int) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, option, &bytes)
}

/// Has the interface take frames for every address, for as long as the socket is open.
pub(super) fn set_promiscuous(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: index as c_int,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// Begins to receive, from one interface.
pub(super) fn bind(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    // SAFETY: all zero is a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ALL;
    address.sll_ifindex = index as c_int;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the call reads `len` bytes of the address.
    check(unsafe { libc::bind(socket.as_raw_fd(), from_ref(&address).cast(), len) }).map(drop)
}

/// The interface that the socket is bound to; `None` once that is gone, or has gone to another namespace.
pub(super) fn bound(socket: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    // SAFETY: all zero is a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the call writes at most `len` bytes of the address.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) })?;
    Ok(u32::try_from(address.sll_ifindex).ok())
}

/// Frames that found no room in the socket since it was last asked (`PACKET_STATISTICS`).
pub(super) fn overrun(socket: BorrowedFd<'_>) -> u32 {
    let mut count = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    get_option(socket, libc::PACKET_STATISTICS, &mut count).map_or(0, |()| count.tp_drops)
}

/// Makes the socket one of a group among which flows are spread by hash. Without a number the group is new.
/// Returns its number.
pub(super) fn join(socket: BorrowedFd<'_>, group: Option<u16>) -> io::Result<u16> {
    let new = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
    let kind = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING | new;
    set(socket, libc::PACKET_FANOUT, (u32::from(group.unwrap_or(0)) | kind << 16) as c_int)?;
    let mut joined: c_int = 0;
    get_option(socket, libc::PACKET_FANOUT, &mut joined)?;
    Ok(joined as u16)
}

/// Reads one frame with its virtio-net header.
#[inline]
pub(super) fn receive(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Message> {
    let mut data = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut control = Control([0; 64]);
    // SAFETY: all zero is a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: the message names `buf` and `control`, which are ours alone for the call, with their lengths.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    Ok(Message { len, cut: message.msg_flags & libc::MSG_TRUNC != 0, tag: tag(&control, message.msg_controllen) })
}

/// The tag told by the control messages. `PACKET_AUXDATA` is the only one ever asked for, so it is the first.
#[inline]
fn tag(control: &Control, len: usize) -> Option<[u8; VLAN_TAG_LEN]> {
    const DATA: usize = size_of::<libc::cmsghdr>();
    let u32_at = |at| control.0[..len.min(64)].get(at..at + 4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    let u16_at = |at| control.0[..len.min(64)].get(at..at + 2).map(|b| u16::from_ne_bytes([b[0], b[1]]));
    let status = u32_at(DATA + offset_of!(libc::tpacket_auxdata, tp_status))?;
    let kind = u32_at(offset_of!(libc::cmsghdr, cmsg_type))?;
    if kind != libc::PACKET_AUXDATA as u32 || status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let tpid = if known { u16_at(DATA + offset_of!(libc::tpacket_auxdata, tp_vlan_tpid))? } else { VLAN };
    let tci = u16_at(DATA + offset_of!(libc::tpacket_auxdata, tp_vlan_tci))?;
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    Some([a, b, c, d])
}

/// The namespace of a socket. Holding the file holds the namespace, as the socket does anyway.
pub(super) fn netns(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: SIOCGSKNS takes no argument.
    let fd = check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) })?;
    // SAFETY: the call returns a new file that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The MTU of an interface in the socket's namespace, in bytes.
pub(super) fn mtu(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let request = ask(socket, libc::SIOCGIFMTU, name)?;
    // SAFETY: the call filled this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_mtu } as u32)
}

/// The MAC of an interface; `None` when it carries no Ethernet frames.
pub(super) fn mac(socket: BorrowedFd<'_>, name: &str) -> io::Result<Option<Mac>> {
    let request = ask(socket, libc::SIOCGIFHWADDR, name)?;
    // SAFETY: the call filled this member of the union.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let [a, b, c, d, e, f, ..] = address.sa_data;
    Ok((address.sa_family == ETHERNET).then(|| Mac([a, b, c, d, e, f].map(|byte| byte as u8))))
}

/// Whether an interface is up and has a carrier.
pub(super) fn is_running(socket: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let request = ask(socket, libc::SIOCGIFFLAGS, name)?;
    // SAFETY: the call filled this member of the union.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok(flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0)
}

/// One of the questions of netdevice(7) that take a name.
fn ask(socket: BorrowedFd<'_>, question: libc::c_ulong, name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zero is a valid `struct ifreq`.
    let mut request: libc::ifreq = unsafe { zeroed() };
    let room = libc::IFNAMSIZ - 1;
    request.ifr_name.iter_mut().zip(name.bytes().take(room)).for_each(|(to, from)| *to = from as libc::c_char);
    // SAFETY: these questions read and write a `struct ifreq`.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), question as libc::Ioctl, &raw mut request) })?;
    Ok(request)
}

fn set_option<T>(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the call reads `len` bytes of the value.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, from_ref(value).cast(), len) }).map(drop)
}

/// Every bit pattern must be a `T`: it is called with integers and structures of integers.
fn get_option<T: Copy>(socket: BorrowedFd<'_>, option: c_int, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    let value: *mut T = value;
    // SAFETY: the call writes at most `len` bytes of the value, which is plain integers.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, value.cast(), &raw mut len) };
    check(result).map(drop)
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
