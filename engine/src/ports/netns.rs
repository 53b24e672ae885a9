//! Network namespaces by name.

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where `ip netns` mounts namespaces.
const DIRECTORY: &str = "/run/netns";
/// `NSFS_MAGIC` (include/uapi/linux/magic.h): what marks a file as a namespace.
const NSFS: rustix::fs::FsWord = 0x6e73_6673;

/// A namespace that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("network namespace `{name}` ({path}): {source}", path = path.display())]
pub struct NetnsError {
    /// As in the configuration.
    pub name: String,
    /// Where it was looked for.
    pub path: PathBuf,
    /// What the kernel says.
    pub source: io::Error,
}

/// A namespace, held while this lives.
pub(super) struct Netns(OwnedFd);

impl Netns {
    /// Opens a namespace under /run/netns, or by its path when `name` has a slash.
    pub fn open(name: &str) -> Result<Netns, NetnsError> {
        let path = if name.contains('/') { PathBuf::from(name) } else { Path::new(DIRECTORY).join(name) };
        let missing = |source| NetnsError { name: name.into(), path: path.clone(), source };
        let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let fd = fd.map_err(|e| missing(e.into()))?;
        match rustix::fs::fstatfs(&fd) {
            Ok(stat) if stat.f_type == NSFS => Ok(Netns(fd)),
            Ok(_) => Err(missing(io::Error::other("not a namespace"))),
            Err(error) => Err(missing(error.into())),
        }
    }

    /// Runs `work` on a thread of its own inside the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let inside = || {
            move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|_| Err(io::Error::other("panicked")))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The name under /run/netns of an open namespace, if it has one.
pub(super) fn name_of(netns: BorrowedFd<'_>) -> Option<String> {
    let wanted = rustix::fs::fstat(netns).ok()?;
    let same = |entry: &fs::DirEntry| {
        fs::metadata(entry.path()).is_ok_and(|m| (m.dev(), m.ino()) == (wanted.st_dev, wanted.st_ino))
    };
    fs::read_dir(DIRECTORY).ok()?.flatten().find(same).and_then(|entry| entry.file_name().into_string().ok())
}
