//! Packet sockets: an interface that somebody else made, as the kernel shows it to programs like tcpdump.
//!
//! # Theory of operation
//!
//! A [`Packet`] is a socket (several where several workers poll) bound to one interface. It is set up in full before it
//! is bound, so that no frame of another interface ever comes through, and none without its virtio-net header. With
//! that header, super-frames and partial checksums pass in both directions as they do through a TAP: bulk TCP over a
//! veth needs no segmentation anywhere. The kernel keeps a received VLAN tag beside the frame; the queue puts it back.
//!
//! What is sent passes the interface's queueing discipline, so that the limits its owner set hold. What leaves the interface
//! is not received (`PACKET_IGNORE_OUTGOING`): our own frames would come back, and what the local stack sends is not
//! from the other end.
//!
//! # What to know
//!
//! * The socket gets copies. The kernel's own stack sees every frame too, and answers where the interface has an
//!   address or a bridge above it. Give the port an interface without either, as the host's end of a container's veth.
//! * The socket holds the interface's namespace: deleted, it lives on until the port goes ([`PacketHandle::holds`]).
//! * An interface that is set down keeps its port, which works again when it is up. Deleted, or moved to another
//!   namespace, it is gone for good; that is noticed within about two seconds.
//! * The kernel takes only one VLAN tag, and only a customer's (0x8100), on top of the MTU (`packet_extra_vlan_len_allowed`).
//! * Super-frames inside a tunnel that the other end builds are dropped as `bad_vnet_header`: the header has words for one
//!   layer only. Frames of wire size pass, with the inner checksum partial or not.
//! * Frames that the kernel could not queue for us are counted as `rx_overrun`.
//!
//! A memory-mapped ring (TPACKET_V3) is not used: it moves more small packets, but its block timeout adds a millisecond
//! to every answer, and bulk TCP gets slower.

mod sys;

use super::device::{Device, DeviceQueue, Read, Trouble, is};
use super::netns::{Netns, NetnsError, NetnsId};
use super::{Caps, Port, Queue, Whereabouts};
use crate::frame::Arena;
use rustix::net::netdevice::{index_to_name, name_to_index};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

/// Bytes of frames that the kernel may queue for a socket: room for more than one TCP connection may have in flight
/// (`net.ipv4.tcp_wmem`, 4 MiB), since a sender on this machine is not slowed by our not reading.
const RECEIVE_BUFFER: i32 = 8 << 20;
/// Bytes of frames that we may have under way to the other end.
const SEND_BUFFER: i32 = 4 << 20;

/// Which interface, and how.
#[derive(Clone, Debug)]
pub struct PacketConfig {
    /// The port's name.
    pub name: String,
    /// The interface's name.
    pub ifname: String,
    /// Its namespace: a name under /run/netns, or a path when there is a slash in it; `None` for ours.
    pub netns: Option<String>,
    /// How many queues, at least 1. Flows are spread among them by hash.
    pub queues: usize,
}

impl PacketConfig {
    /// One queue, in our namespace.
    pub fn new(name: impl Into<String>, ifname: impl Into<String>) -> PacketConfig {
        PacketConfig { name: name.into(), ifname: ifname.into(), netns: None, queues: 1 }
    }
}

/// Why there is no packet port.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The namespace cannot be opened.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// There is no such interface.
    #[error("no interface `{ifname}` in {place}")]
    NoInterface {
        /// Its name.
        ifname: String,
        /// The namespace, in words.
        place: String,
    },
    /// The interface carries no Ethernet frames.
    #[error("interface `{0}` carries no Ethernet frames")]
    NotEthernet(String),
    /// The process may not do this.
    #[error("{doing}: not permitted; it needs CAP_NET_RAW and CAP_NET_ADMIN, and CAP_SYS_ADMIN for another namespace")]
    Privilege {
        /// What was being done.
        doing: String,
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

/// An open packet socket, bound to its interface.
struct Socket(OwnedFd);

/// A packet port: sockets that receive already.
pub struct Packet {
    name: String,
    caps: Caps,
    sockets: Vec<Arc<Socket>>,
    holds: Option<NetnsId>,
}

impl Packet {
    /// Binds sockets to an interface.
    ///
    /// # Errors
    /// [`PacketError`], each a sentence that names the thing.
    pub fn open(config: &PacketConfig) -> Result<Packet, PacketError> {
        let bind = || (0..config.queues.max(1)).map(|_| Socket::bound(config)).collect::<Result<Vec<_>, _>>();
        let netns = config.netns.as_deref().map(Netns::open).transpose()?;
        let sockets = match &netns {
            Some(netns) => netns.run(bind).map_err(|e| refused(config, "entering the namespace of", e))??,
            None => bind()?,
        };
        let caps = sockets[0].caps(&config.ifname).map_err(|e| refused(config, "asking about", e))?;
        let caps = caps.ok_or_else(|| PacketError::NotEthernet(config.ifname.clone()))?;
        let (name, sockets) = (config.name.clone(), sockets.into_iter().map(Arc::new).collect());
        Ok(Packet { name, caps, sockets, holds: netns.as_ref().and_then(Netns::id) })
    }

    /// Something to ask where the interface is, which does not keep it alive.
    pub fn handle(&self) -> PacketHandle {
        PacketHandle { socket: Arc::downgrade(&self.sockets[0]), holds: self.holds }
    }
}

impl Port for Packet {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "packet"
    }

    fn caps(&self) -> Caps {
        self.caps.clone()
    }

    fn open(self: Box<Self>, _arena: &Arena, workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        let mut sockets = self.sockets;
        sockets.truncate(workers.max(1));
        if let [first, rest @ ..] = &*sockets
            && !rest.is_empty()
        {
            let group = sys::join(first.0.as_fd(), None)?;
            rest.iter().try_for_each(|socket| sys::join(socket.0.as_fd(), Some(group)).map(drop))?;
            // Until now each got every frame.
            sockets.iter().for_each(|socket| socket.drain());
        }
        Ok(sockets.into_iter().map(|socket| Box::new(DeviceQueue::new(socket)) as Box<dyn Queue>).collect())
    }
}

/// Answers where an interface is for as long as the port's queues are open.
#[derive(Clone)]
pub struct PacketHandle {
    socket: Weak<Socket>,
    holds: Option<NetnsId>,
}

impl PacketHandle {
    /// Where the interface is now; `None` when it is gone.
    pub fn whereabouts(&self) -> Option<Whereabouts> {
        let socket = self.socket.upgrade()?;
        let netns = sys::netns(socket.as_fd()).ok().and_then(|netns| NetnsId::of_file(netns.as_fd()).ok());
        Some(Whereabouts { ifname: socket.interface().ok()?, netns })
    }

    /// The namespace of the interface, where it is not ours: it lives for as long as the port's queues are open, deleted or not.
    pub fn holds(&self) -> Option<NetnsId> {
        self.holds
    }
}

impl Socket {
    /// A socket for an interface of this thread's namespace.
    fn bound(config: &PacketConfig) -> Result<Socket, PacketError> {
        let socket = sys::open().map_err(|e| refused(config, "opening a packet socket for", e))?;
        let index = name_to_index(&socket, &config.ifname).map_err(|_| no_interface(config))?;
        prepare(socket.as_fd(), index).map_err(|e| refused(config, "preparing a packet socket for", e))?;
        sys::bind(socket.as_fd(), index).map_err(|e| refused(config, "binding to", e))?;
        Ok(Socket(socket))
    }

    /// What the interface can carry; `None` when that is not Ethernet.
    fn caps(&self, ifname: &str) -> io::Result<Option<Caps>> {
        let mtu = sys::mtu(self.0.as_fd(), ifname)?.min(u16::MAX.into()) as u16;
        let mac = sys::mac(self.0.as_fd(), ifname)?;
        Ok(mac.map(|mac| Caps { mtu, mac: Some(mac), csum: true, tso: true, uso: true }))
    }

    /// The present name of the interface.
    fn interface(&self) -> io::Result<String> {
        let index = sys::bound(self.0.as_fd())?.ok_or(io::Error::from_raw_os_error(libc::ENODEV))?;
        Ok(index_to_name(&self.0, index)?)
    }

    /// Throws away what waits, at most what waits now.
    fn drain(&self) {
        for _ in 0..RECEIVE_BUFFER / 64 {
            if sys::receive(self.0.as_fd(), &mut [0; 16]).is_err_and(|error| self.trouble(&error) != Trouble::Refused) {
                return;
            }
        }
    }
}

/// Everything that must be so before the first frame.
fn prepare(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    for option in [libc::PACKET_VNET_HDR, libc::PACKET_AUXDATA, libc::PACKET_IGNORE_OUTGOING] {
        sys::set(socket, option, 1)?;
    }
    sys::set_buffer(socket, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
    sys::set_buffer(socket, libc::SO_SNDBUFFORCE, SEND_BUFFER)?;
    sys::set_promiscuous(socket, index)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Device for Socket {
    const VNET: bool = true;

    #[inline]
    fn read(&self, buf: &mut [u8]) -> io::Result<Read> {
        let message = sys::receive(self.0.as_fd(), buf)?;
        Ok(Read { len: message.len, tag: message.tag, cut: message.cut })
    }

    #[inline]
    fn write(&self, buf: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, buf)?)
    }

    fn trouble(&self, error: &io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::WouldBlock => Trouble::Busy,
            // The device's queue is full, or the kernel has no memory.
            _ if is(error, &[libc::ENOBUFS, libc::ENOMEM]) => Trouble::Busy,
            // A super-frame that the header has no word for.
            _ if is(error, &[libc::EINVAL]) => Trouble::Refused,
            // Said once when the interface goes down, and also when it goes for good.
            _ if is(error, &[libc::ENETDOWN]) && self.interface().is_ok() => Trouble::Down,
            _ if is(error, &[libc::ENETDOWN, libc::ENXIO, libc::ENODEV, libc::EBADF]) => Trouble::Gone,
            _ => Trouble::Other,
        }
    }

    fn is_up(&self) -> io::Result<bool> {
        let name = self.interface()?;
        Ok(sys::is_running(self.0.as_fd(), &name).unwrap_or(false))
    }

    fn overrun(&self) -> u32 {
        sys::overrun(self.0.as_fd())
    }
}

fn refused(config: &PacketConfig, doing: &str, error: io::Error) -> PacketError {
    let doing = format!("{doing} `{}`", config.ifname);
    match error.kind() {
        io::ErrorKind::PermissionDenied => PacketError::Privilege { doing },
        _ => PacketError::Kernel { doing, source: error },
    }
}

fn no_interface(config: &PacketConfig) -> PacketError {
    let place =
        config.netns.as_ref().map_or("this network namespace".into(), |name| format!("network namespace `{name}`"));
    PacketError::NoInterface { ifname: config.ifname.clone(), place }
}
