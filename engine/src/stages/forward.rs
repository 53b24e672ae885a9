//! Chooses the egress: the port of the destination address, or all others (802.1Q, section 8.8).

use super::Stage;
use crate::drop::DropReason;
use crate::flow::{Depth, FloodKind, Flow, PortId, Verdict};
use crate::tables::topology::IsolationGroups;
use crate::wire::Mac;

/// Forwarding and flooding, with storm control.
pub struct Forward;

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
            None => flood(flow, destination),
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

#[inline(never)]
fn flood(flow: &mut Flow<'_>, destination: Mac) -> Verdict {
    if destination.is_reserved() {
        return Verdict::Drop(DropReason::Reserved);
    }
    if let Some(reason) = over_cap(flow, FloodKind::of(destination)).or_else(|| over_pin(flow)) {
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
fn over_cap(flow: &Flow<'_>, kind: FloodKind) -> Option<DropReason> {
    let port = flow.tables.topology.port(flow.key().port)?;
    let (cap, bucket) = (port.storm.of(kind)?, port.buckets.of(kind));
    let admitted = if flow.is_rehearsal() { bucket.would_admit(cap, flow.now) } else { bucket.admit(cap, flow.now) };
    (!admitted).then_some(match kind {
        FloodKind::Broadcast => DropReason::StormBroadcast,
        FloodKind::Multicast => DropReason::StormMulticast,
        FloodKind::Unknown => DropReason::StormUnknown,
    })
}

/// Refuses more than a few frames to all from an address that is pinned to another port: they may be going round.
fn over_pin(flow: &mut Flow<'_>) -> Option<DropReason> {
    let domain = flow.domain().filter(|_| flow.is_pinned_elsewhere)?;
    let who = (flow.vlan(), flow.key().eth_src);
    (!flow.tables.admits_flood(domain, who)).then_some(DropReason::MacFlapping)
}
