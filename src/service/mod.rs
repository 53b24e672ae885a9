//! A switch made from a configuration: what `xdock run` runs, and what the control socket speaks for.
//!
//! Every call may take as long as creating an interface takes (milliseconds); none waits for traffic.

mod capture;
pub mod observe;
#[cfg(test)]
pub(crate) mod occupied;
mod ports;
mod refusal;
mod reload;
mod trace;
mod view;

pub use capture::{Stream, Tally};
pub use refusal::{Kind, Refusal};
pub use reload::ReloadError;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossdock_engine::switch::{self, Membership, Switch};
use crossdock_engine::tables::storm::StormCaps;
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::worker::{Event, Polling, WorkerConfig};

use capture::Captures;
use tracing::info;

use crate::config::{Config, DomainConfig, EngineConfig, Poll, PortConfig};
use ports::{Common, Handle};

/// A running switch. Dropping it closes every port.
pub struct Service {
    switch: Switch,
    ports: Mutex<BTreeMap<String, Entry>>,
    domains: Mutex<BTreeMap<String, DomainConfig>>,
    engine: EngineConfig,
    /// The file that it was made from, and is made like again by a reload.
    source: Option<PathBuf>,
    /// Ports that will not work again.
    gone: Arc<Mutex<BTreeSet<String>>>,
    /// Held while a reload is under way.
    reloading: Mutex<()>,
    captures: Captures,
    common: Common,
}

/// How a port was asked for, and what is kept of it.
struct Entry {
    config: PortConfig,
    handle: Box<dyn Handle>,
}

impl Service {
    /// Starts a switch with all its domains and ports.
    ///
    /// # Errors
    /// The first thing that cannot be had. Nothing is left behind then but what an earlier switch had left (`persist`).
    pub fn start(config: &Config) -> Result<Self, Refusal> {
        let switch = Switch::new(engine_config(&config.engine)).map_err(cannot_start)?;
        let service = Self {
            switch,
            ports: Mutex::default(),
            domains: Mutex::default(),
            engine: config.engine.clone(),
            source: None,
            gone: Arc::default(),
            reloading: Mutex::default(),
            captures: Captures::default(),
            common: Common::default(),
        };
        config.domain.iter().try_for_each(|domain| service.make_domain(domain))?;
        config.port.iter().try_for_each(|port| service.open_port(port))?;
        config.port.iter().try_for_each(|port| service.keep(port))?;
        Ok(service)
    }

    /// With the file that a reload reads. It need not be there yet.
    #[must_use]
    pub fn made_from(self, file: PathBuf) -> Self {
        Self { source: Some(file), ..self }
    }

    /// The switch itself.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Adds a bridge domain.
    ///
    /// # Errors
    /// Its name is taken.
    pub fn add_domain(&self, domain: &DomainConfig) -> Result<(), Refusal> {
        self.make_domain(domain)?;
        info!(domain = domain.name, "domain added");
        Ok(())
    }

    fn make_domain(&self, domain: &DomainConfig) -> Result<(), Refusal> {
        self.switch.add_domain(engine_domain(domain))?;
        locked(&self.domains).insert(domain.name.clone(), domain.clone());
        Ok(())
    }

    /// Gives a bridge domain other limits, while its ports work on.
    ///
    /// # Errors
    /// There is none of that name, or no memory for its FDB.
    fn change_domain(&self, domain: &DomainConfig) -> Result<(), Refusal> {
        self.switch.change_domain(engine_domain(domain))?;
        locked(&self.domains).insert(domain.name.clone(), domain.clone());
        Ok(())
    }

    /// Removes a bridge domain.
    ///
    /// # Errors
    /// There is none of that name, or it has ports.
    pub fn remove_domain(&self, name: &str) -> Result<(), Refusal> {
        self.unmake_domain(name)?;
        info!(domain = name, "domain removed");
        Ok(())
    }

    fn unmake_domain(&self, name: &str) -> Result<(), Refusal> {
        self.switch.remove_domain(name)?;
        locked(&self.domains).remove(name);
        Ok(())
    }

    /// Makes a port and opens it.
    ///
    /// # Errors
    /// Its name is taken, its domain does not exist, or it cannot be made.
    pub fn add_port(&self, port: &PortConfig) -> Result<(), Refusal> {
        self.make_port(port)?;
        info!(port = port.name, domain = port.domain, "port added");
        Ok(())
    }

    fn make_port(&self, port: &PortConfig) -> Result<(), Refusal> {
        self.open_port(port)?;
        self.keep(port)
    }

    /// Lets what was made for an open port outlive the switch, if it is to. It comes last, so that a failure before leaves
    /// nothing behind.
    fn keep(&self, port: &PortConfig) -> Result<(), Refusal> {
        let entries = self.entries();
        let entry = entries.get(&port.name).filter(|_| self.engine.persist);
        entry.map_or(Ok(()), |entry| entry.handle.keep()).map_err(|error| {
            let what = format!("port {}: its interface cannot outlive the switch: {error}", port.name);
            Refusal::new(Kind::Failed, what, "leave persist out under [engine]")
        })
    }

    fn open_port(&self, port: &PortConfig) -> Result<(), Refusal> {
        let mut ports = self.entries();
        self.check_new(&ports, port)?;
        let made = ports::make(port, self.engine.persist, &self.common)?;
        self.switch.add_port(made.port, &membership(port))?;
        ports.insert(port.name.clone(), Entry { config: port.clone(), handle: made.handle });
        Ok(())
    }

    /// Changes how an open port takes part in its domain, or the domain it is in.
    ///
    /// # Errors
    /// There is no such port or domain.
    fn change_port(&self, port: &PortConfig) -> Result<(), Refusal> {
        self.switch.change_port(&port.name, &membership(port))?;
        if let Some(entry) = self.entries().get_mut(&port.name) {
            entry.config = port.clone();
        }
        Ok(())
    }

    /// Closes a port and removes the interface made for it.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove_port(&self, name: &str) -> Result<(), Refusal> {
        self.unmake_port(name)?;
        info!(port = name, "port removed");
        Ok(())
    }

    fn unmake_port(&self, name: &str) -> Result<(), Refusal> {
        let mut ports = self.entries();
        if let Some(entry) = ports.get(name) {
            entry.handle.release();
        }
        self.switch.remove_port(name)?;
        ports.remove(name);
        locked(&self.gone).remove(name);
        Ok(())
    }

    /// Calls `tell` with the name of each port that is gone for good, and why, until the switch ends.
    ///
    /// # Errors
    /// No thread can be started for it.
    pub fn watch(&self, tell: impl Fn(&str, &io::Error) + Send + 'static) -> io::Result<()> {
        let events = self.switch.events().clone();
        let gone = Arc::clone(&self.gone);
        let watch = move || {
            for Event::PortGone { name, error } in events {
                locked(&gone).insert(name.clone());
                tell(&name, &error);
            }
        };
        std::thread::Builder::new().name("xdock-events".into()).spawn(watch).map(drop)
    }

    /// Refuses before any interface is made for nothing.
    fn check_new(&self, ports: &BTreeMap<String, Entry>, port: &PortConfig) -> Result<(), Refusal> {
        if ports.contains_key(&port.name) {
            return Err(switch::Error::Exists(format!("port {}", port.name)).into());
        }
        ports::check_interface(port, ports.values().map(|entry| &entry.config))?;
        let domains: Vec<String> = self.switch.domains().into_iter().map(|domain| domain.name).collect();
        if domains.contains(&port.domain) { Ok(()) } else { Err(no_domain(port, &domains)) }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        locked(&self.ports)
    }
}

/// The maps are plain values, sound after any panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn engine_domain(domain: &DomainConfig) -> Domain {
    Domain { ageing_s: domain.ageing_s, fdb_max: domain.fdb_max as usize, mac: domain.mac, ..Domain::new(&domain.name) }
}

fn engine_config(engine: &EngineConfig) -> switch::Config {
    switch::Config {
        cores: engine.cores.clone(),
        polling: match engine.poll {
            Poll::Adaptive => Polling::Adaptive(Duration::from_micros(engine.spin_us.into())),
            Poll::Busy => Polling::Busy,
            Poll::Interrupt => Polling::Interrupt,
        },
        frames: engine.frames as usize,
        super_frames: engine.super_frames as usize,
        worker: WorkerConfig { flows: engine.flows_max as usize, ..WorkerConfig::default() },
        stages: Box::new(Vec::new),
    }
}

fn membership(port: &PortConfig) -> Membership {
    let storm = &port.storm;
    Membership {
        domain: port.domain.clone(),
        isolated: port.isolated,
        storm: StormCaps { broadcast: storm.broadcast, multicast: storm.multicast, unknown: storm.unknown },
        vlan: port.vlan.clone().map(|vlan| vlan.0).unwrap_or_default(),
    }
}

fn cannot_start(error: io::Error) -> Refusal {
    let hint = match error.kind() {
        io::ErrorKind::InvalidInput => {
            "cores under [engine]; a container, a service manager or taskset may keep others away"
        }
        _ => "frames, super_frames and flows_max under [engine] say how much memory it takes",
    };
    Refusal::new(Kind::Failed, format!("cannot start the switch: {error}"), hint)
}

fn no_domain(port: &PortConfig, domains: &[String]) -> Refusal {
    let what = format!("port {}: no domain \"{}\"", port.name, port.domain);
    let hint = match domains {
        [] => format!("add it first: xdock domain add {}", port.domain),
        names => format!("the domains are {}", names.join(", ")),
    };
    Refusal::new(Kind::Unknown, what, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_may_not_be_used_is_named() {
        let mut config = Config::default();
        (config.engine.frames, config.engine.super_frames, config.engine.flows_max) = (512, 16, 64);
        config.engine.cores = vec![1023];
        let refusal = Service::start(&config).err().unwrap();
        assert!(
            refusal.what.starts_with("cannot start the switch: core 1023 is not one this process may use: "),
            "{refusal}"
        );
        assert!(refusal.hint.unwrap().starts_with("cores under [engine]"));
    }
}
