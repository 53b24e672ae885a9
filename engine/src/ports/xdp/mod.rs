//! AF_XDP: an interface that somebody else made, its frames taken and given through memory shared with the kernel
//! (Documentation/networking/af_xdp.rst).
//!
//! # Theory of operation
//!
//! An [`Xdp`] binds one socket to every queue of the interface, and attaches a small program that hands each frame to the
//! socket of its queue. On the way of frames there are only our own views of the sockets' rings (`ring.rs`). The program
//! (`program.rs`) is held by a bpf_link, so a process that is killed leaves nothing attached.
//!
//! The frames of virtual interfaces, of which a host may have a thousand, lie in memory that their sockets share
//! (`memory.rs`, `umem.rs`, `stock.rs`); a network card has its own.
//!
//! *Driver mode* is tried first, *generic mode* where the driver refuses. Where both fail, the error says so
//! ([`XdpError::is_refusal`]), and a packet socket can still serve the interface.
//!
//! What a veth's sender has left undone is recognised (`undone.rs`); what is sent is complete, because the switch finishes
//! it for a port without [`Caps::csum`]. So a container behind a veth needs no setting of its own.
//!
//! The interface's MTU is followed for what comes in. What may be sent stays what it was when the port was opened, as the
//! switch knows it by [`Port::caps`]; what the interface does not take any more, the kernel throws away (`tx_full`).
//!
//! An AF_XDP socket belongs to the namespace of its interface and keeps it alive. An interface that is deleted, or moved
//! into another namespace, is lost to its port.

mod bpf;
mod btf;
mod interface;
mod memory;
mod program;
mod queue;
mod ring;
mod send;
mod socket;
mod stock;
mod umem;
mod undone;

pub use bpf::Mode;
pub use memory::XdpMemory;

use super::netns::{Netns, NetnsError, NetnsId};
use super::{Caps, Port, Queue, Whereabouts};
use crate::frame::Arena;
use bpf::{Attachment, MOST_QUEUES};
use interface::Interface;
use memory::{LONG, SHORT, Shortage};
use queue::{Binding, XdpQueue};
use socket::Socket;
use std::io;
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};
use stock::Stock;
use umem::Umem;

/// How long a queue or an interface may be held by what was closed just now: the kernel lets go of it later.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait before the next try.
const PAUSE: Duration = Duration::from_millis(20);

/// Which interface, and how.
#[derive(Clone, Debug)]
pub struct XdpConfig {
    /// The port's name.
    pub name: String,
    /// The interface's name. It exists already.
    pub ifname: String,
    /// Its namespace: a name under /run/netns, or a path when there is a slash in it; `None` for ours.
    pub netns: Option<String>,
    /// How many of its queues to serve, the first ones; `None` for all, at most 64. The kernel keeps the frames of the others.
    pub queues: Option<u32>,
    /// How to attach; `None` for driver mode where there is one, and generic mode elsewhere.
    pub mode: Option<Mode>,
    /// Poll the device from system calls of ours instead of interrupts. Helps some network cards, and hurts on a veth.
    pub busy_poll: Option<BusyPoll>,
    /// How many frames may wait at a queue, each way: a power of two, 64 to 8192, in memory of the queue's own, 8 KiB for
    /// each. `None` for 2048, and memory that is shared where the interface is a virtual one.
    pub ring: Option<u32>,
    /// Where that memory comes from.
    pub memory: XdpMemory,
}

/// Busy polling (Documentation/networking/napi.rst). The interface's napi_defer_hard_irqs and gro_flush_timeout decide
/// when interrupts come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// SO_BUSY_POLL: microseconds to poll in one call.
    pub micros: u32,
    /// SO_BUSY_POLL_BUDGET: most frames in one call.
    pub budget: u16,
}

impl XdpConfig {
    /// All queues of an interface in our namespace, in the best mode there is, without busy polling, in memory that no other
    /// port has.
    pub fn new(name: impl Into<String>, ifname: impl Into<String>) -> XdpConfig {
        let (name, ifname) = (name.into(), ifname.into());
        let (netns, queues, mode, busy_poll, ring, memory) = (None, None, None, None, None, XdpMemory::default());
        XdpConfig { name, ifname, netns, queues, mode, busy_poll, ring, memory }
    }
}

/// Why there is no AF_XDP port.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The namespace cannot be opened.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// There is no such interface.
    #[error("no interface `{ifname}` in {place}")]
    NoInterface {
        /// The name.
        ifname: String,
        /// The namespace, in words.
        place: String,
    },
    /// It carries no Ethernet frames, or is the loopback.
    #[error("interface `{0}` carries no Ethernet frames")]
    NotEthernet(String),
    /// All the memory is used that there may be.
    #[error("{doing}: AF_XDP ports have the {} MiB of memory that they may have together", limit >> 20)]
    Memory {
        /// What was being done.
        doing: String,
        /// How much there may be, in bytes.
        limit: usize,
    },
    /// More memory would be locked than the process may lock.
    #[error("{doing}: no more memory may be locked (ulimit -l)")]
    Locked {
        /// What was being done.
        doing: String,
    },
    /// The process may not do this.
    #[error(
        "{doing}: not permitted; it needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, and CAP_SYS_ADMIN for another namespace"
    )]
    Privilege {
        /// What was being done.
        doing: String,
    },
    /// Somebody else has an XDP program on the interface, or a socket on the queue.
    #[error("{doing}: another XDP program or socket holds it")]
    Taken {
        /// What was being done.
        doing: String,
    },
    /// The kernel or the driver cannot do it: a packet socket can.
    #[error("{doing}: {source}")]
    Refused {
        /// What was being done.
        doing: String,
        /// What the kernel says.
        source: io::Error,
    },
}

impl XdpError {
    /// Whether another kind of port could serve the interface.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        use XdpError::{Locked, Memory, Refused, Taken};
        matches!(self, Refused { .. } | Taken { .. } | Memory { .. } | Locked { .. })
    }
}

/// An interface with a socket on every queue.
pub struct Xdp {
    name: String,
    ifname: String,
    caps: Caps,
    mode: Mode,
    netns: Option<NetnsId>,
    binding: Weak<Binding>,
    queues: Vec<XdpQueue>,
    /// How many of them can transmit: the first ones.
    senders: usize,
}

impl Xdp {
    /// Binds to the interface and attaches the program.
    ///
    /// # Errors
    /// [`XdpError`], each a sentence that names the thing. Nothing is left behind.
    pub fn open(config: &XdpConfig) -> Result<Xdp, XdpError> {
        let site = Site { config, netns: config.netns.as_deref().map(Netns::open).transpose()? };
        match &site.netns {
            Some(netns) => netns.run(|| site.open()).map_err(|e| site.error("entering the namespace of", e))?,
            None => site.open(),
        }
    }

    /// How the program is attached.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Something to ask where the interface is, which does not keep the port open.
    pub fn handle(&self) -> XdpHandle {
        XdpHandle { binding: self.binding.clone(), netns: self.netns }
    }
}

impl Port for Xdp {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "xdp"
    }

    fn caps(&self) -> Caps {
        self.caps.clone()
    }

    /// A queue for each of the interface's, also when they are more than there are workers: each has frames of its own.
    ///
    /// # Errors
    /// A worker would have to transmit on a queue that only receives. The kernel would take its frames for ever and send none.
    fn open(self: Box<Self>, _arena: &Arena, workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        // Each worker transmits on the first that it gets, and they are dealt out in turn.
        let needed = self.queues.len().min(workers);
        if self.senders < needed {
            let Xdp { senders, ifname, .. } = &*self;
            let what = format!("{needed} workers would transmit, and `{ifname}` has {senders} transmit queue(s)");
            let remedy = format!("\"ethtool -L {ifname} tx {needed}\", or `queues` no more than it has");
            let what = format!("{what}: {remedy}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        Ok(self.queues.into_iter().map(|queue| Box::new(queue) as Box<dyn Queue>).collect())
    }
}

/// Answers where an interface is for as long as its queues are open.
#[derive(Clone)]
pub struct XdpHandle {
    binding: Weak<Binding>,
    netns: Option<NetnsId>,
}

impl XdpHandle {
    /// Where the interface is now; `None` when it is gone.
    pub fn whereabouts(&self) -> Option<Whereabouts> {
        let ifname = self.binding.upgrade()?.interface.name().ok()?;
        Some(Whereabouts { ifname, netns: self.netns })
    }

    /// The namespace of the interface, where it is not ours: it lives for as long as the port's queues are open, deleted or not.
    pub fn holds(&self) -> Option<NetnsId> {
        self.netns
    }
}

/// A port to be, and its namespace; `None` for ours.
struct Site<'a> {
    config: &'a XdpConfig,
    netns: Option<Netns>,
}

impl Site<'_> {
    /// Tries until what was closed just now is really closed. Runs inside the namespace.
    fn open(&self) -> Result<Xdp, XdpError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_open() {
                Err(XdpError::Taken { .. }) if Instant::now() < deadline => sleep(PAUSE),
                result => return result,
            }
        }
    }

    /// The best that the interface and the kernel can do: driver mode before generic, frames in pieces before whole ones.
    fn try_open(&self) -> Result<Xdp, XdpError> {
        let mut refused = None;
        let wanted = |mode: &Mode| self.config.mode.is_none_or(|only| only == *mode);
        for mode in [Mode::Driver, Mode::Generic].into_iter().filter(wanted) {
            for frags in [true, false] {
                match self.attach(mode, frags) {
                    Err(error @ XdpError::Refused { .. }) => refused = Some(error),
                    result => return result,
                }
            }
        }
        Err(refused.unwrap_or_else(|| self.error("attaching to", io::ErrorKind::Unsupported.into())))
    }

    fn attach(&self, mode: Mode, frags: bool) -> Result<Xdp, XdpError> {
        let config = self.config;
        let interface = Interface::open(&config.ifname).map_err(|e| self.error("looking for", e))?;
        let asking = |e| self.error("asking for the properties of", e);
        if !interface.is_ethernet().map_err(asking)? {
            return Err(XdpError::NotEthernet(config.ifname.clone()));
        }
        let (mtu, mac) = (interface.mtu().map_err(asking)?, interface.mac().ok());
        let (rx, tx) = interface.queues().map_err(asking)?;
        let count = rx.min(config.queues.unwrap_or(MOST_QUEUES)).min(MOST_QUEUES);
        let attachment = Attachment::new(interface.index(), mode, frags)
            .map_err(|e| self.error(&format!("attaching an XDP program in {} mode to", mode.name()), e))?;
        let busy_poll = config.busy_poll.is_some();
        let binding = Arc::new(Binding { interface, attachment, mode, frags, mtu, busy_poll });
        let queues = (0..count).map(|queue| self.bind(queue, &binding)).collect::<Result<_, _>>()?;
        let caps = Caps { mtu, mac, ..Caps::default() };
        let (name, ifname) = (config.name.clone(), config.ifname.clone());
        let netns = self.netns.as_ref().and_then(Netns::id);
        let (binding, senders) = (Arc::downgrade(&binding), tx as usize);
        Ok(Xdp { name, ifname, caps, mode, netns, binding, queues, senders })
    }

    fn bind(&self, queue: u32, binding: &Arc<Binding>) -> Result<XdpQueue, XdpError> {
        let doing = || format!("binding to queue {queue} of");
        let refused = |e| self.error(&doing(), e);
        let (socket, stock) = self.socket(queue, binding).map_err(|shortage| match shortage {
            Shortage::Limit(limit) => XdpError::Memory { doing: self.doing(&doing()), limit },
            Shortage::Kernel(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                XdpError::Locked { doing: self.doing(&doing()) }
            }
            Shortage::Kernel(e) => refused(e),
        })?;
        socket.tune(self.config.busy_poll).map_err(refused)?;
        binding.attachment.set(queue, &socket).map_err(refused)?;
        Ok(XdpQueue::new((socket, stock), binding.clone()))
    }

    /// A socket on a queue: one that shares memory, where that is possible.
    fn socket(&self, queue: u32, binding: &Binding) -> Result<(Socket, Stock), Shortage> {
        let ring = match self.config.ring {
            Some(ring) => ring,
            None if binding.mode == Mode::Generic || binding.interface.is_device() => LONG,
            None => match self.joined(queue, binding) {
                Err(Shortage::Kernel(e)) if may_have_its_own(&e) => SHORT,
                result => return result,
            },
        };
        let make = |shape| Umem::new(&self.config.ifname, queue, shape);
        let (seated, stock) = self.config.memory.own(ring, binding.frags, make)?;
        Ok((Socket::first(seated).map_err(Shortage::Kernel)?, stock))
    }

    fn joined(&self, queue: u32, binding: &Binding) -> Result<(Socket, Stock), Shortage> {
        let (seated, stock, rings) = self.config.memory.share(binding.mtu)?;
        let socket = Socket::joined(seated, binding.interface.index(), queue, rings);
        Ok((socket.map_err(Shortage::Kernel)?, stock))
    }

    /// The error for a refusal by the kernel.
    fn error(&self, doing: &str, source: io::Error) -> XdpError {
        let (ifname, place) = (&self.config.ifname, self.place());
        let doing = self.doing(doing);
        match source.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => XdpError::NoInterface { ifname: ifname.clone(), place },
            Some(libc::EPERM | libc::EACCES) => XdpError::Privilege { doing },
            Some(libc::EBUSY | libc::EEXIST) => XdpError::Taken { doing },
            _ => XdpError::Refused { doing, source },
        }
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} `{}` in {}", self.config.ifname, self.place())
    }

    fn place(&self) -> String {
        match &self.config.netns {
            Some(name) => format!("network namespace `{name}`"),
            None => "this network namespace".into(),
        }
    }
}

/// Whether the kernel refuses memory that is shared, or a namespace to hold it, and not the queue itself: without
/// CAP_SYS_ADMIN, and before Linux 5.10.
fn may_have_its_own(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSPC | libc::ENOSYS))
}
