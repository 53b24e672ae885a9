//! How a worker waits for frames: by spinning, by sleeping, or by spinning a while and then sleeping.
//!
//! Waking an idle core costs tens of microseconds on a virtual machine, so a worker looks again for a bounded time
//! after the last frame. Between two empty rounds it yields, unless the core is its own: that costs little when nobody
//! else wants the core, and gives it away at once when somebody does.

use super::{Lines, Worker};
use crate::clock::{Millis, ticks};
use crate::flow::PortId;
use crate::ports::Queue;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest sleep: housekeeping is due by then.
const NAP: Duration = Duration::from_secs(1);
/// The token of the mailbox.
const MAIL: Token = Token(usize::MAX);

/// How long a worker looks again unless it is told otherwise.
pub const SPIN: Duration = Duration::from_micros(50);

/// What a worker does when no frame waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// Looks again for this long after the last frame, then sleeps.
    Adaptive(Duration),
    /// Never sleeps: the core is the worker's own.
    Busy,
    /// Sleeps at once.
    Interrupt,
}

/// Sleeps until a queue has frames or the mailbox has mail.
pub struct Sleeper {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
}

impl Sleeper {
    /// A sleeper that watches nothing but its waker.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Sleeper> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), MAIL)?);
        Ok(Sleeper { poll, events: Events::with_capacity(64), waker })
    }

    /// Wakes the sleeper, from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Wakes up for these queues from now on.
    pub(super) fn watch(&mut self, port: PortId, queues: &[Box<dyn Queue>]) {
        for fd in queues.iter().filter_map(|queue| queue.fd()) {
            // Refused only for a descriptor that epoll cannot watch; the nap still ends within a second.
            let token = Token(port.index());
            let _ = self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE);
        }
    }

    /// No longer wakes up for these queues.
    pub(super) fn forget(&mut self, queues: &[Box<dyn Queue>]) {
        for fd in queues.iter().filter_map(|queue| queue.fd()) {
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
        }
    }

    /// Sleeps until something happens, a queue is due or housekeeping is. Edge-triggered: the caller has drained every
    /// queue.
    fn sleep(&mut self, due: Option<Instant>) {
        let nap = due.map_or(NAP, |due| due.saturating_duration_since(Instant::now()).min(NAP));
        // An interrupted sleep is only a short one.
        let _ = self.poll.poll(&mut self.events, Some(nap));
    }
}

impl Worker {
    /// Works until told to stop.
    pub fn run_loop(&mut self, polling: Polling, mut sleeper: Sleeper, lines: &Lines) {
        let (mut last_frame, mut last_ticks) = (Instant::now(), ticks());
        loop {
            let now = Instant::now();
            self.core.now = Millis::between(lines.began, now);
            if !self.obey(&lines.commands, &mut sleeper) {
                break;
            }
            let frames = self.poll(self.core.now);
            self.bury(lines, &mut sleeper);
            self.housekeeping(self.core.now);
            last_ticks = self.account(frames, last_ticks);
            if frames > 0 {
                last_frame = now;
                continue;
            }
            match polling {
                Polling::Busy => std::hint::spin_loop(),
                Polling::Adaptive(spin) if now.duration_since(last_frame) < spin => std::thread::yield_now(),
                Polling::Adaptive(_) | Polling::Interrupt => last_ticks = self.nap(&mut sleeper, last_ticks),
            }
        }
        self.shut_down();
    }

    /// Sleeps, unless frames wait after all.
    fn nap(&mut self, sleeper: &mut Sleeper, last_ticks: u64) -> u64 {
        if self.core.ports.arm() {
            return last_ticks;
        }
        sleeper.sleep(self.core.ports.due());
        self.account(0, last_ticks)
    }

    /// Books the ticks of a round as busy or idle.
    fn account(&self, frames: usize, since: u64) -> u64 {
        let now = ticks();
        let spent = now.wrapping_sub(since);
        self.core.counters.total_ticks.add(spent);
        if frames > 0 {
            self.core.counters.batches.add(1);
            self.core.counters.busy_ticks.add(spent);
        }
        now
    }

    /// Closes every port.
    fn shut_down(&mut self) {
        let ids: Vec<PortId> = self.core.ports.ids().collect();
        ids.into_iter().for_each(|port| _ = self.detach(port));
    }

    /// Frees what others handed over when this worker had ended already: call it when all have.
    pub fn retire(mut self) {
        self.core.abandon_deliveries();
    }
}
