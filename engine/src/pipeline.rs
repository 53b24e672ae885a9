//! The ordered stages; a miss is compiled here.

use crate::clock::Millis;
use crate::drop::DropReason;
use crate::flow::{Depth, Flow, FlowKey, PortId, Verdict};
use crate::program::Program;
use crate::stages::{Forward, Isolate, Learn, Stage, Vlan};
use crate::tables::Tables;
use crate::trace::{Recorder, Step};

/// What became of a frame that walked the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiled {
    /// The program holds for every frame of this flow, until the epoch changes.
    Flow,
    /// The program holds for this frame only.
    Once,
    /// The stages answered: see [`Pipeline::answer`].
    Reply,
}

/// The stages of one worker, in order, and the scratch they work with.
pub struct Pipeline {
    stages: Vec<Box<dyn Stage>>,
    depth: Depth,
    egress: Vec<PortId>,
    answer: Vec<u8>,
    program: Program,
}

impl Pipeline {
    /// VLAN, learn, isolate, `extra` in order, forward.
    pub fn new(extra: Vec<Box<dyn Stage>>) -> Pipeline {
        let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(Vlan), Box::new(Learn), Box::new(Isolate)];
        stages.extend(extra);
        stages.push(Box::new(Forward::default()));
        let depth = stages.iter().map(|stage| stage.depth()).max().unwrap_or_default();
        Pipeline { stages, depth, egress: Vec::new(), answer: Vec::new(), program: Program::default() }
    }

    /// The deepest header any stage reads.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// Walks the stages and compiles their decision into [`Pipeline::program`].
    pub fn compile(&mut self, key: &FlowKey, frame: &[u8], tables: &mut Tables, now: Millis) -> Compiled {
        self.decide((key, frame), tables, now, |_, _, _| ())
    }

    /// Like [`Pipeline::compile`], but changes nothing in the tables and tells what each stage did.
    pub fn trace(
        &mut self,
        (key, frame): (&FlowKey, &[u8]),
        tables: &mut Tables,
        now: Millis,
    ) -> (Compiled, Vec<Step>) {
        let mut recorder = Recorder::new(key);
        tables.rehearse();
        let watch = |stage: &dyn Stage, verdict, flow: &mut Flow<'_>| recorder.record(stage.name(), verdict, flow);
        let compiled = self.decide((key, frame), tables, now, watch);
        tables.end_rehearsal();
        (compiled, recorder.steps)
    }

    #[inline]
    fn decide(
        &mut self,
        frame: (&FlowKey, &[u8]),
        tables: &mut Tables,
        now: Millis,
        watch: impl FnMut(&dyn Stage, Verdict, &mut Flow<'_>),
    ) -> Compiled {
        let mut flow = Flow::new(frame, (&mut self.egress, &mut self.answer), tables, now);
        let cacheable = match walk(&mut self.stages, &mut flow, watch) {
            Verdict::Reply if flow.has_answer() => return Compiled::Reply,
            Verdict::Reply => flow.refuse(DropReason::Denied, &mut self.program),
            Verdict::Drop(reason) => flow.refuse(reason, &mut self.program),
            Verdict::Continue => flow.compile(&mut self.program),
        };
        if cacheable { Compiled::Flow } else { Compiled::Once }
    }

    /// The program compiled last.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The answer written last: a whole Ethernet frame.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }
}

/// Applies stages until one stops; `watch` sees the flow after each.
#[inline]
fn walk(
    stages: &mut [Box<dyn Stage>],
    flow: &mut Flow<'_>,
    mut watch: impl FnMut(&dyn Stage, Verdict, &mut Flow<'_>),
) -> Verdict {
    for stage in stages {
        let verdict = stage.apply(flow);
        watch(stage.as_ref(), verdict, flow);
        if verdict != Verdict::Continue {
            return verdict;
        }
    }
    Verdict::Continue
}
