//! `xdock check`: what is wrong with a configuration file.

use std::io::Write;

use crossdock::config::load;

use crate::cli::CheckArgs;
use crate::failure::Failure;

pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let config = load(&args.config)?;
    let domains = count(config.domain.len(), "domain");
    let ports = count(config.port.len(), "port");
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: ok: {domains}, {ports}", args.config.display())?;
    Ok(config.waiting().iter().try_for_each(|waiting| writeln!(out, "note: {waiting}"))?)
}

fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}
