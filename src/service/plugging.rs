//! Ports come and go, one or many at a time.
//!
//! # Theory of operation
//!
//! A port takes its place in the roster first, then its interface is made while nobody waits for it, and then the switch
//! gets it. Many are made side by side, a few by each thread, and the few are given to the switch together. Whatever makes
//! or removes ports does so under `running`, so that the end of the switch waits for it; what is long looks at `ending`.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, MutexGuard, PoisonError, RwLockReadGuard};

use crossdock_engine::ports::tap::remove_together;
use crossdock_engine::switch::{self, Membership, close};
use tracing::info;

use super::pool::side_by_side;
use super::ports::{self, Handle, Made};
use super::roster::Roster;
use super::{Kind, Refusal, Service, locked, membership};
use crate::config::PortConfig;

/// Ports that one thread makes before the switch gets them.
const HANDFUL: usize = 16;

impl Service {
    /// Makes a port and opens it.
    ///
    /// # Errors
    /// Its name is taken, its domain does not exist, or it cannot be made.
    pub fn add_port(&self, port: &PortConfig) -> Result<(), Refusal> {
        self.make_ports(&[port]).pop().unwrap_or(Ok(()))?;
        info!(port = port.name, domain = port.domain, "port added");
        Ok(())
    }

    /// Makes ports side by side; what became of each.
    pub(super) fn make_ports(&self, ports: &[&PortConfig]) -> Vec<Result<(), Refusal>> {
        let opened = self.open_ports(ports, false);
        opened.into_iter().zip(ports).map(|(opened, port)| opened.and_then(|()| self.keep(port))).collect()
    }

    /// Opens the ports that the switch begins with, until one cannot be had.
    pub(super) fn open_first(&self, ports: &[PortConfig]) -> Result<(), Refusal> {
        let ports: Vec<&PortConfig> = ports.iter().collect();
        // Those that were not begun because of it are refused too.
        let failed = |refusal: &Refusal| *refusal != ended();
        let mut refusals: Vec<Refusal> = self.open_ports(&ports, true).into_iter().filter_map(Result::err).collect();
        let first = refusals.iter().position(failed).or((!refusals.is_empty()).then_some(0));
        first.map_or(Ok(()), |first| Err(refusals.swap_remove(first)))?;
        ports.iter().try_for_each(|port| self.keep(port))
    }

    /// Opens ports side by side; what became of each. `strict`: the first that fails keeps the others from being begun.
    fn open_ports(&self, ports: &[&PortConfig], strict: bool) -> Vec<Result<(), Refusal>> {
        let Ok(_running) = self.while_running() else { return ports.iter().map(|_| Err(ended())).collect() };
        let failed = AtomicBool::new(false);
        let open = |port: &&PortConfig| {
            if self.ending.load(Relaxed) || (strict && failed.load(Relaxed)) {
                return Err(ended());
            }
            self.make_one(port).inspect_err(|_| failed.store(true, Relaxed))
        };
        let handful = |ports: &&[&PortConfig]| {
            let made: Vec<_> = ports.iter().map(open).collect();
            self.give(ports, made)
        };
        let handfuls: Vec<&[&PortConfig]> = ports.chunks(HANDFUL).collect();
        side_by_side(&handfuls, handful).into_iter().flatten().collect()
    }

    /// Gives a port its place and makes its interface.
    fn make_one(&self, port: &PortConfig) -> Result<Made, Refusal> {
        self.check_domain(port)?;
        let wanted = self.roster().reserve(port, self.machine)?;
        ports::make(&wanted, self.engine.persist, &self.common).inspect_err(|_| self.forget(&port.name))
    }

    /// Gives the switch what was made for ports.
    fn give(&self, ports: &[&PortConfig], made: Vec<Result<Made, Refusal>>) -> Vec<Result<(), Refusal>> {
        let members: Vec<Membership> = {
            let roster = self.roster();
            ports.iter().map(|port| membership(&roster.with_mac(port))).collect()
        };
        let (mut news, mut handles) = (Vec::new(), Vec::new());
        for (made, member) in made.into_iter().zip(&members) {
            handles.push(made.map(|Made { port, handle }| {
                news.push((port, member));
                handle
            }));
        }
        let mut added = self.switch.add_ports(news).into_iter();
        let mut enter = |(handle, port): (Result<Arc<dyn Handle>, Refusal>, &&PortConfig)| {
            let handle = handle?;
            let added = added.next().unwrap_or(Err(switch::Error::Stopped));
            added.inspect_err(|_| self.forget(&port.name))?;
            self.opened(&port.name, handle);
            Ok(())
        };
        handles.into_iter().zip(ports).map(&mut enter).collect()
    }

    /// A port is open.
    pub(super) fn opened(&self, name: &str, handle: Arc<dyn Handle>) {
        if let Some(entry) = self.roster().get_mut(name) {
            entry.open(handle);
        }
        self.settled.notify_all();
        self.announce(name);
    }

    /// A port could not be opened.
    fn forget(&self, name: &str) {
        self.roster().remove(name);
        self.settled.notify_all();
    }

    /// Lets what was made for an open port outlive the switch, if it is to. It comes last, so that a failure before leaves
    /// nothing behind.
    pub(super) fn keep(&self, port: &PortConfig) -> Result<(), Refusal> {
        let handle = self.roster().get(&port.name).and_then(|entry| entry.handle.clone());
        handle.filter(|_| self.engine.persist).map_or(Ok(()), |handle| handle.keep()).map_err(|error| {
            let what = format!("port {}: its interface cannot outlive the switch: {error}", port.name);
            Refusal::new(Kind::Failed, what, "leave persist out under [engine]")
        })
    }

    /// Changes how an open port takes part in its domain, or the domain it is in.
    ///
    /// # Errors
    /// There is no such port or domain.
    pub(super) fn change_port(&self, port: &PortConfig) -> Result<(), Refusal> {
        let mut roster = self.when_settled(&[&port.name]);
        self.switch.change_port(&port.name, &membership(&roster.with_mac(port)))?;
        if let Some(entry) = roster.get_mut(&port.name) {
            entry.config = port.clone();
        }
        Ok(())
    }

    /// Closes a port and removes the interface made for it.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove_port(&self, name: &str) -> Result<(), Refusal> {
        self.unmake_ports(&[name])?;
        info!(port = name, "port removed");
        Ok(())
    }

    /// Closes ports, and removes the interfaces made for them, side by side.
    ///
    /// # Errors
    /// One of them does not exist: then none is removed.
    pub(super) fn unmake_ports(&self, names: &[&str]) -> Result<(), Refusal> {
        let _running = self.while_running()?;
        let handles: Vec<_> = {
            let roster = self.when_settled(names);
            names.iter().filter_map(|name| roster.get(name)?.handle.clone()).collect()
        };
        let queues = self.switch.remove_ports(names)?;
        handles.iter().for_each(|handle| handle.release());
        remove_together(&handles.iter().filter_map(|handle| handle.tap().cloned()).collect::<Vec<_>>());
        close(queues);
        let mut roster = self.roster();
        names.iter().for_each(|name| roster.remove(name));
        Ok(())
    }

    /// Ends the switch: closes every port, and removes the interfaces that were made, as soon as nobody makes any more. What is
    /// asked for afterwards is refused.
    pub fn stop(&self) {
        self.ending.store(true, Relaxed);
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *running, false) {
            return;
        }
        let queues = self.switch.release_all();
        let taps = |roster: &Roster| roster.iter().filter_map(|entry| entry.handle.as_ref()?.tap().cloned()).collect();
        let taps: Vec<_> = taps(&self.roster());
        remove_together(&taps);
        close(queues);
    }

    /// Whether it has not been told to end.
    pub(super) fn is_running(&self) -> bool {
        !self.ending.load(Relaxed)
    }

    /// Held while ports are made or removed; the end waits for it.
    pub(super) fn while_running(&self) -> Result<RwLockReadGuard<'_, bool>, Refusal> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        if *running { Ok(running) } else { Err(ended()) }
    }

    /// The roster, when none of these ports is being opened any more.
    fn when_settled(&self, names: &[&str]) -> MutexGuard<'_, Roster> {
        let settled = self.settled.wait_while(self.roster(), |roster| roster.is_opening(names));
        settled.unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses before any interface is made for nothing.
    fn check_domain(&self, port: &PortConfig) -> Result<(), Refusal> {
        let domains = locked(&self.domains);
        if domains.contains_key(&port.domain) { Ok(()) } else { Err(no_domain(port, domains.keys())) }
    }
}

/// The switch is ending, or is to do no more of what was asked for.
fn ended() -> Refusal {
    Refusal::new(Kind::Failed, "the switch is ending", "start it again with \"xdock run\"")
}

fn no_domain<'a>(port: &PortConfig, domains: impl Iterator<Item = &'a String>) -> Refusal {
    let what = format!("port {}: no domain \"{}\"", port.name, port.domain);
    let hint = match domains.map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => format!("add it first: xdock domain add {}", port.domain),
        names => format!("the domains are {}", names.join(", ")),
    };
    Refusal::new(Kind::Unknown, what, hint)
}
