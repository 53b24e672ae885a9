//! One file a command.

mod capture;
mod bench;
mod check;
mod completions;
mod demo;
mod doctor;
mod domain;
mod fdb;
mod log;
mod port;
mod pretty;
mod reload;
mod run;
mod show;
mod show_port;
mod trace;

mod stop;
mod top;

use hyper::Method;
use serde_json::Value;

use crate::cli::{Cli, Command, Target};
use crate::failure::Failure;
use crossdock::config::{Problem, Report};
use crossdock::control::client;

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Port(command) => port::run(command),
        Command::Domain(command) => domain::run(command),
        Command::Fdb(command) => fdb::run(command),
        Command::Show(command) => show::run(&command),
        Command::Trace(args) => trace::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
        Command::Demo => demo::run(),
    }
}

/// Asks the switch to show something; gives its JSON as it is.
fn read(what: &str, target: &Target, path: &str) -> Result<String, Failure> {
    client::read(&target.control, path).map_err(|error| Failure::from((what, error)))
}

/// Asks the switch for something; `what` names the request in complaints.
fn ask(what: &str, target: &Target, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    client::request(&target.control, method, path, body).map_err(|error| Failure::from((what, error)))
}

/// Asks the switch to change keys of something; there is at least one.
fn change(what: &str, target: &Target, path: &str, keys: &Value) -> Result<(), Failure> {
    if keys.as_object().is_none_or(serde_json::Map::is_empty) {
        let hint = "a key and its value; --help lists them".into();
        let problem = Problem { line: None, what: "nothing to change".into(), hint };
        return Err(Failure::in_flags(what, Report { problems: vec![problem] }));
    }
    ask(what, target, Method::PATCH, path, Some(keys)).map(drop)
}
