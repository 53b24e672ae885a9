//! What is to be done with the frames of a flow, as data.

use crate::drop::DropReason;
use crate::flow::{FlowKey, PortId};
use crate::wire::Mac;
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
            Action::Drop(reason) => write!(f, "drop:{}", reason.name()),
        }
    }
}

/// Steps in order. The last one always disposes of the frame: an `Output` or a `Drop`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program(Vec<Action>);

impl Program {
    /// Turns the edit of `before` into `after`, and the chosen egress ports, into actions.
    pub fn diff(&mut self, before: &FlowKey, after: &FlowKey, egress: &[PortId]) {
        self.0.clear();
        if egress.is_empty() {
            return self.drop(DropReason::NoEgress);
        }
        if !std::ptr::eq(before, after) {
            self.edits(before, after);
        }
        self.0.extend(egress.iter().map(|&port| Action::Output(port)));
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
        let FlowKey { port: _, vlan: _, vni: _, ethertype: _, .. } = *after;
        let FlowKey { ip_proto: _, ip_tos: _, ip_src: _, ip_dst: _, l4_src: _, l4_dst: _, .. } = *after;
        if eth_src != before.eth_src {
            self.0.push(Action::SetEthSrc(eth_src));
        }
        if eth_dst != before.eth_dst {
            self.0.push(Action::SetEthDst(eth_dst));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_fields_become_actions_and_outputs_come_last() {
        let before = FlowKey { eth_dst: Mac([2; 6]), ..FlowKey::default() };
        let after = FlowKey { eth_dst: Mac([4; 6]), ..before };
        let mut program = Program::default();
        program.diff(&before, &after, &[PortId(1), PortId(2)]);
        let outputs = [Action::Output(PortId(1)), Action::Output(PortId(2))];
        assert_eq!(program.actions(), [&[Action::SetEthDst(Mac([4; 6]))][..], &outputs].concat());
        program.diff(&before, &before, &[PortId(1)]);
        assert_eq!(program.actions(), [Action::Output(PortId(1))]);
    }

    #[test]
    fn no_egress_is_a_named_drop() {
        let mut program = Program::default();
        program.diff(&FlowKey::default(), &FlowKey::default(), &[]);
        assert_eq!(program.actions(), [Action::Drop(DropReason::NoEgress)]);
    }
}
