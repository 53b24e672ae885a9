//! Network namespaces of the demo, made as `ip netns add` makes them, so that `ip netns exec` can look inside.
//!
//! Their names end in the process id. Whatever ends the demo removes them: going out of scope, a panic (by a hook, for
//! a build that aborts), and after `kill -9` the next demo.
#![expect(unsafe_code, reason = "unshare")]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

const DIRECTORY: &str = "/run/netns";
const PREFIX: &str = "xdemo-";

/// A namespace that is removed on drop.
pub struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes one; `role` becomes part of its name.
    pub fn create(role: &str) -> io::Result<Self> {
        let name = format!("{PREFIX}{role}-{}", std::process::id());
        fs::create_dir_all(DIRECTORY)?;
        File::create(path(&name))?;
        let made = std::thread::scope(|scope| scope.spawn(|| mount_new(&path(&name))).join());
        match made.unwrap_or_else(|_| Err(io::Error::other("the thread for it panicked"))) {
            Ok(()) => Ok(Self { file: File::open(path(&name))?, name }),
            Err(error) => {
                remove(&name);
                Err(error)
            }
        }
    }

    /// Its name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread, and every thread it starts from now on, into the namespace.
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Runs `work` on a thread of its own inside. Sockets made there belong to the namespace wherever they are used.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let inside = || self.enter().and_then(|()| work());
        let result = std::thread::scope(|scope| scope.spawn(inside).join());
        result.unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Moves this thread into a new namespace and mounts that on `path`, where it outlives the thread.
fn mount_new(path: &Path) -> io::Result<()> {
    // SAFETY: a new network namespace concerns no memory and no file of this process.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(mount_bind("/proc/thread-self/ns/net", path)?)
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn remove(name: &str) {
    let _ = unmount(path(name), UnmountFlags::DETACH);
    let _ = fs::remove_file(path(name));
}

/// Removes what demos left whose process was killed.
pub fn remove_stale() {
    remove_all(|pid| !Path::new("/proc").join(pid).exists());
}

/// Makes a panic remove the namespaces before it ends the process.
pub fn remove_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let own = std::process::id().to_string();
        remove_all(|pid| pid == own);
    }));
}

fn remove_all(concerned: impl Fn(&str) -> bool) {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| owner(name).is_some_and(&concerned)).for_each(|name| remove(&name));
}

/// The process whose demo the namespace belongs to.
fn owner(name: &str) -> Option<&str> {
    let (_, pid) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse::<u32>().is_ok().then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_demos_namespaces_have_an_owner() {
        assert_eq!(owner("xdemo-h1-4711"), Some("4711"));
        for foreign in ["h1", "xdemo-h1", "xdemo-h1-", "xdemo-h1-47a", "xd-demo-h1-4711", "xdemo-4711"] {
            assert_eq!(owner(foreign), None, "{foreign}");
        }
    }
}
