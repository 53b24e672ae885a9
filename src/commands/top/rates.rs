//! From two samples of counters to a page of rates.

use std::io;
use std::time::Instant;

use crossdock::control::api::{PortInfo, WorkerInfo};

use crate::table::Table;

/// The counters at one time.
#[derive(Debug)]
pub struct Sample {
    pub at: Instant,
    pub ports: Vec<PortInfo>,
    pub workers: Vec<WorkerInfo>,
}

/// What a port did per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Rates {
    rx_frames: f64,
    rx_bytes: f64,
    tx_frames: f64,
    tx_bytes: f64,
    drops: f64,
}

/// The ports, busiest first, and the workers.
pub fn page(before: &Sample, now: &Sample) -> io::Result<String> {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(1e-3);
    let mut text = Vec::new();
    ports(before, now, seconds).write(&mut text)?;
    text.push(b'\n');
    workers(before, now, seconds).write(&mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}

fn ports(before: &Sample, now: &Sample, seconds: f64) -> Table {
    let mut rows: Vec<_> = now.ports.iter().map(|port| (port, rates(before, port, seconds))).collect();
    let traffic = |rates: &Rates| rates.rx_bytes + rates.tx_bytes;
    rows.sort_by(|(a, x), (b, y)| traffic(y).total_cmp(&traffic(x)).then_with(|| a.name.cmp(&b.name)));
    let headings =
        ["PORT", "STATE", "DOMAIN", "RX-FRAMES/S", "RX-MBIT/S", "TX-FRAMES/S", "TX-MBIT/S", "DROPS/S", "DROPS"];
    let mut table = Table::new(&headings);
    for (port, rates) in rows {
        let state = if port.up { "up" } else { "down" };
        let [rx, tx, drops] = [rates.rx_frames, rates.tx_frames, rates.drops].map(|rate| format!("{rate:.0}"));
        let [rx_bits, tx_bits] = [rates.rx_bytes, rates.tx_bytes].map(|rate| format!("{:.1}", rate * 8.0 / 1e6));
        let all = port.drops.values().sum::<u64>().to_string();
        table.row([port.name.clone(), state.into(), port.domain.clone(), rx, rx_bits, tx, tx_bits, drops, all]);
    }
    table
}

fn rates(before: &Sample, port: &PortInfo, seconds: f64) -> Rates {
    let Some(then) = before.ports.iter().find(|then| then.name == port.name) else { return Rates::default() };
    // A port made anew under its old name counts from nothing.
    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
    Rates {
        rx_frames: rate(port.rx_frames, then.rx_frames),
        rx_bytes: rate(port.rx_bytes, then.rx_bytes),
        tx_frames: rate(port.tx_frames, then.tx_frames),
        tx_bytes: rate(port.tx_bytes, then.tx_bytes),
        drops: rate(port.drops.values().sum(), then.drops.values().sum()),
    }
}

fn workers(before: &Sample, now: &Sample, seconds: f64) -> Table {
    let mut table =
        Table::new(&["WORKER", "CORE", "BUSY", "FRAMES/S", "MISSES/S", "CYCLES/FRAME", "FLOWS", "POOL-FREE"]);
    for (at, (worker, then)) in now.workers.iter().zip(&before.workers).enumerate() {
        let since = |value: fn(&WorkerInfo) -> u64| value(worker).saturating_sub(value(then)) as f64;
        let (frames, busy) = (since(|w| w.frames), since(|w| w.busy_ticks));
        let load = busy / since(|w| w.total_ticks).max(1.0) * 100.0;
        let cycles = if frames > 0.0 { format!("{:.0}", busy / frames) } else { String::new() };
        let per_second = |n: f64| format!("{:.0}", n / seconds);
        let core = worker.core.map(|core| core.to_string()).unwrap_or_default();
        let [flows, free] = [worker.flow_entries, worker.pool_free].map(|n| n.to_string());
        let (frames, misses) = (per_second(frames), per_second(since(|w| w.misses)));
        table.row([at.to_string(), core, format!("{load:.1}%"), frames, misses, cycles, flows, free]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn port(name: &str, frames: u64) -> PortInfo {
        let shown = json!({"name": name, "kind": "tap", "ifname": "eth0", "netns": null, "domain": "lan", "up": true,
            "mtu": 1500, "mac": null, "rx_frames": frames, "rx_bytes": frames * 1000, "tx_frames": 0, "tx_bytes": 0,
            "generated": 0, "coalesced": 0, "drops": {"tx_full": frames / 10},
            "offload": {"csum": true, "tso": true, "uso": true, "tunnel": false}});
        serde_json::from_value(shown).unwrap()
    }

    fn worker(frames: u64, busy: u64, total: u64) -> WorkerInfo {
        let shown = json!({"core": 1, "batches": 0, "frames": frames, "idle_fraction": 0.5, "cycles_per_frame": null,
            "busy_ticks": busy, "total_ticks": total, "misses": 0, "flow_entries": 3, "pool_free": 4, "pool_total": 5});
        serde_json::from_value(shown).unwrap()
    }

    #[test]
    fn counters_become_rates() {
        let at = Instant::now();
        let before = Sample { at, ports: vec![port("a", 100), port("b", 0)], workers: vec![worker(0, 1000, 10_000)] };
        let now = Sample {
            at: at + Duration::from_secs(2),
            ports: vec![port("a", 100), port("b", 2000), port("new", 70)],
            workers: vec![worker(2000, 101_000, 210_000)],
        };
        let page = page(&before, &now).unwrap();
        let rows: Vec<Vec<&str>> = page.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["b", "up", "lan", "1000", "8.0", "0", "0.0", "100", "200"], "the busiest first");
        assert_eq!(rows[2][..4], ["a", "up", "lan", "0"]);
        assert_eq!(rows[3][..4], ["new", "up", "lan", "0"], "a new port has no rate yet");
        assert_eq!(rows[6], ["0", "1", "50.0%", "1000", "0", "50", "3", "4"]);
    }
}
