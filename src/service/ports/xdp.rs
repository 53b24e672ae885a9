//! AF_XDP ports: interfaces of somebody else, through memory shared with the kernel.

use std::sync::Arc;

use crossdock_engine::ports::xdp::{BusyPoll, Xdp, XdpConfig, XdpError, XdpHandle, XdpMemory};
use crossdock_engine::ports::{NetnsId, Whereabouts};
use tracing::info;

use super::{Handle, Kind, Made, Refusal, no_file, no_netns, packet_instead};
use crate::config::{self, PortConfig};

/// Binds to the interface.
pub(super) fn make(port: &PortConfig, memory: &XdpMemory) -> Result<Made, Refusal> {
    match Xdp::open(&config(port, memory)) {
        Ok(xdp) => {
            info!(port = port.name, mode = xdp.mode().name(), "XDP program attached");
            Ok(Made { handle: Arc::new(xdp.handle()), port: Box::new(xdp) })
        }
        Err(error) if error.is_refusal() => packet_instead(port, error),
        Err(error) => Err(refusal(port, &error)),
    }
}

impl Handle for XdpHandle {
    fn whereabouts(&self) -> Option<Whereabouts> {
        self.whereabouts()
    }

    fn holds(&self) -> Option<NetnsId> {
        self.holds()
    }
}

fn config(port: &PortConfig, memory: &XdpMemory) -> XdpConfig {
    XdpConfig {
        netns: port.netns.clone(),
        queues: port.queues.map(u32::from),
        busy_poll: port.busy_poll.map(|config::BusyPoll { micros, budget }| BusyPoll { micros, budget }),
        ring: port.ring,
        memory: memory.clone(),
        ..XdpConfig::new(&port.name, &port.ifname)
    }
}

/// Tells why there is no AF_XDP port for `port`.
fn refusal(port: &PortConfig, error: &XdpError) -> Refusal {
    if let Some(refusal) = no_file(port, error) {
        return refusal;
    }
    let (kind, hint) = match error {
        XdpError::Netns(missing) => return no_netns(port, missing),
        XdpError::NoInterface { .. } => (Kind::Unknown, "an xdp port takes an interface that exists: see \"ip link\""),
        XdpError::NotEthernet(_) => (Kind::Invalid, "a veth, a network card, or another interface with a MAC address"),
        XdpError::Privilege { .. } => (Kind::Failed, "run as root"),
        // Not met: packet sockets serve the interface then.
        XdpError::Taken { .. } | XdpError::Refused { .. } | XdpError::Memory { .. } | XdpError::Locked { .. } => {
            (Kind::Failed, "kind = \"packet\" works with every interface")
        }
    };
    Refusal::new(kind, format!("port {}: {error}", port.name), hint)
}
