//! Flags that change what is there, and those that `add` and `set` have in common.

use clap::{Args, Subcommand};
use crossdock::config::{AtLimit, Isolated, StaticEntry, Storm, keys_of_flag};
use serde::Serialize;
use serde_json::Value;

use super::{ListArgs, Target};

/// What a port does with the frames of its stations, and which floods it gets. Names as `bridge link` has them.
#[derive(Debug, Args, Serialize)]
pub struct KnobKeys {
    /// Keep it from other isolated ports, or from those that share a group, like tenant-a,tenant-b [default: false]
    #[arg(long, value_name = "GROUPS", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    isolated: Option<Isolated>,
    /// Learn source addresses here [default: true]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = on_or_off)]
    #[serde(skip_serializing_if = "Option::is_none")]
    learning: Option<bool>,
    /// Most addresses learned here, 0 for no limit [default: 0]
    #[arg(long, alias = "mac_limit", value_name = "ADDRESSES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_limit: Option<i64>,
    /// What becomes of frames from further addresses: drop, or pass without being learned [default: drop]
    #[arg(long, alias = "at_limit", value_name = "drop|pass")]
    #[serde(skip_serializing_if = "Option::is_none")]
    at_limit: Option<AtLimit>,
    /// Drop frames from addresses that are not known here [default: false]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = on_or_off)]
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<bool>,
    /// Let frames leave by the port that they came in by [default: false]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = on_or_off)]
    #[serde(skip_serializing_if = "Option::is_none")]
    hairpin: Option<bool>,
    /// Flood frames to unknown addresses here [default: true]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = on_or_off)]
    #[serde(skip_serializing_if = "Option::is_none")]
    flood: Option<bool>,
    /// Flood multicast frames here [default: true]
    #[arg(long, alias = "mcast_flood", value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = on_or_off)]
    #[serde(skip_serializing_if = "Option::is_none")]
    mcast_flood: Option<bool>,
    /// Flood broadcast frames here [default: true]
    #[arg(long, alias = "bcast_flood", value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = on_or_off)]
    #[serde(skip_serializing_if = "Option::is_none")]
    bcast_flood: Option<bool>,
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "true" | "on" => Ok(true),
        "false" | "off" => Ok(false),
        _ => Err("true or false".into()),
    }
}

#[derive(Debug, Args)]
pub struct PortSetArgs {
    /// Its name
    pub name: String,
    #[command(flatten)]
    pub keys: PortChange,
    #[command(flatten)]
    pub target: Target,
}

/// The keys of a port that change while it works.
#[derive(Debug, Args, Serialize)]
pub struct PortChange {
    /// Bridge domain that it joins
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    knobs: KnobKeys,
    /// Caps in frames per second, like broadcast=1000,multicast=1000,unknown=500, or none
    #[arg(long, value_name = "CAPS", value_parser = storm_or_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    storm: Option<Value>,
    /// VLANs: access=10, or trunk=10,20-29,native=10, or tunnel=100 (802.1ad), or none
    #[arg(long, value_parser = keys_or_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<Value>,
}

/// Null, which stands for the default, or what `read` makes of the text.
fn or_none<E: ToString>(text: &str, read: impl Fn(&str) -> Result<Value, E>) -> Result<Value, String> {
    if text == "none" { Ok(Value::Null) } else { read(text).map_err(|error| error.to_string()) }
}

fn storm_or_none(text: &str) -> Result<Value, String> {
    or_none(text, |text| text.parse::<Storm>().map(|storm| serde_json::json!(storm)))
}

fn keys_or_none(text: &str) -> Result<Value, String> {
    or_none(text, keys_of_flag)
}

fn text_or_none(text: &str) -> Result<Value, String> {
    or_none(text, |text| Ok::<_, String>(text.into()))
}

#[derive(Debug, Args)]
pub struct DomainSetArgs {
    /// Its name
    pub name: String,
    #[command(flatten)]
    pub keys: DomainChange,
    #[command(flatten)]
    pub target: Target,
}

/// The keys of a domain, all of which change while its ports work.
#[derive(Debug, Args, Serialize)]
pub struct DomainChange {
    #[command(flatten)]
    #[serde(flatten)]
    limits: LimitKeys,
    /// The bridge's own MAC address, or none
    #[arg(long, value_parser = text_or_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<Value>,
}

/// What `domain add` and `domain set` have in common.
#[derive(Debug, Args, Serialize)]
pub struct LimitKeys {
    /// How long a MAC address is remembered after its last frame, in seconds [default: 300]
    #[arg(long, alias = "ageing_s")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ageing_s: Option<i64>,
    /// Most MAC addresses that it remembers [default: 65536]
    #[arg(long, alias = "fdb_max")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fdb_max: Option<i64>,
    /// What a new address does when as many are remembered: evict an old one, or refuse the new one [default: evict]
    #[arg(long, alias = "fdb_full", value_name = "evict|refuse")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fdb_full: Option<String>,
    /// Make ports without --vlan untagged ports of VLAN 1; otherwise they know of no VLANs [default: false]
    #[arg(long, alias = "vlan_filtering", value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = on_or_off)]
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan_filtering: Option<bool>,
    /// An address that belongs to a port for good, like mac=02:00:00:00:00:09,port=h1,vlan=10; may be repeated
    #[arg(long = "static", value_name = "ENTRY")]
    #[serde(rename = "static", skip_serializing_if = "Vec::is_empty")]
    statics: Vec<StaticEntry>,
}

#[derive(Debug, Subcommand)]
pub enum FdbCommand {
    /// Set an address to a port for good: it never moves or ages, and frames from it elsewhere are dropped
    Add(FdbAddArgs),
    /// Forget an address, static or learned
    Rm(FdbRmArgs),
    /// Forget learned addresses; static ones stay
    Flush(FdbFlushArgs),
    /// List the addresses
    Ls(ListArgs),
}

#[derive(Debug, Args)]
pub struct FdbAddArgs {
    /// The address
    #[arg(value_name = "MAC")]
    pub mac: String,
    /// Its bridge domain
    #[arg(long)]
    pub domain: String,
    /// The port that it belongs to
    #[arg(long)]
    pub port: String,
    /// Its VLAN [default: that of the port's untagged frames]
    #[arg(long)]
    pub vlan: Option<u16>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct FdbRmArgs {
    /// The address
    #[arg(value_name = "MAC")]
    pub mac: String,
    /// Its bridge domain
    #[arg(long)]
    pub domain: String,
    /// Its VLAN, if it was given one or was learned in one
    #[arg(long)]
    pub vlan: Option<u16>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct FdbFlushArgs {
    /// Only addresses learned on this port
    #[arg(long)]
    pub port: Option<String>,
    /// Only addresses of this bridge domain
    #[arg(long)]
    pub domain: Option<String>,
    /// Only addresses in this VLAN
    #[arg(long)]
    pub vlan: Option<u16>,
    #[command(flatten)]
    pub target: Target,
}
