//! A flood: a frame that leaves by all other ports of its domain.

use super::PortId;
use crate::program::Exit;
use crate::tables::Tables;
use crate::tables::topology::{DomainId, Floods, IsolationGroups, PortView};
use crate::tables::vlan::Class;
use crate::wire::Mac;

/// A frame that goes to all ports of its domain that may receive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// The port it came in by.
    pub ingress: PortId,
    /// Where it is flooded.
    pub domain: DomainId,
    /// What it is to VLANs.
    pub class: Class,
    /// From which ports it is kept.
    pub isolation: IsolationGroups,
    /// What it is flooded for.
    pub kind: FloodKind,
}

/// Why a frame is flooded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloodKind {
    /// Its destination is not known.
    Unknown,
    /// Its destination is a group.
    Multicast,
    /// It is for everybody.
    Broadcast,
}

impl FloodKind {
    /// The kind of a frame to this destination.
    #[inline]
    pub fn of(destination: Mac) -> FloodKind {
        match destination {
            Mac::BROADCAST => FloodKind::Broadcast,
            group if group.is_group() => FloodKind::Multicast,
            _ => FloodKind::Unknown,
        }
    }

    /// Whether a port takes floods of this kind.
    #[inline]
    pub fn suits(self, floods: Floods) -> bool {
        match self {
            FloodKind::Unknown => floods.unknown,
            FloodKind::Multicast => floods.multicast,
            FloodKind::Broadcast => floods.broadcast,
        }
    }
}

impl Flood {
    /// How the frame leaves by a port, if it does.
    #[inline]
    pub(crate) fn exit(&self, port: PortId, tables: &Tables) -> Option<Exit> {
        let view = tables.topology.port(port)?;
        let wanted = self.kind.suits(view.floods) && (port != self.ingress || view.hairpin);
        (wanted && tables.may_send(port, self.isolation)).then(|| exit(port, view, &self.class)).flatten()
    }

    /// The knob that keeps the frame from a port, in words that end before its name.
    pub(super) fn knob(&self, port: PortId, tables: &Tables) -> Option<&'static str> {
        let view = tables.topology.port(port).filter(|view| port != self.ingress || view.hairpin)?;
        match self.kind {
            kind if kind.suits(view.floods) => {
                (view.isolation().isolates(self.isolation)).then_some("isolated, so not to")
            }
            FloodKind::Unknown => Some("flood is off at"),
            FloodKind::Multicast => Some("mcast_flood is off at"),
            FloodKind::Broadcast => Some("bcast_flood is off at"),
        }
    }
}

/// How a frame of a class leaves by a port, if that carries its VLAN.
#[inline]
pub(crate) fn exit(port: PortId, view: &PortView, class: &Class) -> Option<Exit> {
    view.vlan.carries(class.vlan).then(|| Exit { port, tag: view.vlan.leaving(class) })
}
