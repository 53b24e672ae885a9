//! A trace on the worker: the real stages and the real `execute`, with nothing sent and nothing changed.

use super::ports::Ports;
use super::{Worker, look};
use crate::clock::Millis;
use crate::drop::DropReason;
use crate::execute::{Egress, execute};
use crate::flow::{FlowKey, PortId};
use crate::frame::{Frame, Offload, Pool};
use crate::pipeline::Compiled;
use crate::program::Action;
use crate::table::FlowTable;
use crate::trace::{Cached, Caching, Departure, Hypothesis, Trace};

impl Worker {
    /// What would happen to a frame at time `now`.
    pub fn trace(&mut self, hypothesis: &Hypothesis, now: Millis) -> Trace {
        let judgement = self.core.tables.guard(hypothesis.port).map(|guard| guard.check(&hypothesis.frame));
        let hasher = self.core.table.hasher();
        let mut key = FlowKey::default();
        let trace = match look(&hypothesis.frame, hypothesis.port, self.depth, &hasher, &mut key) {
            Ok(hash) => self.trace_key(hypothesis, (&key, hash), now),
            Err(reason) => Trace::of(Err(reason)),
        };
        trace.guarded(judgement)
    }

    fn trace_key(&mut self, hypothesis: &Hypothesis, (key, hash): (&FlowKey, u64), now: Millis) -> Trace {
        let core = &mut self.core;
        let cached = core.table.search(key, hash, core.tables.epoch(hypothesis.port)).filter(|_| core.cache);
        let cached = cached.map(|slot| core.table.show(slot));
        let (compiled, steps) = core.pipeline.trace((key, &hypothesis.frame), &mut core.tables, now);
        let trace = Trace {
            steps,
            cached: cached.map(|entry| Cached { program: entry.program, frames: entry.frames }),
            ..Trace::of(Ok(*key))
        };
        match compiled {
            Compiled::Reply => self.answer(trace, hypothesis.port),
            _ => self.rehearse(Trace { caching: self.caching(compiled), ..trace }, hypothesis),
        }
    }

    /// Whether the program compiled last would be cached.
    fn caching(&self, compiled: Compiled) -> Caching {
        match compiled {
            Compiled::Flow if !FlowTable::fits(self.core.pipeline.program().actions()) => Caching::TooLong,
            Compiled::Flow if self.core.cache => Caching::Flow,
            Compiled::Flow | Compiled::Once => Caching::Once,
            // A trace has its floods port by port.
            Compiled::Flood(_) => Caching::Once,
            Compiled::Reply => Caching::Nothing,
        }
    }

    /// The answer would leave instead of the frame.
    fn answer(&mut self, trace: Trace, port: PortId) -> Trace {
        let core = &mut self.core;
        let answer = Hypothesis { port, frame: core.pipeline.answer().to_vec(), offload: Offload::default() };
        let mut exit = Exit { ports: &mut core.ports, departures: Vec::new(), dropped: None };
        match copy(&answer, &mut core.pool) {
            Some(frame) => exit.output(port, frame, &mut core.pool),
            None => exit.dropped = Some(DropReason::PoolEmpty),
        }
        Trace { departures: exit.departures, dropped: exit.dropped, ..trace }
    }

    /// Runs the program compiled last on a copy of the frame.
    fn rehearse(&mut self, trace: Trace, hypothesis: &Hypothesis) -> Trace {
        let core = &mut self.core;
        let program: Vec<Action> = core.pipeline.program().actions().to_vec();
        let mut exit = Exit { ports: &mut core.ports, departures: Vec::new(), dropped: None };
        match copy(hypothesis, &mut core.pool) {
            Some(frame) => execute(&program, frame, &mut exit, &mut core.pool),
            None => exit.dropped = Some(DropReason::PoolEmpty),
        }
        let Exit { departures, dropped, .. } = exit;
        Trace { program, departures, dropped, ..trace }
    }
}

fn copy(hypothesis: &Hypothesis, pool: &mut Pool) -> Option<Frame> {
    let mut frame = pool.alloc(hypothesis.frame.len())?;
    frame.offload = hypothesis.offload;
    // It fits: a frame of that room was asked for.
    let _ = frame.fill(&hypothesis.frame);
    Some(frame)
}

/// Looks at what leaves a program, and frees it.
struct Exit<'a> {
    ports: &'a mut Ports,
    departures: Vec<Departure>,
    dropped: Option<DropReason>,
}

impl Egress for Exit<'_> {
    fn output(&mut self, port: PortId, frame: Frame, pool: &mut Pool) {
        let refused = self.ports.refusal(port, &frame);
        self.departures.push(Departure { port, frame: frame.to_vec(), offload: frame.offload, refused });
        pool.free(frame);
    }

    fn output_copy(&mut self, port: PortId, frame: &mut Frame, _pool: &mut Pool) {
        let refused = self.ports.refusal(port, frame);
        self.departures.push(Departure { port, frame: frame.to_vec(), offload: frame.offload, refused });
    }

    fn drop(&mut self, frame: Frame, reason: DropReason, pool: &mut Pool) {
        self.dropped = Some(reason);
        pool.free(frame);
    }
}
