//! How each system is put between h1 and h2.

mod dpdk;
mod kernel;
mod openvswitch;
mod xdock;

use crate::systems::{Port, System};
use crate::testbed::{H1, H2, MACS, Testbed};
use anyhow::Result;

/// Connects the hosts of a testbed by its system.
pub fn connect(bed: &mut Testbed) -> Result<()> {
    match bed.system {
        System::Direct => kernel::directly(bed),
        System::Bridge => kernel::by_bridge(bed),
        System::Docker => kernel::by_docker(bed),
        System::OvsTapTso | System::OvsAfxdp | System::OvsTapSystemTso | System::OvsTapAfxdp => {
            openvswitch::connect(bed)
        }
        System::Testpmd => dpdk::connect(bed),
        _ => xdock::connect(bed),
    }
}

/// The switch's end of each host's veth.
const SWITCH_ENDS: [&str; 2] = ["p1", "p2"];

/// Gives a host one end of a veth, `eth0`; the other is in the switch's namespace, and up.
fn add_veth(bed: &Testbed, host: usize) -> Result<()> {
    let (switch, port) = (&bed.switch_namespace, SWITCH_ENDS[host]);
    bed.host(host).ip(&format!("link add eth0 type veth peer name {port} netns {}", switch.name()))?;
    switch.ip(&format!("link set {port} up"))?;
    Ok(())
}

/// The same for a switch that holds it through AF_XDP and leaves checksums as they come: the host must complete them.
fn add_veth_with_checksums(bed: &Testbed, host: usize) -> Result<()> {
    add_veth(bed, host)?;
    bed.ethtool(bed.host(host), "-K eth0 tx off")
}

/// MACs, addresses, and up.
fn bring_hosts_up(bed: &Testbed) -> Result<()> {
    (0..2).try_for_each(|host| bring_host_up(bed, host))
}

fn bring_host_up(bed: &Testbed, index: usize) -> Result<()> {
    let host = bed.host(index);
    host.ip(&format!("link set eth0 address {} up", mac_text(MACS[index])))?;
    host.ip(&format!("addr add {}/24 dev eth0", [H1, H2][index]))?;
    Ok(())
}

/// Whether the host's interface is a veth, made before the switch starts.
fn is_veth(bed: &Testbed, host: usize) -> bool {
    bed.system.ports()[host] != Port::Tap
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
