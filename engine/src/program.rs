//! What is to be done with the frames of a flow, as data.

use crate::drop::DropReason;
use crate::flow::{FlowKey, PortId};
use crate::wire::Mac;
use crate::wire::vlan::Tag;
use std::fmt;
use zerocopy::{FromZeros, Immutable, KnownLayout};

/// One step of a [`Program`]. Eight bytes, so that a cached program lies in one cache line with its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
#[repr(u8)]
pub enum Action {
    /// Leaves by a port.
    Output(PortId),
    /// Rewrites the source MAC.
    SetEthSrc(Mac),
    /// Rewrites the destination MAC.
    SetEthDst(Mac),
    /// Puts a VLAN tag in front of all others.
    PushVlan(Tag),
    /// Replaces the outermost VLAN tag.
    SetVlan(Tag),
    /// Takes the outermost VLAN tag off.
    PopVlan,
    /// Ends here, for a reason.
    Drop(DropReason),
}

const _: () = assert!(size_of::<Action>() == 8);

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Output(port) => write!(f, "output:{port}"),
            Action::SetEthSrc(mac) => write!(f, "set_eth_src:{mac}"),
            Action::SetEthDst(mac) => write!(f, "set_eth_dst:{mac}"),
            Action::PushVlan(tag) => write!(f, "push_vlan:{tag}"),
            Action::SetVlan(tag) => write!(f, "set_vlan:{tag}"),
            Action::PopVlan => f.write_str("pop_vlan"),
            Action::Drop(reason) => write!(f, "drop:{}", reason.name()),
        }
    }
}

/// A port that a frame leaves by, and the VLAN tag it has then, of those that the switch may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The port.
    pub port: PortId,
    /// The tag.
    pub tag: Option<Tag>,
}

/// Steps in order. The last one always disposes of the frame: an `Output` or a `Drop`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program(Vec<Action>);

impl Program {
    /// Turns the edit of `before` into `after`, and the chosen exits, into actions. The frame has the tag `carried`: it
    /// leaves first where that is wanted, then, the tag changed, where another is.
    #[inline]
    pub fn diff(
        &mut self,
        before: &FlowKey,
        after: &FlowKey,
        carried: Option<Tag>,
        exits: impl Iterator<Item = Exit> + Clone,
    ) {
        self.0.clear();
        if !std::ptr::eq(before, after) {
            self.edits(before, after);
        }
        self.add_exits(carried, exits);
    }

    /// Turns exits alone into actions, of a frame that has the tag `carried`.
    pub fn send(&mut self, carried: Option<Tag>, exits: impl Iterator<Item = Exit> + Clone) {
        self.0.clear();
        self.add_exits(carried, exits);
    }

    /// The same with one exit.
    #[inline(always)]
    pub fn send_one(&mut self, carried: Option<Tag>, exit: Exit) {
        self.0.clear();
        if exit.tag != carried {
            self.0.extend(retag(carried, exit.tag));
        }
        self.0.push(Action::Output(exit.port));
    }

    #[inline]
    fn add_exits(&mut self, carried: Option<Tag>, exits: impl Iterator<Item = Exit> + Clone) {
        let (edits, mut others) = (self.0.len(), false);
        for exit in exits.clone() {
            match exit.tag == carried {
                true => self.0.push(Action::Output(exit.port)),
                false => others = true,
            }
        }
        if others {
            self.retagged(carried, exits.filter(|exit| exit.tag != carried));
        }
        if self.0.len() == edits {
            self.drop(DropReason::NoEgress);
        }
    }

    /// Exits that want another tag than the frame has.
    fn retagged(&mut self, mut tag: Option<Tag>, exits: impl Iterator<Item = Exit>) {
        for exit in exits {
            self.0.extend(retag(tag, exit.tag));
            self.0.push(Action::Output(exit.port));
            tag = exit.tag;
        }
    }

    /// The program that only drops.
    pub fn drop(&mut self, reason: DropReason) {
        self.0.clear();
        self.0.push(Action::Drop(reason));
    }

    /// The steps.
    pub fn actions(&self) -> &[Action] {
        &self.0
    }

    /// One action per changed field. A field without a setter on [`crate::flow::Flow`] cannot differ; it is named
    /// here so that whoever adds the setter must come by.
    fn edits(&mut self, before: &FlowKey, after: &FlowKey) {
        let FlowKey { eth_src, eth_dst, .. } = *after;
        let FlowKey { port: _, vlan: _, tags: _, inner_vlan: _, inner_tpid: _, vni: _, ethertype: _, .. } = *after;
        let FlowKey { ip_proto: _, ip_tos: _, ip_src: _, ip_dst: _, l4_src: _, l4_dst: _, .. } = *after;
        if eth_src != before.eth_src {
            self.0.push(Action::SetEthSrc(eth_src));
        }
        if eth_dst != before.eth_dst {
            self.0.push(Action::SetEthDst(eth_dst));
        }
    }
}

/// The action that makes the outermost tag `to` where it is `from`.
fn retag(from: Option<Tag>, to: Option<Tag>) -> Option<Action> {
    match (from, to) {
        (from, to) if from == to => None,
        (None, Some(tag)) => Some(Action::PushVlan(tag)),
        (Some(_), Some(tag)) => Some(Action::SetVlan(tag)),
        (_, None) => Some(Action::PopVlan),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::vlan::{Tci, Tpid};

    fn exits(ports: &[(u16, Option<Tag>)]) -> Vec<Exit> {
        ports.iter().map(|&(port, tag)| Exit { port: PortId(port), tag }).collect()
    }

    #[test]
    fn only_changed_fields_become_actions_and_outputs_come_last() {
        let before = FlowKey { eth_dst: Mac([2; 6]), ..FlowKey::default() };
        let after = FlowKey { eth_dst: Mac([4; 6]), ..before };
        let mut program = Program::default();
        program.diff(&before, &after, None, exits(&[(1, None), (2, None)]).into_iter());
        let outputs = [Action::Output(PortId(1)), Action::Output(PortId(2))];
        assert_eq!(program.actions(), [&[Action::SetEthDst(Mac([4; 6]))][..], &outputs].concat());
        program.diff(&before, &before, None, exits(&[(1, None)]).into_iter());
        assert_eq!(program.actions(), [Action::Output(PortId(1))]);
    }

    #[test]
    fn no_egress_is_a_named_drop() {
        let mut program = Program::default();
        let after = FlowKey { eth_dst: Mac([4; 6]), ..FlowKey::default() };
        program.diff(&FlowKey::default(), &after, None, std::iter::empty());
        assert_eq!(program.actions(), [Action::Drop(DropReason::NoEgress)]);
    }

    #[test]
    fn tags_change_as_seldom_as_they_can() {
        let tag = |vid| Some(Tag::new(Tpid::CUSTOMER, Tci(vid)));
        let compile = |carried, ports: &[(u16, Option<Tag>)]| {
            let mut program = Program::default();
            program.diff(&FlowKey::default(), &FlowKey::default(), carried, exits(ports).into_iter());
            program.actions().iter().map(Action::to_string).collect::<Vec<_>>().join(" ")
        };
        let flood = [(1, None), (2, tag(10)), (3, None), (4, tag(10))];
        assert_eq!(compile(None, &flood), "output:1 output:3 push_vlan:0x8100/10 output:2 output:4");
        assert_eq!(compile(tag(10), &flood), "output:2 output:4 pop_vlan output:1 output:3");
        assert_eq!(compile(tag(0), &flood[1..3]), "set_vlan:0x8100/10 output:2 pop_vlan output:3");
    }
}
