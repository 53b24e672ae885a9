//! The control socket's place in the file system.
//!
//! Whoever holds the lock on the file beside it (`control.sock.lock`) owns the socket. The kernel lets go of the lock
//! with the process, however it ends, so a socket without a lock is a dead one's and may be replaced at once.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::umask;

/// A socket that listens, removed on drop.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
    _lock: Lock,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another switch has it.
    #[error("another switch runs on {path}", path = .0.display())]
    Taken(PathBuf),
    /// Something else is there.
    #[error("{path} exists and is not a socket", path = .0.display())]
    Foreign(PathBuf),
    /// The kernel refused.
    #[error("{doing} {path}: {source}", path = path.display())]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SocketError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Taken(_) => "stop that one first, or set another control under [engine]",
            Self::Foreign(_) => "remove it, or set another control under [engine]",
            Self::Refused { .. } => "run as root, or set another control under [engine]",
        }
    }
}

impl ControlSocket {
    /// Listens on `path`, for the owner and the group (mode 0660). The directory is made if there is none.
    ///
    /// # Errors
    /// Another switch holds the lock, the path is something else's, or the kernel refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(refused("cannot create", parent))?;
        let lock = Lock::take(path)?;
        remove_stale(path)?;
        // Only here may the mask of the process change: no other thread creates files yet.
        let mask = umask(Mode::from_raw_mode(0o117));
        let listener = UnixListener::bind(path);
        umask(mask);
        let listener = listener.map_err(refused("cannot listen on", path))?;
        Ok(Self { path: path.into(), listener, _lock: lock })
    }

    /// The listener, as a handle of its own.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn refused(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Refused { doing, path: path.into(), source }
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(refused("cannot replace", path)),
        Ok(_) => Err(SocketError::Foreign(path.into())),
        Err(_) => Ok(()),
    }
}

/// A locked file, removed on drop.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, SocketError> {
        let path = PathBuf::from(format!("{}.lock", socket.display()));
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(refused("cannot open", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(SocketError::Taken(socket.into())),
                Err(TryLockError::Error(error)) => return Err(refused("cannot lock", &path)(error)),
            }
            let lock = Self { path: path.clone(), file };
            if lock.is_current() {
                return Ok(lock);
            }
        }
    }

    /// Whether the file is still the one at its path: its last owner may have removed it before we had the lock.
    fn is_current(&self) -> bool {
        let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let here = self.file.metadata().map(identity).ok();
        here.is_some() && here == fs::metadata(&self.path).map(identity).ok()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_current() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("xd-socket-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        directory
    }

    #[test]
    fn one_owner_at_a_time_and_nothing_left_behind() {
        let directory = scratch("owner");
        let path = directory.join("sub/control.sock");
        let first = ControlSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::Taken(_))));
        UnixStream::connect(&path).expect("the first is undisturbed");
        drop(first);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced_but_nothing_else_is() {
        let directory = scratch("stale");
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(ControlSocket::bind(&path).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::Foreign(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_dir_all(directory).unwrap();
    }
}
