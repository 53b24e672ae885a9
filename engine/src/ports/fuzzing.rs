//! The inside of ports, for the fuzz targets: what comes from a device is decoded behind private types that no other code
//! should hold. Present only with the feature `fuzzing`; no part of the API.

use super::Queue;
use super::device::{Device, DeviceQueue, Read, Trouble};
use crate::wire::ethernet::VLAN_TAG_LEN;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// One read: a virtio-net header and a frame, and the VLAN tag that the kernel took out.
type Waiting = (Vec<u8>, Option<[u8; VLAN_TAG_LEN]>);

struct Memory {
    file: File,
    waiting: Mutex<Option<Waiting>>,
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Device for Memory {
    const VNET: bool = true;

    fn read(&self, buf: &mut [u8]) -> io::Result<Read> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (bytes, tag) = waiting.ok_or(io::ErrorKind::WouldBlock)?;
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        Ok(Read { len, tag, cut: len < bytes.len() })
    }

    fn write(&self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn trouble(&self, _error: &io::Error) -> Trouble {
        Trouble::Busy
    }

    fn is_up(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// The queue of a TAP or packet socket in which one frame waits, and which takes every frame.
///
/// # Errors
/// When /dev/null cannot be opened.
pub fn device(waiting: Waiting) -> io::Result<Box<dyn Queue>> {
    let memory = Memory { file: File::open("/dev/null")?, waiting: Mutex::new(Some(waiting)) };
    Ok(Box::new(DeviceQueue::new(Arc::new(memory))))
}
