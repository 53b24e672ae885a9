//! What stands for the plain TAP where the engine was built without `tun-tap`, which needs a C compiler: nothing.

use crate::ports::device::{Device, Read, Trouble};
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A TAP whose frames come alone: there is none in this build.
pub(super) struct Plain(Infallible);

impl Plain {
    pub fn create(_pattern: &str) -> io::Result<(Plain, String)> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no plain TAP (feature plain-tap)"))
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }
}

impl Device for Plain {
    const VNET: bool = false;

    fn read(&self, _buf: &mut [u8]) -> io::Result<Read> {
        match self.0 {}
    }

    fn write(&self, _buf: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn trouble(&self, _error: &io::Error) -> Trouble {
        match self.0 {}
    }

    fn is_up(&self) -> io::Result<bool> {
        match self.0 {}
    }
}
