//! What `ip link`, `ip address` and `ip route` do, over one short-lived rtnetlink socket.
//!
//! A netlink socket belongs to the namespace of the thread that opened it and keeps that namespace alive, so
//! nobody holds one longer than it takes to configure an interface.

use crate::wire::{Cidr, Mac};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, route::RouteAddress};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One rtnetlink socket in the namespace of the thread that opened it.
pub(super) struct Netlink {
    socket: Socket,
}

impl Netlink {
    pub fn open() -> io::Result<Netlink> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Netlink { socket })
    }

    /// Renames a link and sets its MAC and MTU, moving it into another namespace first where one is given.
    pub fn set(
        &self,
        index: u32,
        netns: Option<BorrowedFd<'_>>,
        name: &str,
        mac: Option<Mac>,
        mtu: u16,
    ) -> io::Result<()> {
        let mut link = link(index);
        link.attributes.extend(netns.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        link.attributes.push(LinkAttribute::IfName(name.into()));
        link.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.into())));
        link.attributes.push(LinkAttribute::Mtu(mtu.into()));
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Sets a link up.
    pub fn set_up(&self, index: u32) -> io::Result<()> {
        let mut link = link(index);
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Puts a link into a group.
    pub fn set_group(&self, index: u32, group: u32) -> io::Result<()> {
        let mut link = link(index);
        link.attributes.push(LinkAttribute::Group(group));
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Removes all links of a group.
    pub fn remove_group(&self, group: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::Group(group));
        self.request(RouteNetlinkMessage::DelLink(link), 0)
    }

    /// Adds an address. IPv6 ones work at once: nobody else can have them before the port forwards.
    pub fn add_address(&self, index: u32, address: Cidr) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
        if address.addr().is_ipv6() {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Adds a route out of a link to the main table.
    pub fn add_route(&self, index: u32, to: Cidr, via: Option<IpAddr>) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(to.addr());
        message.header.destination_prefix_length = to.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.header.scope = if via.is_some() { RouteScope::Universe } else { RouteScope::Link };
        message.attributes = vec![RouteAttribute::Oif(index), RouteAttribute::Destination(address(to.addr()))];
        message.attributes.extend(via.map(|via| RouteAttribute::Gateway(address(via))));
        self.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Sends one request and waits for the kernel's acknowledgement, which always comes.
    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(()),
        }
    }
}

/// The index of a link in this thread's namespace.
pub(super) fn index(name: &str) -> io::Result<u32> {
    use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    Ok(name_to_index(socket, name)?)
}

fn link(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link
}

fn family(addr: IpAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn address(addr: IpAddr) -> RouteAddress {
    match addr {
        IpAddr::V4(addr) => RouteAddress::Inet(addr),
        IpAddr::V6(addr) => RouteAddress::Inet6(addr),
    }
}
