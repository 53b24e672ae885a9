//! The system calls of the probes that have no safe wrapper.
#![expect(unsafe_code, reason = "unshare, setsockopt and bpf(2)")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::thread::{UnshareFlags, unshare_unsafe};

// Numbers of include/uapi/linux/bpf.h: enum bpf_cmd, bpf_prog_type and bpf_attach_type.
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// `r0 = XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// How a program is attached (include/uapi/linux/if_link.h: `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    Generic = 1 << 1,
    Driver = 1 << 2,
}

/// What `BPF_PROG_LOAD` reads, as far as it is needed.
#[repr(C)]
struct ProgLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    kernel: u32,
    flags: u32,
}

/// What `BPF_LINK_CREATE` reads.
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach: u32,
    flags: u32,
}

/// Moves the calling thread into a network namespace of its own.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: a new network namespace concerns no memory and no file of this process.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// Asks a packet socket to carry the virtio-net header (packet(7), `PACKET_VNET_HDR`).
pub fn packet_vnet_header(socket: BorrowedFd<'_>) -> io::Result<()> {
    let (on, length) = (1_i32, size_of::<i32>() as libc::socklen_t);
    let option = (libc::SOL_PACKET, libc::PACKET_VNET_HDR);
    // SAFETY: the value is valid for its length.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), option.0, option.1, (&raw const on).cast(), length) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Loads an XDP program that lets everything pass.
pub fn load_xdp_pass() -> io::Result<OwnedFd> {
    let license = c"GPL".as_ptr().expose_provenance() as u64;
    let instructions = PASS.as_ptr().expose_provenance() as u64;
    let count = PASS.len() as u32;
    let load = ProgLoad { kind: PROG_TYPE_XDP, count, instructions, license, log: [0; 2], kernel: 0, flags: 0 };
    // SAFETY: the structure is what the command reads; what it points to is static.
    unsafe { bpf(PROG_LOAD, &load) }
}

/// Attaches a program to an interface until the returned link is closed.
pub fn attach_xdp(program: BorrowedFd<'_>, interface: u32, mode: XdpMode) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd().cast_unsigned();
    let link = LinkCreate { program, interface, attach: ATTACH_XDP, flags: mode as u32 };
    // SAFETY: the structure is what the command reads, and points to nothing.
    unsafe { bpf(LINK_CREATE, &link) }
}

/// # Safety
/// `attributes` is what `command` reads, and what it points to is valid. The command returns a new file.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller answers for the attributes; they are valid for their size.
    let file = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new file that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(file as i32) })
}
