//! `xdock reload`: makes the running switch like its configuration file again.

use std::io::Write;

use crossdock::control::api::{Reloaded, ReloadedItem};
use hyper::Method;

use super::{ask, show::other_version};
use crate::cli::ListArgs;
use crate::failure::Failure;
use crate::table::Table;

pub fn run(args: &ListArgs) -> Result<(), Failure> {
    let answer = ask("reload", &args.target, Method::POST, "/v1/reload", None)?;
    let done: Reloaded =
        serde_json::from_value(answer.clone()).map_err(|e| Failure::new("reload", e, other_version()))?;
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{answer:#}")?,
        false => write(&done, &mut out)?,
    }
    if done.failed.is_empty() { Ok(()) } else { Err(Failure::in_reload(done.failed)) }
}

fn write(done: &Reloaded, out: &mut impl Write) -> std::io::Result<()> {
    let mut table = Table::new(&["WHAT", "KIND", "NAME", "KEYS"]);
    for (what, items) in [("added", &done.added), ("removed", &done.removed), ("changed", &done.changed)] {
        for item in items {
            table.row([word(what, item).into(), item.kind.clone(), item.name.clone(), item.keys.join(",")]);
        }
    }
    if done.added.len() + done.removed.len() + done.changed.len() > 0 {
        table.write(out)?;
    }
    writeln!(out, "{}: {} unchanged", done.file, done.unchanged.len())?;
    if !done.restart.is_empty() {
        writeln!(out, "needs a restart, not applied: [engine] {}", done.restart.join(", "))?;
    }
    Ok(())
}

fn word<'a>(what: &'a str, item: &ReloadedItem) -> &'a str {
    if item.recreated { "recreated" } else { what }
}
