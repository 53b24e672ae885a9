//! Open vSwitch by hand: a private database and daemon, userspace datapath, two TAP ports, TSO on.
//!
//! `datapath_type=netdev` is the userspace datapath, and `type=tap` makes OVS create the TAPs, which keep working
//! when they are moved to another namespace (ovs-vswitchd.conf.db(5)). `userspace-tso-enable` is read when the
//! daemon starts, so the database has it before. OVS serves TAPs from its main thread; all its threads are pinned.

use crate::lab::{self, Lab, Namespace, Process};
use crate::systems::Placement;
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const TSO: &str = "other_config:userspace-tso-enable=true";
const TSO_LOG: &str = "Userspace TCP Segmentation Offloading support enabled";

/// The two daemons of a running Open vSwitch with TAP ports `tap1` and `tap2`.
#[derive(Debug)]
pub struct Ovs {
    /// The switch.
    pub vswitchd: Process,
    /// Its database server.
    pub database: Process,
}

/// Starts it inside `namespace`; TAPs `tap1` and `tap2` are there afterwards.
pub fn start(lab: &Lab, namespace: &Namespace) -> Result<Ovs> {
    let tool = Tool { directory: &lab.path(""), namespace };
    let (database_file, socket) = (lab.path("conf.db"), lab.path("db.sock"));
    lab::run(tool.command("ovsdb-tool").arg("create").args([&database_file, Path::new(SCHEMA)]))?;
    let remote = format!("--remote=punix:{}", socket.display());
    let mut database = lab.spawn("ovsdb-server", tool.command("ovsdb-server").arg(remote).arg(database_file))?;
    await_file(&mut database, &socket)?;
    tool.vsctl("--no-wait init")?;
    tool.vsctl(&format!("--no-wait set Open_vSwitch . {TSO}"))?;
    let mut command = tool.command("taskset");
    command.args(["-c", &Placement::SWITCH.to_string(), "ovs-vswitchd"]).arg(tool.server());
    let vswitchd = lab.spawn("ovs-vswitchd", &mut command)?;
    tool.vsctl("add-br br0 -- set bridge br0 datapath_type=netdev")?;
    for tap in ["tap1", "tap2"] {
        tool.vsctl(&format!("add-port br0 {tap} -- set interface {tap} type=tap"))?;
    }
    ensure!(vswitchd.stderr().contains(TSO_LOG), "ovs-vswitchd did not enable TSO: {}", vswitchd.stderr());
    Ok(Ovs { vswitchd, database })
}

fn await_file(process: &mut Process, file: &Path) -> Result<()> {
    for _ in 0..500 {
        if file.exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    ensure!(file.exists(), "no {} after 5 s: {}", file.display(), process.stderr());
    Ok(())
}

/// Runs programs of this private Open vSwitch.
struct Tool<'a> {
    directory: &'a Path,
    namespace: &'a Namespace,
}

impl Tool<'_> {
    fn command(&self, program: &str) -> Command {
        let mut command = self.namespace.command(program);
        for variable in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, self.directory);
        }
        command
    }

    /// Waits (at most 10 s) until the daemon has done what the command says, except with `--no-wait`.
    fn vsctl(&self, arguments: &str) -> Result<()> {
        let mut command = self.command("ovs-vsctl");
        let database = format!("--db={}", self.server());
        lab::run(command.arg(database).arg("--timeout=10").args(arguments.split_whitespace()))?;
        Ok(())
    }

    fn server(&self) -> String {
        format!("unix:{}", self.directory.join("db.sock").display())
    }
}
