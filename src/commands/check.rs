//! `xdock check`: what is wrong with a configuration file.

use std::io::Write;

use crossdock::config::load;

use crate::cli::CheckArgs;
use crate::failure::Failure;

pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let config = load(&args.config)?;
    let domains = count(config.domain.len(), "domain");
    let ports = count(config.port.len(), "port");
    writeln!(std::io::stdout(), "{}: ok: {domains}, {ports}", args.config.display())?;
    Ok(())
}

fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}
