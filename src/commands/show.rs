//! `xdock show`: the state of a running switch, as tables or as the control socket's own JSON.

use std::io::{BufWriter, Write};

use crossdock::control::api::{DomainInfo, Drops, FdbInfo, FlowInfo, MirrorInfo, PortInfo, WorkerInfo};
use serde::de::DeserializeOwned;

use super::{pretty, read};
use crate::cli::{ListArgs, ShowCommand};
use crate::failure::Failure;
use crate::table::Table;

pub fn run(command: &ShowCommand) -> Result<(), Failure> {
    match command {
        ShowCommand::Ports(args) => show(args, "ports", ports),
        ShowCommand::Domains(args) => show(args, "domains", domains),
        ShowCommand::Fdb(args) => show(args, "fdb", fdb),
        ShowCommand::Flows(args) => show(args, "flows", flows),
        ShowCommand::Drops(args) if args.all => show(&args.list, "drops", drops),
        ShowCommand::Drops(args) => show(&args.list, "drops", |all| drops(occurred(all))),
        ShowCommand::Workers(args) => show(args, "workers", workers),
    }
}

fn show<T: DeserializeOwned>(args: &ListArgs, what: &str, table: fn(T) -> Table) -> Result<(), Failure> {
    let command = format!("show {what}");
    let answer = read(&command, &args.target, &format!("/v1/{what}"))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.json {
        pretty::write(&answer, &mut out)?;
    } else {
        let rows = serde_json::from_str(&answer).map_err(|e| Failure::new(&command, e, other_version()))?;
        table(rows).write(&mut out)?;
    }
    Ok(out.flush()?)
}

pub fn other_version() -> Option<String> {
    Some("is the switch of another version? --json shows what it said".into())
}

/// The columns of ports. Behind them stand those of [`EXTRA`] in which some port has something to say.
const PORTS: [&str; 13] = [
    "NAME",
    "STATE",
    "DOMAIN",
    "VLAN",
    "IFNAME",
    "NETNS",
    "MTU",
    "MAC",
    "RX-FRAMES",
    "RX-BYTES",
    "TX-FRAMES",
    "TX-BYTES",
    "DROPS",
];

/// A column's name, and what a port has to say in it.
type Column = (&'static str, fn(&PortInfo) -> Option<String>);

/// Columns that are there only where they are wanted.
const EXTRA: [Column; 2] =
    [("MIRROR", |port| port.mirror.as_ref().map(mirror)), ("REASON", |port| port.reason.clone())];

pub fn ports(ports: Vec<PortInfo>) -> Table {
    let extra: Vec<_> = EXTRA.into_iter().filter(|(_, says)| ports.iter().any(|port| says(port).is_some())).collect();
    let mut table = Table::new(&[&PORTS[..], &extra.iter().map(|(name, _)| *name).collect::<Vec<_>>()].concat());
    for port in ports {
        let extra: Vec<_> = extra.iter().map(|(_, says)| says(&port).unwrap_or_default()).collect();
        let numbers = [port.rx_frames, port.rx_bytes, port.tx_frames, port.tx_bytes, port.drops.values().sum()];
        let netns = port.netns.unwrap_or_default();
        let vlan = port.vlan.map(|keys| keys.to_string()).unwrap_or_default();
        let (mtu, mac) = (port.mtu.to_string(), port.mac.unwrap_or_default());
        let words = [port.name, port.state.name().into(), port.domain, vlan, port.ifname, netns, mtu, mac];
        table.row(words.into_iter().chain(numbers.map(|n| n.to_string())).chain(extra));
    }
    table
}

/// A port's mirror: `to m`, `in to m`, `to m (idle)`.
fn mirror(mirror: &MirrorInfo) -> String {
    let direction = match (mirror.ingress, mirror.egress) {
        (true, false) => "in ",
        (false, true) => "out ",
        _ => "",
    };
    format!("{direction}to {}{}", mirror.to, if mirror.active { "" } else { " (idle)" })
}

fn domains(domains: Vec<DomainInfo>) -> Table {
    let mut table = Table::new(&["NAME", "AGEING", "FDB", "FDB-MAX", "MAC", "PORTS"]);
    for domain in domains {
        let ageing = format!("{} s", domain.ageing_s);
        let (now, most) = (domain.fdb_entries.to_string(), domain.fdb_max.to_string());
        table.row([domain.name, ageing, now, most, domain.mac.unwrap_or_default(), domain.ports.join(",")]);
    }
    table
}

pub fn fdb(entries: Vec<FdbInfo>) -> Table {
    let mut table = Table::new(&["DOMAIN", "VLAN", "MAC", "PORT", "AGE"]);
    for entry in entries {
        let age = if entry.fixed { "static".into() } else { format!("{} s", entry.age_s) };
        table.row([entry.domain, vlan(entry.vlan, entry.service), entry.mac, entry.port, age]);
    }
    table
}

/// A VLAN of a forwarding database. A provider's is another one than a customer's of the same number.
fn vlan(number: Option<u16>, service: bool) -> String {
    let kind = if service { " (802.1ad)" } else { "" };
    number.map(|number| format!("{number}{kind}")).unwrap_or_default()
}

pub fn flows(flows: Vec<FlowInfo>) -> Table {
    let mut table = Table::new(&["WORKER", "IN", "KEY", "PROGRAM", "FRAMES", "BYTES", "IDLE"]);
    for flow in flows {
        let key: Vec<String> = flow.key.iter().map(|(field, value)| format!("{field}={value}")).collect();
        let (worker, idle) = (flow.worker.to_string(), format!("{} s", flow.idle_s));
        let (frames, bytes) = (flow.frames.to_string(), flow.bytes.to_string());
        table.row([worker, flow.in_port, key.join(" "), flow.program.join(", "), frames, bytes, idle]);
    }
    table
}

/// Without the reasons that never occurred.
pub fn occurred(drops: Drops) -> Drops {
    drops.into_iter().filter(|(_, drop)| drop.count > 0).collect()
}

pub fn drops(drops: Drops) -> Table {
    let mut table = Table::new(&["REASON", "COUNT", "MEANING"]);
    for (reason, drop) in drops {
        table.row([reason, drop.count.to_string(), drop.meaning]);
    }
    table
}

fn workers(workers: Vec<WorkerInfo>) -> Table {
    let mut table = Table::new(&["CORE", "BATCHES", "FRAMES", "IDLE", "CYCLES/FRAME", "FLOWS", "POOL-FREE", "POOL"]);
    for worker in workers {
        let core = worker.core.map(|core| core.to_string()).unwrap_or_default();
        let idle = format!("{:.1}%", worker.idle_fraction * 100.0);
        let cycles = worker.cycles_per_frame.map(|cycles| format!("{cycles:.0}")).unwrap_or_default();
        let [batches, frames] = [worker.batches, worker.frames].map(|n| n.to_string());
        let [flows, free, total] = [worker.flow_entries, worker.pool_free, worker.pool_total].map(|n| n.to_string());
        table.row([core, batches, frames, idle, cycles, flows, free, total]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::vlan;

    #[test]
    fn a_providers_vlan_is_told_from_a_customers() {
        assert_eq!(
            [(Some(100), false), (Some(100), true), (None, false)].map(|(number, service)| vlan(number, service)),
            ["100", "100 (802.1ad)", ""]
        );
    }
}
