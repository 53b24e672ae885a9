//! A source of raw frames that costs next to nothing: the kernel runs an XDP program over a page of frames that it
//! made once, and the program sends them out of an interface (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18,
//! `Documentation/bpf/bpf_prog_run.rst`).
//!
//! The interface is one end of a veth. Both ends must have an XDP program or GRO, which is when veth takes XDP frames.
#![expect(unsafe_code, reason = "bpf(2)")]

use crate::generator::FRAME;
use crate::packets::Source;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Frames a system call makes.
const REPEAT: u32 = 16_384;

// include/uapi/linux/bpf.h: enum bpf_cmd, bpf_prog_type, and a flag.
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const PROG_TYPE_XDP: u32 = 6;
const LIVE_FRAMES: u32 = 2;

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

/// The program, and the frame it is run over.
#[derive(Debug)]
pub struct LiveFrames {
    program: OwnedFd,
    frame: [u8; FRAME],
}

impl LiveFrames {
    /// Prepares to send out of an interface of the calling thread's namespace. The thread must not leave it.
    pub fn open(interface: &str, frame: [u8; FRAME]) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        let program = load(&redirect_to(name_to_index(&socket, interface)?))?;
        Ok(Self { program, frame })
    }

    fn send(&mut self) -> io::Result<u64> {
        let mut request = TestRun {
            program: self.program.as_raw_fd().cast_unsigned(),
            data_in_size: FRAME as u32,
            data_in: self.frame.as_ptr() as u64,
            repeat: REPEAT,
            flags: LIVE_FRAMES,
            ..TestRun::default()
        };
        // SAFETY: the request is one of BPF_PROG_TEST_RUN, and the frame it points to outlives the call.
        unsafe { bpf(PROG_TEST_RUN, &mut request) }?;
        Ok(REPEAT.into())
    }
}

impl Source for LiveFrames {
    fn send_for(&mut self, time: Duration) -> io::Result<u64> {
        let end = Instant::now() + time;
        let mut offered = 0;
        while Instant::now() < end {
            offered += self.send()?;
        }
        Ok(offered)
    }
}

/// `return bpf_redirect(interface, 0)`, as `struct bpf_insn`s.
fn redirect_to(interface: u32) -> [[u8; 8]; 4] {
    let [a, b, c, d] = interface.to_ne_bytes();
    [
        [0xb7, 1, 0, 0, a, b, c, d],
        [0xb7, 2, 0, 0, 0, 0, 0, 0],
        [0x85, 0, 0, 0, 23, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ]
}

fn load(code: &[[u8; 8]]) -> io::Result<OwnedFd> {
    let mut request = Load {
        kind: PROG_TYPE_XDP,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the request is one of BPF_PROG_LOAD, and the code and the text it points to outlive the call.
    let fd = unsafe { bpf(PROG_LOAD, &mut request) }?;
    // SAFETY: the command returned a file that is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `request` is what the command takes, and its addresses are valid.
unsafe fn bpf<T>(command: libc::c_long, request: &mut T) -> io::Result<i32> {
    // SAFETY: as the caller promises; the kernel writes at most the size given.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *request, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
