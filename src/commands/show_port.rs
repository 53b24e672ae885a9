//! `xdock show port NAME`: all that there is to say about one port, on a page.

use std::io::{self, BufWriter, Write};

use crossdock::config::{AtLimit, Knobs};
use crossdock::control::api::PortInfo;

use super::show::other_version;
use super::{pretty, read};
use crate::cli::NamedArgs;
use crate::failure::Failure;

pub fn run(args: &NamedArgs) -> Result<(), Failure> {
    let answer = read("show port", &args.list.target, &format!("/v1/ports/{}", args.name))?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.list.json {
        pretty::write(&answer, &mut out)?;
    } else {
        let port = serde_json::from_str(&answer).map_err(|e| Failure::new("show port", e, other_version()))?;
        page(&port, &mut out)?;
    }
    Ok(out.flush()?)
}

fn page(port: &PortInfo, out: &mut impl Write) -> io::Result<()> {
    let width = 14;
    let mut line = |what: &str, value: &str| writeln!(out, "{:<width$}{value}", format!("{what}:"));
    let reason = port.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    line("port", &format!("{} ({}), {}{reason}", port.name, port.kind, port.state.name()))?;
    let netns = port.netns.as_ref().map(|netns| format!(" in {netns}")).unwrap_or_default();
    if !port.ifname.is_empty() {
        let mac = port.mac.as_ref().map(|mac| format!(", {mac}")).unwrap_or_default();
        line("interface", &format!("{}{netns}, MTU {}{mac}", port.ifname, port.mtu))?;
    }
    line("domain", &port.domain)?;
    if let Some(vlan) = &port.vlan {
        line("vlan", &vlan.to_string())?;
    }
    line("addresses", &addresses(port))?;
    line("locked", if port.knobs.locked { "yes: only known addresses may be sources" } else { "no" })?;
    line("hairpin", if port.knobs.hairpin { "yes" } else { "no" })?;
    line("floods", &floods(&port.knobs))?;
    line("isolated", &port.knobs.isolated.to_string())?;
    line("received", &format!("{} frames, {} bytes", port.rx_frames, port.rx_bytes))?;
    line("sent", &format!("{} frames, {} bytes", port.tx_frames, port.tx_bytes))?;
    match port.drops.is_empty() {
        true => line("dropped", "nothing"),
        false => port.drops.iter().try_for_each(|(reason, count)| line("dropped", &format!("{count} {reason}"))),
    }
}

/// `3 learned, of 10 at most; frames from others are dropped`.
fn addresses(port: &PortInfo) -> String {
    let Knobs { learning, mac_limit, at_limit, .. } = port.knobs;
    let learned = port.addresses.map(|count| format!("{count} learned")).unwrap_or_default();
    let limit = match (mac_limit, at_limit) {
        (0, _) => String::new(),
        (limit, AtLimit::Drop) => format!(", of {limit} at most; frames from others are dropped"),
        (limit, AtLimit::Pass) => format!(", of {limit} at most; frames from others pass"),
    };
    format!("{learned}{limit}{}", if learning { "" } else { "; learns no more" })
}

/// The kinds of floods that the port gets.
fn floods(knobs: &Knobs) -> String {
    let kinds = [("unknown", knobs.flood), ("multicast", knobs.mcast_flood), ("broadcast", knobs.bcast_flood)];
    let taken: Vec<&str> = kinds.into_iter().filter(|(_, taken)| *taken).map(|(kind, _)| kind).collect();
    if taken.is_empty() { "none".into() } else { taken.join(", ") }
}
