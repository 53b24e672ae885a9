//! How a worker waits for frames: by spinning, by sleeping, or by spinning a while and then sleeping.
//!
//! Waking an idle core costs tens of microseconds on a virtual machine, so a worker looks again for a bounded time
//! after the last frame. Between two empty rounds it yields, unless the core is its own: that costs little when nobody
//! else wants the core, and gives it away at once when somebody does.
//!
//! Looking is one system call, however many queues are parked: `epoll` tells which have frames (edge-triggered: once for
//! every time that frames come into an empty queue). While queues are ready that look is due every [`LOOK`].

use super::core::Core;
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

/// How long parked queues may have frames unnoticed while others are served.
const LOOK: Duration = Duration::from_micros(10);
/// How often it is told what happened.
const REPORT: Duration = Duration::from_secs(1);
/// Queues whose frames are noticed by one look.
const EVENTS: usize = 256;
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
        Ok(Sleeper { poll, events: Events::with_capacity(EVENTS), waker })
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

    /// Sleeps until something happens, at most for `nap`; the ports whose queues have frames. Edge-triggered: each is told once.
    fn look(&mut self, nap: Duration) -> impl Iterator<Item = PortId> + '_ {
        self.events.clear();
        // An interrupted sleep is only a short one.
        let _ = self.poll.poll(&mut self.events, Some(nap));
        let ports = self.events.iter().map(|event| event.token().0);
        ports.filter_map(|token| u16::try_from(token).ok()).map(PortId)
    }
}

/// What a worker keeps in mind between two rounds.
struct Pace {
    last_frame: Instant,
    last_look: Instant,
    last_report: Instant,
    last_ticks: u64,
}

impl Worker {
    /// Works until told to stop.
    pub fn run_loop(&mut self, polling: Polling, mut sleeper: Sleeper, lines: &Lines) {
        let now = Instant::now();
        let mut pace = Pace { last_frame: now, last_look: now, last_report: now, last_ticks: ticks() };
        self.core.ports.schedule.be_fair();
        loop {
            let now = Instant::now();
            self.core.now = Millis::between(lines.began, now);
            if !self.obey(&lines.commands, &mut sleeper) {
                break;
            }
            let frames = self.poll(self.core.now);
            self.bury(lines, &mut sleeper);
            self.housekeeping(self.core.now);
            if now.duration_since(pace.last_report) >= REPORT {
                pace.last_report = now;
                self.report(lines);
            }
            let Core { ports, .. } = &mut self.core;
            ports.park_idle();
            pace.last_ticks = self.account(frames, pace.last_ticks);
            if frames > 0 {
                pace.last_frame = now;
            }
            self.wait(polling, &mut sleeper, &mut pace, now);
        }
        self.shut_down();
    }

    /// Looks at the parked queues when that is due, and sleeps when nothing was to be done for long enough.
    fn wait(&mut self, polling: Polling, sleeper: &mut Sleeper, pace: &mut Pace, now: Instant) {
        if self.core.ports.schedule.is_busy() {
            if now.duration_since(pace.last_look) >= LOOK {
                self.look(sleeper, pace, now);
            }
            return;
        }
        match polling {
            Polling::Busy => self.look(sleeper, pace, now),
            Polling::Adaptive(spin) if now.duration_since(pace.last_frame) < spin => {
                self.look(sleeper, pace, now);
                if !self.core.ports.schedule.is_busy() {
                    std::thread::yield_now();
                }
            }
            Polling::Adaptive(_) | Polling::Interrupt => self.nap(sleeper, pace),
        }
    }

    /// Notices which parked queues have frames by now.
    fn look(&mut self, sleeper: &mut Sleeper, pace: &mut Pace, now: Instant) {
        pace.last_look = now;
        sleeper.look(Duration::ZERO).for_each(|port| self.core.ports.make_ready(port));
        if self.core.ports.schedule.has_timed() {
            self.core.ports.wake_due(now);
        }
    }

    /// Sleeps, unless frames wait after all.
    fn nap(&mut self, sleeper: &mut Sleeper, pace: &mut Pace) {
        let now = Instant::now();
        let due = self.core.ports.wake_due(now);
        if self.core.ports.peers.arm() || self.core.ports.schedule.is_busy() || self.core.is_flooding() {
            return;
        }
        let nap = due.map_or(self.patience(), |due| due.saturating_duration_since(now).min(self.patience()));
        sleeper.look(nap).for_each(|port| self.core.ports.make_ready(port));
        pace.last_look = Instant::now();
        pace.last_ticks = self.account(0, pace.last_ticks);
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
