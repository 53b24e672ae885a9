//! The embedding API: a switch with its worker threads, and ports and domains that come and go while traffic runs.
//!
//! Everything here runs on the caller's thread and talks to the workers by message. A port is opened and closed here;
//! no worker is ever kept waiting.

mod capture;
mod closing;
mod mirrors;
mod numbers;
mod pages;
mod ports;
mod registry;
mod status;
mod workers;

pub use capture::{Capture, CaptureConfig};
pub use closing::close;
pub use pages::{FdbStatus, FlowStatus};
pub use status::{Conservation, DomainStatus, PortStatus, WorkerStatus};

use crate::flow::PortId;
use crate::frame::Arena;
use crate::guard::Guard;
use crate::stages::Stage;
use crate::tables::storm::StormCaps;
use crate::tables::topology::{Change, Domain, DomainId, PortView};
use crate::tables::vlan::Tagging;
use crate::worker::{Command, ELSEWHERE, Event, Polling, SPIN, WorkerConfig};
use crossbeam::channel::Receiver;
use registry::Registry;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use workers::Workers;

/// How a switch is built.
pub struct Config {
    /// One worker is pinned to each of these cores; without any there is one, and the scheduler places it.
    pub cores: Vec<usize>,
    /// What a worker does when no frame waits.
    pub polling: Polling,
    /// Most frames of 4 KiB. Memory is taken as they are needed.
    pub frames: usize,
    /// Most frames of 68 KiB, likewise.
    pub super_frames: usize,
    /// Sizes of each worker.
    pub worker: WorkerConfig,
    /// Makes the stages of the embedding program for each worker anew. Each comes where its `place` says.
    pub stages: Box<dyn Fn() -> Vec<Box<dyn Stage>>>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            cores: Vec::new(),
            polling: Polling::Adaptive(SPIN),
            frames: 65_536,
            super_frames: 4096,
            worker: WorkerConfig::default(),
            stages: Box::new(Vec::new),
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
    /// How it takes part in VLANs. A transparent port is one of VLAN 1, untagged, in a domain with `vlan_filtering`.
    pub vlan: Tagging,
    /// Whom its frames may come from; anybody where there is none.
    pub guard: Option<Arc<Guard>>,
    /// Where copies of its frames go.
    pub mirror: Option<Mirror>,
}

/// Where copies go of what passes a port. While there is no port of that name, none are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The name of the port that they leave by.
    pub to: String,
    /// Of frames that come in, as they came, dropped or not.
    pub ingress: bool,
    /// Of frames that leave, as they leave.
    pub egress: bool,
}

impl Membership {
    /// An ordinary port of a domain.
    pub fn of(domain: &str) -> Membership {
        Membership { domain: domain.into(), ..Membership::default() }
    }

    /// What the pipeline must know of such a member of a domain.
    fn view(&self, domain: DomainId) -> PortView {
        let Membership { isolated, storm, ref vlan, ref guard, .. } = *self;
        let (vlan, guard) = (vlan.clone(), guard.clone());
        PortView { domain: Some(domain), isolated, storm, vlan, guard, ..PortView::default() }
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
    /// A frame that no port could bring.
    #[error("a frame of {0} bytes is longer than any can be (65557)")]
    TooLong(usize),
    /// There is not enough memory.
    #[error("no memory: {0}")]
    Memory(#[source] io::Error),
    /// The port could not be opened.
    #[error("port {0}: {1}")]
    Open(String, #[source] io::Error),
    /// The workers have ended.
    #[error("the switch has stopped")]
    Stopped,
}

/// A running switch. Dropping it stops the workers and closes every port.
pub struct Switch {
    registry: Mutex<Registry>,
    arena: Arena,
    workers: Workers,
    events: Receiver<Event>,
}

impl Switch {
    /// Maps the memory and starts the workers.
    ///
    /// # Errors
    /// When there is not enough memory, this process may not use one of the cores (`InvalidInput`, with those that it may), or
    /// no thread can be started.
    pub fn new(config: Config) -> io::Result<Switch> {
        let arena = Arena::new(config.frames, config.super_frames)?;
        let (workers, events) = Workers::start(&config, &arena)?;
        Ok(Switch { registry: Mutex::new(Registry::new(workers.count())), arena, workers, events })
    }

    /// The frame memory: for channel ports.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// What workers report: ports that are gone. One reader is enough.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// The name of a port; of one that was removed until its number is used again, and "elsewhere" for what a capture has of
    /// frames that came in by another worker.
    pub fn port_name(&self, port: PortId) -> Option<String> {
        if port == ELSEWHERE { Some("elsewhere".into()) } else { self.registry().name(port).map(str::to_owned) }
    }

    /// Voids every cached decision: call it after changing what a stage of your own decides by.
    ///
    /// # Errors
    /// When the switch has stopped.
    pub fn invalidate(&self) -> Result<(), Error> {
        self.workers.tell_all(|| Command::Invalidate)
    }

    /// Adds a bridge domain; its member list is ignored.
    ///
    /// # Errors
    /// When the name is taken, there is no memory for its forwarding databases, or the switch has stopped.
    pub fn add_domain(&self, domain: Domain) -> Result<(), Error> {
        let mut registry = self.registry();
        let name = domain.name.clone();
        let id = registry.add_domain(domain)?;
        self.publish_domain(&registry, id).inspect_err(|_| {
            let _ = registry.remove_domain(&name);
            let _ = self.publish_domain(&registry, id);
        })
    }

    /// Gives a bridge domain other limits while its ports work on. Another `fdb_max` means another forwarding database,
    /// empty at first: frames are flooded until it has learned.
    ///
    /// # Errors
    /// When it does not exist, there is no memory for its forwarding database, or the switch has stopped.
    pub fn change_domain(&self, domain: Domain) -> Result<(), Error> {
        let mut registry = self.registry();
        let id = registry.domain_id(&domain.name)?;
        let filtering = domain.vlan_filtering;
        let before = registry.change_domain(id, domain);
        self.publish_domain(&registry, id)?;
        if before.is_some_and(|before| before.vlan_filtering != filtering) {
            registry.members(id).try_for_each(|port| self.publish_port(&registry, port))?;
        }
        Ok(())
    }

    /// Puts an open port into another domain, or changes how it takes part, without closing it: no frame is lost.
    ///
    /// # Errors
    /// When it or the domain does not exist, or the switch has stopped.
    pub fn change_port(&self, name: &str, membership: &Membership) -> Result<(), Error> {
        let mut registry = self.registry();
        let domain = registry.domain_id(&membership.domain)?;
        let id = registry.change_port(name, membership.view(domain), membership.mirror.clone())?;
        self.publish_port(&registry, id)
    }

    /// Removes a bridge domain without ports.
    ///
    /// # Errors
    /// When it does not exist or has ports.
    pub fn remove_domain(&self, name: &str) -> Result<(), Error> {
        let mut registry = self.registry();
        let id = registry.remove_domain(name)?;
        self.publish_domain(&registry, id)
    }

    /// Returns when every worker knows a port as the registry does.
    fn publish_port(&self, registry: &Registry, id: PortId) -> Result<(), Error> {
        self.publish(|| Change::Port(id, registry.view(id)))
    }

    /// Returns when every worker knows a domain as the registry does.
    fn publish_domain(&self, registry: &Registry, id: DomainId) -> Result<(), Error> {
        self.publish(|| Change::Domain(id, registry.domain(id).cloned()))
    }

    /// The same of several ports, which costs hardly more.
    fn publish_ports(&self, registry: &Registry, ids: &[PortId]) -> Result<(), Error> {
        let everywhere = ids.iter().flat_map(|&id| self.workers.numbers().map(move |worker| (worker, id)));
        let changes = everywhere.map(|(worker, id)| {
            let view = registry.view(id);
            (worker, move |done| Command::Change(Change::Port(id, view), done))
        });
        self.workers.ask_each(changes).map(drop)
    }

    /// Every worker takes the change, also where one has no memory for it. Forwarding databases that they no longer need are
    /// freed here.
    fn publish(&self, change: impl Fn() -> Change) -> Result<(), Error> {
        let made = self.workers.ask_all(|done| Command::Change(change(), done))?;
        made.into_iter().try_for_each(|made| made.map(drop)).map_err(Error::Memory)
    }

    /// The registry is a plain value, sound after any panic.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Switch {
    /// Closes the ports side by side, before the workers end.
    fn drop(&mut self) {
        close(self.release_all());
    }
}
