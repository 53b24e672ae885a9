//! The ordered stages; a miss is compiled here.

use crate::clock::Millis;
use crate::drop::DropReason;
use crate::flow::{Decision, Depth, Flood, Flow, FlowKey, PortId, Verdict};
use crate::program::{Action, Exit, Program};
use crate::stages::{Forward, Isolate, Learn, Place, Stage, Vlan};
use crate::tables::Tables;
use crate::tables::vlan::Class;
use crate::trace::{Recorder, Step};

/// What became of a frame that walked the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiled {
    /// The program holds for every frame of this flow, until the epoch changes.
    Flow,
    /// The program holds for this frame only.
    Once,
    /// It goes to all others of its domain; there is no program.
    Flood(Flood),
    /// The stages answered: see [`Pipeline::answer`].
    Reply,
}

/// The stages of one worker, in order, and the scratch they work with.
///
/// The built-in ones are called by name: a frame that misses the cache is no rarity among many stations that all talk to
/// each other.
pub struct Pipeline {
    vlan: Vlan,
    /// Those of the embedding program that come before addresses are learned.
    early: Vec<Box<dyn Stage>>,
    learn: Learn,
    isolate: Isolate,
    /// Those of the embedding program that come before the egress is chosen.
    late: Vec<Box<dyn Stage>>,
    forward: Forward,
    /// There are no stages but the built-in ones.
    is_plain: bool,
    depth: Depth,
    egress: Vec<PortId>,
    answer: Vec<u8>,
    program: Program,
}

impl Pipeline {
    /// VLAN, those of `extra` that come early, learn, isolate, the others of `extra`, forward.
    pub fn new(extra: Vec<Box<dyn Stage>>) -> Pipeline {
        let depth = extra.iter().map(|stage| stage.depth()).max().unwrap_or_default();
        let is_plain = extra.is_empty();
        let (early, late): (Vec<_>, Vec<_>) =
            extra.into_iter().partition(|stage| stage.place() == Place::BeforeLearning);
        Pipeline {
            vlan: Vlan,
            early,
            learn: Learn,
            isolate: Isolate,
            late,
            forward: Forward,
            is_plain,
            depth,
            egress: Vec::new(),
            answer: Vec::new(),
            program: Program::default(),
        }
    }

    /// The deepest header any stage reads.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// Walks the stages and compiles their decision into [`Pipeline::program`].
    #[inline]
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
        let compiled = self.decide((key, frame), tables, now, |stage, verdict, flow: &mut Flow<'_>| {
            recorder.record(stage.name(), verdict, flow);
        });
        tables.end_rehearsal();
        (compiled, recorder.steps)
    }

    /// There are no stages but the built-in ones, so a frame between two known stations needs no walk
    /// (`worker/direct.rs`).
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Compiles how a frame of this class leaves by one port.
    pub(crate) fn compile_exit(&mut self, class: &Class, exit: Exit) -> &[Action] {
        self.program.send_one(class.carried, exit);
        self.program.actions()
    }

    #[inline]
    fn decide(
        &mut self,
        frame: (&FlowKey, &[u8]),
        tables: &mut Tables,
        now: Millis,
        watch: impl FnMut(&dyn Stage, Verdict, &mut Flow<'_>),
    ) -> Compiled {
        let Pipeline { vlan, early, learn, isolate, late, forward, egress, answer, program, .. } = self;
        let mut flow = Flow::new(frame, (egress, answer), tables, now);
        let mut walk = Walk { flow: &mut flow, watch };
        let verdict = walk
            .stage(vlan)
            .and_then(|()| walk.stages(early))
            .and_then(|()| walk.stage(learn))
            .and_then(|()| walk.stage(isolate))
            .and_then(|()| walk.stages(late))
            .and_then(|()| walk.stage(forward));
        let decision = match verdict {
            Err(Verdict::Reply) if flow.has_answer() => return Compiled::Reply,
            Err(Verdict::Reply) => flow.refuse(DropReason::Denied, program),
            Err(Verdict::Drop(reason)) => flow.refuse(reason, program),
            Ok(()) | Err(Verdict::Continue) => flow.compile(program),
        };
        match decision {
            Decision::Flow => Compiled::Flow,
            Decision::Once => Compiled::Once,
            Decision::Flood(flood) => Compiled::Flood(flood),
        }
    }

    /// The program compiled last.
    #[inline]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The scratch of programs, for what is compiled outside the stages.
    pub(crate) fn program_mut(&mut self) -> &mut Program {
        &mut self.program
    }

    /// The answer written last: a whole Ethernet frame.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }
}

/// A walk through the stages, until one stops it; `watch` sees the flow after each.
struct Walk<'w, 'f, W> {
    flow: &'w mut Flow<'f>,
    watch: W,
}

impl<W: FnMut(&dyn Stage, Verdict, &mut Flow<'_>)> Walk<'_, '_, W> {
    #[inline(always)]
    fn stage<S: Stage>(&mut self, stage: &mut S) -> Result<(), Verdict> {
        let verdict = stage.apply(self.flow);
        (self.watch)(stage, verdict, self.flow);
        if verdict == Verdict::Continue { Ok(()) } else { Err(verdict) }
    }

    #[inline]
    fn stages(&mut self, stages: &mut [Box<dyn Stage>]) -> Result<(), Verdict> {
        stages.iter_mut().try_for_each(|stage| {
            let verdict = stage.apply(self.flow);
            (self.watch)(stage.as_ref(), verdict, self.flow);
            if verdict == Verdict::Continue { Ok(()) } else { Err(verdict) }
        })
    }
}
