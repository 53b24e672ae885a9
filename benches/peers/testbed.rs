//! Two hosts and one system between them, in namespaces of their own; gone when dropped.

use crate::lab::{Lab, Namespace, Process};
use crate::ovs::Ovs;
use crate::rtt;
use crate::systems::{Placement, System};
use anyhow::{Result, ensure};
use std::path::Path;
use std::{fs, io};

/// h1's address.
pub const H1: &str = "10.0.0.1";
/// h2's address.
pub const H2: &str = "10.0.0.2";
/// What Open vSwitch says when it has segmentation offload.
const OVS_TSO_LOG: &str = "Userspace TCP Segmentation Offloading support enabled";
/// The hosts' MACs.
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// A system, up and carrying frames between `h1` and `h2`. Fields are dropped in this order.
#[derive(Debug)]
pub struct Testbed {
    /// What is measured.
    pub system: System,
    /// The process that switches, where there is one.
    pub switch: Option<Process>,
    _helpers: Vec<Process>,
    /// The host of clients and generators.
    pub h1: Namespace,
    /// The host of servers and sinks.
    pub h2: Namespace,
    /// The namespace of the switch.
    pub switch_namespace: Namespace,
    /// Owner of all.
    pub lab: Lab,
}

impl Testbed {
    /// Sets a system up and waits until a datagram has crossed it both ways.
    pub fn new(system: System) -> Result<Self> {
        let lab = Lab::new("peers")?;
        let (h1, h2, switch_namespace) = (lab.namespace("h1")?, lab.namespace("h2")?, lab.namespace("sw")?);
        let mut bed = Self { system, switch: None, _helpers: Vec::new(), h1, h2, switch_namespace, lab };
        match system {
            System::Direct => bed.connect_directly()?,
            System::Bridge => bed.connect_by_bridge()?,
            System::OvsTapTso => bed.connect_by_ovs()?,
            System::Xdock | System::XdockBusy | System::XdockInterrupt => bed.connect_by_xdock()?,
        }
        rtt::await_path(&bed)?;
        Ok(bed)
    }

    fn connect_directly(&self) -> Result<()> {
        self.h1.ip(&format!("link add eth0 type veth peer name eth0 netns {}", self.h2.name()))?;
        self.bring_hosts_up()
    }

    fn connect_by_bridge(&self) -> Result<()> {
        let switch = &self.switch_namespace;
        switch.run(keep_netfilter_off_bridges)??;
        switch.ip("link add br0 up type bridge")?;
        for (host, port) in [(&self.h1, "p1"), (&self.h2, "p2")] {
            host.ip(&format!("link add eth0 type veth peer name {port} netns {}", switch.name()))?;
            switch.ip(&format!("link set {port} master br0 up"))?;
        }
        self.bring_hosts_up()
    }

    fn connect_by_ovs(&mut self) -> Result<()> {
        let ovs = Ovs::start(&self.lab, &self.switch_namespace, Some(Placement::SWITCH), "userspace-tso-enable=true")?;
        ensure!(ovs.vswitchd.stderr().contains(OVS_TSO_LOG), "no TSO in ovs-vswitchd: {}", ovs.vswitchd.stderr());
        for (host, tap) in [(&self.h1, "tap1"), (&self.h2, "tap2")] {
            ovs.add_tap(tap, "")?;
            self.switch_namespace.ip(&format!("link set {tap} netns {}", host.name()))?;
            host.ip(&format!("link set {tap} name eth0"))?;
        }
        self.switch = Some(ovs.vswitchd);
        self._helpers = vec![ovs.database];
        self.bring_hosts_up()
    }

    /// MACs, addresses, and up; Crossdock does this itself.
    fn bring_hosts_up(&self) -> Result<()> {
        for (host, address, mac) in [(&self.h1, H1, MACS[0]), (&self.h2, H2, MACS[1])] {
            host.ip(&format!("link set eth0 address {} up", mac_text(mac)))?;
            host.ip(&format!("addr add {address}/24 dev eth0"))?;
        }
        Ok(())
    }

    fn connect_by_xdock(&mut self) -> Result<()> {
        self.switch = Some(self.lab.xdock(&self.switch_namespace, &self.xdock_config())?);
        Ok(())
    }

    fn xdock_config(&self) -> String {
        let engine = format!(
            "[engine]\ncores = [{}]\npoll = {:?}\ncontrol = {:?}\n\n[[domain]]\nname = \"lan\"\n",
            Placement::SWITCH,
            self.system.poll().unwrap_or("adaptive"),
            self.lab.path("control.sock"),
        );
        engine + &xdock_port("h1", &self.h1, H1, MACS[0]) + &xdock_port("h2", &self.h2, H2, MACS[1])
    }
}

/// Where the kernel has br_netfilter, a new namespace sends bridged packets through iptables, which is what Docker wants
/// and costs several times the bridging itself. The peer is the plain bridge.
fn keep_netfilter_off_bridges() -> io::Result<()> {
    for table in ["iptables", "ip6tables", "arptables"] {
        let file = format!("/proc/sys/net/bridge/bridge-nf-call-{table}");
        if Path::new(&file).exists() {
            fs::write(file, "0")?;
        }
    }
    Ok(())
}

fn xdock_port(name: &str, host: &Namespace, address: &str, mac: [u8; 6]) -> String {
    format!(
        "\n[[port]]\nname = {name:?}\nkind = \"tap\"\nifname = \"eth0\"\nnetns = {:?}\nmac = {:?}\naddress = [\"{address}/24\"]\nmtu = 1500\ndomain = \"lan\"\n",
        host.name(),
        mac_text(mac),
    )
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
