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
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Namespaces in which interfaces are put into groups at a time: one at a time gets the RTNL, for moments.
const MARKING: usize = 4;
/// Namespaces in which groups are unregistered at a time: most of it is waiting, side by side.
const REMOVING: usize = 64;
/// The least of interfaces in a namespace that a group is worth, and the most in one: the kernel does nothing else for anybody
/// while it unregisters a group.
const FEW: usize = 2;
const MANY: usize = 256;

/// Interfaces of one namespace, and the number of the group that they become.
struct Group {
    netns: Arc<Netns>,
    names: Vec<String>,
    number: u32,
}

/// Removes the interfaces of ports that no worker serves any more, where that is quicker than closing their queues one by one;
/// the rest go when these are closed, whatever is refused here. Those that are to outlive their port ([`TapHandle::keep`]) stay.
pub fn remove_together(taps: &[TapHandle]) {
    let groups: Vec<Group> = by_namespace(taps).into_values().flat_map(groups).collect();
    // First all groups, then all removals: between these, each would wait for its turn five times instead of once.
    each(&groups, MARKING, Group::mark);
    each(&groups, REMOVING, Group::remove);
}

/// Interfaces by namespace. Each takes a file until they are removed: asking for it once more would mean waiting for the RTNL.
fn by_namespace(taps: &[TapHandle]) -> HashMap<NetnsId, (Arc<Netns>, Vec<String>)> {
    let mut namespaces = HashMap::new();
    for file in taps.iter().filter_map(|tap| tap.file.upgrade()) {
        let (Ok((name, false)), Ok(netns)) = (sys::device(file.as_fd()), sys::netns(file.as_fd())) else { continue };
        let Ok(id) = NetnsId::of_file(netns.as_fd()) else { continue };
        let fresh = || (Arc::new(Netns::from_file(netns)), Vec::new());
        namespaces.entry(id).or_insert_with(fresh).1.push(name);
    }
    namespaces.retain(|_, (_, names)| names.len() >= FEW);
    namespaces
}

fn groups((netns, names): (Arc<Netns>, Vec<String>)) -> Vec<Group> {
    // Neither 0, in which all interfaces begin, nor a small number that somebody might choose.
    let number = || RandomState::new().build_hasher().finish() as u32 | 1 << 30;
    let group = |names: &[String]| Group { netns: netns.clone(), names: names.to_vec(), number: number() };
    names.chunks(MANY).map(group).collect()
}

/// Does something with each group, inside its namespace, several at a time.
fn each(groups: &[Group], most: usize, work: fn(&Group) -> io::Result<()>) {
    let next = AtomicUsize::new(0);
    let toil = || {
        while let Some(group) = groups.get(next.fetch_add(1, Relaxed)) {
            let _ = group.netns.run(|| work(group));
        }
    };
    std::thread::scope(|scope| (0..most.min(groups.len())).for_each(|_| drop(scope.spawn(toil))));
}

impl Group {
    /// Makes the interfaces a group.
    fn mark(&self) -> io::Result<()> {
        let netlink = Netlink::open()?;
        self.names.iter().try_for_each(|name| netlink.set_group(link::index(name)?, self.number))
    }

    /// Removes all of the group.
    fn remove(&self) -> io::Result<()> {
        Netlink::open()?.remove_group(self.number)
    }
}
