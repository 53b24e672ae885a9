//! The threads of a switch: its workers, and who closes what they let go of.

use super::{Config, Error};
use crate::frame::Arena;
use crate::ports::Queue;
use crate::stats::{PortCounters, WorkerCounters};
use crate::worker::{Command, Door, Event, Lines, Peers, Polling, Sleeper, Worker, WorkerConfig};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use mio::Waker;
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// How the control side reaches one worker.
#[derive(Clone)]
pub(super) struct Link {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    pub counters: Arc<WorkerCounters>,
    /// Frames that counted at no port.
    pub strays: Arc<PortCounters>,
    pub core: Option<usize>,
}

impl Link {
    fn tell(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).map_err(|_| Error::Stopped)?;
        self.waker.wake().map_err(|_| Error::Stopped)
    }

    /// Gives a command that carries a reply channel, and waits for the reply.
    pub fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = bounded(1);
        self.tell(command(reply))?;
        answer.recv().map_err(|_| Error::Stopped)
    }
}

/// All workers, by number.
pub(super) struct Workers {
    links: Vec<Link>,
    threads: Vec<JoinHandle<Worker>>,
    /// Ends when every worker has.
    closer: Option<JoinHandle<()>>,
}

/// A worker before its thread starts.
struct Recruit {
    worker: Worker,
    sleeper: Sleeper,
    core: Option<usize>,
    lines: Lines,
}

impl Workers {
    /// Starts one worker for each core, and gives what they report.
    pub fn start(config: &Config, arena: &Arena) -> io::Result<(Workers, Receiver<Event>)> {
        let cores: Vec<Option<usize>> = match config.cores.as_slice() {
            [] => vec![None],
            cores => cores.iter().copied().map(Some).collect(),
        };
        let (reports, events) = unbounded();
        // Made before the way to the graveyard, so that it is dropped after it: the closer ends when all ways are gone.
        let mut workers = Workers { links: Vec::new(), threads: Vec::new(), closer: None };
        let (graveyard, graves) = unbounded::<Vec<Box<dyn Queue>>>();
        let closer = Builder::new().name("xdock-closer".into()).spawn(move || graves.into_iter().for_each(drop))?;
        workers.closer = Some(closer);
        let sleepers = cores.iter().map(|_| Sleeper::new()).collect::<io::Result<Vec<_>>>()?;
        let doors = sleepers.iter().map(|sleeper| Door::new(Some(sleeper.waker()))).collect();
        let (began, sizes) = (Instant::now(), WorkerConfig { workers: cores.len(), ..config.worker });
        for ((core, sleeper), peers) in cores.into_iter().zip(sleepers).zip(Peers::between(doors, config.frames)) {
            let mut worker = Worker::new(sizes, arena, (config.stages)())?;
            worker.join(peers);
            let (commands, mailbox) = unbounded();
            let (events, graveyard) = (reports.clone(), graveyard.clone());
            let lines = Lines { began, commands: mailbox, events, graveyard };
            workers.enlist(Recruit { worker, sleeper, core, lines }, commands, config.polling)?;
        }
        Ok((workers, events))
    }

    /// Starts one worker's thread.
    fn enlist(&mut self, recruit: Recruit, commands: Sender<Command>, polling: Polling) -> io::Result<()> {
        let Recruit { mut worker, sleeper, core, lines } = recruit;
        let (counters, strays) = (worker.counters().clone(), worker.strays().clone());
        let waker = sleeper.waker();
        let (pinned, outcome) = bounded(1);
        let name = format!("xdock-worker-{}", self.links.len());
        let thread = Builder::new().name(name).spawn(move || {
            let pin = core.map_or(Ok(()), pin);
            let ready = pin.is_ok();
            let _ = pinned.send(pin);
            if ready {
                worker.run_loop(polling, sleeper, &lines);
            }
            worker
        })?;
        self.threads.push(thread);
        self.links.push(Link { commands, waker, counters, strays, core });
        outcome.recv().map_err(io::Error::other)?
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// Their numbers.
    pub fn numbers(&self) -> std::ops::Range<usize> {
        0..self.links.len()
    }

    /// All, by number.
    pub fn all(&self) -> &[Link] {
        &self.links
    }

    /// Gives every worker a command, also where one of them has ended.
    pub fn tell_all(&self, command: impl Fn() -> Command) -> Result<(), Error> {
        self.links.iter().map(|link| link.tell(command())).fold(Ok(()), Result::and)
    }

    /// Gives one worker a command.
    pub fn tell(&self, worker: usize, command: Command) -> Result<(), Error> {
        self.links.get(worker).ok_or(Error::Stopped)?.tell(command)
    }

    /// Gives one worker a command that carries a reply channel, and waits for the reply.
    pub fn ask<T>(&self, worker: usize, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, Error> {
        self.links.get(worker).ok_or(Error::Stopped)?.ask(command)
    }

    /// Gives commands that carry a reply channel, each to its worker, and only then waits for the replies, which are in the same
    /// order.
    pub fn ask_each<T, C>(&self, commands: impl IntoIterator<Item = (usize, C)>) -> Result<Vec<T>, Error>
    where
        C: FnOnce(Sender<T>) -> Command,
    {
        let asked = commands.into_iter().map(|(worker, command)| {
            let (reply, answer) = bounded(1);
            self.links.get(worker).ok_or(Error::Stopped)?.tell(command(reply)).map(|()| answer)
        });
        let asked = asked.collect::<Result<Vec<Receiver<T>>, Error>>()?;
        asked.into_iter().map(|answer| answer.recv().map_err(|_| Error::Stopped)).collect()
    }

    /// Asks every worker; the replies by number.
    pub fn ask_all<T>(&self, command: impl Fn(Sender<T>) -> Command) -> Result<Vec<T>, Error> {
        self.numbers().map(|worker| self.ask(worker, &command)).collect()
    }
}

impl Drop for Workers {
    /// Ends all workers; what one had handed over to another that ended first goes back to the arena.
    fn drop(&mut self) {
        let _ = self.tell_all(|| Command::Stop);
        let ended: Vec<Worker> = self.threads.drain(..).filter_map(|thread| thread.join().ok()).collect();
        ended.into_iter().for_each(Worker::retire);
        self.links.clear();
        let _ = self.closer.take().map(JoinHandle::join);
    }
}

/// Pins the calling thread to one core.
fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("core {core} does not exist")));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| match error {
        Errno::INVAL => {
            io::Error::new(error.kind(), format!("core {core} is not one this process may use: {}", allowed()))
        }
        _ => io::Error::new(error.kind(), format!("core {core}: {error}")),
    })
}

/// The cores that the calling thread may be pinned to, in words. The kernel cuts a wish for all of them down to those of its
/// cpuset (`__sched_setaffinity`), and tells.
fn allowed() -> String {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|core| all.set(core));
    let cores = sched_setaffinity(None, &all).and_then(|()| sched_getaffinity(None)).unwrap_or_else(|_| CpuSet::new());
    let numbers = (0..CpuSet::MAX_CPU).filter(|&core| cores.is_set(core));
    numbers.map(|core| core.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_may_not_be_used_is_named_with_those_that_may() {
        // Pinning is tried on a thread of its own: it stays what it was made.
        let pinned = std::thread::spawn(|| (pin(CpuSet::MAX_CPU - 1), allowed())).join().unwrap();
        let (error, allowed) = (pinned.0.unwrap_err(), pinned.1);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), format!("core 1023 is not one this process may use: {allowed}"));
        let core = allowed.split(", ").next().and_then(|core| core.parse().ok()).unwrap();
        assert!(std::thread::spawn(move || pin(core)).join().unwrap().is_ok(), "{allowed}");
    }
}
