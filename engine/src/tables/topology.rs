//! Which ports and bridge domains there are. Every worker has its own, and takes the same changes in the same order.

use crate::flow::PortId;
use crate::guard::Guard;
use crate::tables::fdb::Quota;
use crate::tables::storm::{Buckets, StormCaps};
use crate::tables::vlan::Tagging;
use crate::wire::Mac;
use crate::wire::vlan::Vid;
use std::sync::Arc;

/// A bridge domain's number inside one switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainId(pub u16);

impl DomainId {
    /// Position in a table of domains.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A bridge domain: the ports among which frames are switched, and one forwarding database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// What people call it.
    pub name: String,
    /// Seconds after which an address not seen as a source is forgotten. 300 by default, as in 802.1Q.
    pub ageing_s: u32,
    /// Most addresses learned.
    pub fdb_max: usize,
    /// Whether a full table refuses a new address. Otherwise the port with the most entries loses an old one.
    pub fdb_refuse: bool,
    /// The engine's own address here: no station may use it.
    pub mac: Option<Mac>,
    /// Whether ports that know of no VLANs are access ports of VLAN 1. Otherwise tags are payload to them, and ports with
    /// VLANs beside them are apart.
    pub vlan_filtering: bool,
    /// Its ports, in order of their numbers.
    pub members: Vec<PortId>,
}

impl Domain {
    /// A domain with the usual limits and no ports.
    pub fn new(name: &str) -> Domain {
        Domain {
            name: name.into(),
            ageing_s: 300,
            fdb_max: 65_536,
            fdb_refuse: false,
            mac: None,
            vlan_filtering: false,
            members: Vec::new(),
        }
    }

    /// Adds a port or takes it out.
    fn set_member(&mut self, port: PortId, is_member: bool) {
        match (self.members.binary_search(&port), is_member) {
            (Err(at), true) => self.members.insert(at, port),
            (Ok(at), false) => _ = self.members.remove(at),
            _ => {}
        }
    }
}

/// Groups of ports that are isolated from each other, one bit each. Two ports that share one exchange no frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IsolationGroups(pub u64);

impl IsolationGroups {
    /// The group of ports that are isolated without saying from whom.
    pub const COMMON: IsolationGroups = IsolationGroups(1);

    /// Whether ports of these groups exchange no frames.
    #[inline]
    pub fn isolates(self, other: IsolationGroups) -> bool {
        self.0 & other.0 != 0
    }
}

/// Kinds of frames that may be flooded to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floods {
    /// Unicast frames to unknown destinations.
    pub unknown: bool,
    /// Group frames but for broadcasts.
    pub multicast: bool,
    /// Broadcasts.
    pub broadcast: bool,
}

/// Where copies go of what passes a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorTo {
    /// The port that they leave by.
    pub to: PortId,
    /// Of frames that come in, as they came.
    pub ingress: bool,
    /// Of frames that leave, as they leave.
    pub egress: bool,
}

/// What the pipeline must know of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    /// The domain it belongs to.
    pub domain: Option<DomainId>,
    /// Exchanges frames only with ports that are not isolated: it is of [`IsolationGroups::COMMON`].
    pub isolated: bool,
    /// Further groups of ports that it is isolated from.
    pub groups: IsolationGroups,
    /// Caps on what it may flood.
    pub storm: StormCaps,
    /// What it may still flood now.
    pub buckets: Buckets,
    /// How it takes part in VLANs.
    pub vlan: Tagging,
    /// Whether source addresses are learned on it.
    pub learning: bool,
    /// Most addresses learned on it, 0 for no limit; frames from further ones are dropped.
    pub mac_limit: u32,
    /// Frames from addresses beyond the limit pass without being learned.
    pub pass_unlearned: bool,
    /// Only addresses that are known on it already may be sources (Linux's `locked`).
    pub locked: bool,
    /// Frames may leave by it that came in by it (Linux's `hairpin`).
    pub hairpin: bool,
    /// What may be flooded to it.
    pub floods: Floods,
    /// The address of the station at its far end, where that is known for certain: a TAP's own.
    pub station: Option<Mac>,
    /// Whom its frames may come from; anybody where there is none.
    pub guard: Option<Arc<Guard>>,
    /// Where copies of its frames go.
    pub mirror: Option<MirrorTo>,
}

impl Default for PortView {
    fn default() -> PortView {
        PortView {
            domain: None,
            isolated: false,
            groups: IsolationGroups::default(),
            storm: StormCaps::default(),
            buckets: Buckets::default(),
            vlan: Tagging::default(),
            learning: true,
            mac_limit: 0,
            pass_unlearned: false,
            locked: false,
            hairpin: false,
            floods: Floods { unknown: true, multicast: true, broadcast: true },
            station: None,
            guard: None,
            mirror: None,
        }
    }
}

impl PortView {
    /// All groups of ports that it is isolated from.
    #[inline]
    pub fn isolation(&self) -> IsolationGroups {
        if self.isolated { IsolationGroups(self.groups.0 | IsolationGroups::COMMON.0) } else { self.groups }
    }

    /// Whether frames are decided as with another description, from which it differs.
    pub(crate) fn decides_like(&self, other: &PortView) -> bool {
        self != other && *self == PortView { guard: self.guard.clone(), mirror: self.mirror, ..other.clone() }
    }

    /// How many addresses it may bring into a domain.
    #[inline]
    pub(crate) fn quota(&self, domain: &Domain) -> Quota {
        Quota { limit: self.mac_limit, refuse: domain.fdb_refuse }
    }
}

/// A change of ports or domains.
pub enum Change {
    /// There is a port of this description now, or none.
    Port(PortId, Option<PortView>),
    /// There is a domain of this description now, or none. Its members stay as they are; with another size it begins to learn
    /// anew.
    Domain(DomainId, Option<Domain>),
}

/// All ports and domains by number; a free number is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Ports by [`PortId`].
    pub ports: Vec<Option<PortView>>,
    /// Domains by [`DomainId`].
    pub domains: Vec<Option<Domain>>,
}

impl Topology {
    /// A port, if there is one of that number.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&PortView> {
        self.ports.get(id.index())?.as_ref()
    }

    /// A domain, if there is one of that number.
    #[inline]
    pub fn domain(&self, id: DomainId) -> Option<&Domain> {
        self.domains.get(id.index())?.as_ref()
    }

    /// The domain of a port, if it is in one.
    #[inline]
    pub fn domain_of(&self, port: PortId) -> Option<DomainId> {
        self.port(port)?.domain
    }

    /// Makes ports that know of no VLANs what they are in their domain.
    pub fn settle(&mut self) {
        let filtering = |port: &&mut PortView| {
            let domain = port.domain.and_then(|id| self.domains.get(id.index())?.as_ref());
            domain.is_some_and(|domain| domain.vlan_filtering)
        };
        self.ports.iter_mut().flatten().filter(filtering).for_each(|port| port.vlan.settle());
    }

    /// Puts another description in the place of a port's; gives the one before.
    pub(crate) fn set_port(&mut self, id: PortId, port: Option<PortView>) -> Option<PortView> {
        if self.ports.len() <= id.index() {
            self.ports.resize(id.index() + 1, None);
        }
        let domain = port.as_ref().and_then(|port| port.domain);
        let before = std::mem::replace(&mut self.ports[id.index()], port);
        let left = before.as_ref().and_then(|port| port.domain).filter(|&left| domain != Some(left));
        for (domain, is_member) in [(left, false), (domain, true)] {
            let domain = domain.and_then(|id| self.domains.get_mut(id.index())?.as_mut());
            domain.into_iter().for_each(|domain| domain.set_member(id, is_member));
        }
        before
    }

    /// Puts another description in the place of a domain's, which keeps its members.
    pub(crate) fn set_domain(&mut self, id: DomainId, domain: Option<Domain>) {
        if self.domains.len() <= id.index() {
            self.domains.resize(id.index() + 1, None);
        }
        let known = &mut self.domains[id.index()];
        let members = known.take().map(|known| known.members).unwrap_or_default();
        *known = domain.map(|domain| Domain { members, ..domain });
    }
}

impl Tagging {
    /// Makes a port that knows of no VLANs an access port of VLAN 1.
    pub fn settle(&mut self) {
        if *self == Tagging::Transparent {
            *self = Tagging::Access { vid: Vid::DEFAULT, admit_tagged: false };
        }
    }
}
