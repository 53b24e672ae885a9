//! DPDK's testpmd, forwarding from one AF_XDP port to the other without looking at frames. Memory is ordinary pages: huge
//! ones would have to be reserved for the whole machine.

use super::{SWITCH_ENDS, add_veth_with_checksums, bring_hosts_up};
use crate::systems::Placement;
use crate::testbed::Testbed;
use anyhow::Result;

pub fn connect(bed: &mut Testbed) -> Result<()> {
    (0..2).try_for_each(|host| add_veth_with_checksums(bed, host))?;
    bring_hosts_up(bed)?;
    let mut command = bed.switch_namespace.command("dpdk-testpmd");
    // The main thread only waits, on the other CPU.
    command.args(["-l", &format!("{},{}", Placement::CLIENT, Placement::SWITCH)]);
    command.args(["--main-lcore", &Placement::CLIENT.to_string()]);
    command.args(["--no-huge", "-m", "256", "--no-shconf", "--no-telemetry", "--no-pci"]);
    for (index, port) in SWITCH_ENDS.into_iter().enumerate() {
        command.arg(format!("--vdev=net_af_xdp{index},iface={port}"));
    }
    // Without a period it would end at once: it waits for a key.
    command.args(["--", "--forward-mode=io", "--auto-start", "--stats-period=3600", "--total-num-mbufs=32768"]);
    command.args(["--burst=64", "--rxd=2048", "--txd=2048"]);
    bed.switch = Some(bed.lab.spawn("testpmd", &mut command)?);
    Ok(())
}
