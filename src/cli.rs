//! The command line: commands, flags and their help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use crossdock::config::{DEFAULT_CONTROL, FaultFlag, Pace, PortKind, Route, Storm, keys_of_flag};
use serde::Serialize;

/// A userspace switch for container networks.
#[derive(Debug, Parser)]
#[command(name = "xdock", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the switch in the foreground
    Run(RunArgs),
    /// Check a configuration file and report everything that is wrong with it
    Check(CheckArgs),
    /// Add, remove and list the ports of a running switch
    #[command(subcommand)]
    Port(PortCommand),
    /// Add, remove and list the bridge domains of a running switch
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Show the state of a running switch
    #[command(subcommand)]
    Show(ShowCommand),
    /// Switch real traffic between namespaces made for it, show it, and clean up (root, half a minute)
    Demo,
}

/// Where the switch listens.
#[derive(Debug, Args)]
pub struct Target {
    /// Control socket of the switch
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL)]
    pub control: PathBuf,
}

/// Where the switch listens, and how to print its answer.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub target: Target,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration file [default: /etc/crossdock/xdock.toml if there is one, else an empty switch]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// Create a port; the flags are the keys of a port in the configuration
    Add(Box<PortAddArgs>),
    /// Remove a port and the interface made for it
    Rm(RemoveArgs),
    /// List the ports
    Ls(ListArgs),
}

#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Create a bridge domain; the flags are the keys of a domain in the configuration
    Add(DomainAddArgs),
    /// Remove a bridge domain that has no ports
    Rm(RemoveArgs),
    /// List the bridge domains
    Ls(ListArgs),
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Its name
    pub name: String,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct PortAddArgs {
    #[command(flatten)]
    pub keys: PortKeys,
    #[command(flatten)]
    pub target: Target,
}

/// The keys of `[[port]]`. Absent ones take the configuration's defaults, and its schema judges the values.
#[derive(Debug, Args, Serialize)]
pub struct PortKeys {
    #[command(flatten)]
    #[serde(flatten)]
    name: NameKey,
    /// Bridge domain that it joins
    #[arg(long)]
    domain: String,
    /// What it is: tap, xdp, packet or pcap [default: tap]
    #[arg(long)]
    kind: Option<PortKind>,
    /// Name of the interface; a TAP is created, others exist [default: the port's name]
    #[arg(long)]
    ifname: Option<String>,
    /// Namespace of the interface: a name under /run/netns or a path [default: the switch's own]
    #[arg(long)]
    netns: Option<String>,
    /// MAC address of a TAP [default: a random one]
    #[arg(long)]
    mac: Option<String>,
    /// IP address of a TAP, like 10.0.0.1/24; may be repeated
    #[arg(long, value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    address: Vec<String>,
    /// Route through a TAP, like "default via 10.0.0.254"; may be repeated
    #[arg(long, value_name = "ROUTE", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    /// IP MTU in bytes [default: 1500 for a TAP, else what there is]
    #[arg(long)]
    mtu: Option<i64>,
    /// Queues of the interface [default: 1]
    #[arg(long)]
    queues: Option<i64>,
    /// Keep it from reaching other isolated ports
    #[arg(long)]
    isolated: bool,
    /// Caps in frames per second, like broadcast=1000,multicast=1000,unknown=500 [default: none]
    #[arg(long, value_name = "CAPS")]
    storm: Option<Storm>,
    /// Pcap: file (pcap or pcapng) whose frames come in
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Pcap: file (pcapng) that takes the frames sent to the port
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Pcap: original, max, or frames per second [default: original]
    #[arg(long)]
    pace: Option<Pace>,
    /// Pcap: how often the file is played [default: 1]
    #[arg(long)]
    times: Option<i64>,
    /// Faults to inject, like drop=0.01,duplicate=0.001,reorder=0.01,corrupt=0.001,delay_ms=5,rate_mbit=100,seed=7,direction=in
    #[arg(long, value_name = "FAULTS")]
    fault: Option<FaultFlag>,
    /// VLANs: access=10, or trunk=10,20-29,native=10, or tunnel=100 (802.1ad) [default: none]
    #[arg(long, value_parser = keys_of_flag)]
    vlan: Option<serde_json::Value>,
}

/// A name, as an argument or as the configuration's key.
#[derive(Debug, Args, Serialize)]
#[group(required = true, multiple = false)]
struct NameKey {
    /// Its name
    #[arg(value_name = "NAME")]
    #[serde(rename = "name", skip_serializing_if = "Option::is_none")]
    argument: Option<String>,
    /// The same as NAME
    #[arg(long = "name", value_name = "NAME")]
    #[serde(rename = "name", skip_serializing_if = "Option::is_none")]
    flag: Option<String>,
}

#[derive(Debug, Args)]
pub struct DomainAddArgs {
    #[command(flatten)]
    pub keys: DomainKeys,
    #[command(flatten)]
    pub target: Target,
}

/// The keys of `[[domain]]`, likewise.
#[derive(Debug, Args, Serialize)]
pub struct DomainKeys {
    #[command(flatten)]
    #[serde(flatten)]
    name: NameKey,
    /// How long a MAC address is remembered after its last frame, in seconds [default: 300]
    #[arg(long)]
    ageing_s: Option<i64>,
    /// Most MAC addresses that it remembers [default: 65536]
    #[arg(long)]
    fdb_max: Option<i64>,
    /// The bridge's own MAC address [default: none]
    #[arg(long)]
    mac: Option<String>,
}

#[derive(Debug, Args)]
pub struct DropsArgs {
    #[command(flatten)]
    pub list: ListArgs,
    /// Also reasons that never occurred
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Subcommand)]
pub enum ShowCommand {
    /// Ports: state, interface, traffic, drops
    Ports(ListArgs),
    /// Bridge domains and their limits
    Domains(ListArgs),
    /// Learned MAC addresses
    Fdb(ListArgs),
    /// Cached flows with the program that each runs
    Flows(ListArgs),
    /// Dropped frames by reason, and what each reason means
    Drops(DropsArgs),
    /// Workers: load, flow cache, frame memory
    Workers(ListArgs),
}
