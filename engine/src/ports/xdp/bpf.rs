//! The part of bpf(2) that it takes to hold a program on an interface.
#![expect(unsafe_code, reason = "bpf(2)")]

use super::btf;
use super::program::{Instruction, program};
use std::ffi::c_long;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// Most queues of an interface that can have a socket.
pub(super) const MOST_QUEUES: u32 = 64;

// Numbers of include/uapi/linux/bpf.h: enum bpf_cmd, bpf_map_type, bpf_prog_type, bpf_attach_type, and flags.
const MAP_CREATE: c_long = 0;
const MAP_UPDATE_ELEM: c_long = 2;
const PROG_LOAD: c_long = 5;
const LINK_CREATE: c_long = 28;
const LINK_DETACH: c_long = 34;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const F_XDP_HAS_FRAGS: u32 = 1 << 5;
const F_XDP_DEV_BOUND_ONLY: u32 = 1 << 6;

/// How a program is attached (`XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE`, include/uapi/linux/if_link.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Inside the driver, before the kernel makes a packet buffer.
    Driver,
    /// In the kernel's own receive path: works with every interface.
    Generic,
}

impl Mode {
    /// Its name, in the kernel's words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::Driver => "driver",
            Mode::Generic => "generic",
        }
    }

    fn flag(self) -> u32 {
        match self {
            Mode::Generic => 1 << 1,
            Mode::Driver => 1 << 2,
        }
    }
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct ProgLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LinkCreate {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Our program on an interface, and its sockets. It is held by a link, so that the end of the process takes it off.
pub(super) struct Attachment {
    sockets: OwnedFd,
    link: OwnedFd,
}

impl Attachment {
    /// Attaches the program to the interface `ifindex` of this thread's namespace. `frags`: frames may come in pieces.
    ///
    /// # Errors
    /// What the kernel says; EBUSY or EEXIST when there is another program.
    pub fn new(ifindex: u32, mode: Mode, frags: bool) -> io::Result<Attachment> {
        let sockets = create_map()?;
        let frags = if frags { F_XDP_HAS_FRAGS } else { 0 };
        let program = match load_restoring_tags(&sockets, ifindex, mode, frags) {
            Some(program) => program,
            None => load(&program(sockets.as_fd(), None), frags, 0)?,
        };
        let request =
            LinkCreate { program: number(program.as_fd()), ifindex, attach_type: ATTACH_XDP, flags: mode.flag() };
        // SAFETY: the request names an open program.
        let link = unsafe { bpf_fd(LINK_CREATE, request.as_bytes()) }?;
        Ok(Attachment { sockets, link })
    }

    /// Gives the frames of `queue` to `socket` from now on. The kernel forgets it when the socket is closed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set(&self, queue: u32, socket: impl AsFd) -> io::Result<()> {
        let value = number(socket.as_fd());
        let request = MapUpdate {
            map: number(self.sockets.as_fd()),
            padding: 0,
            key: (&raw const queue).expose_provenance() as u64,
            value: (&raw const value).expose_provenance() as u64,
            flags: 0,
        };
        // SAFETY: key and value are read during the call only, four bytes each, as the map was created.
        unsafe { bpf(MAP_UPDATE_ELEM, request.as_bytes()) }.map(drop)
    }

    /// Takes the program off, before its sockets are closed. Doing it again, or after the interface went, is no matter.
    pub fn detach(&self) {
        // SAFETY: the request names an open link.
        let _ = unsafe { bpf(LINK_DETACH, number(self.link.as_fd()).as_bytes()) };
    }
}

fn create_map() -> io::Result<OwnedFd> {
    let request = MapCreate { kind: MAP_TYPE_XSKMAP, key_size: 4, value_size: 4, max_entries: MOST_QUEUES };
    // SAFETY: the request holds no address.
    unsafe { bpf_fd(MAP_CREATE, request.as_bytes()) }
}

/// The program that restores VLAN tags, where kernel and driver have what it takes.
fn load_restoring_tags(sockets: &OwnedFd, ifindex: u32, mode: Mode, frags: u32) -> Option<OwnedFd> {
    let rx_vlan_tag = btf::rx_vlan_tag().filter(|_| mode == Mode::Driver);
    let code = program(sockets.as_fd(), Some(rx_vlan_tag?));
    load(&code, frags | F_XDP_DEV_BOUND_ONLY, ifindex).ok()
}

/// Loads a program, bound to the device `ifindex` where the flags say so.
fn load(code: &[Instruction], flags: u32, ifindex: u32) -> io::Result<OwnedFd> {
    let mut request = ProgLoad::new_zeroed();
    request.kind = PROG_TYPE_XDP;
    request.instructions = code.len() as u32;
    request.code = code.as_ptr().expose_provenance() as u64;
    // Functions of the kernel are for programs under its licence, which Dual MIT/GPL is.
    request.license = c"Dual MIT/GPL".as_ptr().expose_provenance() as u64;
    request.flags = flags;
    request.name[..9].copy_from_slice(b"crossdock");
    request.ifindex = ifindex;
    request.expected_attach_type = ATTACH_XDP;
    // SAFETY: code and license are read during the call only; the one has the length given, the other ends with a zero.
    unsafe { bpf_fd(PROG_LOAD, request.as_bytes()) }
}

fn number(file: BorrowedFd<'_>) -> u32 {
    file.as_raw_fd() as u32
}

/// # Safety
/// As for [`bpf`], and the command returns a file.
unsafe fn bpf_fd(command: c_long, request: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, request) }?;
    // SAFETY: the call returned a new file that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// The request is what the kernel expects for `command`, and addresses in it are good for the call.
unsafe fn bpf(command: c_long, request: &[u8]) -> io::Result<i32> {
    // SAFETY: the kernel reads the request's bytes; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, request.as_ptr(), request.len()) };
    i32::try_from(result).ok().filter(|result| *result >= 0).ok_or_else(io::Error::last_os_error)
}
