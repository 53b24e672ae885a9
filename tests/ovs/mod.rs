//! Open vSwitch by hand: a private database and daemon, userspace datapath, TAP ports.
//!
//! `datapath_type=netdev` is the userspace datapath, and `type=tap` makes OVS create the TAPs, which keep working
//! when they are moved to another namespace (ovs-vswitchd.conf.db(5)). `other_config` is read when the daemon starts, so the
//! database has it before. OVS serves TAPs from its main thread; where a CPU is given, all its threads are pinned.
#![allow(dead_code, reason = "each user takes the part it needs")]

use crate::lab::{self, Lab, Namespace, Process};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// The two daemons of a running Open vSwitch with a bridge `br0`. They end when this is dropped.
#[derive(Debug)]
pub struct Ovs<'a> {
    /// The switch.
    pub vswitchd: Process,
    /// Its database server.
    pub database: Process,
    tool: Tool<'a>,
}

impl<'a> Ovs<'a> {
    /// Starts it inside `namespace`, on one CPU if that is given, with this `other_config` (`userspace-tso-enable=true`).
    ///
    /// # Errors
    /// When a program is missing or fails, with its words.
    pub fn start(lab: &Lab, namespace: &'a Namespace, cpu: Option<usize>, config: &str) -> io::Result<Ovs<'a>> {
        let tool = Tool { directory: lab.path(""), namespace };
        let (database_file, socket) = (lab.path("conf.db"), lab.path("db.sock"));
        lab::run(tool.command("ovsdb-tool").arg("create").args([&database_file, Path::new(SCHEMA)]))?;
        let remote = format!("--remote=punix:{}", socket.display());
        let mut database = lab.spawn("ovsdb-server", tool.command("ovsdb-server").arg(remote).arg(database_file))?;
        await_file(&mut database, &socket)?;
        tool.vsctl("--no-wait init")?;
        tool.vsctl(&format!("--no-wait set Open_vSwitch . other_config:{config}"))?;
        let mut command = tool.command("ovs-vswitchd");
        command.arg(tool.server());
        if let Some(cpu) = cpu {
            lab::pin(&mut command, cpu);
        }
        let vswitchd = lab.spawn("ovs-vswitchd", &mut command)?;
        tool.vsctl("add-br br0 -- set bridge br0 datapath_type=netdev")?;
        Ok(Ovs { vswitchd, database, tool })
    }

    /// Adds a TAP port with these settings of its record (`tag=10`).
    ///
    /// # Errors
    /// When the command fails, with its words.
    pub fn add_tap(&self, tap: &str, settings: &str) -> io::Result<()> {
        self.add_port(tap, settings, "type=tap")
    }

    /// Adds a port with these settings of its record and of its interface's (`type=afxdp`).
    ///
    /// # Errors
    /// When the command fails, with its words.
    pub fn add_port(&self, name: &str, settings: &str, interface: &str) -> io::Result<()> {
        self.tool.vsctl(&format!("add-port br0 {name} {settings} -- set interface {name} {interface}"))
    }

    /// Waits until what was learned has reached every cached flow.
    ///
    /// # Errors
    /// When the command fails, with its words.
    pub fn settle(&self) -> io::Result<()> {
        let target = self.tool.directory.join(format!("ovs-vswitchd.{}.ctl", self.vswitchd.pid()));
        let mut command = self.tool.command("ovs-appctl");
        lab::run(command.arg("-t").arg(target).args(["--timeout=10", "revalidator/wait"])).map(drop)
    }
}

fn await_file(process: &mut Process, file: &Path) -> io::Result<()> {
    for _ in 0..500 {
        if file.exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other(format!("no {} after 5 s: {}", file.display(), process.stderr())))
}

/// Runs programs of this private Open vSwitch.
#[derive(Debug)]
struct Tool<'a> {
    directory: PathBuf,
    namespace: &'a Namespace,
}

impl Tool<'_> {
    fn command(&self, program: &str) -> Command {
        let mut command = self.namespace.command(program);
        for variable in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, &self.directory);
        }
        command
    }

    /// Waits (at most 10 s) until the daemon has done what the command says, except with `--no-wait`.
    fn vsctl(&self, arguments: &str) -> io::Result<()> {
        let mut command = self.command("ovs-vsctl");
        let database = format!("--db={}", self.server());
        lab::run(command.arg(database).arg("--timeout=10").args(arguments.split_whitespace())).map(drop)
    }

    fn server(&self) -> String {
        format!("unix:{}", self.directory.join("db.sock").display())
    }
}
