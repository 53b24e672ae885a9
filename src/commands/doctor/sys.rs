//! The system call of the probes that has no safe wrapper.
#![expect(unsafe_code, reason = "unshare")]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread into a network namespace of its own.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: a new network namespace concerns no memory and no file of this process.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}
