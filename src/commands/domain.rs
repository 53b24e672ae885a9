//! `xdock domain`: the bridge domains of a running switch.

use crossdock::config::DomainConfig;
use hyper::Method;
use serde_json::json;

use super::{ask, change, show};
use crate::cli::{DomainAddArgs, DomainCommand, DomainSetArgs, RemoveArgs, ShowCommand};
use crate::failure::Failure;

pub fn run(command: DomainCommand) -> Result<(), Failure> {
    match command {
        DomainCommand::Add(args) => add(&args),
        DomainCommand::Set(args) => set(&args),
        DomainCommand::Rm(args) => remove(&args),
        DomainCommand::Ls(args) => show::run(&ShowCommand::Domains(args)),
    }
}

fn add(args: &DomainAddArgs) -> Result<(), Failure> {
    let domain =
        DomainConfig::from_json(&json!(args.keys)).map_err(|report| Failure::in_flags("domain add", report))?;
    ask("domain add", &args.target, Method::POST, "/v1/domains", Some(&json!(domain))).map(drop)
}

fn set(args: &DomainSetArgs) -> Result<(), Failure> {
    change("domain set", &args.target, &format!("/v1/domains/{}", args.name), &json!(args.keys))
}

fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    ask("domain rm", &args.target, Method::DELETE, &format!("/v1/domains/{}", args.name), None).map(drop)
}
