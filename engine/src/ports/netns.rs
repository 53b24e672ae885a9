//! Network namespaces by name, and what the kernel calls them.

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::HashMap;
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

/// What the kernel calls a namespace: the device and the inode of its file. No two that exist at a time have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    device: u64,
    inode: u64,
}

impl NetnsId {
    /// The namespace to which a name under /run/netns, or a path when there is a slash in it, leads; `None` where none is. While `ip
    /// netns add` is at work, an empty file is there.
    pub fn of(name: &str) -> Option<NetnsId> {
        let path = path_of(name);
        let is_namespace = rustix::fs::statfs(&path).is_ok_and(|stat| stat.f_type == NSFS);
        fs::metadata(path).ok().filter(|_| is_namespace).map(|meta| NetnsId::from_meta(&meta))
    }

    /// The number in `net:[4026531840]`, as `/proc/PID/ns/net` and /proc/self/mountinfo show it.
    pub fn inode(self) -> u64 {
        self.inode
    }

    /// Of an open file.
    pub(super) fn of_file(netns: BorrowedFd<'_>) -> io::Result<NetnsId> {
        let stat = rustix::fs::fstat(netns)?;
        Ok(NetnsId { device: stat.st_dev, inode: stat.st_ino })
    }

    fn from_meta(meta: &fs::Metadata) -> NetnsId {
        NetnsId { device: meta.dev(), inode: meta.ino() }
    }
}

/// All names under /run/netns, read at once.
#[derive(Debug, Default)]
pub struct NetnsNames(HashMap<NetnsId, String>);

impl NetnsNames {
    /// Reads them. It takes two system calls a name.
    pub fn read() -> NetnsNames {
        let named = |entry: fs::DirEntry| {
            let id = NetnsId::from_meta(&fs::metadata(entry.path()).ok()?);
            Some((id, entry.file_name().into_string().ok()?))
        };
        NetnsNames(fs::read_dir(DIRECTORY).into_iter().flatten().flatten().filter_map(named).collect())
    }

    /// The name of a namespace, if it has one.
    pub fn of(&self, id: NetnsId) -> Option<&str> {
        self.0.get(&id).map(String::as_str)
    }
}

/// A namespace, held while this lives.
pub(super) struct Netns(OwnedFd);

impl Netns {
    /// Opens a namespace under /run/netns, or by its path when `name` has a slash.
    pub fn open(name: &str) -> Result<Netns, NetnsError> {
        let path = path_of(name);
        let missing = |source| NetnsError { name: name.into(), path: path.clone(), source };
        let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let fd = fd.map_err(|e| missing(e.into()))?;
        match rustix::fs::fstatfs(&fd) {
            Ok(stat) if stat.f_type == NSFS => Ok(Netns(fd)),
            Ok(_) => Err(missing(io::Error::other("not a namespace"))),
            Err(error) => Err(missing(error.into())),
        }
    }

    /// One that somebody opened.
    pub fn from_file(file: OwnedFd) -> Netns {
        Netns(file)
    }

    /// What the kernel calls it.
    pub fn id(&self) -> Option<NetnsId> {
        NetnsId::of_file(self.as_fd()).ok()
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

fn path_of(name: &str) -> PathBuf {
    if name.contains('/') { PathBuf::from(name) } else { Path::new(DIRECTORY).join(name) }
}
