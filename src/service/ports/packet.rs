//! Packet ports: interfaces of somebody else, through packet sockets.

use crossdock_engine::ports::packet::{Packet, PacketConfig, PacketError, PacketHandle};
use std::sync::Arc;

use crossdock_engine::ports::{NetnsId, Whereabouts};

use super::{Handle, Kind, Made, Refusal, no_file, no_netns};
use crate::config::PortConfig;

/// Opens the sockets.
pub(super) fn make(port: &PortConfig) -> Result<Made, Refusal> {
    let packet = Packet::open(&config(port)).map_err(|error| refusal(port, &error))?;
    let handle = Arc::new(packet.handle());
    Ok(Made { port: Box::new(packet), handle })
}

impl Handle for PacketHandle {
    fn whereabouts(&self) -> Option<Whereabouts> {
        self.whereabouts()
    }

    fn holds(&self) -> Option<NetnsId> {
        self.holds()
    }
}

fn config(port: &PortConfig) -> PacketConfig {
    PacketConfig {
        netns: port.netns.clone(),
        queues: port.queues.unwrap_or(1).into(),
        ..PacketConfig::new(&port.name, &port.ifname)
    }
}

/// Tells why there is no packet port for `port`.
fn refusal(port: &PortConfig, error: &PacketError) -> Refusal {
    if let Some(refusal) = no_file(port, error) {
        return refusal;
    }
    let (kind, hint) = match error {
        PacketError::Netns(missing) => return no_netns(port, missing),
        PacketError::NoInterface { .. } => {
            (Kind::Unknown, Some("a packet port takes an interface that exists: see \"ip link\""))
        }
        PacketError::NotEthernet(_) => {
            (Kind::Invalid, Some("a veth, a network card, or another interface with a MAC address"))
        }
        PacketError::Privilege { .. } => (Kind::Failed, Some("run as root")),
        PacketError::Kernel { .. } => (Kind::Failed, None),
    };
    Refusal { kind, what: format!("port {}: {error}", port.name), hint: hint.map(str::to_owned) }
}
