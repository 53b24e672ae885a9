//! A cable, the Linux bridge, and the bridge as Docker uses it.

use super::{SWITCH_ENDS, add_veth, bring_hosts_up};
use crate::lab;
use crate::testbed::Testbed;
use anyhow::Result;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The rules of a Docker daemon with the network `br0` and no published port, as `iptables-save` shows them
/// (docker.io 20.10 to 24).
const DOCKER_RULES: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br0 -j DOCKER
-A FORWARD -i br0 ! -o br0 -j ACCEPT
-A FORWARD -i br0 -o br0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i br0 ! -o br0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o br0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.0.0.0/24 ! -o br0 -j MASQUERADE
-A DOCKER -i br0 -j RETURN
COMMIT
";

/// The bridge's own address, the containers' gateway.
const GATEWAY: &str = "10.0.0.254/24";

pub fn directly(bed: &Testbed) -> Result<()> {
    bed.host(0).ip(&format!("link add eth0 type veth peer name eth0 netns {}", bed.host(1).name()))?;
    bring_hosts_up(bed)
}

pub fn by_bridge(bed: &Testbed) -> Result<()> {
    bed.switch_namespace.run(|| filter_bridged_packets(false))??;
    add_bridge(bed)
}

pub fn by_docker(bed: &Testbed) -> Result<()> {
    let switch = &bed.switch_namespace;
    add_bridge(bed)?;
    switch.ip(&format!("addr add {GATEWAY} dev br0"))?;
    switch.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
    let rules = bed.lab.path("docker.rules");
    fs::write(&rules, DOCKER_RULES)?;
    lab::run(switch.command("iptables-restore").stdin(File::open(rules)?))?;
    Ok(switch.run(|| filter_bridged_packets(true))??)
}

fn add_bridge(bed: &Testbed) -> Result<()> {
    let switch = &bed.switch_namespace;
    switch.ip("link add br0 up type bridge")?;
    for (host, port) in SWITCH_ENDS.into_iter().enumerate() {
        add_veth(bed, host)?;
        switch.ip(&format!("link set {port} master br0"))?;
    }
    bring_hosts_up(bed)
}

/// Where the kernel has br_netfilter, a new namespace sends bridged packets through iptables, which is what Docker wants
/// and costs several times the bridging itself.
fn filter_bridged_packets(on: bool) -> io::Result<()> {
    for table in ["iptables", "ip6tables", "arptables"] {
        let file = format!("/proc/sys/net/bridge/bridge-nf-call-{table}");
        if on || Path::new(&file).exists() {
            fs::write(file, if on { "1" } else { "0" })?;
        }
    }
    Ok(())
}
