//! The embedding API: a switch with its worker thread, and ports and domains that come and go while traffic runs.
//!
//! Everything here runs on the caller's thread and talks to the worker by message. A port is opened and closed here;
//! the worker is never kept waiting.

mod registry;
mod status;

pub use status::{Conservation, DomainStatus, FdbStatus, FlowStatus, PortStatus, WorkerStatus};

use crate::flow::PortId;
use crate::frame::Arena;
use crate::ports::{Port, Queue};
use crate::stages::Stage;
use crate::stats::WorkerCounters;
use crate::tables::fdb::Fdb;
use crate::tables::storm::StormCaps;
use crate::tables::topology::{Domain, PortView};
use crate::worker::{Attachment, Command, Event, Lines, Polling, Sleeper, Worker, WorkerConfig};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use mio::Waker;
use registry::Registry;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a switch is built.
pub struct Config {
    /// The core its worker is pinned to; `None` leaves that to the scheduler.
    pub core: Option<usize>,
    /// What the worker does when no frame waits.
    pub polling: Polling,
    /// Frames of 4 KiB.
    pub frames: usize,
    /// Frames of 68 KiB.
    pub super_frames: usize,
    /// Sizes of the worker.
    pub worker: WorkerConfig,
    /// Stages of the embedding program, between `isolate` and `forward`.
    pub stages: Vec<Box<dyn Stage>>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            core: None,
            polling: Polling::Adaptive(Duration::from_micros(50)),
            frames: 8192,
            super_frames: 256,
            worker: WorkerConfig::default(),
            stages: Vec::new(),
        }
    }
}

/// How a port takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The name of its domain.
    pub domain: String,
    /// Exchanges frames only with ports that are not isolated.
    pub isolated: bool,
    /// Caps on what it may flood.
    pub storm: StormCaps,
}

impl Membership {
    /// An ordinary port of a domain.
    pub fn of(domain: &str) -> Membership {
        Membership { domain: domain.into(), ..Membership::default() }
    }
}

/// Why the switch refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port or domain of that name exists.
    #[error("{0} exists already")]
    Exists(String),
    /// No port or domain of that name exists.
    #[error("no {0}")]
    Unknown(String),
    /// A domain that still has ports cannot be removed.
    #[error("domain {0} still has ports")]
    InUse(String),
    /// More than 65535 ports or domains.
    #[error("no number is left for another {0}")]
    Full(&'static str),
    /// There is not enough memory.
    #[error("no memory: {0}")]
    Memory(#[source] io::Error),
    /// The port could not be opened.
    #[error("port {0}: {1}")]
    Open(String, #[source] io::Error),
    /// The worker has ended.
    #[error("the switch has stopped")]
    Stopped,
}

/// A running switch. Dropping it stops the worker and closes every port.
pub struct Switch {
    registry: Mutex<Registry>,
    arena: Arena,
    worker: WorkerLink,
    /// The worker, and who closes what it lets go of: that one ends when the worker has.
    threads: Vec<JoinHandle<()>>,
    events: Receiver<Event>,
}

/// How the control side reaches the worker.
struct WorkerLink {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    counters: Arc<WorkerCounters>,
    core: Option<usize>,
}

impl WorkerLink {
    fn tell(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).map_err(|_| Error::Stopped)?;
        self.waker.wake().map_err(|_| Error::Stopped)
    }

    /// Sends a command that carries a reply channel, and waits for the reply.
    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = bounded(1);
        self.tell(command(reply))?;
        answer.recv().map_err(|_| Error::Stopped)
    }
}

impl Switch {
    /// Maps the memory and starts the worker.
    ///
    /// # Errors
    /// When there is not enough memory, the core does not exist, or no thread can be started.
    pub fn new(config: Config) -> io::Result<Switch> {
        let arena = Arena::new(config.frames, config.super_frames)?;
        let mut worker = Worker::new(config.worker, &arena, config.stages)?;
        let sleeper = Sleeper::new()?;
        let (commands, mailbox) = unbounded();
        let (reports, events) = unbounded();
        let link =
            WorkerLink { commands, waker: sleeper.waker(), counters: worker.counters().clone(), core: config.core };
        let (pinned, outcome) = bounded(1);
        let (graveyard, graves) = unbounded::<Vec<Box<dyn Queue>>>();
        let closer =
            std::thread::Builder::new().name("xdock-closer".into()).spawn(move || graves.into_iter().for_each(drop))?;
        let lines = Lines { commands: mailbox, events: reports, graveyard };
        let thread = std::thread::Builder::new().name("xdock-worker".into()).spawn(move || {
            let pin = config.core.map_or(Ok(()), pin);
            let ready = pin.is_ok();
            let _ = pinned.send(pin);
            if ready {
                worker.run_loop(config.polling, sleeper, &lines);
            }
        })?;
        outcome.recv().map_err(io::Error::other)??;
        Ok(Switch { registry: Mutex::default(), arena, worker: link, threads: vec![thread, closer], events })
    }

    /// The frame memory: for channel ports.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// What workers report: ports that are gone. One reader is enough.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// The name of a port.
    pub fn port_name(&self, port: PortId) -> Option<String> {
        self.registry().port(port).map(|p| p.name.clone())
    }

    /// Voids every cached decision: call it after changing what a stage of your own decides by.
    ///
    /// # Errors
    /// When the switch has stopped.
    pub fn invalidate(&self) -> Result<(), Error> {
        self.worker.tell(Command::Invalidate)
    }

    /// Adds a bridge domain; its member list is ignored.
    ///
    /// # Errors
    /// When the name is taken, there is no memory for its forwarding database, or the switch has stopped.
    pub fn add_domain(&self, domain: Domain) -> Result<(), Error> {
        let mut registry = self.registry();
        let fdb = Fdb::new(&domain).map_err(Error::Memory)?;
        let id = registry.add_domain(domain)?;
        self.worker.tell(Command::Prepare(id, Box::new(fdb)))?;
        self.publish(&registry)
    }

    /// Removes a bridge domain without ports.
    ///
    /// # Errors
    /// When it does not exist or has ports.
    pub fn remove_domain(&self, name: &str) -> Result<(), Error> {
        let mut registry = self.registry();
        registry.remove_domain(name)?;
        self.publish(&registry)
    }

    /// Opens a port and puts it into a domain; returns when frames pass. Traffic between other ports does not notice.
    ///
    /// # Errors
    /// When its name is taken, the domain does not exist, or the port cannot be opened; nothing is left behind then.
    pub fn add_port(&self, port: Box<dyn Port>, membership: &Membership) -> Result<PortId, Error> {
        let mut registry = self.registry();
        let name = port.name().to_owned();
        let domain = registry.domain_id(&membership.domain)?;
        registry.check_port_name(&name)?;
        let (kind, caps) = (port.kind(), port.caps());
        let queues = port.open(&self.arena, 1).map_err(|error| Error::Open(name.clone(), error))?;
        let view = PortView { domain: Some(domain), isolated: membership.isolated, storm: membership.storm };
        let (id, counters) = registry.add_port(name.clone(), kind, caps.clone(), view)?;
        let attachment = Attachment { port: id, name, queues, counters, caps };
        self.worker.ask(|done| Command::Attach(attachment, registry.topology(), done))?;
        Ok(id)
    }

    /// Closes and removes a port; returns when it is closed.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn remove_port(&self, name: &str) -> Result<(), Error> {
        let mut registry = self.registry();
        let id = registry.port_id(name)?;
        drop(self.worker.ask(|done| Command::Detach(id, done))?);
        registry.remove_port(id);
        self.publish(&registry)
    }

    fn publish(&self, registry: &Registry) -> Result<(), Error> {
        self.worker.tell(Command::Publish(registry.topology()))
    }

    /// The registry is a plain value, sound after any panic.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.worker.tell(Command::Stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Pins the calling thread to one core.
fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("core {core} does not exist")));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| io::Error::new(error.kind(), format!("core {core}: {error}")))
}
