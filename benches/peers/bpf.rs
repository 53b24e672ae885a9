//! As much of bpf(2) as the packet loads need: two programs of a few instructions each.
#![expect(unsafe_code, reason = "bpf(2)")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// One instruction (`struct bpf_insn`).
pub type Instruction = [u8; 8];

// include/uapi/linux/bpf.h: enum bpf_cmd.
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const LINK_CREATE: libc::c_long = 28;

/// `BPF_F_TEST_XDP_LIVE_FRAMES`.
const LIVE_FRAMES: u32 = 2;
/// `BPF_TCX_INGRESS`.
const TCX_INGRESS: u32 = 46;

/// Kinds of programs (`enum bpf_prog_type`).
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum Kind {
    /// At an interface's traffic control.
    Classifier = 3,
    /// Before anything else.
    Xdp = 6,
}

/// The first members of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log: [u64; 2],
}

/// `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    data_in_size: u32,
    data_out_size: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_sizes: [u32; 2],
    contexts: [u64; 2],
    flags: u32,
    cpu: u32,
    batch: u32,
    padding: u32,
}

/// `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
struct Link {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
    expected: [u64; 2],
}

/// A loaded program.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    pub fn load(kind: Kind, code: &[Instruction]) -> io::Result<Self> {
        let mut request = Load {
            kind: kind as u32,
            instructions: code.len() as u32,
            code: code.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..Load::default()
        };
        // SAFETY: the request is one of BPF_PROG_LOAD, and the code and the text it points to outlive the call.
        unsafe { bpf(PROG_LOAD, &mut request) }.map(Self)
    }

    /// Runs an XDP program over `repeat` copies of a frame, with the consequences that a received frame has
    /// (`Documentation/bpf/bpf_prog_run.rst`, Linux 5.18).
    pub fn run_live(&self, frame: &[u8], repeat: u32) -> io::Result<()> {
        let mut request = TestRun {
            program: self.0.as_raw_fd().cast_unsigned(),
            data_in_size: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat,
            flags: LIVE_FRAMES,
            ..TestRun::default()
        };
        // SAFETY: the request is one of BPF_PROG_TEST_RUN, and the frame it points to outlives the call.
        call(unsafe { bpf_number(PROG_TEST_RUN, &mut request) }).map(drop)
    }

    /// Puts a classifier at what an interface receives (Linux 6.6), until the result is dropped.
    pub fn attach(&self, interface: u32) -> io::Result<OwnedFd> {
        let program = self.0.as_raw_fd().cast_unsigned();
        let mut request = Link { program, interface, attach_type: TCX_INGRESS, ..Link::default() };
        // SAFETY: the request is one of BPF_LINK_CREATE, and holds no addresses.
        unsafe { bpf(LINK_CREATE, &mut request) }
    }
}

/// A command that makes a file.
///
/// # Safety
/// As [`bpf_number`].
unsafe fn bpf<T>(command: libc::c_long, request: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    let fd = call(unsafe { bpf_number(command, request) })?;
    // SAFETY: the command returned a file that is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `request` is what the command takes, and its addresses are valid.
unsafe fn bpf_number<T>(command: libc::c_long, request: &mut T) -> libc::c_long {
    // SAFETY: as the caller promises; the kernel writes at most the size given.
    unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *request, size_of::<T>()) }
}

fn call(result: libc::c_long) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
