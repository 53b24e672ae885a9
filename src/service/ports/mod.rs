//! Making ports: from the configuration's words to the engine's, one file for each kind.

mod fault;
mod packet;
mod pcap;
mod tap;
#[cfg(feature = "xdp")]
mod xdp;

use std::fmt::Display;
use std::io;

use crossdock_engine::ports::{NetnsError, Port, Whereabouts};
use tracing::warn;

use super::{Kind, Refusal};
use crate::config::{PortConfig, PortKind};

/// A port that is made, to be given to the switch.
pub(super) struct Made {
    pub port: Box<dyn Port>,
    pub handle: Box<dyn Handle>,
}

/// What the ports of a switch have in common.
#[derive(Default)]
pub(super) struct Common {
    #[cfg(feature = "xdp")]
    xdp: crossdock_engine::ports::xdp::XdpMemory,
}

/// What the control side keeps of a port. It does not keep the port alive.
pub(super) trait Handle: Send {
    /// Where its interface is now; `None` when it is gone, or never was.
    fn whereabouts(&self) -> Option<Whereabouts>;

    /// What was made for the port is to outlive the switch.
    ///
    /// # Errors
    /// What the kernel says.
    fn keep(&self) -> io::Result<()> {
        Ok(())
    }

    /// The port is removed on purpose: what was made for it is to go with it, even where it would outlive the switch.
    fn release(&self) {}
}

/// Makes what the configuration asks for. `adopt`: takes over the interface that an earlier switch kept.
///
/// # Errors
/// It cannot be had. Nothing is left behind then but what there was.
pub(super) fn make(port: &PortConfig, adopt: bool, common: &Common) -> Result<Made, Refusal> {
    let made = match port.kind {
        PortKind::Tap => tap::make(port, adopt),
        PortKind::Packet => packet::make(port),
        PortKind::Pcap => pcap::make(port),
        #[cfg(feature = "xdp")]
        PortKind::Xdp => xdp::make(port, &common.xdp),
        #[cfg(not(feature = "xdp"))]
        PortKind::Xdp => packet_instead(port, "this build has no AF_XDP"),
    }?;
    Ok(Made { port: fault::wrap(made.port, port.fault.as_ref()), ..made })
}

/// Refuses an interface that is a port already: frames would come in twice, and round in circles. For a TAP the kernel
/// looks after that.
///
/// # Errors
/// Which port it is.
pub(super) fn check_interface<'a>(
    port: &PortConfig,
    mut others: impl Iterator<Item = &'a PortConfig>,
) -> Result<(), Refusal> {
    let foreign = port.kind.has_interface() && port.kind != PortKind::Tap;
    let same = |other: &&PortConfig| other.ifname == port.ifname && other.netns_path() == port.netns_path();
    match others.find(same).filter(|_| foreign) {
        Some(other) => {
            let what = format!("port {}: interface \"{}\" is port {} already", port.name, port.ifname, other.name);
            Err(Refusal::new(
                Kind::Conflict,
                what,
                format!("remove port {} first, or take another interface", other.name),
            ))
        }
        None => Ok(()),
    }
}

/// Serves an interface by packet sockets where AF_XDP cannot, and says so. The port then shows as what it is.
fn packet_instead(port: &PortConfig, why: impl Display) -> Result<Made, Refusal> {
    warn!(port = port.name, "{why}; packet sockets serve it");
    packet::make(port)
}

/// Tells that a port's namespace cannot be opened.
fn no_netns(port: &PortConfig, error: &NetnsError) -> Refusal {
    let (name, path) = (&error.name, error.name.contains('/'));
    let sentence = match (error.source.kind(), path) {
        (io::ErrorKind::NotFound, true) => format!("no namespace \"{name}\""),
        (io::ErrorKind::NotFound, false) => format!("no namespace \"{name}\" under /run/netns"),
        _ => error.to_string(),
    };
    let hint =
        if path { "a path like /proc/PID/ns/net".into() } else { format!("create it with \"ip netns add {name}\"") };
    Refusal::new(Kind::Unknown, format!("port {}: {sentence}", port.name), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_missing_namespace_is_one_clear_sentence() {
        let port = PortConfig::new("h1".into(), "lan".into());
        let missing = |name: &str| NetnsError {
            name: name.into(),
            path: config::netns_path(name),
            source: io::ErrorKind::NotFound.into(),
        };
        let named = no_netns(&port, &missing("red"));
        assert_eq!(named.to_string(), "port h1: no namespace \"red\" under /run/netns");
        assert_eq!(named.hint.unwrap(), "create it with \"ip netns add red\"");
        assert_eq!(no_netns(&port, &missing("/proc/1/ns/x")).to_string(), "port h1: no namespace \"/proc/1/ns/x\"");
    }
}
