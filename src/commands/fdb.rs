//! `xdock fdb`: the MAC addresses that a running switch knows.

use crossdock::control::api::{FdbChange, FdbFilter};
use hyper::Method;
use serde_json::json;

use super::{ask, show};
use crate::cli::{FdbAddArgs, FdbCommand, FdbFlushArgs, FdbRmArgs, ShowCommand};
use crate::failure::Failure;

pub fn run(command: FdbCommand) -> Result<(), Failure> {
    match command {
        FdbCommand::Add(args) => add(args),
        FdbCommand::Rm(args) => remove(&args),
        FdbCommand::Flush(args) => flush(args),
        FdbCommand::Ls(args) => show::run(&ShowCommand::Fdb(args)),
    }
}

fn add(FdbAddArgs { mac, domain, port, vlan, target }: FdbAddArgs) -> Result<(), Failure> {
    let change = FdbChange { domain, mac, port, vlan };
    ask("fdb add", &target, Method::POST, "/v1/fdb", Some(&json!(change))).map(drop)
}

fn remove(args: &FdbRmArgs) -> Result<(), Failure> {
    let vlan = args.vlan.map(|vlan| format!("/{vlan}")).unwrap_or_default();
    let path = format!("/v1/fdb/{}/{}{vlan}", args.domain, args.mac);
    ask("fdb rm", &args.target, Method::DELETE, &path, None).map(drop)
}

fn flush(FdbFlushArgs { port, domain, vlan, target }: FdbFlushArgs) -> Result<(), Failure> {
    let filter = FdbFilter { domain, port, vlan };
    ask("fdb flush", &target, Method::POST, "/v1/fdb/flush", Some(&json!(filter))).map(drop)
}
