//! Bringing a TAP to where it belongs.

use super::link::{self, Netlink};
use super::plain::Plain;
use super::{Files, TEMPORARY, Tap, TapConfig, TapError, sys};
use crate::ports::netns::Netns;
use crate::wire::vnet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// A TAP to be, and its namespace; `None` for ours.
pub(super) struct Place<'a> {
    pub config: &'a TapConfig,
    pub netns: Option<Netns>,
}

impl Place<'_> {
    /// Makes the TAP, or takes over the one that an earlier process left, if that is wanted and there is one.
    pub fn make(&self) -> Result<Tap, TapError> {
        let name = &self.config.ifname;
        let inside = self.config.inside || (self.config.adopt && self.inside(|| Ok(link::index(name).is_ok()))?);
        if inside { self.inside(|| self.make_here()) } else { self.make_and_move() }
    }

    /// Makes it, or takes it over, in this thread's namespace.
    fn make_here(&self) -> Result<Tap, TapError> {
        let (tap, name) = self.open(&self.config.ifname)?;
        let netlink = self.netlink()?;
        self.dress(&netlink, &name, None)?;
        self.configure(&netlink)?;
        Ok(Tap { holds: self.netns.as_ref().and_then(Netns::id), ..tap })
    }

    /// Makes it in our namespace, moves it, and sets it up.
    fn make_and_move(&self) -> Result<Tap, TapError> {
        let (tap, temporary) = self.open(TEMPORARY)?;
        self.dress(&self.netlink()?, &temporary, self.netns.as_ref())?;
        self.inside(|| self.configure(&self.netlink()?))?;
        Ok(tap)
    }

    /// The error for a refusal by the kernel.
    pub fn refused(&self, doing: &str, error: io::Error) -> TapError {
        let doing = format!("{doing} `{}` in {self}", self.config.ifname);
        match error.kind() {
            io::ErrorKind::PermissionDenied => TapError::Privilege { doing },
            _ => TapError::Kernel { doing, source: error },
        }
    }

    /// Opens the device `name`, creating it if there is none, and returns its name with a `%d` filled in: a plain TAP gets its
    /// own later. One that is there already is taken over only where that is wanted.
    fn open(&self, name: &str) -> Result<(Tap, String), TapError> {
        let taken = |error: io::Error| match error.raw_os_error() {
            Some(libc::EBUSY | libc::EINVAL | libc::EEXIST) => self.taken(),
            _ => self.refused("creating", error),
        };
        let known = sys::has_header(tun()?.as_fd());
        if self.config.offload && known {
            return self.open_offload(name).map_err(taken);
        }
        let (plain, name) = Plain::create(if self.config.adopt { name } else { TEMPORARY }).map_err(taken)?;
        Ok((Tap::new(self.config, Files::Plain(Arc::new(plain)), None), name))
    }

    fn open_offload(&self, name: &str) -> io::Result<(Tap, String)> {
        let (mut files, mut name) = (Vec::new(), name.to_owned());
        let mut offloads = None;
        for _ in 0..self.config.queues {
            let file = sys::open()?;
            let new = files.is_empty() && !self.config.adopt;
            name = sys::attach(file.as_fd(), &name, new, self.config.queues > 1)?;
            sys::set_header_len(file.as_fd(), vnet::LEN)?;
            offloads = Some(sys::set_offloads(file.as_fd())?);
            files.push(Arc::new(file));
        }
        Ok((Tap::new(self.config, Files::Offload(files), offloads), name))
    }

    /// Gives the link `from` of this thread's namespace its name, MAC and MTU, in `netns` if there is one.
    fn dress(&self, netlink: &Netlink, from: &str, netns: Option<&Netns>) -> Result<(), TapError> {
        let config = self.config;
        let set = |index| netlink.set(index, netns.map(AsFd::as_fd), &config.ifname, config.mac, config.mtu);
        link::index(from).and_then(set).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => self.taken(),
            _ => self.refused("naming, moving and setting MAC and MTU of", error),
        })
    }

    /// Sets the link up with its addresses and routes. Runs inside its namespace.
    fn configure(&self, netlink: &Netlink) -> Result<(), TapError> {
        let config = self.config;
        let index = link::index(&config.ifname).map_err(|e| self.refused("looking for", e))?;
        netlink.set_up(index).map_err(|e| self.refused("setting up", e))?;
        for address in &config.addresses {
            netlink
                .add_address(index, *address)
                .map_err(|e| self.refused(&format!("adding address {address} to"), e))?;
        }
        for route in &config.routes {
            netlink
                .add_route(index, route.to, route.via)
                .map_err(|e| self.refused(&format!("adding {route} to"), e))?;
        }
        Ok(())
    }

    fn netlink(&self) -> Result<Netlink, TapError> {
        Netlink::open().map_err(|e| self.refused("opening a netlink socket for", e))
    }

    fn taken(&self) -> TapError {
        TapError::NameTaken { ifname: self.config.ifname.clone(), place: self.to_string() }
    }

    /// Runs `work` in the TAP's namespace.
    fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T, TapError> + Send) -> Result<T, TapError> {
        match &self.netns {
            Some(netns) => netns.run(work).map_err(|e| self.refused("entering the namespace for", e))?,
            None => work(),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.config.netns {
            Some(name) => write!(f, "network namespace `{name}`"),
            None => f.write_str("this network namespace"),
        }
    }
}

/// A file on /dev/net/tun.
fn tun() -> Result<OwnedFd, TapError> {
    sys::open().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => TapError::Privilege { doing: "opening /dev/net/tun".into() },
        _ => TapError::NoTun(error),
    })
}
