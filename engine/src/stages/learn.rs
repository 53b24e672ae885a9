//! Learns which port a source address lives on (802.1Q, section 8.7), and refuses sources that the port may not bring.

use super::Stage;
use crate::drop::DropReason;
use crate::flow::{Depth, Flow, Verdict};
use crate::tables::fdb::Learned;

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
        if flow.tables.topology.port(port).is_some_and(|view| view.locked || !view.learning) {
            return unlearned(flow);
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
        Learned::Limited => {
            flow.once();
            let passes = flow.tables.topology.port(flow.key().port).is_some_and(|port| port.pass_unlearned);
            return if passes { Verdict::Continue } else { Verdict::Drop(DropReason::MacLimit) };
        }
        _ => {}
    }
    Verdict::Continue
}

/// A port that learns nothing: its frames pass, but on one that is locked only those of addresses that are known there.
#[cold]
fn unlearned(flow: &mut Flow<'_>) -> Verdict {
    let (port, who) = (flow.key().port, (flow.vlan(), flow.key().eth_src));
    let is_known_here = flow.domain().is_some_and(|domain| flow.tables.lookup(domain, who) == Some(port));
    match flow.tables.topology.port(port).is_some_and(|view| view.locked) {
        true if !is_known_here => {
            flow.explain("the port is locked, and the source not known here");
            // The next frame is let in as soon as the address is.
            flow.once();
            Verdict::Drop(DropReason::Locked)
        }
        true => {
            flow.explain("the port is locked, and the source known here");
            Verdict::Continue
        }
        false => {
            flow.explain("the port learns no addresses");
            Verdict::Continue
        }
    }
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
        Learned::Fixed => "source set by the configuration: stays where it is",
        Learned::Full => "source new, but the table is full: not learned",
        Learned::Limited => "source new, but the port has as many addresses as it may",
    }
}
