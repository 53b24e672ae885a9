//! A switch made from a configuration: what `xdock run` runs, and what the control socket speaks for.
//!
//! Every call may take as long as creating an interface takes (milliseconds); none waits for traffic.

mod announce;
mod capture;
mod keeper;
mod mac;
mod namespaces;
#[cfg(test)]
pub(crate) mod occupied;
mod plugging;
mod pool;
mod ports;
mod refusal;
mod reload;
mod roster;
mod trace;
mod view;

pub use capture::{Stream, Tally};
pub use keeper::Fate;
pub use refusal::{Kind, Refusal};
pub use reload::ReloadError;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crossdock_engine::switch::{self, Membership, Switch};
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::worker::{Polling, WorkerConfig};

use announce::Announcements;
use capture::Captures;
use mac::Machine;
use tracing::info;

use crate::config::{Config, DomainConfig, EngineConfig, Guard, Poll, PortConfig};
use ports::Common;
use roster::Roster;

/// A running switch. Dropping it stops it.
pub struct Service {
    switch: Switch,
    roster: Mutex<Roster>,
    /// Told when a port is no longer being opened.
    settled: Condvar,
    domains: Mutex<BTreeMap<String, DomainConfig>>,
    engine: EngineConfig,
    machine: Machine,
    /// The file that it was made from, and is made like again by a reload.
    source: Option<PathBuf>,
    /// Held while a reload is under way.
    reloading: Mutex<()>,
    captures: Captures,
    common: Common,
    announcements: Mutex<Announcements>,
    /// Whether ports may be made and removed; held meanwhile.
    running: RwLock<bool>,
    /// What takes long is to come to its end.
    ending: AtomicBool,
}

impl Service {
    /// Starts a switch with all its domains and ports.
    ///
    /// # Errors
    /// The first thing that cannot be had. Nothing is left behind then but what an earlier switch had left (`persist`).
    pub fn start(config: &Config) -> Result<Self, Refusal> {
        let service = Self::prepare(config)?;
        service.plug(config)?;
        Ok(service)
    }

    /// Starts a switch with all its domains, but no port yet: [`Service::plug`] brings them, and [`Service::stop`] ends that
    /// early.
    ///
    /// # Errors
    /// The first thing that cannot be had.
    pub fn prepare(config: &Config) -> Result<Self, Refusal> {
        let service = Self {
            switch: Switch::new(engine_config(&config.engine)).map_err(cannot_start)?,
            roster: Mutex::default(),
            settled: Condvar::new(),
            domains: Mutex::default(),
            engine: config.engine.clone(),
            machine: Machine::this(),
            source: None,
            reloading: Mutex::default(),
            captures: Captures::default(),
            common: Common::default(),
            announcements: Mutex::default(),
            running: RwLock::new(true),
            ending: AtomicBool::new(false),
        };
        config.domain.iter().try_for_each(|domain| service.make_domain(domain))?;
        Ok(service)
    }

    /// Opens the ports of the configuration that it was prepared for, many side by side.
    ///
    /// # Errors
    /// One of them cannot be had. The others are to be thrown away then, and the switch with them.
    pub fn plug(&self, config: &Config) -> Result<(), Refusal> {
        self.open_first(&config.port)
    }

    /// With the file that a reload reads. It need not be there yet.
    #[must_use]
    pub fn made_from(mut self, file: PathBuf) -> Self {
        self.source = Some(file);
        self
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

    fn roster(&self) -> MutexGuard<'_, Roster> {
        locked(&self.roster)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The maps are plain values, sound after any panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn engine_domain(domain: &DomainConfig) -> Domain {
    Domain {
        ageing_s: domain.ageing_s,
        fdb_max: domain.fdb_max as usize,
        mac: domain.mac,
        vlan_filtering: domain.vlan_filtering,
        ..Domain::new(&domain.name)
    }
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

/// How a port takes part. Its MAC address is known by now, if it is a TAP.
fn membership(port: &PortConfig) -> Membership {
    Membership {
        domain: port.domain.clone(),
        isolated: port.isolated,
        storm: port.storm.caps(port.kind),
        vlan: port.vlan.clone().map(|vlan| vlan.0).unwrap_or_default(),
        guard: Guard::of(port),
        mirror: port.mirror.as_ref().map(Into::into),
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
