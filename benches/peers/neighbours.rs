//! What else a switch serves beside the two hosts: further domains and ports, and the namespaces they are in.

use crate::lab::{Lab, Namespace};
use std::fmt::Write;
use std::io;
use std::time::Duration;

/// How long a switch may take to be ready: a constant part, and one for each port.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(200));

/// Domains and ports of others.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// Where they are.
    pub namespaces: Vec<Namespace>,
    /// Their tables of the configuration.
    pub config: String,
    ports: u32,
}

impl Neighbours {
    /// A domain, with these keys.
    pub fn domain(&mut self, name: &str, keys: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.config, "\n[[domain]]\nname = \"{name}\"\n{keys}\n");
    }

    /// A port of a domain, with these keys.
    pub fn port(&mut self, name: &str, domain: &str, keys: &str) {
        self.ports += 1;
        let _ = write!(self.config, "\n[[port]]\nname = \"{name}\"\ndomain = \"{domain}\"\n{keys}\n");
    }

    /// `ports` TAPs of a domain, dealt out to `namespaces` new ones in which nobody ever speaks.
    pub fn idle(&mut self, lab: &Lab, domain: &str, ports: usize, namespaces: usize) -> io::Result<()> {
        let homes = lab.crowd("idle", namespaces.min(ports))?;
        for n in 0..ports {
            let netns = homes[n % homes.len()].name();
            self.port(&format!("idle{n}"), domain, &format!("netns = \"{netns}\"\nifname = \"idle{n}\""));
        }
        self.namespaces.extend(homes);
        Ok(())
    }

    /// How long the switch may take to be ready for all of them, or to end.
    pub fn patience(&self) -> Duration {
        PATIENCE.0 + PATIENCE.1 * self.ports
    }
}
