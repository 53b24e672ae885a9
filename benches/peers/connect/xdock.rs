//! Crossdock, by a configuration of its own.

use super::{SWITCH_ENDS, add_veth, bring_host_up, is_veth, mac_text};
use crate::lab::{self, Process};
use crate::systems::{Placement, Port, System};
use crate::testbed::{H1, H2, MACS, Testbed};
use anyhow::Result;
use std::time::Instant;

pub fn connect(bed: &mut Testbed) -> Result<()> {
    for host in (0..2).filter(|&host| is_veth(bed, host)) {
        add_veth(bed, host)?;
        bring_host_up(bed, host)?;
    }
    let begin = Instant::now();
    let switch = bed.lab.xdock_within(&bed.switch_namespace, &config(bed), bed.neighbours.patience())?;
    (bed.switch, bed.start) = (Some(switch), Some(begin.elapsed()));
    if bed.system == System::XdockCaptured {
        bed.helpers.push(capture(bed)?);
    }
    Ok(())
}

/// Watches all frames for as long as the testbed stands.
fn capture(bed: &Testbed) -> Result<Process> {
    let mut command = bed.switch_namespace.command(lab::xdock_binary()?);
    command.args(["capture", "-w", "/dev/null", "--control"]).arg(bed.socket());
    Ok(bed.lab.spawn("capture", &mut command)?)
}

fn config(bed: &Testbed) -> String {
    let placement = bed.system.placement();
    let engine = format!(
        "[engine]\ncores = {:?}\npoll = {:?}\ncontrol = {:?}\n\n[[domain]]\nname = \"lan\"\n",
        placement.workers(),
        bed.system.poll().unwrap_or("adaptive"),
        bed.socket(),
    );
    engine + &port(bed, 0, placement) + &port(bed, 1, placement) + &bed.neighbours.config
}

fn port(bed: &Testbed, host: usize, placement: Placement) -> String {
    let keys = match bed.system.ports()[host] {
        Port::Tap => tap(bed, host, placement.workers().len()),
        Port::Xdp => format!("kind = \"xdp\"\nifname = {:?}\n", SWITCH_ENDS[host]),
        Port::Packet => format!("kind = \"packet\"\nifname = {:?}\n", SWITCH_ENDS[host]),
    };
    format!("\n[[port]]\nname = \"h{}\"\ndomain = \"lan\"\n{keys}", host + 1)
}

/// A queue for each worker.
fn tap(bed: &Testbed, host: usize, queues: usize) -> String {
    format!(
        "kind = \"tap\"\nifname = \"eth0\"\nnetns = {:?}\nmac = {:?}\naddress = [\"{}/24\"]\nmtu = 1500\nqueues = {queues}\n",
        bed.host(host).name(),
        mac_text(MACS[host]),
        [H1, H2][host],
    )
}
