//! What there is to ask of an interface (netdevice(7), include/uapi/linux/ethtool.h).
#![expect(unsafe_code, reason = "ioctls")]

use crate::wire::Mac;
use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use zerocopy::FromZeros;

/// An interface by its index, in the namespace where this was opened: whoever renames it does not disturb.
pub(super) struct Interface {
    socket: OwnedFd,
    index: u32,
}

/// `struct ethtool_channels`.
#[derive(Default)]
#[repr(C)]
struct Channels {
    command: u32,
    most: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `ETHTOOL_GCHANNELS`.
const GET_CHANNELS: u32 = 0x3c;

/// `struct ethtool_drvinfo`.
#[derive(FromZeros)]
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware: [u8; 32],
    bus: [u8; 32],
    rest: [u8; 64],
}

/// `ETHTOOL_GDRVINFO`.
const GET_DRIVER: u32 = 0x03;
/// What interfaces that are no device say of their bus.
const NO_BUS: [&[u8]; 4] = [b"", b"N/A", b"tap", b"tun"];

impl Interface {
    /// Looks for `name` in this thread's namespace.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn open(name: &str) -> io::Result<Interface> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        let index = name_to_index(&socket, name)?;
        Ok(Interface { socket, index })
    }

    /// Its number in its namespace.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its present name.
    ///
    /// # Errors
    /// ENODEV when it is gone.
    pub fn name(&self) -> io::Result<String> {
        Ok(index_to_name(&self.socket, self.index)?)
    }

    /// Whether it is set up and has a carrier.
    ///
    /// # Errors
    /// ENODEV when it is gone.
    pub fn is_up(&self) -> io::Result<bool> {
        let request = self.ask(libc::SIOCGIFFLAGS as libc::Ioctl)?;
        // SAFETY: the call filled this member of the union.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        let wanted = libc::IFF_UP | libc::IFF_RUNNING;
        Ok(flags & wanted == wanted)
    }

    /// Largest IP packet, in bytes.
    ///
    /// # Errors
    /// ENODEV when it is gone.
    pub fn mtu(&self) -> io::Result<u16> {
        let request = self.ask(libc::SIOCGIFMTU as libc::Ioctl)?;
        // SAFETY: the call filled this member of the union.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
    }

    /// Its MAC.
    ///
    /// # Errors
    /// ENODEV when it is gone.
    pub fn mac(&self) -> io::Result<Mac> {
        let request = self.ask(libc::SIOCGIFHWADDR as libc::Ioctl)?;
        // SAFETY: the call filled this member of the union.
        let [a, b, c, d, e, f, ..] = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
        Ok(Mac([a, b, c, d, e, f].map(|byte| byte as u8)))
    }

    /// Whether it carries Ethernet frames from and to somebody else: no tunnel without MACs, and no loopback.
    ///
    /// # Errors
    /// ENODEV when it is gone.
    pub fn is_ethernet(&self) -> io::Result<bool> {
        let request = self.ask(libc::SIOCGIFHWADDR as libc::Ioctl)?;
        // SAFETY: the call filled this member of the union.
        let kind = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
        Ok(kind == libc::ARPHRD_ETHER)
    }

    /// Whether there is a device behind it: a network card, be it a virtual machine's.
    pub fn is_device(&self) -> bool {
        let mut info = DriverInfo { command: GET_DRIVER, ..DriverInfo::new_zeroed() };
        // SAFETY: ETHTOOL_GDRVINFO reads and writes a `struct ethtool_drvinfo`.
        let told = unsafe { self.ethtool(&mut info) };
        let bus = info.bus.split(|&byte| byte == 0).next().unwrap_or_default();
        told.is_ok() && !NO_BUS.contains(&bus)
    }

    /// How many queues frames come by, and how many they leave by.
    ///
    /// # Errors
    /// ENODEV when it is gone.
    pub fn queues(&self) -> io::Result<(u32, u32)> {
        let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
        // SAFETY: ETHTOOL_GCHANNELS reads and writes a `struct ethtool_channels`.
        match unsafe { self.ethtool(&mut channels) } {
            Ok(()) => Ok(((channels.rx + channels.combined).max(1), (channels.tx + channels.combined).max(1))),
            // A driver that does not know queues has one.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok((1, 1)),
            Err(error) => Err(error),
        }
    }

    /// # Safety
    /// The command at the beginning of `T` reads and writes a `T`.
    unsafe fn ethtool<T>(&self, data: &mut T) -> io::Result<()> {
        let mut request = self.request()?;
        request.ifr_ifru.ifru_data = (&raw mut *data).cast();
        // SAFETY: the caller's promise.
        unsafe { self.ioctl(libc::SIOCETHTOOL as libc::Ioctl, &mut request) }
    }

    /// Asks one of the questions whose answer lies in the request itself.
    fn ask(&self, question: libc::Ioctl) -> io::Result<libc::ifreq> {
        let mut request = self.request()?;
        // SAFETY: SIOCGIF... read and write a `struct ifreq`.
        unsafe { self.ioctl(question, &mut request) }?;
        Ok(request)
    }

    fn request(&self) -> io::Result<libc::ifreq> {
        // SAFETY: all zero is a valid `struct ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let (name, room) = (self.name()?, libc::IFNAMSIZ - 1);
        request.ifr_name.iter_mut().zip(name.bytes().take(room)).for_each(|(to, from)| *to = from as libc::c_char);
        Ok(request)
    }

    /// # Safety
    /// The kernel may read and write what `request` leads to.
    unsafe fn ioctl(&self, question: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the socket is open; the rest is the caller's promise.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), question, request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
