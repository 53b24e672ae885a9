//! What a running switch shows: read from counters and by asking the worker for pages, without stopping anything.

use super::registry::{Registered, Registry, sum};
use super::workers::Link;
use super::{Error, Mirror, Switch};
use crate::drop::DropReason;
use crate::flow::PortId;
use crate::frame::Offload;
use crate::ports::Caps;
use crate::stats::PortCounters;
use crate::tables::topology::DomainId;
use crate::tables::vlan::Tagging;
use crate::trace::{Hypothesis, Trace};
use crate::wire::Mac;
use crate::wire::vnet::MAX_FRAME;
use crate::worker::Command;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// A port and its counters.
#[derive(Debug)]
pub struct PortStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// The domain it belongs to.
    pub domain: Option<String>,
    /// Isolated from other isolated ports.
    pub isolated: bool,
    /// How it takes part in the VLANs of its domain now.
    pub vlan: Tagging,
    /// Whether frames can pass.
    pub up: bool,
    /// Where copies of its frames go, and whether that port is there and up.
    pub mirror: Option<(Mirror, bool)>,
    /// What it can carry.
    pub caps: Caps,
    /// Its counters, the sum over all workers.
    pub counters: PortCounters,
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainStatus {
    /// Its name.
    pub name: String,
    /// Ageing time in seconds.
    pub ageing_s: u32,
    /// Most addresses learned.
    pub fdb_max: usize,
    /// The engine's own address.
    pub mac: Option<Mac>,
    /// Whether ports that know of no VLANs are untagged ports of VLAN 1.
    pub vlan_filtering: bool,
    /// Names of its ports.
    pub ports: Vec<String>,
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerStatus {
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Rounds that found frames.
    pub batches: u64,
    /// Frames received.
    pub frames: u64,
    /// Frames that missed the flow cache.
    pub misses: u64,
    /// Time-stamp counter ticks of rounds that found frames.
    pub busy_ticks: u64,
    /// Time-stamp counter ticks since it began.
    pub total_ticks: u64,
    /// Part of its time without frames, 0 to 1.
    pub idle_fraction: f64,
    /// Time-stamp counter ticks per frame, port I/O included.
    pub cycles_per_frame: f64,
    /// Ways of the flow cache ever filled.
    pub flow_entries: u64,
    /// Addresses that moved.
    pub moves: u64,
    /// Free frames of the whole switch, in the depot and with all workers: those of one say nothing about a leak.
    pub pool_free: u64,
    /// All frames of the whole switch.
    pub pool_total: u64,
}

/// The conservation of frames: received + generated = sent + coalesced + dropped + in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conservation {
    /// Frames taken from ports.
    pub received: u64,
    /// Copies made for floods and mirrors, segments cut from super-frames less one each, and frames that were injected.
    pub generated: u64,
    /// Segments that went into super-frames, less one each.
    pub coalesced: u64,
    /// Frames ports accepted.
    pub sent: u64,
    /// Frames dropped by name.
    pub dropped: u64,
}

impl Conservation {
    /// Frames inside the switch; 0 at rest.
    pub fn in_flight(&self) -> i64 {
        (self.received + self.generated) as i64 - (self.sent + self.coalesced + self.dropped) as i64
    }
}

impl Switch {
    /// All ports, by number.
    pub fn ports(&self) -> Vec<PortStatus> {
        let registry = self.registry();
        registry.ports().map(|(id, port)| status(&registry, id, port)).collect()
    }

    /// One port.
    pub fn port(&self, name: &str) -> Option<PortStatus> {
        let registry = self.registry();
        let id = registry.port_id(name).ok()?;
        Some(status(&registry, id, registry.port(id)?))
    }

    /// How many addresses each domain has learned, by the domain's name. Every worker knows all; the first is asked.
    ///
    /// # Errors
    /// When the switch has stopped.
    pub fn fdb_sizes(&self) -> Result<BTreeMap<String, usize>, Error> {
        let sizes = self.workers.ask(0, Command::CountFdb)?;
        let registry = self.registry();
        let name = |id| registry.domain(id).map(|domain| domain.name.clone());
        Ok(sizes.into_iter().filter_map(|(id, size)| Some((name(id)?, size))).collect())
    }

    /// All domains.
    pub fn domains(&self) -> Vec<DomainStatus> {
        let registry = self.registry();
        let mut members: BTreeMap<DomainId, Vec<String>> = BTreeMap::new();
        for (_, port) in registry.ports() {
            let Some(domain) = port.view.domain else { continue };
            members.entry(domain).or_default().push(port.name.clone());
        }
        let status = registry.domains().map(|(id, domain)| DomainStatus {
            name: domain.name.clone(),
            ageing_s: domain.ageing_s,
            fdb_max: domain.fdb_max,
            mac: domain.mac,
            vlan_filtering: domain.vlan_filtering,
            ports: members.remove(&id).unwrap_or_default(),
        });
        status.collect()
    }

    /// All workers.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        let with_workers: u64 = self.workers.all().iter().map(|link| link.counters.pool_free.get()).sum();
        let free = with_workers + self.arena.free() as u64;
        self.workers.all().iter().map(|link| self.worker(link, free)).collect()
    }

    fn worker(&self, link: &Link, free: u64) -> WorkerStatus {
        let c = &link.counters;
        let (busy, total, frames) = (c.busy_ticks.get(), c.total_ticks.get().max(1), c.frames.get());
        WorkerStatus {
            core: link.core,
            batches: c.batches.get(),
            frames,
            misses: c.misses.get(),
            busy_ticks: busy,
            total_ticks: total,
            idle_fraction: 1.0 - busy as f64 / total as f64,
            cycles_per_frame: busy as f64 / frames.max(1) as f64,
            flow_entries: c.flow_entries.get(),
            moves: c.moves.get(),
            pool_free: free,
            pool_total: self.arena.total() as u64,
        }
    }

    /// Drops by reason, over all ports that are or were.
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        let total = self.total();
        DropReason::ALL.iter().map(|&reason| (reason, total.drops[reason.index()].get())).collect()
    }

    /// Frames in, out and between. Exact at rest; under load the counters are read one after another.
    pub fn conservation(&self) -> Conservation {
        let total = self.total();
        Conservation {
            received: total.rx_frames.get(),
            generated: total.generated.get(),
            coalesced: total.coalesced.get(),
            sent: total.tx_frames.get(),
            dropped: total.dropped(),
        }
    }

    /// What was counted anywhere, by any worker.
    fn total(&self) -> PortCounters {
        let strays = self.workers.all().iter().map(|link| &*link.strays);
        sum(self.registry().counters().chain(strays))
    }
}

impl Switch {
    /// Lets a frame come in by a port that the other end did not send: it is learned from, switched and counted like any, but
    /// counts as generated there, not as received. It waits for nobody; while the port is down or gone, nothing happens.
    ///
    /// # Errors
    /// When there is no such port, the frame is longer than any, or the switch has stopped.
    pub fn inject(&self, port: &str, frame: Vec<u8>) -> Result<(), Error> {
        let (port, worker) = self.receiver(port)?;
        if frame.len() > MAX_FRAME {
            return Err(Error::TooLong(frame.len()));
        }
        self.workers.tell(worker, Command::Inject(port, frame))
    }

    /// How many ports a domain has.
    pub fn member_count(&self, domain: &str) -> usize {
        let registry = self.registry();
        registry.domain_id(domain).map_or(0, |id| registry.member_count(id))
    }

    /// What would happen to a frame from a port, and why. Nothing is sent, learned, cached or counted.
    ///
    /// # Errors
    /// When there is no such port, the frame is longer than any, or the switch has stopped.
    pub fn trace(&self, port: &str, frame: Vec<u8>, offload: Offload) -> Result<Trace, Error> {
        let (port, worker) = self.receiver(port)?;
        if frame.len() > MAX_FRAME {
            return Err(Error::TooLong(frame.len()));
        }
        let hypothesis = Box::new(Hypothesis { port, frame, offload });
        self.workers.ask(worker, |reply| Command::Trace(hypothesis, reply))
    }

    /// A port, and a worker that takes frames from it.
    fn receiver(&self, name: &str) -> Result<(PortId, usize), Error> {
        let registry = self.registry();
        let id = registry.port_id(name)?;
        let owner = registry.port(id).and_then(|port| port.owners.first().copied());
        Ok((id, owner.unwrap_or_default()))
    }
}

fn status(registry: &Registry, id: PortId, port: &Registered) -> PortStatus {
    let domain = port.view.domain.and_then(|domain| registry.domain(domain));
    PortStatus {
        name: port.name.clone(),
        kind: port.kind,
        domain: domain.map(|domain| domain.name.clone()),
        isolated: port.view.isolated,
        vlan: registry.view(id).map(|view| view.vlan).unwrap_or_default(),
        up: port.up.load(Relaxed),
        mirror: port.mirror.clone().map(|mirror| {
            let shows = registry.port_id(&mirror.to).ok().and_then(|to| registry.port(to));
            (mirror, shows.is_some_and(|port| port.up.load(Relaxed)))
        }),
        caps: port.caps.clone(),
        counters: port.total(),
    }
}
