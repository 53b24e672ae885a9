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
    /// The number that is next, and the place in `down`.
    at: usize,
    down_at: usize,
    /// Ports whose links were down when they were looked at last.
    down: Vec<PortId>,
    /// Links that changed.
    pub news: Vec<(PortId, bool)>,
}

impl Default for Links {
    fn default() -> Links {
        Links { at: 0, down_at: 0, down: Vec::new(), news: Vec::with_capacity(64) }
    }
}

impl Links {
    /// Makes room for so many ports.
    pub fn reserve(&mut self, ports: usize) {
        self.down.reserve(ports.saturating_sub(self.down.len()));
    }

    /// Forgets a port that is closed.
    pub fn forget(&mut self, port: PortId) {
        self.down.retain(|&p| p != port);
    }
}

impl Ports {
    /// How many links are to be looked at in a second: of those that are up, and of those that are down.
    pub fn links_a_second(&self) -> [usize; 2] {
        [self.slots.len().min(ASKED), self.links.down.len()]
    }

    /// The port that is next among all.
    pub fn next_link(&mut self) -> Option<PortId> {
        let at = self.links.at;
        self.links.at = if at + 1 < self.slots.len() { at + 1 } else { 0 };
        self.slots.get(at)?.as_ref().map(|_| PortId(at as u16))
    }

    /// The port that is next among those that are down. One that is up again is taken off the list.
    pub fn next_down(&mut self) -> Option<PortId> {
        let at = if self.links.down_at < self.links.down.len() { self.links.down_at } else { 0 };
        let port = *self.links.down.get(at)?;
        self.links.down_at = at + 1;
        let slot = self.slots[port.index()].as_mut()?;
        if !slot.up.load(Relaxed) {
            return Some(port);
        }
        slot.is_listed = false;
        self.links.down.swap_remove(at);
        self.links.down_at = at;
        None
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
        if !all_up && !std::mem::replace(&mut slot.is_listed, true) {
            self.links.down.push(port);
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

    /// A queue that counts how often it is asked.
    struct Asked(Arc<AtomicU32>, bool);

    impl Queue for Asked {
        fn receive(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
            Ok(())
        }

        fn transmit(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
            Ok(())
        }

        fn is_up(&mut self) -> bool {
            self.0.fetch_add(1, Relaxed);
            self.1
        }
    }

    fn attach(ports: &mut Ports, port: u16, queues: usize, up: bool) -> Arc<AtomicU32> {
        let asked = Arc::new(AtomicU32::new(0));
        let queues = (0..queues).map(|_| Box::new(Asked(asked.clone(), up)) as Box<dyn Queue>).collect();
        let (counters, is_up, caps) = (Arc::default(), Arc::new(true.into()), crate::ports::Caps::default());
        let (port, name) = (PortId(port), "p".into());
        ports.attach(Attachment { port, name, queues, owners: [0].into(), counters, up: is_up, caps });
        asked
    }

    #[test]
    fn every_queue_is_asked_for_its_link() {
        let mut ports = Ports::new(8);
        let asked = attach(&mut ports, 0, 3, false);
        assert_eq!((ports.check_link(PortId(0)), asked.load(Relaxed)), (Some(false), 3));
    }

    /// One second of turns.
    fn second(ports: &mut Ports) {
        let [all, down] = ports.links_a_second();
        for _ in 0..all {
            ports.next_link().map(|port| ports.check_link(port));
        }
        for _ in 0..down {
            ports.next_down().map(|port| ports.check_link(port));
        }
    }

    #[test]
    fn of_many_links_those_that_are_down_are_asked_each_second() {
        let mut ports = Ports::new(8);
        let asked: Vec<_> = (0..4096).map(|n| attach(&mut ports, n, 1, n % 100 != 7)).collect();
        (0..8).for_each(|_| second(&mut ports));
        assert!(asked.iter().all(|asked| asked.load(Relaxed) > 0), "all within eight seconds");
        asked.iter().for_each(|asked| asked.store(0, Relaxed));
        (0..4).for_each(|_| second(&mut ports));
        let total: u32 = asked.iter().map(|asked| asked.load(Relaxed)).sum();
        assert_eq!(total, 4 * (ASKED as u32 + 41));
        let down: Vec<u32> = asked.iter().skip(7).step_by(100).map(|asked| asked.load(Relaxed)).collect();
        assert!(down.len() == 41 && down.iter().all(|&asked| (4..=5).contains(&asked)), "{down:?}");
    }

    #[test]
    fn the_list_of_links_that_are_down_follows_what_comes_and_goes() {
        let mut ports = Ports::new(8);
        let mut pool = crate::frame::Arena::new(8, 8).unwrap().worker_pool(1);
        for round in 0..5 {
            (0..10).for_each(|n| drop(attach(&mut ports, n, 1, false)));
            (0..2).for_each(|_| second(&mut ports));
            assert_eq!(ports.links_a_second(), [10, 10], "{round}");
            (0..10).for_each(|n| drop(ports.detach(PortId(n), &mut pool)));
            assert_eq!(ports.links_a_second(), [10, 0]);
        }
        attach(&mut ports, 0, 1, false);
        second(&mut ports);
        ports.slots[0].as_ref().unwrap().up.store(true, Relaxed);
        assert_eq!((ports.next_down(), ports.links_a_second()[1]), (None, 0));
    }
}
