//! `xdock port`: the ports of a running switch.

use crossdock::config::PortConfig;
use hyper::Method;
use serde_json::json;

use super::{ask, change, show};
use crate::cli::{PortAddArgs, PortCommand, PortSetArgs, RemoveArgs, ShowCommand};
use crate::failure::Failure;

pub fn run(command: PortCommand) -> Result<(), Failure> {
    match command {
        PortCommand::Add(args) => add(&args),
        PortCommand::Set(args) => set(&args),
        PortCommand::Rm(args) => remove(&args),
        PortCommand::Ls(args) => show::run(&ShowCommand::Ports(args)),
    }
}

fn add(args: &PortAddArgs) -> Result<(), Failure> {
    let port = PortConfig::from_json(&json!(args.keys)).map_err(|report| Failure::in_flags("port add", report))?;
    ask("port add", &args.target, Method::POST, "/v1/ports", Some(&json!(port))).map(drop)
}

fn set(args: &PortSetArgs) -> Result<(), Failure> {
    change("port set", &args.target, &format!("/v1/ports/{}", args.name), &json!(args.keys))
}

fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    ask("port rm", &args.target, Method::DELETE, &format!("/v1/ports/{}", args.name), None).map(drop)
}
