//! The direct way: frames between known stations decided by the forwarding database itself.
//!
//! # Theory of operation
//!
//! The flow cache holds pairs of stations. Where thousands all talk to each other it never holds enough of them, and every
//! frame would walk the stages; the forwarding database has one entry for each station. So while the cache knows too few of
//! the frames ([`Direct::note`]), it is not asked. Three loops go over the batch: read both addresses and fetch their entries
//! ahead; find both, the source known where it came in (or new) and the destination behind an open port; send. Any frame that is
//! not so plain walks the stages, and what it changes holds for the frames behind it, which are then looked up again.
//!
//! This is the one decision that is not made by the stages. It is theirs all the same: `engine/tests/cache.rs` has whole lives of a
//! switch with it and without, and compares them byte by byte. What passes here is not counted by flow.

use super::WithoutCache;
use super::core::Core;
use super::outlet::Outlet;
use crate::execute::{Egress, execute};
use crate::flow::{FlowKey, PortId};
use crate::frame::{Batch, Frame};
use crate::parse::{layer2, stations};
use crate::tables::vlan::Class;
use crate::tables::{Ingress, Lookup, Tables};

/// Frames that are judged together.
const SAMPLE: usize = 64;
/// Frames that go the direct way before the cache is asked again.
const SPELL: usize = 4096;

/// Decides when frames go the direct way, and takes them there.
pub(super) struct Direct {
    when: WithoutCache,
    /// Frames that the cache was asked for lately, and those for which that was of no use.
    asked: usize,
    missed: usize,
    /// Frames before it is asked again.
    left: usize,
    lookups: Vec<Lookup>,
    /// What each frame is to VLANs, where ports know of some.
    classes: Vec<Option<Class>>,
}

impl Direct {
    pub fn new(batch: usize, when: WithoutCache) -> Direct {
        let (lookups, classes) = (vec![Lookup::default(); batch], vec![None; batch]);
        Direct { when, asked: 0, missed: 0, left: 0, lookups, classes }
    }

    /// What the frames of a port have in common, if they go the direct way.
    #[inline(always)]
    pub fn applies(&self, core: &Core, port: PortId) -> Option<Ingress> {
        if self.left == 0 && self.when != WithoutCache::Always || !core.pipeline.is_plain() {
            return None;
        }
        core.tables.ingress(port)
    }

    /// Notes for how many of some frames the cache was of no use: it did not know them, and had no room to keep them or nothing to
    /// keep. Where that is more than a quarter, it is not asked for a while.
    #[inline]
    pub fn note(&mut self, frames: usize, misses: usize) {
        (self.asked, self.missed) = (self.asked + frames, self.missed + misses);
        if self.asked >= SAMPLE {
            let is_of_no_use = self.missed * 4 > self.asked && self.when == WithoutCache::Auto;
            self.left = if is_of_no_use { SPELL } else { 0 };
            (self.asked, self.missed) = (0, 0);
        }
    }

    /// Reads the addresses of a batch.
    #[inline(always)]
    pub fn classify(&mut self, batch: &Batch, ingress: &Ingress, tables: &Tables) {
        self.left = self.left.saturating_sub(batch.len());
        if ingress.is_transparent {
            let pairs = batch.iter().map(|frame| stations(frame, Class::TRANSPARENT.vlan));
            return tables.begin_lookups(ingress, &mut self.lookups, pairs);
        }
        let classes = self.classes.iter_mut().zip(batch.iter());
        classes.for_each(|(class, frame)| *class = class_of(frame, ingress.port, tables));
        let pairs = batch.iter().zip(&self.classes).map(|(frame, class)| {
            // A frame that its port does not admit is nobody's: the stages say why.
            class.map_or_else(Default::default, |class| stations(frame, class.vlan))
        });
        tables.begin_lookups(ingress, &mut self.lookups, pairs);
    }

    /// Finds where the frames of a batch leave, so many of them.
    #[inline(always)]
    pub fn probe(&mut self, frames: usize, ingress: &Ingress, core: &mut Core) {
        core.tables.end_lookups(ingress, &mut self.lookups[..frames], core.now);
    }

    /// Sends the frames of a batch away.
    #[inline(always)]
    pub fn run(&mut self, batch: &mut Batch, ingress: &Ingress, core: &mut Core) {
        let version = core.tables.version(ingress);
        let (lookups, classes) = (&mut self.lookups, &self.classes);
        batch.consume_while(|i, frame| {
            if core.tables.version(ingress) != version {
                core.tables.end_lookups(ingress, &mut lookups[i..=i], core.now);
            }
            if lookups[i].is_new && lookups[i].to != Lookup::NOWHERE {
                learn(core, ingress, &mut lookups[i]);
            }
            let to = lookups[i].to;
            if to != Lookup::NOWHERE && ingress.is_transparent && core.tables.is_transparent(to) {
                Outlet::new(&mut core.ports, ingress.port).output(to, frame, &mut core.pool);
                return true;
            }
            let class = if ingress.is_transparent { Some(Class::TRANSPARENT) } else { classes[i] };
            send(core, ingress, (to, class), frame)
        });
    }
}

/// Learns the source of a frame. The stages are to be asked where that is not all there is to it; and where to the frame goes, where
/// another address had to go for it.
#[inline]
fn learn(core: &mut Core, ingress: &Ingress, lookup: &mut Lookup) {
    let version = core.tables.version(ingress);
    if !core.tables.learn_new(ingress, lookup, core.now) {
        lookup.to = Lookup::NOWHERE;
    } else if core.tables.version(ingress) != version {
        core.tables.end_lookups(ingress, std::slice::from_mut(lookup), core.now);
    }
}

/// Sends a frame with the tag that its egress wants, or lets the stages decide.
#[inline(never)]
fn send(core: &mut Core, ingress: &Ingress, (to, class): (PortId, Option<Class>), frame: Frame) -> bool {
    let exit = class.filter(|_| to != Lookup::NOWHERE).and_then(|class| Some((class, core.tables.exit(to, &class)?)));
    if let Some((class, exit)) = exit {
        let actions = core.pipeline.compile_exit(&class, exit);
        execute(actions, frame, &mut Outlet::new(&mut core.ports, ingress.port), &mut core.pool);
        return true;
    }
    match layer2(&frame, ingress.port) {
        Some(words) => core.walk(frame, ingress.port, &FlowKey::of_layer2(words)),
        None => {
            core.discard(frame, ingress.port, crate::drop::DropReason::Runt);
            true
        }
    }
}

fn class_of(frame: &[u8], port: PortId, tables: &Tables) -> Option<Class> {
    tables.class_of(&FlowKey::of_layer2(layer2(frame, port)?))
}
