//! Which links are up.
//!
//! Asking costs a system call, so of thousands of links that are up only [`ASKED`] are asked in a second; what is sent meanwhile to one
//! that has gone down is dropped by name. One that is down is asked every second, because nothing is sent to it.

use super::ports::Ports;
use super::schedule::QueueId;
use crate::flow::PortId;
use std::sync::atomic::Ordering::Relaxed;

/// Links that are up and are asked in a second, about.
const ASKED: usize = 512;

/// How far the worker has come in looking at links.
pub(super) struct Links {
    /// The number that is next.
    at: usize,
    /// How often all were passed.
    round: usize,
    /// Links that changed.
    pub news: Vec<(PortId, bool)>,
}

impl Default for Links {
    fn default() -> Links {
        Links { at: 0, round: 0, news: Vec::with_capacity(64) }
    }
}

impl Ports {
    /// Goes on to the next number: its port, if the link of that is to be looked at in this round.
    pub fn next_link(&mut self) -> Option<PortId> {
        let (at, all) = (self.links.at, self.slots.len());
        self.links.at = at + 1;
        if at + 1 >= all {
            (self.links.at, self.links.round) = (0, self.links.round.wrapping_add(1));
        }
        let slot = self.slots.get(at)?.as_ref()?;
        let is_its_turn = at.wrapping_add(self.links.round).is_multiple_of(all.div_ceil(ASKED));
        (is_its_turn || !slot.up.load(Relaxed)).then_some(PortId(at as u16))
    }

    /// Whether frames can pass a port: asked of its queues where they are ours, and told to all; `None` when it is not open. A
    /// queue that has something to tell is served next.
    pub fn check_link(&mut self, port: PortId) -> Option<bool> {
        if let Some(up) = self.link_elsewhere(port) {
            return Some(up);
        }
        let slot = self.slots.get_mut(port.index())?.as_mut()?;
        let mut all_up = true;
        for (queue, end) in slot.queues.iter_mut().enumerate() {
            // Each is asked, also behind one that is down: it counts then what the kernel lost.
            all_up &= end.is_up();
            if end.arm() {
                self.schedule.make_ready(QueueId { port, queue });
            }
        }
        if slot.up.swap(all_up, Relaxed) != all_up {
            self.links.news.push((port, all_up));
        }
        Some(all_up)
    }

    /// Whether frames can pass a port that only other workers have queues of.
    pub fn link_elsewhere(&self, port: PortId) -> Option<bool> {
        let slot = self.slots.get(port.index())?.as_ref()?;
        slot.queues.is_empty().then(|| slot.up.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Batch;
    use crate::ports::{Io, Queue};
    use crate::worker::Attachment;
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    /// A queue that is down, and counts how often it is asked.
    struct Down(Arc<AtomicU32>);

    impl Queue for Down {
        fn receive(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
            Ok(())
        }

        fn transmit(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
            Ok(())
        }

        fn is_up(&mut self) -> bool {
            self.0.fetch_add(1, Relaxed);
            false
        }
    }

    #[test]
    fn every_queue_is_asked_for_its_link() {
        let (asked, port) = (Arc::new(AtomicU32::new(0)), PortId(0));
        let queues = (0..3).map(|_| Box::new(Down(asked.clone())) as Box<dyn Queue>).collect();
        let (counters, up, caps) = (Arc::default(), Arc::default(), crate::ports::Caps::default());
        let mut ports = Ports::new(8);
        ports.attach(Attachment { port, name: "p".into(), queues, owners: [0].into(), counters, up, caps });
        assert_eq!((ports.check_link(port), asked.load(Relaxed)), (Some(false), 3));
    }
}
