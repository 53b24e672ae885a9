//! The TAP of the `tun-tap` crate: no virtio-net header, hence no offloads; one queue.

use super::{is_up, sys, trouble};
use crate::ports::device::{Device, Read, Trouble};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use tun_tap::{Iface, Mode};

/// A TAP whose frames come alone.
pub(super) struct Plain(Iface);

impl Plain {
    /// Creates a device under a name with `%d` in it, and returns that name filled in.
    pub fn create(pattern: &str) -> io::Result<(Plain, String)> {
        let iface = Iface::without_packet_info(pattern, Mode::Tap)?;
        iface.set_non_blocking()?;
        let name = iface.name().to_owned();
        Ok((Plain(iface), name))
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::file_of(&self.0)
    }
}

impl Device for Plain {
    const VNET: bool = false;

    fn read(&self, buf: &mut [u8]) -> io::Result<Read> {
        Ok(self.0.recv(buf)?.into())
    }

    fn write(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.send(buf)
    }

    fn trouble(&self, error: &io::Error) -> Trouble {
        trouble(error)
    }

    fn is_up(&self) -> io::Result<bool> {
        Ok(is_up(self.as_fd()))
    }
}
