//! The system calls of TUN/TAP (Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h).
#![expect(unsafe_code, reason = "ioctls")]

use crate::wire::Mac;
use rustix::fs::{Mode, OFlags};
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Offloads a TAP may carry, as TUN_F_ bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offloads(u32);

impl Offloads {
    const TSO: u32 = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    const USO: u32 = libc::TUN_F_USO4 | libc::TUN_F_USO6;

    /// What to ask for, the most first: USO needs Linux 6.2, and TSO a checksum.
    const LADDER: [Offloads; 4] = [
        Offloads(libc::TUN_F_CSUM | Self::TSO | Self::USO),
        Offloads(libc::TUN_F_CSUM | Self::TSO),
        Offloads(libc::TUN_F_CSUM),
        Offloads(0),
    ];

    pub fn csum(self) -> bool {
        self.0 & libc::TUN_F_CSUM != 0
    }

    pub fn tso(self) -> bool {
        self.0 & Self::TSO == Self::TSO
    }

    pub fn uso(self) -> bool {
        self.0 & Self::USO == Self::USO
    }
}

/// A fresh file on /dev/net/tun, not yet a device.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open("/dev/net/tun", flags, Mode::empty())?)
}

/// Makes `tun` a queue of the TAP `name` with a virtio-net header, creating it if there is none; the kernel fills
/// a `%d` in. `new`: there must be none (EBUSY). Returns the device's name.
pub(super) fn attach(tun: BorrowedFd<'_>, name: &str, new: bool, multi_queue: bool) -> io::Result<String> {
    let queues = if multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
    let new = if new { libc::IFF_TUN_EXCL } else { 0 };
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | queues | new) as i16;
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`.
    unsafe { ioctl(tun, libc::TUNSETIFF, (&raw mut request).cast()) }?;
    Ok(name_in(&request))
}

/// Whether this kernel's TAPs know the virtio-net header.
pub(super) fn has_header(tun: BorrowedFd<'_>) -> bool {
    let mut features: libc::c_uint = 0;
    // SAFETY: TUNGETFEATURES writes an unsigned int.
    let known = unsafe { ioctl(tun, libc::TUNGETFEATURES, (&raw mut features).cast()) };
    known.is_ok() && features & libc::IFF_VNET_HDR as libc::c_uint != 0
}

/// The device's present name, and whether it outlives its files.
pub(super) fn device(tun: BorrowedFd<'_>) -> io::Result<(String, bool)> {
    let mut request = request("");
    // SAFETY: TUNGETIFF writes a `struct ifreq`.
    unsafe { ioctl(tun, libc::TUNGETIFF, (&raw mut request).cast()) }?;
    // SAFETY: the call filled this member of the union.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok((name_in(&request), flags & libc::IFF_PERSIST != 0))
}

/// The namespace the device is in now. Holding the file holds the namespace.
pub(super) fn netns(tun: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: TUNGETDEVNETNS takes no argument.
    let fd = unsafe { ioctl(tun, libc::TUNGETDEVNETNS, std::ptr::null_mut()) }?;
    // SAFETY: the call returns a new file that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The MAC of the interface.
pub(super) fn mac(tun: BorrowedFd<'_>) -> io::Result<Mac> {
    let mut request = request("");
    // SAFETY: SIOCGIFHWADDR on a TAP writes a `struct ifreq`.
    unsafe { ioctl(tun, libc::SIOCGIFHWADDR as libc::Ioctl, (&raw mut request).cast()) }?;
    // SAFETY: the call filled this member of the union.
    let [a, b, c, d, e, f, ..] = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    Ok(Mac([a, b, c, d, e, f].map(|byte| byte as u8)))
}

/// Sets the length of the virtio-net header: a persistent device keeps the one of its last user.
pub(super) fn set_header_len(tun: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let mut len = len as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads an `int`.
    unsafe { ioctl(tun, libc::TUNSETVNETHDRSZ, (&raw mut len).cast()) }.map(drop)
}

/// Asks for as many offloads as this kernel has.
pub(super) fn set_offloads(tun: BorrowedFd<'_>) -> io::Result<Offloads> {
    let mut refused = io::ErrorKind::Unsupported.into();
    for offloads in Offloads::LADDER {
        let bits = std::ptr::without_provenance_mut(offloads.0 as usize);
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        match unsafe { ioctl(tun, libc::TUNSETOFFLOAD, bits) } {
            Ok(_) => return Ok(offloads),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Whether the device outlives its files.
pub(super) fn set_persist(tun: BorrowedFd<'_>, persist: bool) -> io::Result<()> {
    let flag = std::ptr::without_provenance_mut(usize::from(persist));
    // SAFETY: TUNSETPERSIST takes its argument by value.
    unsafe { ioctl(tun, libc::TUNSETPERSIST, flag) }.map(drop)
}

/// The file of a `tun-tap` interface, which lends none itself.
#[cfg(feature = "plain-tap")]
pub(super) fn file_of(iface: &tun_tap::Iface) -> BorrowedFd<'_> {
    // SAFETY: the file stays open for as long as `iface` lives, and it is borrowed here.
    unsafe { BorrowedFd::borrow_raw(iface.as_raw_fd()) }
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: all zero is a valid `struct ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = libc::IFNAMSIZ - 1;
    request.ifr_name.iter_mut().zip(name.bytes().take(room)).for_each(|(to, from)| *to = from as libc::c_char);
    request
}

fn name_in(request: &libc::ifreq) -> String {
    request.ifr_name.iter().take_while(|c| **c != 0).map(|c| char::from(*c as u8)).collect()
}

/// # Safety
/// `argument` is what the kernel expects for `request`.
unsafe fn ioctl(tun: BorrowedFd<'_>, request: libc::Ioctl, argument: *mut libc::c_void) -> io::Result<c_int> {
    // SAFETY: the file is open, and the caller answers for the argument.
    let result = unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), request, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
