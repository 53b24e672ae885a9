//! The hosts, their namespaces, and the switch between them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossdock::config::{Config, PortConfig};
use crossdock::service::Service;

use super::namespace::Namespace;
use crate::commands::run::tell_fate;
use crate::failure::Failure;

/// How long frames on their way may take to arrive.
const SETTLE_TRIES: u32 = 50;
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// The stage of the demo. First the switch ends, then the namespaces go.
pub struct Scene {
    pub service: Arc<Service>,
    pub hosts: Vec<Host>,
    pub switch: Namespace,
}

impl Drop for Scene {
    /// Ends the switch here and now: a thread of its own may hold it for a moment longer.
    fn drop(&mut self) {
        self.service.stop();
    }
}

/// A host: a namespace with one interface, which is a port of the switch.
pub struct Host {
    pub name: String,
    pub address: Ipv4Addr,
    pub namespace: Namespace,
}

/// Packets that a host's kernel counted at its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelCounts {
    pub received: u64,
    pub sent: u64,
    /// Not sent, because the switch had not yet taken what waits in the interface's queue.
    pub overflowed: u64,
}

/// Frames and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub frames: u64,
    pub bytes: u64,
}

impl Scene {
    /// Makes the namespaces, moves this thread into the switch's, and starts the switch there, pinned to `core`.
    pub fn build(core: Option<usize>) -> Result<Self, Failure> {
        let mut config = default_config()?;
        config.engine.cores = core.into_iter().collect();
        let switch = Namespace::create("sw").map_err(no_namespace)?;
        switch.enter().map_err(no_namespace)?;
        let hosts = config.port.iter_mut().map(Host::make).collect::<io::Result<_>>().map_err(no_namespace)?;
        let service = Arc::new(Service::start(&config)?);
        service.watch(tell_fate).map_err(no_namespace)?;
        Ok(Self { service, hosts, switch })
    }

    /// What the switch has sent to a port.
    pub fn sent_to(&self, port: &str) -> Traffic {
        let found = self.service.switch().port(port);
        found.map_or_else(Traffic::default, |status| Traffic {
            frames: status.counters.tx_frames.get(),
            bytes: status.counters.tx_bytes.get(),
        })
    }

    /// Waits until no frame is on its way, but not for ever.
    pub fn settle(&self) {
        let frames = || self.service.switch().conservation();
        let mut before = frames();
        for _ in 0..SETTLE_TRIES {
            thread::sleep(SETTLE_PAUSE);
            let now = frames();
            if now == before && now.in_flight() == 0 {
                return;
            }
            before = now;
        }
    }

    /// Whether the host's kernel counted the frames that the switch says it exchanged with it. Hosts also speak
    /// unasked, so frames may pass between two looks; then it looks again.
    pub fn agrees(&self, host: &Host) -> io::Result<bool> {
        for _ in 0..SETTLE_TRIES {
            let kernel = host.kernel_counts()?;
            let counters = self.service.switch().port(&host.name).map(|port| port.counters);
            let exchanged = counters.map(|port| (port.tx_frames.get(), port.rx_frames.get()));
            if exchanged == Some((kernel.received, kernel.sent)) {
                return Ok(true);
            }
            thread::sleep(SETTLE_PAUSE);
        }
        Ok(false)
    }
}

impl Host {
    /// Makes the namespace for a port and tells the port.
    fn make(port: &mut PortConfig) -> io::Result<Self> {
        let address = port.address.iter().find_map(|prefix| match prefix.address() {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        });
        let namespace = Namespace::create(&port.name)?;
        port.netns = Some(namespace.name().to_owned());
        Ok(Self { name: port.name.clone(), address: address.unwrap_or(Ipv4Addr::UNSPECIFIED), namespace })
    }

    /// What the host's kernel counted at its interface.
    pub fn kernel_counts(&self) -> io::Result<KernelCounts> {
        let text = self.namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
        counts(&text, "eth0").ok_or_else(|| io::Error::other("no eth0 in /proc/net/dev"))
    }
}

/// Reads `/proc/net/dev` (proc_pid_net(5)): eight columns received, eight sent; bytes, packets, errs, drop, ...
fn counts(text: &str, interface: &str) -> Option<KernelCounts> {
    let mut lines = text.lines().filter_map(|line| line.trim_start().split_once(':'));
    let (_, numbers) = lines.find(|(name, _)| *name == interface)?;
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
    Some(KernelCounts { received: *numbers.get(1)?, sent: *numbers.get(9)?, overflowed: *numbers.get(11)? })
}

fn default_config() -> Result<Config, Failure> {
    let text = include_str!("demo.toml");
    Config::parse(text, &[]).map_err(|report| Failure::in_file("demo.toml".as_ref(), report))
}

fn no_namespace(error: io::Error) -> Failure {
    let hint = "in a container, it needs CAP_SYS_ADMIN and CAP_NET_ADMIN (docker run --privileged)";
    Failure::new("cannot make the namespaces", error, Some(hint.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_configuration_is_valid() {
        let config = default_config().unwrap();
        assert_eq!(config.port.len(), 3);
        assert!(config.port.iter().all(|port| port.ifname == "eth0" && port.address.len() == 1));
    }

    #[test]
    fn counters_of_the_kernel() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets\n  \
                    eth0: 10 2 0 0 0 0 0 0 30 4 0 5 0 0 0 0\n    lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(counts(text, "eth0"), Some(KernelCounts { received: 2, sent: 4, overflowed: 5 }));
        assert_eq!(counts(text, "eth1"), None);
    }
}
