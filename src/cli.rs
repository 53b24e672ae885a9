//! The command line: commands, flags and their help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use crossdock::config::{DEFAULT_CONTROL, Pace, PortKind, Route, Storm, guard_of_flag, keys_of_flag};
use serde::Serialize;
use tracing_subscriber::filter::Targets;

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
    /// Make a running switch like its configuration file again, without a pause for what stays
    ///
    /// Reads the file that the switch was started with and does only what differs from what runs: ports and domains are
    /// added and removed; a port that changes its domain, its isolation or its storm caps, and a domain that changes its
    /// limits, work on meanwhile and lose no frame; a port whose interface changes is made anew. What was added by hand and
    /// is not in the file goes. A file with an error changes nothing. SIGHUP does the same and tells the log.
    Reload(ListArgs),
    /// Add, remove and list the ports of a running switch
    #[command(subcommand)]
    Port(PortCommand),
    /// Add, remove and list the bridge domains of a running switch
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Show the state of a running switch
    #[command(subcommand)]
    Show(ShowCommand),
    /// Explain what the switch would do with one frame, without sending it
    ///
    /// Prints what each stage would decide and why, the program that they compile to, whether the flow cache would keep or
    /// already holds it, and the ports that the frame would leave by. Nothing is sent, learned, cached or counted.
    Trace(TraceArgs),
    /// Watch frames as they pass the switch, as text or as a pcapng file
    ///
    /// A frame that is switched is seen twice, in and out; one that is dropped is seen with its reason. A super-frame is
    /// seen whole, as it crosses the switch. Traffic never waits: copies that nobody reads in time are missed and counted.
    Capture(CaptureArgs),
    /// A live table of the ports' rates and the workers' load
    ///
    /// On a terminal it is redrawn until q or Ctrl-C; otherwise samples are printed one after another.
    Top(TopArgs),
    /// Say what this kernel and these privileges allow, and what each missing thing leads to
    ///
    /// Everything is tried out in a network namespace made for it, which goes again. Exit code 0: the main job, switching
    /// between TAP ports in namespaces, works; 1: it does not.
    Doctor(DoctorArgs),
    /// Load test of this build on this machine: in memory, and between namespaces (root, a minute)
    Bench(BenchArgs),
    /// Print a completion script for a shell: source <(xdock completions bash)
    Completions(CompletionsArgs),
    /// Print the manual page, or write the pages of all commands into a directory
    Man(ManArgs),
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
    /// How the log on standard error is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, or off; also by module, like "info,crossdock::service=debug"
    #[arg(long, value_name = "LEVEL", env = "XDOCK_LOG", default_value = "info")]
    pub log_level: Targets,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object, for programs
    Json,
}

#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    pub target: Target,
    /// Seconds from one sample to the next
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pub delay: f64,
    /// End after so many samples [default: none on a terminal, 1 elsewhere]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print one sample, without clearing the screen
    #[arg(long, conflicts_with = "count")]
    pub once: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "0.1 to 3600 seconds".into())
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Control socket whose directory is looked at
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL)]
    pub control: PathBuf,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
    /// A look instead of a measurement: fewer and shorter passes
    #[arg(long)]
    pub quick: bool,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where to write a page for every command; without it, the page of xdock goes to standard output
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
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
    /// Queues of the interface [default: 1, and all of them for xdp]
    #[arg(long)]
    queues: Option<i64>,
    /// Keep it from reaching other isolated ports
    #[arg(long)]
    isolated: bool,
    /// Caps in frames per second, like broadcast=1000,unknown=false, or false for none [default: of a TAP
    /// broadcast=1000,multicast=10000,unknown=10000]
    #[arg(long, value_name = "CAPS")]
    storm: Option<Storm>,
    /// Xdp: poll the device, like micros=20,budget=64 [default: it interrupts]
    #[arg(long, alias = "busy_poll", value_name = "HOW", value_parser = keys_of_flag)]
    busy_poll: Option<serde_json::Value>,
    /// Xdp: frames that may wait at a queue, a power of two, in memory of its own [default: shared memory for virtual interfaces]
    #[arg(long, value_name = "FRAMES")]
    ring: Option<i64>,
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
    #[arg(long, value_name = "FAULTS", value_parser = keys_of_flag)]
    fault: Option<serde_json::Value>,
    /// VLANs: access=10, or trunk=10,20-29,native=10, or tunnel=100 (802.1ad) [default: none]
    #[arg(long, value_parser = keys_of_flag)]
    vlan: Option<serde_json::Value>,
    /// Drop frames that do not come from the port's own addresses, or from mac=02:00:00:00:00:01,ip=10.0.0.1,fd00::/64
    #[arg(long, value_name = "SOURCES", num_args = 0..=1, default_missing_value = "true", value_parser = guard_of_flag)]
    guard: Option<serde_json::Value>,
    /// Show copies of its frames at another port: to=NAME, of one direction with ingress=false or egress=false [default: none]
    #[arg(long, value_name = "WHERE", value_parser = keys_of_flag)]
    mirror: Option<serde_json::Value>,
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
    #[arg(long, alias = "ageing_s")]
    ageing_s: Option<i64>,
    /// Most MAC addresses that it remembers [default: 65536]
    #[arg(long, alias = "fdb_max")]
    fdb_max: Option<i64>,
    /// The bridge's own MAC address [default: none]
    #[arg(long)]
    mac: Option<String>,
    /// Make ports without --vlan untagged ports of VLAN 1; otherwise they know of no VLANs
    #[arg(long, alias = "vlan_filtering")]
    vlan_filtering: bool,
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

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = false, args = ["hex", "pcap", "fields"])]
pub struct TraceArgs {
    /// The port that the frame would come from
    #[arg(long, value_name = "NAME")]
    pub port: String,
    /// The frame's bytes in hexadecimal, from the destination MAC on
    #[arg(long, value_name = "BYTES")]
    pub hex: Option<String>,
    /// A pcap or pcapng file to take the frame from; - for standard input
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Which frame of the file, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub frame: usize,
    /// Or its fields: src= dst= type= vlan= ip_src= ip_dst= proto= sport= dport= len=
    #[arg(value_name = "FIELD=VALUE")]
    pub fields: Vec<String>,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Only frames at this port
    #[arg(long, value_name = "NAME")]
    pub port: Option<String>,
    /// Only frames that are dropped
    #[arg(long)]
    pub drops: bool,
    /// Write pcapng to this file instead of text; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// End after so many frames
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Most bytes of each frame; 0 for all
    #[arg(short, long, value_name = "BYTES", default_value_t = 256)]
    pub snaplen: u32,
    /// Only frames with these fields: as for trace, and mac= host= port= for either end
    #[arg(value_name = "FIELD=VALUE")]
    pub fields: Vec<String>,
    #[command(flatten)]
    pub target: Target,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_may_be_written_as_the_keys_are() {
        for group in ["port", "domain"] {
            let command = Cli::command();
            let add = command.find_subcommand(group).and_then(|group| group.find_subcommand("add")).unwrap();
            let flags = add.get_arguments().filter(|flag| flag.get_long().is_some());
            for flag in flags.filter(|flag| flag.get_id().as_str().contains('_')) {
                let aliases = flag.get_all_aliases().unwrap_or_default();
                assert!(aliases.contains(&flag.get_id().as_str()), "{}", flag.get_id());
            }
        }
        assert!(Cli::try_parse_from(["xdock", "domain", "add", "x", "--ageing_s", "5", "--fdb_max", "50"]).is_ok());
    }
}
