//! One file a command.

mod capture;
mod check;
mod demo;
mod domain;
mod port;
mod run;
mod show;
mod trace;

use std::path::Path;

use hyper::Method;
use serde_json::Value;

use crate::cli::{Cli, Command, Target};
use crate::failure::Failure;
use crossdock::control::client;

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Port(command) => port::run(command),
        Command::Domain(command) => domain::run(command),
        Command::Show(command) => show::run(&command),
        Command::Trace(args) => trace::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Demo => demo::run(),
    }
}

/// Asks the switch for something; `what` names the request in complaints.
fn ask(what: &str, target: &Target, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    client::request(&target.control, method, path, body).map_err(|error| Failure::from((what, error)))
}

/// The cores of this machine that are switched on.
fn cores() -> Result<Vec<usize>, Failure> {
    let path = Path::new("/sys/devices/system/cpu/online");
    let list = std::fs::read_to_string(path).map_err(|e| Failure::new("cannot list the cores", e, None))?;
    Ok(core_list(list.trim()))
}

/// Reads the kernel's list format: `0-3,8`.
fn core_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists() {
        assert_eq!(core_list("0"), [0]);
        assert_eq!(core_list("0-3,8,10-11"), [0, 1, 2, 3, 8, 10, 11]);
    }
}
