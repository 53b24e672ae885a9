//! Open vSwitch's userspace datapath. Its main thread serves TAPs and packet sockets, and is on the switch's CPU. A polling
//! thread serves AF_XDP ports: then that is on the switch's CPU, where it leaves no room, and the main thread is free to
//! run where the scheduler finds some.

use super::{SWITCH_ENDS, add_veth, add_veth_with_checksums, bring_hosts_up};
use crate::ovs::Ovs;
use crate::systems::{Placement, Port, System};
use crate::testbed::Testbed;
use anyhow::{Result, ensure};

/// What it says when it has segmentation offload.
const TSO_LOG: &str = "Userspace TCP Segmentation Offloading support enabled";

/// TCP segmentation offload; AF_XDP ports cannot be had together with it.
const TSO: &str = "userspace-tso-enable=true";

/// The CPU of the thread that polls AF_XDP ports, as a mask.
const POLLING: &str = "pmd-cpu-mask=0x2";

pub fn connect(bed: &mut Testbed) -> Result<()> {
    let has_tso = matches!(bed.system, System::OvsTapTso | System::OvsTapSystemTso);
    let (config, main_thread) = if has_tso { (TSO, Some(Placement::SWITCH)) } else { (POLLING, None) };
    let ovs = Ovs::start(&bed.lab, &bed.switch_namespace, main_thread, config)?;
    ensure!(!has_tso || ovs.vswitchd.stderr().contains(TSO_LOG), "no TSO in ovs-vswitchd: {}", ovs.vswitchd.stderr());
    for (host, port) in bed.system.ports().into_iter().enumerate() {
        add_port(bed, &ovs, host, port)?;
    }
    let (switch, database) = (ovs.vswitchd, ovs.database);
    (bed.switch, bed.helpers) = (Some(switch), vec![database]);
    bring_hosts_up(bed)
}

fn add_port(bed: &Testbed, ovs: &Ovs<'_>, host: usize, port: Port) -> Result<()> {
    let end = SWITCH_ENDS[host];
    match port {
        Port::Tap => {
            ovs.add_tap(end, "")?;
            bed.switch_namespace.ip(&format!("link set {end} netns {}", bed.host(host).name()))?;
            bed.host(host).ip(&format!("link set {end} name eth0"))?;
        }
        Port::Packet => {
            add_veth(bed, host)?;
            ovs.add_port(end, "", "type=system")?;
        }
        Port::Xdp => {
            add_veth_with_checksums(bed, host)?;
            ovs.add_port(end, "", "type=afxdp options:xdp-mode=native")?;
        }
    }
    Ok(())
}
