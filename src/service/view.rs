//! The state of the switch in the shapes of the control socket.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::FlowKey;
use crossdock_engine::ports::{NetnsId, NetnsNames};
use crossdock_engine::program::Action;
use crossdock_engine::switch::{DomainStatus, FdbStatus, FlowStatus, Mirror, PortStatus, WorkerStatus};
use crossdock_engine::tables::vlan::Tagging;

use super::roster::Entry;
use super::{Refusal, Service};
use crate::config::{PortKind, VlanKeys};
use crate::control::api::{
    DomainInfo, DropInfo, Drops, FdbInfo, FlowInfo, MirrorInfo, OffloadInfo, PortInfo, PortState, WorkerInfo,
};

impl Service {
    /// All ports, by name.
    pub fn ports(&self) -> Vec<PortInfo> {
        let status = |status: PortStatus| (status.name.clone(), status);
        let mut known: HashMap<String, PortStatus> = self.switch.ports().into_iter().map(status).collect();
        let (roster, names) = (self.roster(), OnceCell::new());
        roster.iter().filter_map(|entry| Some(port(entry, known.remove(&entry.config.name)?, &names))).collect()
    }

    /// One port.
    pub fn port(&self, name: &str) -> Option<PortInfo> {
        let status = self.switch.port(name)?;
        Some(port(self.roster().get(name)?, status, &OnceCell::new()))
    }

    /// All domains.
    ///
    /// # Errors
    /// The switch has stopped.
    pub fn domains(&self) -> Result<Vec<DomainInfo>, Refusal> {
        let sizes = self.switch.fdb_sizes()?;
        let entries = |name: &str| sizes.get(name).copied().unwrap_or(0) as u64;
        Ok(self.switch.domains().into_iter().map(|status| domain(entries(&status.name), status)).collect())
    }

    /// All learned addresses, by domain, VLAN and address.
    ///
    /// # Errors
    /// The switch has stopped.
    pub fn fdb(&self) -> Result<Vec<FdbInfo>, Refusal> {
        let mut entries = self.switch.fdb()?;
        entries.sort_by(|a, b| (&a.domain, a.vlan, a.service, a.mac).cmp(&(&b.domain, b.vlan, b.service, b.mac)));
        Ok(entries.into_iter().map(fdb_entry).collect())
    }

    /// All cached flows, the busiest first.
    ///
    /// # Errors
    /// The switch has stopped.
    pub fn flows(&self) -> Result<Vec<FlowInfo>, Refusal> {
        let mut flows = self.switch.flows()?;
        flows.sort_by_key(|flow| std::cmp::Reverse(flow.frames));
        Ok(flows.into_iter().map(|status| self.flow(status)).collect())
    }

    /// Every reason for drops, with what it counted.
    pub fn drops(&self) -> Drops {
        let info = |(reason, count): (DropReason, u64)| {
            (reason.name().to_owned(), DropInfo { count, meaning: reason.meaning().into() })
        };
        self.switch.drops().into_iter().map(info).collect()
    }

    /// All workers.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.switch.workers().into_iter().map(worker).collect()
    }

    fn flow(&self, status: FlowStatus) -> FlowInfo {
        FlowInfo {
            worker: status.worker,
            in_port: status.in_port,
            key: key(&status.key),
            program: status.program.iter().map(|action| self.action(action)).collect(),
            frames: status.frames,
            bytes: status.bytes,
            idle_s: status.idle.as_secs(),
        }
    }

    /// The engine knows ports by number, people by name.
    pub(super) fn action(&self, action: &Action) -> String {
        match action {
            Action::Output(port) => match self.switch.port_name(*port) {
                Some(name) => format!("output:{name}"),
                None => action.to_string(),
            },
            _ => action.to_string(),
        }
    }
}

fn port(entry: &Entry, status: PortStatus, names: &OnceCell<NetnsNames>) -> PortInfo {
    let place = entry.handle.as_ref().and_then(|handle| handle.whereabouts());
    let netns = netns(entry, place.as_ref().and_then(|place| place.netns), names);
    let (state, reason) = state(entry, status.up);
    let ifname = place.map(|place| place.ifname);
    let drops = port_drops(&status);
    let count = &status.counters;
    PortInfo {
        ifname: ifname.unwrap_or_else(|| entry.config.ifname.clone()),
        netns,
        kind: status.kind.into(),
        domain: status.domain.unwrap_or_default(),
        vlan: (status.vlan != Tagging::Transparent).then(|| VlanKeys::of(&status.vlan)),
        guard: entry.config.guard.as_ref().map(|guard| serde_json::json!(guard)),
        mirror: status.mirror.map(mirror),
        up: state == PortState::Up,
        state,
        reason,
        mtu: status.caps.mtu,
        mac: status.caps.mac.map(|mac| mac.to_string()),
        rx_frames: count.rx_frames.get(),
        rx_bytes: count.rx_bytes.get(),
        tx_frames: count.tx_frames.get(),
        tx_bytes: count.tx_bytes.get(),
        generated: count.generated.get(),
        coalesced: count.coalesced.get(),
        mac_flaps: count.mac_flaps.get(),
        drops,
        offload: OffloadInfo { csum: status.caps.csum, tso: status.caps.tso, uso: status.caps.uso, tunnel: false },
        name: status.name,
    }
}

fn mirror((Mirror { to, ingress, egress }, active): (Mirror, bool)) -> MirrorInfo {
    MirrorInfo { to, ingress, egress, active }
}

/// How a port is, and why no frame can pass.
fn state(entry: &Entry, up: bool) -> (PortState, Option<String>) {
    let ifname = &entry.config.ifname;
    match (&entry.absence, up, entry.config.kind) {
        (Some(absence), ..) => (PortState::Gone, Some(absence.why.clone())),
        (None, true, _) => match &entry.leads_to {
            Some(other) if *other == entry.config.name => {
                (PortState::Blocked, Some("a loop: it leads back to itself".into()))
            }
            Some(other) => (PortState::Blocked, Some(format!("a loop: it leads back to the switch by port {other}"))),
            None => (PortState::Up, None),
        },
        (None, false, PortKind::Tap) => (PortState::Down, Some(format!("its interface \"{ifname}\" is set down"))),
        (None, false, PortKind::Pcap) => (PortState::Down, Some("its file is not being played".into())),
        (None, false, _) => {
            (PortState::Down, Some(format!("its interface \"{ifname}\" is set down, or has no carrier")))
        }
    }
}

/// The name of the namespace that a port is in: as it was asked for unless it has moved. Only then are all names read, once.
fn netns(entry: &Entry, place: Option<NetnsId>, names: &OnceCell<NetnsNames>) -> Option<String> {
    let held = entry.handle.as_ref().and_then(|handle| handle.holds());
    let elsewhere = place.filter(|id| held != Some(*id));
    let found = elsewhere.and_then(|id| names.get_or_init(NetnsNames::read).of(id).map(str::to_owned));
    found.or_else(|| entry.config.netns.clone())
}

fn port_drops(status: &PortStatus) -> BTreeMap<String, u64> {
    let counts = DropReason::ALL.iter().map(|reason| (reason.name(), status.counters.drops[reason.index()].get()));
    counts.filter(|(_, count)| *count > 0).map(|(name, count)| (name.into(), count)).collect()
}

fn domain(fdb_entries: u64, status: DomainStatus) -> DomainInfo {
    DomainInfo {
        name: status.name,
        ageing_s: status.ageing_s,
        fdb_max: u32::try_from(status.fdb_max).unwrap_or(u32::MAX),
        mac: status.mac.map(|mac| mac.to_string()),
        vlan_filtering: status.vlan_filtering,
        ports: status.ports,
        fdb_entries,
    }
}

fn fdb_entry(status: FdbStatus) -> FdbInfo {
    FdbInfo {
        domain: status.domain,
        vlan: status.vlan,
        service: status.service,
        mac: status.mac.to_string(),
        port: status.port,
        age_s: status.age.as_secs(),
        fixed: status.fixed,
    }
}

/// The fields that a learning switch reads; the others are zero in every key.
pub(super) fn key(key: &FlowKey) -> BTreeMap<String, String> {
    let fields = [
        ("eth_src", Some(key.eth_src.to_string())),
        ("eth_dst", Some(key.eth_dst.to_string())),
        ("eth_type", Some(format!("{:#06x}", key.ethertype()))),
        ("vlan", key.tag().map(|tag| tag.to_string())),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn worker(status: WorkerStatus) -> WorkerInfo {
    WorkerInfo {
        core: status.core,
        batches: status.batches,
        frames: status.frames,
        idle_fraction: status.idle_fraction,
        cycles_per_frame: (status.frames > 0).then_some(status.cycles_per_frame),
        busy_ticks: status.busy_ticks,
        total_ticks: status.total_ticks,
        misses: status.misses,
        moves: status.moves,
        flow_entries: status.flow_entries,
        pool_free: status.pool_free,
        pool_total: status.pool_total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DomainConfig};
    use crossdock_engine::ports::channel::Channel;
    use crossdock_engine::switch::Membership;
    use crossdock_engine::wire::vlan::{Tpid, Vid};
    use std::time::{Duration, Instant};

    #[test]
    fn one_address_in_a_customers_and_in_a_providers_vlan() {
        let mut config = Config { domain: vec![DomainConfig::new("lan".into())], ..Config::default() };
        (config.engine.frames, config.engine.super_frames, config.engine.flows_max) = (512, 16, 64);
        let service = Service::start(&config).unwrap();
        let vid = Vid::new(100).unwrap();
        let ways = [Tagging::Access { vid, admit_tagged: false }, Tagging::Tunnel { vid, tpid: Tpid::SERVICE }];
        let open = |(name, vlan)| {
            let (port, end) = Channel::pair(name, 16, 1500, service.switch().arena()).unwrap();
            service.switch().add_port(Box::new(port), &Membership { vlan, ..Membership::of("lan") }).unwrap();
            end
        };
        let mut ends: Vec<_> = ["customer", "provider"].into_iter().zip(ways).map(open).collect();
        let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 46]].concat();
        ends.iter_mut().for_each(|end| end.send(&frame, Default::default()).unwrap());
        let deadline = Instant::now() + Duration::from_secs(10);
        while service.fdb().unwrap().len() < 2 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let known: Vec<_> =
            service.fdb().unwrap().into_iter().map(|entry| (entry.port, entry.vlan, entry.service)).collect();
        assert_eq!(known, [("customer".into(), Some(100), false), ("provider".into(), Some(100), true)]);
    }
}
