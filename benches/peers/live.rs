//! A source of raw frames that costs next to nothing: the kernel runs an XDP program over a page of frames that it
//! made once, and the program sends them out of an interface.
//!
//! The interface is one end of a veth. Both ends must have an XDP program or GRO, which is when veth takes XDP frames.

use crate::bpf::{Instruction, Kind, Program};
use crate::generator::FRAME;
use crate::packets::Source;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with};
use std::io;
use std::time::{Duration, Instant};

/// Frames that the first system call makes, to see how long they take. A call ends with some 30 ms in which the kernel waits
/// for itself and makes nothing, so there must be few.
const FIRST: f64 = 131_072.0;
/// Most frames of a system call.
const MOST: f64 = 16_777_216.0;

/// The program, and the frame it is run over.
#[derive(Debug)]
pub struct LiveFrames {
    program: Program,
    frame: [u8; FRAME],
    /// Frames a second, as far as known.
    pace: Option<f64>,
}

impl LiveFrames {
    /// Prepares to send out of an interface of the calling thread's namespace. The thread must not leave it.
    pub fn open(interface: &str, frame: [u8; FRAME]) -> io::Result<Self> {
        let program = Program::load(Kind::Xdp, &redirect_to(index(interface)?))?;
        Ok(Self { program, frame, pace: None })
    }

    /// Makes as many frames as fit into `time`.
    fn send(&mut self, time: Duration) -> io::Result<u64> {
        let count = self.pace.map_or(FIRST, |pace| pace * time.as_secs_f64()).clamp(FIRST, MOST);
        let begin = Instant::now();
        self.program.run_live(&self.frame, count as u32)?;
        self.pace = Some(count / begin.elapsed().as_secs_f64());
        Ok(count as u64)
    }
}

impl Source for LiveFrames {
    fn send_for(&mut self, time: Duration) -> io::Result<u64> {
        let end = Instant::now() + time;
        let mut offered = 0;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            offered += self.send(left)?;
        }
        Ok(offered)
    }
}

/// The number of an interface of the calling thread's namespace.
pub fn index(interface: &str) -> io::Result<u32> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(name_to_index(&socket, interface)?)
}

/// `return bpf_redirect(interface, 0)`.
fn redirect_to(interface: u32) -> [Instruction; 4] {
    let [a, b, c, d] = interface.to_ne_bytes();
    [
        [0xb7, 1, 0, 0, a, b, c, d],
        [0xb7, 2, 0, 0, 0, 0, 0, 0],
        [0x85, 0, 0, 0, 23, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ]
}
