//! `xdock check`: what is wrong with a configuration file.

use std::io::Write;
use std::path::Path;

use crossdock::config::Config;

use crate::cli::CheckArgs;
use crate::failure::Failure;

pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let config = load(&args.config)?;
    let domains = count(config.domain.len(), "domain");
    let ports = count(config.port.len(), "port");
    writeln!(std::io::stdout(), "{}: ok: {domains}, {ports}", args.config.display())?;
    Ok(())
}

/// Reads a configuration file.
pub fn load(path: &Path) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::new(&path.display().to_string(), e, None))?;
    Config::parse(&text, &super::cores()?).map_err(|report| Failure::in_file(path, report))
}

fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}
