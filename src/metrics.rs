//! What Prometheus reads: the counters of the switch in the text format of OpenMetrics 1.0.
//!
//! Nothing is counted for this. A scrape reads the counters that the workers keep anyway; all that it asks a worker for is how
//! many addresses each domain knows, one short message.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crossdock_engine::drop::DropReason;
use crossdock_engine::switch::PortStatus;
use crossdock_engine::tables::topology::{IsolationGroups, PortView};

use crate::control::api::{DomainInfo, WorkerInfo};
use crate::service::{Refusal, Service};

/// What the text is, as HTTP says it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics as they are now.
///
/// # Errors
/// The switch has stopped.
pub fn text(service: &Service) -> Result<String, Refusal> {
    let snapshot = Snapshot {
        ports: service.switch().ports(),
        domains: service.domains()?,
        workers: service.workers(),
        in_flight: service.switch().conservation().in_flight(),
    };
    let mut registry = Registry::with_prefix("xdock");
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The running program", build);
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    Ok(text)
}

/// Everything that is told, taken once.
#[derive(Debug)]
struct Snapshot {
    ports: Vec<PortStatus>,
    domains: Vec<DomainInfo>,
    workers: Vec<WorkerInfo>,
    in_flight: i64,
}

type Labels = Vec<(&'static str, String)>;

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        self.ports(&mut sheet)?;
        self.drops(&mut sheet)?;
        self.domains(&mut sheet)?;
        self.workers(&mut sheet)?;
        let help = "Frames inside the switch; 0 at rest, anything else is only as exact as the reading under load";
        sheet.gauges("frames_in_flight", help, [(Labels::new(), self.in_flight as f64)])
    }
}

impl Snapshot {
    fn ports(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let all = |value: fn(&PortStatus) -> u64| self.ports.iter().map(move |port| (named(port), value(port)));
        let gauges = |value: fn(&PortStatus) -> f64| self.ports.iter().map(move |port| (named(port), value(port)));
        sheet.gauges("port_info", "What a port is; always 1", self.ports.iter().map(|port| (described(port), 1.0)))?;
        sheet.gauges("port_up", "Whether frames can pass", gauges(|port| f64::from(u8::from(port.up))))?;
        sheet.gauges("port_mtu_bytes", "IP MTU", gauges(|port| port.caps.mtu.into()))?;
        sheet.gauges(
            "port_mac_limit",
            "Most MAC addresses learned; 0: no limit",
            gauges(|port| port.view.mac_limit.into()),
        )?;
        let received = "Frames received from the port; a super-frame counts once";
        sheet.counters("port_rx_frames", received, all(|port| port.counters.rx_frames.get()))?;
        sheet.counters(
            "port_rx_bytes",
            "Bytes received from the port, without FCS",
            all(|port| port.counters.rx_bytes.get()),
        )?;
        sheet.counters("port_tx_frames", "Frames sent to the port", all(|port| port.counters.tx_frames.get()))?;
        sheet.counters(
            "port_tx_bytes",
            "Bytes sent to the port, without FCS",
            all(|port| port.counters.tx_bytes.get()),
        )?;
        let made = "Copies of frames from the port, to flood them, announcements of its addresses, and segments cut for the port less one of each frame";
        sheet.counters("port_generated_frames", made, all(|port| port.counters.generated.get()))?;
        let joined = "Frames to the port that were joined to others, into super-frames";
        sheet.counters("port_coalesced_frames", joined, all(|port| port.counters.coalesced.get()))?;
        let flaps = "MAC addresses that jumped between the port and others and were pinned";
        sheet.counters("port_mac_flaps", flaps, all(|port| port.counters.mac_flaps.get()))
    }

    /// Every reason for every port, also those that never occurred: a rate needs the zero before the first one.
    fn drops(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let of = |port: &PortStatus, reason: DropReason| {
            let labels = [named(port), vec![("reason", reason.name().to_owned())]].concat();
            (labels, port.counters.drops[reason.index()].get())
        };
        let samples = self.ports.iter().flat_map(|port| DropReason::ALL.iter().map(move |reason| of(port, *reason)));
        sheet.counters("drops", "Frames dropped at the port, by reason", samples)
    }

    fn domains(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let all = |value: fn(&DomainInfo) -> f64| {
            self.domains.iter().map(move |domain| (vec![("domain", domain.name.clone())], value(domain)))
        };
        sheet.gauges("fdb_entries", "MAC addresses that the domain knows", all(|domain| domain.fdb_entries as f64))?;
        sheet.gauges("fdb_max_entries", "Most of them", all(|domain| domain.fdb_max.into()))?;
        let set = "MAC addresses that belong to ports for good, active or waiting for their ports";
        sheet.gauges("fdb_static_entries", set, all(|domain| domain.static_entries as f64))
    }

    fn workers(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let label = |index: usize| vec![("worker", index.to_string())];
        let workers = || self.workers.iter().enumerate();
        let all = |value: fn(&WorkerInfo) -> u64| workers().map(move |(at, worker)| (label(at), value(worker)));
        let gauges = |value: fn(&WorkerInfo) -> f64| workers().map(move |(at, worker)| (label(at), value(worker)));
        sheet.counters("worker_frames", "Frames received by the worker", all(|worker| worker.frames))?;
        sheet.counters("worker_batches", "Rounds that found frames", all(|worker| worker.batches))?;
        sheet.counters("worker_misses", "Frames that missed the flow cache", all(|worker| worker.misses))?;
        let moves = "MAC addresses that the worker saw move to another port";
        sheet.counters("worker_moves", moves, all(|worker| worker.moves))?;
        let busy = "Time-stamp counter ticks of rounds that found frames; over worker_ticks, the load";
        sheet.counters("worker_busy_ticks", busy, all(|worker| worker.busy_ticks))?;
        sheet.counters("worker_ticks", "Time-stamp counter ticks since it began", all(|worker| worker.total_ticks))?;
        sheet.gauges("flow_entries", "Entries of the flow cache", gauges(|worker| worker.flow_entries as f64))?;
        sheet.gauges(
            "pool_free_frames",
            "Free frame memory of the whole switch",
            gauges(|worker| worker.pool_free as f64),
        )?;
        sheet.gauges("pool_frames", "All frame memory of the whole switch", gauges(|worker| worker.pool_total as f64))
    }
}

fn named(port: &PortStatus) -> Labels {
    vec![("port", port.name.clone())]
}

fn described(port: &PortStatus) -> Labels {
    let domain = port.domain.clone().unwrap_or_default();
    let PortView { learning, locked, hairpin, floods, .. } = port.view;
    let isolated = port.view.isolation() != IsolationGroups::default();
    let knobs = [
        ("learning", learning),
        ("locked", locked),
        ("hairpin", hairpin),
        ("flood", floods.unknown),
        ("mcast_flood", floods.multicast),
        ("bcast_flood", floods.broadcast),
        ("isolated", isolated),
    ];
    let knobs = knobs.map(|(knob, on)| (knob, on.to_string()));
    [named(port), vec![("kind", port.kind.to_owned()), ("domain", domain)], knobs.to_vec()].concat()
}

/// Where families are written.
struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    /// A family of counters; the format adds `_total` to the name.
    fn counters(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) -> fmt::Result {
        self.family(name, help, samples.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value))))
    }

    fn gauges(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) -> fmt::Result {
        self.family(name, help, samples.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value))))
    }

    fn family<M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (Labels, M)>,
    ) -> fmt::Result {
        let mut samples = samples.peekable();
        let Some((_, first)) = samples.peek() else { return Ok(()) };
        let mut encoder = self.0.encode_descriptor(name, help, None, first.metric_type())?;
        for (labels, metric) in samples {
            metric.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
