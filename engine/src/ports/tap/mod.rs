//! TAP: an interface of the kernel whose cable ends in a file of ours.
//!
//! # Theory of operation
//!
//! A [`Tap`] is created in our own namespace under a temporary name, then moved into its namespace, renamed and
//! configured. The move takes some 18 ms, in which the kernel moves and makes no other interface (it waits for
//! `rcu_barrier` and holds the RTNL). Made inside its namespace ([`TapConfig::inside`]) it takes a fifth of a
//! millisecond, but the file holds the namespace it was opened in for as long as it is open (`tun_chr_open`): deleting
//! that namespace frees nothing. Who makes TAPs so looks after that himself, see [`TapHandle::holds`].
//!
//! From then on the files are the identity: whoever moves or renames the interface does not disturb the port. When
//! the interface is deleted, or its namespace dies, the files answer EBADFD and the port is gone. Closing them deletes the
//! interface, unless it is persistent, so a creation that fails half-way leaves nothing behind.
//!
//! Frames carry a virtio-net header with the sender's unfinished checksums and super-frames. Where the kernel refuses
//! the header, or on request, the port is the plain TAP of the `tun-tap` crate: wire-size frames, checksums complete.

mod link;
mod place;
#[cfg_attr(not(feature = "plain-tap"), path = "plain_absent.rs")]
mod plain;
mod sys;
mod together;

pub use together::remove_together;

use super::device::{Device, DeviceQueue, Read, Trouble, is, polls};
use super::netns::{Netns, NetnsError, NetnsId};
use super::{Caps, Port, Queue, Whereabouts};
use crate::frame::Arena;
use crate::wire::{Cidr, Mac};
use place::Place;
use plain::Plain;
use rustix::event::PollFlags;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use sys::Offloads;

/// The name until the interface is where it belongs; the kernel fills in a number that is free.
const TEMPORARY: &str = "xd%d";
/// Largest IP packet of a TAP that does not say, in bytes.
pub const MTU: u16 = 1500;

/// What a TAP is to be.
#[derive(Clone, Debug)]
pub struct TapConfig {
    /// The port's name.
    pub name: String,
    /// The interface's name.
    pub ifname: String,
    /// Its namespace: a name under /run/netns, or a path when there is a slash in it; `None` for ours.
    pub netns: Option<String>,
    /// The interface's MAC; `None` for one that the kernel draws.
    pub mac: Option<Mac>,
    /// Largest IP packet, in bytes: 68 to 65,521.
    pub mtu: u16,
    /// Addresses of the interface. IPv6 ones are not probed for duplicates (IFA_F_NODAD), so they work at once.
    pub addresses: Vec<Cidr>,
    /// Routes through the interface.
    pub routes: Vec<Route>,
    /// How many queues, at least 1. A plain TAP has one.
    pub queues: usize,
    /// Whether to take over the interface of that name that an earlier port left, see [`TapHandle::keep`], if there is one. A port
    /// that took one over does hold its namespace.
    pub adopt: bool,
    /// Whether to make the interface inside its namespace, which takes a hundredth of the time of moving it there. The port
    /// holds its namespace then, see [`TapHandle::holds`].
    pub inside: bool,
    /// Whether to carry checksums and super-frames; false for the plain TAP.
    pub offload: bool,
}

impl TapConfig {
    /// One queue with offloads and an MTU of [`MTU`] in our namespace, without addresses.
    pub fn new(name: impl Into<String>, ifname: impl Into<String>) -> TapConfig {
        TapConfig {
            name: name.into(),
            ifname: ifname.into(),
            netns: None,
            mac: None,
            mtu: MTU,
            addresses: Vec::new(),
            routes: Vec::new(),
            queues: 1,
            adopt: false,
            inside: false,
            offload: true,
        }
    }
}

/// A route of a TAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination: a network, or prefix length 0 for everything.
    pub to: Cidr,
    /// The next hop; `None` when the destination is on the link.
    pub via: Option<IpAddr>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}", self.to)?;
        self.via.map_or(Ok(()), |via| write!(f, " via {via}"))
    }
}

/// Why there is no TAP.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// A name that no interface can have.
    #[error(
        "`{0}` cannot name an interface: 1 to 15 printable bytes without space, '/', ':' or '%', and not '.' or '..'"
    )]
    BadName(String),
    /// No queue at all.
    #[error("`queues` must be at least 1")]
    NoQueues,
    /// The namespace cannot be opened.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel has no TAPs.
    #[error("/dev/net/tun: {0}; is the module `tun` loaded, and the device visible here?")]
    NoTun(#[source] io::Error),
    /// The process may not do this.
    #[error("{doing}: not permitted; it needs CAP_NET_ADMIN, and CAP_SYS_ADMIN for another namespace")]
    Privilege {
        /// What was being done.
        doing: String,
    },
    /// The interface exists already.
    #[error("an interface named `{ifname}` exists already in {place}")]
    NameTaken {
        /// The name.
        ifname: String,
        /// The namespace, in words.
        place: String,
    },
    /// Another refusal of the kernel.
    #[error("{doing}: {source}")]
    Kernel {
        /// What was being done.
        doing: String,
        /// What the kernel says.
        source: io::Error,
    },
}

/// A TAP that is up, in its namespace, with its addresses.
pub struct Tap {
    name: String,
    caps: Caps,
    files: Files,
    holds: Option<NetnsId>,
}

enum Files {
    Offload(Vec<Arc<OwnedFd>>),
    Plain(Arc<Plain>),
}

impl Device for OwnedFd {
    const VNET: bool = true;

    #[inline]
    fn read(&self, buf: &mut [u8]) -> io::Result<Read> {
        Ok(rustix::io::read(self, buf)?.into())
    }

    #[inline]
    fn write(&self, buf: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self, buf)?)
    }

    fn trouble(&self, error: &io::Error) -> Trouble {
        trouble(error)
    }

    fn is_up(&self) -> io::Result<bool> {
        Ok(is_up(self.as_fd()))
    }
}

/// What an error of a TAP's file means (drivers/net/tun.c).
fn trouble(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::WouldBlock => Trouble::Busy,
        _ if is(error, &[libc::EINVAL]) => Trouble::Refused,
        // Interface down: `tun_get_user`.
        _ if is(error, &[libc::EIO]) => Trouble::Down,
        _ if is(error, &[libc::EBADFD, libc::ENODEV, libc::EBADF]) => Trouble::Gone,
        _ => Trouble::Other,
    }
}

/// A TAP is writable exactly while its interface is up (`tun_sock_writeable` in drivers/net/tun.c).
fn is_up(tap: BorrowedFd<'_>) -> bool {
    polls(tap, PollFlags::OUT)
}

impl Tap {
    /// Creates the interface as described, sets it up and opens its queues.
    ///
    /// # Errors
    /// [`TapError`], each a sentence that names the thing. Nothing is left behind but what there was.
    pub fn create(config: &TapConfig) -> Result<Tap, TapError> {
        check(config)?;
        let netns = config.netns.as_deref().map(Netns::open).transpose()?;
        let mut tap = Place { config, netns }.make()?;
        tap.caps.mac = sys::mac(tap.file()).ok();
        Ok(tap)
    }

    /// Something to ask where the interface is, which does not keep it alive.
    pub fn handle(&self) -> TapHandle {
        let file = match &self.files {
            Files::Offload(files) => Arc::downgrade(&files[0]) as Weak<dyn AsFd + Send + Sync>,
            Files::Plain(file) => Arc::downgrade(file) as Weak<dyn AsFd + Send + Sync>,
        };
        TapHandle { file, holds: self.holds }
    }

    fn file(&self) -> BorrowedFd<'_> {
        match &self.files {
            Files::Offload(files) => files[0].as_fd(),
            Files::Plain(file) => file.as_fd(),
        }
    }

    fn new(config: &TapConfig, files: Files, offloads: Option<Offloads>) -> Tap {
        let has = |offload: fn(Offloads) -> bool| offloads.is_some_and(offload);
        let (csum, tso, uso) = (has(Offloads::csum), has(Offloads::tso), has(Offloads::uso));
        let caps = Caps { mtu: config.mtu, mac: None, csum, tso, uso };
        Tap { name: config.name.clone(), caps, files, holds: None }
    }
}

impl Port for Tap {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "tap"
    }

    fn caps(&self) -> Caps {
        self.caps.clone()
    }

    fn open(self: Box<Self>, _arena: &Arena, _workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        Ok(match self.files {
            Files::Offload(files) => {
                files.into_iter().map(|file| Box::new(DeviceQueue::new(file)) as Box<dyn Queue>).collect()
            }
            Files::Plain(file) => vec![Box::new(DeviceQueue::new(file))],
        })
    }
}

/// Answers where a TAP is for as long as its queues are open.
#[derive(Clone)]
pub struct TapHandle {
    file: Weak<dyn AsFd + Send + Sync>,
    holds: Option<NetnsId>,
}

impl TapHandle {
    /// Where the interface is now; `None` when it is gone.
    pub fn whereabouts(&self) -> Option<Whereabouts> {
        let tap = self.file.upgrade()?;
        let tap = tap.as_fd();
        let (ifname, _) = sys::device(tap).ok()?;
        let netns = sys::netns(tap).ok().and_then(|netns| NetnsId::of_file(netns.as_fd()).ok());
        Some(Whereabouts { ifname, netns })
    }

    /// The namespace that lives for as long as the port's queues are open, deleted or not; `None` when the port holds none but
    /// ours. Whoever finds that it was deleted (no name leads to it, and nobody runs in it) removes the port, and with that
    /// the namespace dies.
    pub fn holds(&self) -> Option<NetnsId> {
        self.holds
    }

    /// Makes the interface outlive its port (`TUNSETPERSIST`): a later one finds it by its name, see [`TapConfig::adopt`].
    ///
    /// # Errors
    /// What the kernel says. An interface that is gone already is no error.
    pub fn keep(&self) -> io::Result<()> {
        self.file.upgrade().map_or(Ok(()), |tap| sys::set_persist(tap.as_fd().as_fd(), true))
    }

    /// Makes an interface that was kept go with its port after all.
    ///
    /// # Errors
    /// What the kernel says. An interface that is gone already is no error.
    pub fn release(&self) -> io::Result<()> {
        self.file.upgrade().map_or(Ok(()), |tap| sys::set_persist(tap.as_fd().as_fd(), false))
    }
}

fn check(config: &TapConfig) -> Result<(), TapError> {
    let name = config.ifname.as_str();
    let bytes_ok = name.bytes().all(|b| b.is_ascii_graphic() && !b"/:%".contains(&b));
    if !(1..libc::IFNAMSIZ).contains(&name.len()) || !bytes_ok || name == "." || name == ".." {
        return Err(TapError::BadName(name.into()));
    }
    if config.queues == 0 { Err(TapError::NoQueues) } else { Ok(()) }
}
