//! Namespaces by the hundred. `ip netns add` takes two processes each; here a few threads make them, one after the other.

use super::{Lab, NETNS, Namespace};
use rustix::mount::mount_bind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::{io, panic, thread};

/// Threads that make them.
const HANDS: usize = 4;

impl Lab {
    /// `count` fresh namespaces in which nobody speaks unasked: loopback is down, and there is no IPv6. Their roles are
    /// `role` with a number from 0.
    ///
    /// # Errors
    /// When one cannot be made. Those that were are removed.
    pub fn crowd(&self, role: &str, count: usize) -> io::Result<Vec<Namespace>> {
        allow_descriptors()?;
        fs::create_dir_all(NETNS)?;
        let names: Vec<String> = (0..count).map(|n| format!("{}-{role}{n}", self.prefix)).collect();
        let chunks = names.chunks(count.div_ceil(HANDS).max(1));
        let all: io::Result<Vec<Vec<Namespace>>> = thread::scope(|scope| {
            let hands: Vec<_> = chunks.map(|names| scope.spawn(|| make(names))).collect();
            hands.into_iter().map(|hand| hand.join().unwrap_or_else(|panic| panic::resume_unwind(panic))).collect()
        });
        Ok(all?.into_iter().flatten().collect())
    }
}

/// Each namespace is an open file, and a shell often allows a thousand: raises the limit as far as it may be.
fn allow_descriptors() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Leaves the calling thread in the last of them.
fn make(names: &[String]) -> io::Result<Vec<Namespace>> {
    names.iter().map(|name| mount_new(name)).collect()
}

/// Moves the calling thread into a new namespace, and mounts that where it outlives the thread.
fn mount_new(name: &str) -> io::Result<Namespace> {
    let path = Path::new(NETNS).join(name);
    File::create(&path)?;
    // SAFETY: a new network namespace concerns no memory and no file of this process.
    let made = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
    if let Err(error) = made.and_then(|()| mount_bind("/proc/thread-self/ns/net", &path)) {
        fs::remove_file(&path)?;
        return Err(error.into());
    }
    let namespace = Namespace { name: name.to_owned(), handle: Arc::new(File::open(&path)?) };
    for scope in ["all", "default"] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
    }
    Ok(namespace)
}
