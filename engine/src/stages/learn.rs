//! Learns which port a source address lives on (802.1Q, section 8.7), and refuses sources that the port may not bring.

use super::Stage;
use crate::drop::DropReason;
use crate::flow::{Depth, Flow, Verdict};
use crate::tables::fdb::Learned;
use crate::tables::topology::{DomainId, PortView};

/// Source address learning.
pub struct Learn;

impl Stage for Learn {
    fn name(&self) -> &'static str {
        "learn"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    #[inline]
    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        let (source, port, vlan) = (flow.key().eth_src, flow.key().port, flow.vlan());
        if !source.is_station() {
            return Verdict::Drop(DropReason::SourceInvalid);
        }
        let Some(domain) = flow.domain() else { return Verdict::Drop(DropReason::NoDomain) };
        if flow.tables.topology.domain(domain).is_some_and(|domain| domain.mac == Some(source)) {
            return Verdict::Drop(DropReason::SourceOwn);
        }
        let plain = |view: &PortView| view.learning && !view.locked;
        if !flow.tables.topology.port(port).is_none_or(plain)
            && let Some(verdict) = restricted(flow, domain)
        {
            return verdict;
        }
        let learned = flow.tables.learn(domain, (vlan, source), port, flow.now);
        flow.explain(why(learned));
        if matches!(learned, Learned::Known | Learned::Again) { Verdict::Continue } else { after(learned, flow) }
    }
}

/// What else comes of a sighting that taught something, or could not.
#[cold]
fn after(learned: Learned, flow: &mut Flow<'_>) -> Verdict {
    match learned {
        // A flood of addresses that are seen once fills no cache; who talks is cached by the second frame.
        // What could not be learned yet is tried again with the next frame.
        Learned::New | Learned::Evicted | Learned::Deferred => flow.once(),
        Learned::Pinned | Learned::Refused => {
            flow.once();
            flow.is_pinned_elsewhere = true;
        }
        Learned::Fixed => return Verdict::Drop(DropReason::SourceStatic),
        Learned::Limited => {
            flow.once();
            let passes = flow.tables.topology.port(flow.key().port).is_some_and(|port| port.pass_unlearned);
            flow.explain(if passes { "it passes without being learned" } else { "it may not pass" });
            return if passes { Verdict::Continue } else { Verdict::Drop(DropReason::MacLimit) };
        }
        _ => {}
    }
    Verdict::Continue
}

/// A port that is locked, or learns nothing. On one that is locked only sources pass that are known there. `None` where the address
/// may be learned.
#[cold]
fn restricted(flow: &mut Flow<'_>, domain: DomainId) -> Option<Verdict> {
    let (port, who) = (flow.key().port, (flow.vlan(), flow.key().eth_src));
    let view = flow.tables.topology.port(port)?;
    let (locked, learning) = (view.locked, view.learning);
    if locked && flow.tables.lookup(domain, who) != Some(port) {
        flow.explain("the port is locked, and the source not known here");
        // The next frame is let in as soon as the address is.
        flow.once();
        return Some(Verdict::Drop(DropReason::Locked));
    }
    if locked {
        flow.explain("the port is locked, and the source known here");
    }
    if learning {
        return None;
    }
    if flow.tables.is_fixed_elsewhere(domain, who, port) {
        flow.explain(why(Learned::Fixed));
        return Some(Verdict::Drop(DropReason::SourceStatic));
    }
    flow.explain("the port learns no addresses");
    Some(Verdict::Continue)
}

/// A trace's words.
fn why(learned: Learned) -> &'static str {
    match learned {
        Learned::Known | Learned::Again => "source known here",
        Learned::New => "source new: learned",
        Learned::Evicted => "source new: learned, the table is full and forgets another address",
        Learned::Moved => "source known elsewhere: moves here",
        Learned::Pinned => "source jumps between ports: pinned to one",
        Learned::Refused => "source jumps between ports, and is pinned to another",
        Learned::Deferred => "source not learned now: the other workers must hear of it first",
        Learned::Fixed => "source belongs to another port by a static entry",
        Learned::Full => "source new, but the table is full: not learned",
        Learned::Limited => "source new, but the port has as many addresses as it may",
    }
}
