//! Loops outside: ports that lead to each other.
//!
//! # Theory of operation
//!
//! A port is *suspect* when it floods more than [`MANY`] frames in a second, or when an address jumps to or from it. A *probe*
//! (`probe.rs`) is sent out of it. If that comes in again, in the same domain and VLAN, by whichever port, both lead to the same
//! place, and one of the two is *blocked*: nothing that comes in by it passes, and nothing leaves by it. A TAP rather than
//! another port, because other hosts may be behind that; otherwise the one with the higher number.
//!
//! While it is blocked, probes go on once a second; they pass all the same. When none has come back for [`HOLD_MS`], the loop is
//! gone, and the port is open again. The worker that hears a probe tells the others; each then counts the time by itself.
//!
//! Nobody is probed who is not suspect: a container has no frames that concern it not.

use super::core::Core;
use super::outlet::Outlet;
use super::probe::{GROUP, LEN, Probe};
use crate::clock::Millis;
use crate::drop::DropReason;
use crate::execute::{Egress, push_vlan};
use crate::flow::{FlowKey, PortId};
use crate::frame::Frame;
use crate::tables::topology::DomainId;
use crate::tables::vlan::{Class, Vlan};
use std::hash::RandomState;

/// Floods in a second that make a port suspect. An ordinary host asks for a few neighbours.
const MANY: u8 = 32;
/// How long a probe that was sent may be on its way, in milliseconds.
const FRESH_MS: u32 = 2000;
/// How long a port is blocked after the last probe came back, and how often one is sent meanwhile, in milliseconds.
const HOLD_MS: u32 = 3500;
const EVERY_MS: u32 = 1000;
/// Most suspects that wait for their probe, and most that get it at once.
const SUSPECTS: usize = 64;
const AT_ONCE: usize = 8;

/// A way out of the switch and back into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    /// The port that probes leave by,
    prober: PortId,
    /// and the one that they come back by.
    by: PortId,
    domain: DomainId,
    vlan: Vlan,
}

/// A loop that was found or is gone: the port that is blocked for it, the other one, and whether it is blocked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoopNews {
    pub blocked: PortId,
    pub other: PortId,
    pub is_there: bool,
}

/// A port that is blocked.
struct Blocked {
    port: PortId,
    why: Loop,
    /// When a probe came back last.
    heard: Millis,
    /// When one was sent last.
    probed: Millis,
    /// This worker tells the control side.
    is_reporter: bool,
}

impl Blocked {
    fn other(&self) -> PortId {
        if self.port == self.why.by { self.why.prober } else { self.why.by }
    }

    fn news(&self, is_there: bool) -> LoopNews {
        LoopNews { blocked: self.port, other: self.other(), is_there }
    }
}

/// Floods from a port in this second.
#[derive(Clone, Copy, Default)]
struct Floods {
    since: Millis,
    count: u8,
}

/// What a worker knows of loops.
pub(super) struct Loops {
    /// The same at all workers of a switch.
    pub secret: RandomState,
    /// By port.
    floods: Vec<Floods>,
    suspects: Vec<(PortId, DomainId, Vlan)>,
    blocked: Vec<Blocked>,
    /// Not reported yet.
    pub news: Vec<LoopNews>,
}

impl Default for Loops {
    fn default() -> Loops {
        Loops {
            secret: RandomState::new(),
            floods: Vec::new(),
            suspects: Vec::with_capacity(SUSPECTS),
            blocked: Vec::new(),
            news: Vec::new(),
        }
    }
}

impl Loops {
    /// Makes room for so many ports.
    pub fn reserve(&mut self, ports: usize) {
        if self.floods.len() < ports {
            self.floods.resize(ports, Floods::default());
        }
    }

    /// A port floods a frame.
    #[inline]
    pub fn note(&mut self, port: PortId, domain: DomainId, vlan: Vlan, now: Millis) {
        let Some(floods) = self.floods.get_mut(port.index()) else { return };
        if now.since(floods.since) >= EVERY_MS {
            *floods = Floods { since: now, count: 0 };
        }
        floods.count = floods.count.saturating_add(1);
        if floods.count == MANY {
            self.suspect(port, domain, vlan);
        }
    }

    fn suspect(&mut self, port: PortId, domain: DomainId, vlan: Vlan) {
        let suspect = (port, domain, vlan);
        if self.suspects.len() < SUSPECTS && !self.suspects.contains(&suspect) {
            self.suspects.push(suspect);
        }
    }
}

impl Core {
    /// An address jumps to or from a port.
    pub fn suspect(&mut self, port: PortId, vlan: Vlan) {
        if let Some(domain) = self.tables.topology.domain_of(port) {
            self.loops.suspect(port, domain, vlan);
        }
    }

    /// Sends the probes that are due, and opens ports whose loop is gone. Call it often.
    pub fn watch_loops(&mut self) {
        while let Some(found) = self.ports.peers.notice() {
            self.block(found, false);
        }
        let suspects = self.loops.suspects.len().min(AT_ONCE);
        for _ in 0..suspects {
            let (port, domain, vlan) = self.loops.suspects.swap_remove(0);
            self.probe(port, domain, vlan);
        }
        if !self.loops.blocked.is_empty() {
            self.watch_blocked();
        }
    }

    #[cold]
    fn watch_blocked(&mut self) {
        let now = self.now;
        let Core { loops: Loops { blocked, news, .. }, tables, .. } = self;
        for over in blocked.extract_if(.., |blocked| now.since(blocked.heard) >= HOLD_MS) {
            tables.set_blocked(over.port, false);
            news.extend(over.is_reporter.then(|| over.news(false)));
        }
        for i in 0..self.loops.blocked.len() {
            let Blocked { why, probed, .. } = &mut self.loops.blocked[i];
            if now.since(*probed) >= EVERY_MS {
                *probed = now;
                let Loop { prober, domain, vlan, .. } = *why;
                self.probe(prober, domain, vlan);
            }
        }
    }

    /// Sends a probe out of a port that has a queue here, blocked or not.
    fn probe(&mut self, port: PortId, domain: DomainId, vlan: Vlan) {
        let is_member = self.tables.topology.domain_of(port) == Some(domain);
        if !is_member || self.ports.carrier(port).is_some() {
            return;
        }
        let Some(exit) = self.tables.exit(port, &Class::without_tag(vlan)) else { return };
        let Some(counters) = self.ports.counters(port) else { return };
        counters.generated.add(1);
        let Some(mut frame) = self.pool.alloc_spare(LEN) else { return counters.count_drop(DropReason::PoolEmpty) };
        // It fits, tag included: a frame has headroom.
        let _ = frame.fill(&Probe { port, domain, vlan, sent: self.now }.emit(&self.loops.secret));
        let _ = exit.tag.map(|tag| push_vlan(&mut frame, tag));
        Outlet::new(&mut self.ports, port).output(port, frame, &mut self.pool);
        self.flush();
    }

    /// Whether a frame is a probe of this switch that came back. It goes no further then.
    #[inline(always)]
    pub fn is_own_probe(&mut self, frame: &Frame, port: PortId, key: &FlowKey) -> bool {
        key.eth_dst == GROUP && self.hear_probe(frame, port, key)
    }

    #[cold]
    fn hear_probe(&mut self, frame: &Frame, port: PortId, key: &FlowKey) -> bool {
        let Some(probe) = Probe::parse(frame, &self.loops.secret) else { return false };
        let domain = self.tables.topology.domain_of(port);
        let vlan = self.tables.class_of(key).map(|class| class.vlan);
        let is_fresh = self.now.since(probe.sent) <= FRESH_MS;
        if is_fresh && domain == Some(probe.domain) && vlan == Some(probe.vlan) {
            let found = Loop { prober: probe.port, by: port, domain: probe.domain, vlan: probe.vlan };
            self.ports.peers.notify(found);
            self.block(found, true);
        }
        true
    }

    /// Blocks one port of a loop, or keeps it blocked.
    fn block(&mut self, why: Loop, is_reporter: bool) {
        let (port, now) = (self.to_be_blocked(&why), self.now);
        if let Some(blocked) = self.loops.blocked.iter_mut().find(|blocked| blocked.port == port) {
            (blocked.why, blocked.heard) = (why, now);
        } else {
            let blocked = Blocked { port, why, heard: now, probed: now, is_reporter };
            self.loops.news.extend(is_reporter.then(|| blocked.news(true)));
            self.loops.blocked.push(blocked);
        }
        self.tables.set_blocked(port, true);
    }

    fn to_be_blocked(&self, Loop { prober, by, .. }: &Loop) -> PortId {
        let is_tap = |port: PortId| self.tables.topology.port(port).is_some_and(|view| view.station.is_some());
        match (is_tap(*prober), is_tap(*by)) {
            (true, false) => *prober,
            (false, true) => *by,
            _ => *prober.max(by),
        }
    }
}
