//! Removing many TAPs at a time.
//!
//! # Theory of operation
//!
//! Closing the last file of a TAP unregisters its interface. That takes a good millisecond of the kernel's one RTNL, and
//! then some twenty more in which others may have it (`rcu_barrier` in `netdev_run_todo`). So files are closed side by
//! side, and interfaces of one namespace are unregistered by one request for a whole group, which takes the kernel little
//! longer than a single one. The group has a number drawn for the occasion: nobody else's interface is in it.

use super::TapHandle;
use super::link::{self, Netlink};
use super::sys;
use crate::ports::netns::{Netns, NetnsId};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

/// Namespaces worked on at a time: more keep the kernel no busier.
const THREADS: usize = 32;
/// The least of interfaces in a namespace that a group is worth, and the most in one: the kernel does nothing else for anybody
/// while it unregisters a group.
const FEW: usize = 2;
const MANY: usize = 256;

/// The interfaces of one namespace, and the file of one of them.
struct Group {
    file: Arc<dyn AsFd + Send + Sync>,
    names: Vec<String>,
}

/// Removes the interfaces of ports that no worker serves any more, where that is quicker than closing their queues one by one;
/// the rest go when these are closed. Those that are to outlive their port ([`TapHandle::keep`]) stay.
pub fn remove_together(taps: &[TapHandle]) {
    let groups: Vec<Group> = by_namespace(taps).into_values().filter(|group| group.names.len() >= FEW).collect();
    let threads = groups.len().min(THREADS);
    let groups = Mutex::new(groups);
    let next = || groups.lock().ok().and_then(|mut groups| groups.pop());
    let work = || {
        while let Some(group) = next() {
            // Whatever is left is unregistered when its file is closed.
            let _ = sys::netns(group.file.as_fd()).and_then(|netns| Netns::from_file(netns).run(|| group.remove())?);
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
}

fn by_namespace(taps: &[TapHandle]) -> HashMap<NetnsId, Group> {
    let mut groups = HashMap::new();
    for file in taps.iter().filter_map(|tap| tap.file.upgrade()) {
        let id = sys::netns(file.as_fd()).and_then(|netns| NetnsId::of_file(netns.as_fd()));
        let (Ok(id), Ok((name, false))) = (id, sys::device(file.as_fd())) else { continue };
        groups.entry(id).or_insert_with(|| Group { file, names: Vec::new() }).names.push(name);
    }
    groups
}

impl Group {
    /// Removes all. Runs inside the namespace.
    fn remove(&self) -> io::Result<()> {
        let netlink = Netlink::open()?;
        self.names.chunks(MANY).try_for_each(|names| remove(&netlink, names))
    }
}

fn remove(netlink: &Netlink, names: &[String]) -> io::Result<()> {
    // Neither 0, in which all interfaces begin, nor a small number that somebody might choose.
    let number = RandomState::new().build_hasher().finish() as u32 | 1 << 30;
    for name in names {
        netlink.set_group(link::index(name)?, number)?;
    }
    netlink.remove_group(number)
}
