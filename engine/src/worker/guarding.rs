//! The source guard at the door of a port: what is refused here teaches nothing, and asks no cache.

use super::core::Core;
use super::outlet::Outlet;
use super::probe::Probe;
use super::{Lookups, Worker};
use crate::drop::DropReason;
use crate::execute::Egress;
use crate::flow::{PortId, Verdict};
use crate::guard::Breach;
use crate::trace::{Note, Step, Trace};

impl Worker {
    /// Takes the frames out of the batch that do not come from whom they say, if the port is guarded.
    #[inline(always)]
    pub(super) fn guard(&mut self, port: PortId) {
        if self.core.tables.guard(port).is_some() {
            self.guard_batch(port);
        }
    }

    #[inline(never)]
    fn guard_batch(&mut self, port: PortId) {
        let Worker { rx, lookups: Lookups { refused, .. }, core: Core { tables, ports, pool, loops, .. }, .. } = self;
        let Some(guard) = tables.guard(port) else { return };
        // The switch's own probe that came back tells of a loop: it is heard, and goes no further.
        let is_probe = |frame: &[u8]| Probe::parse(frame, &loops.secret).is_some();
        let breaches = rx.iter().enumerate().filter(|(_, frame)| guard.check(frame).is_err() && !is_probe(frame));
        refused.extend(breaches.map(|(i, _)| (i, DropReason::Guard)));
        while let Some((i, reason)) = refused.pop() {
            Outlet::new(ports, port).drop(rx.remove(i), reason, pool);
        }
    }
}

impl Trace {
    /// With what the guard of the ingress port says to the frame, before anybody else is asked.
    pub(super) fn guarded(self, judgement: Option<Result<(), Breach>>) -> Trace {
        let Some(judgement) = judgement else { return self };
        let words = judgement.map_or_else(Breach::words, |()| "whoever it names as its sender is the port's");
        let verdict = judgement.map_or(Verdict::Drop(DropReason::Guard), |()| Verdict::Continue);
        let notes = vec![Note { text: words.into(), port: None }];
        let step = Step { stage: "guard", verdict, notes, edits: Vec::new(), egress: Vec::new(), once: false };
        match judgement {
            Ok(()) => Trace { steps: [vec![step], self.steps].concat(), ..self },
            Err(_) => Trace { steps: vec![step], dropped: Some(DropReason::Guard), ..Trace::of(self.key) },
        }
    }
}
