//! Chooses the egress: the port of the destination address, or all others (802.1Q, section 8.8).

use super::Stage;
use crate::drop::DropReason;
use crate::flow::{Depth, FloodKind, Flow, PortId, Verdict};
use crate::tables::storm::Bucket;
use crate::tables::topology::IsolationGroups;
use crate::wire::Mac;

/// Forwarding and flooding, with storm control.
#[derive(Default)]
pub struct Forward {
    /// Per ingress port: broadcast, multicast, unknown unicast.
    buckets: Vec<[Bucket; 3]>,
}

impl Stage for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    #[inline]
    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        let destination = flow.edited().eth_dst;
        match known_port(flow, destination) {
            Some(port) => to_port(flow, port),
            None => self.flood(flow, destination),
        }
    }
}

#[inline]
fn known_port(flow: &Flow<'_>, destination: Mac) -> Option<PortId> {
    if destination.is_group() {
        return None;
    }
    flow.tables.lookup(flow.domain()?, (flow.vlan(), destination))
}

#[inline]
fn to_port(flow: &mut Flow<'_>, port: PortId) -> Verdict {
    flow.explain_port("destination known on", port);
    if port == flow.key().port && !flow.tables.topology.port(port).is_some_and(|port| port.hairpin) {
        return Verdict::Drop(DropReason::SamePort);
    }
    if !flow.tables.may_send(port, flow.isolation) {
        let up = flow.tables.may_send(port, IsolationGroups::default());
        return Verdict::Drop(if up { DropReason::Isolated } else { DropReason::PortDown });
    }
    flow.send_to(port);
    Verdict::Continue
}

impl Forward {
    #[inline(never)]
    fn flood(&mut self, flow: &mut Flow<'_>, destination: Mac) -> Verdict {
        if destination.is_reserved() {
            return Verdict::Drop(DropReason::Reserved);
        }
        if let Some(reason) = self.over_cap(flow, FloodKind::of(destination)).or_else(|| over_pin(flow)) {
            flow.once();
            return Verdict::Drop(reason);
        }
        flow.explain(match destination {
            group if group.is_group() => "destination is a group: floods",
            _ => "destination unknown: floods",
        });
        flow.flood();
        Verdict::Continue
    }

    /// Takes a token of the ingress port's bucket for this kind of frame, where it has a cap.
    fn over_cap(&mut self, flow: &Flow<'_>, kind: FloodKind) -> Option<DropReason> {
        let port = flow.key().port;
        let caps = flow.tables.topology.port(port)?.storm;
        let (cap, reason) = match kind {
            FloodKind::Broadcast => (caps.broadcast, DropReason::StormBroadcast),
            FloodKind::Multicast => (caps.multicast, DropReason::StormMulticast),
            FloodKind::Unknown => (caps.unknown, DropReason::StormUnknown),
        };
        let cap = cap?;
        if self.buckets.len() <= port.index() {
            self.buckets.resize_with(port.index() + 1, Default::default);
        }
        let bucket = &mut self.buckets[port.index()][kind as usize];
        let mut after = *bucket;
        let admitted = after.admit(cap, flow.now);
        if !flow.is_rehearsal() {
            *bucket = after;
        }
        (!admitted).then_some(reason)
    }
}

/// Refuses more than a few frames to all from an address that is pinned to another port: they may be going round.
fn over_pin(flow: &mut Flow<'_>) -> Option<DropReason> {
    let domain = flow.domain().filter(|_| flow.is_pinned_elsewhere)?;
    let who = (flow.vlan(), flow.key().eth_src);
    (!flow.tables.admits_flood(domain, who)).then_some(DropReason::MacFlapping)
}
