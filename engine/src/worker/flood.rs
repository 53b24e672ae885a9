//! Frames that leave by many ports.
//!
//! # Theory of operation
//!
//! A flood is not compiled into one program: a domain may have thousands of ports. It goes over the domain's members in the order
//! of their numbers, [`PART`] at a time; each part is a program, made and run like any other. After [`MOST`] copies the worker
//! turns to others, and goes on with its next visit to the queue that the frame came from; meanwhile nothing else is taken
//! from there, so frames keep their order.
//!
//! Ports that only another worker has are that worker's to serve: it gets one copy of the frame and goes over the same
//! members itself.

use super::core::Core;
use super::outlet::Outlet;
use super::peers::Errand;
use crate::drop::DropReason;
use crate::execute::{Egress, execute, execute_copies};
use crate::flow::{Flood, PortId};
use crate::frame::Frame;
use crate::program::Exit;
use crate::wire::vlan::Tag;

/// Ports that a frame is sent to by one program.
const PART: usize = 64;
/// Copies after which a visit ends.
pub(super) const MOST: usize = 256;

/// A flood that is under way.
pub(super) struct Flooding {
    flood: Flood,
    frame: Frame,
    /// The worker that began it, where that is another.
    began_at: Option<usize>,
    /// Ports below this number have had their copy.
    next: PortId,
    /// The tag that the frame has now, of those that the switch may change.
    tag: Option<Tag>,
    /// It has left by some port.
    sent: bool,
}

impl Flooding {
    pub fn new(flood: Flood, frame: Frame, began_at: Option<usize>) -> Flooding {
        let tag = flood.class.carried;
        Flooding { flood, frame, began_at, next: PortId(0), tag, sent: false }
    }

    /// The frame of a flood that goes no further.
    pub fn abandon(self) -> Frame {
        self.frame
    }
}

/// What is left of a visit: a flood, and frames that came after it.
#[derive(Default)]
pub(super) struct Pending {
    pub flooding: Option<Flooding>,
    pub frames: Vec<Frame>,
}

impl Pending {
    /// All frames.
    pub fn into_frames(self) -> impl Iterator<Item = Frame> {
        self.flooding.map(Flooding::abandon).into_iter().chain(self.frames)
    }
}

impl Core {
    /// Floods a frame; gives back what is left when the visit is over.
    pub fn flood(&mut self, mut flooding: Flooding) -> Option<Flooding> {
        if flooding.next == PortId(0) && flooding.began_at.is_none() && self.ports.peers.count() > 0 {
            self.share(&mut flooding);
        }
        loop {
            let part = self.next_part(&mut flooding);
            self.copies += self.exits.len();
            if part == Part::Last {
                self.send_last(flooding);
                return None;
            }
            if let Err(reason) = self.send_part(&mut flooding) {
                Outlet::new(&mut self.ports, flooding.flood.ingress).drop(flooding.frame, reason, &mut self.pool);
                return None;
            }
            if self.copies >= MOST {
                return Some(flooding);
            }
        }
    }

    /// Finds the exits of the next part.
    fn next_part(&mut self, flooding: &mut Flooding) -> Part {
        let Core { ports, tables, exits, .. } = self;
        exits.clear();
        let Some(domain) = tables.topology.domain(flooding.flood.domain) else { return Part::Last };
        let from = domain.members.partition_point(|&member| member < flooding.next);
        for &member in &domain.members[from..] {
            if exits.len() == PART {
                flooding.next = member;
                return Part::More;
            }
            let is_ours = match flooding.began_at {
                None => ports.carrier(member).is_none(),
                Some(other) => ports.carries_for(other, member),
            };
            exits.extend(is_ours.then(|| flooding.flood.exit(member, tables)).flatten());
        }
        Part::Last
    }

    /// Sends copies to the ports of a part that is not the last.
    fn send_part(&mut self, flooding: &mut Flooding) -> Result<(), DropReason> {
        self.program(flooding);
        flooding.sent = true;
        let program = self.pipeline.program().actions();
        let mut outlet = Outlet::new(&mut self.ports, flooding.flood.ingress);
        execute_copies(program, &mut flooding.frame, &mut outlet, &mut self.pool)
    }

    /// Sends the frame itself away, with the last copies.
    fn send_last(&mut self, mut flooding: Flooding) {
        self.program(&mut flooding);
        let mut outlet = Outlet::new(&mut self.ports, flooding.flood.ingress);
        if self.exits.is_empty() && flooding.sent {
            return outlet.end_of_copies(flooding.frame, &mut self.pool);
        }
        execute(self.pipeline.program().actions(), flooding.frame, &mut outlet, &mut self.pool);
    }

    /// Compiles the program of a part.
    fn program(&mut self, flooding: &mut Flooding) {
        let exits = self.exits.iter().copied();
        self.pipeline.program_mut().send(flooding.tag, exits);
        let retagged = self.exits.iter().rev().find(|exit| exit.tag != flooding.tag);
        flooding.tag = retagged.map_or(flooding.tag, |exit| exit.tag);
    }

    /// Gives each other worker that alone has ports of the domain a copy of the frame, for those.
    fn share(&mut self, flooding: &mut Flooding) {
        let number = self.ports.peers.number();
        let Core { ports, tables, pool, told, .. } = self;
        told.iter_mut().for_each(|told| *told = false);
        let Some(domain) = tables.topology.domain(flooding.flood.domain) else { return };
        for &member in &domain.members {
            let Some(worker) = ports.carrier(member) else { continue };
            if told.get(worker) != Some(&false) || flooding.flood.exit(member, tables).is_none() {
                continue;
            }
            told[worker] = true;
            flooding.sent = true;
            Outlet::new(ports, flooding.flood.ingress).hand_over(
                worker,
                Errand::Flood(flooding.flood, number),
                &flooding.frame,
                pool,
            );
        }
    }
}

/// Whether more ports follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    More,
    Last,
}

/// Scratch for the exits of a part.
pub(super) fn scratch() -> Vec<Exit> {
    Vec::with_capacity(PART)
}
