//! Which ports frames may leave by: one word for each, which says all that is asked of it on the way of a frame.

use super::Tables;
use super::topology::IsolationGroups;
use crate::flow::PortId;

/// What is asked of a port for every frame that leaves by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    /// Its isolation groups, or [`CLOSED`].
    pub keeps_out: u64,
    /// There is such a port.
    pub is_there: bool,
    /// Its link is up.
    pub is_up: bool,
    /// It leads back to the switch by another port.
    pub is_blocked: bool,
    /// It knows of no VLANs.
    pub is_transparent: bool,
    pub isolation: IsolationGroups,
}

/// A group that frames of all ports belong to: of a port that takes none.
pub(super) const CLOSED: u64 = 1 << 63;

impl Default for Gate {
    fn default() -> Gate {
        let isolation = IsolationGroups::default();
        Gate { keeps_out: CLOSED, is_there: false, is_up: true, is_blocked: false, is_transparent: true, isolation }
    }
}

impl Gate {
    pub fn settle(&mut self) {
        self.keeps_out = if self.is_there && self.is_up && !self.is_blocked { self.isolation.0 } else { CLOSED };
    }
}

impl Tables {
    /// Whether frames of a port of these groups may leave by `port`: it exists, is up, and is not isolated from them.
    #[inline]
    pub fn may_send(&self, port: PortId, isolation: IsolationGroups) -> bool {
        self.gates.get(port.index()).is_some_and(|gate| gate.keeps_out & (isolation.0 | CLOSED) == 0)
    }

    /// Notes whether a port's link is up; a port that went down loses what was learned on it until then.
    pub fn set_up(&mut self, port: PortId, up: bool) {
        let Some(gate) = self.gates.get_mut(port.index()) else { return };
        if std::mem::replace(&mut gate.is_up, up) == up {
            return;
        }
        gate.settle();
        self.invalidate_domain(self.topology.domain_of(port));
        if !up {
            self.flush_port(port);
        }
    }

    /// Blocks a port or opens it again: nothing passes it either way while it is blocked.
    pub(crate) fn set_blocked(&mut self, port: PortId, blocked: bool) {
        let Some(gate) = self.gates.get_mut(port.index()) else { return };
        if std::mem::replace(&mut gate.is_blocked, blocked) == blocked {
            return;
        }
        gate.settle();
        self.invalidate_domain(self.topology.domain_of(port));
        if blocked {
            self.flush_port(port);
        }
    }

    /// Whether a port is blocked.
    #[inline]
    pub(crate) fn is_blocked(&self, port: PortId) -> bool {
        self.gates.get(port.index()).is_some_and(|gate| gate.is_blocked)
    }

    /// Whether a port knows of no VLANs.
    #[inline(always)]
    pub(crate) fn is_transparent(&self, port: PortId) -> bool {
        self.gates.get(port.index()).is_some_and(|gate| gate.is_transparent)
    }
}
