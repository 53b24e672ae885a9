//! Which ports and bridge domains there are: an immutable value, replaced whole when it changes.

use crate::flow::PortId;
use crate::tables::storm::StormCaps;
use crate::tables::vlan::Tagging;
use crate::wire::Mac;
use crate::wire::vlan::Vid;

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
    /// Most addresses learned; beyond it the port with the most entries loses its oldest.
    pub fdb_max: usize,
    /// The engine's own address here: no station may use it.
    pub mac: Option<Mac>,
    /// Its ports.
    pub members: Vec<PortId>,
}

impl Domain {
    /// A domain with the usual limits and no ports.
    pub fn new(name: &str) -> Domain {
        Domain { name: name.into(), ageing_s: 300, fdb_max: 65_536, mac: None, members: Vec::new() }
    }
}

/// What the pipeline must know of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortView {
    /// The domain it belongs to.
    pub domain: Option<DomainId>,
    /// Exchanges frames only with ports that are not isolated.
    pub isolated: bool,
    /// Caps on what it may flood.
    pub storm: StormCaps,
    /// How it takes part in VLANs.
    pub vlan: Tagging,
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

    /// Makes ports that know of no VLANs access ports of VLAN 1, in domains where another port knows of some.
    pub fn settle(&mut self) {
        let with_vlans = |port: &&PortView| port.vlan != Tagging::Transparent;
        let domains: Vec<_> = self.ports.iter().flatten().filter(with_vlans).map(|port| port.domain).collect();
        let settled = |port: &&mut PortView| port.vlan == Tagging::Transparent && domains.contains(&port.domain);
        for port in self.ports.iter_mut().flatten().filter(settled) {
            port.vlan = Tagging::Access { vid: Vid::DEFAULT, admit_tagged: false };
        }
    }

    /// The domain of a port, if it is in one.
    #[inline]
    pub fn domain_of(&self, port: PortId) -> Option<DomainId> {
        self.port(port)?.domain
    }
}
