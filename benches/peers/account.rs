//! No frame may vanish: what the switch says of its ports, and what the hosts' kernels say of their interfaces.

use crate::interrupt;
use crate::testbed::Testbed;
use anyhow::{Context, Result, ensure};
use crossdock::bench::account::Account;
use std::time::{Duration, Instant};

/// Until everything has arrived: a full queue of super-frames that have to be cut small takes many seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const TICK: Duration = Duration::from_millis(20);

/// Waits until every frame is accounted for, of two hosts behind TAPs.
///
/// # Errors
/// When some are not in time, with the account; when a host's kernel counted others than the switch.
pub fn settle(bed: &Testbed) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let account = Account::of(&bed.show("ports")?).context("the switch shows its ports in another shape")?;
        if account.unaccounted() == 0 {
            return compare_with_hosts(bed);
        }
        ensure!(Instant::now() < end, "{} frames are unaccounted for: {account:?}", account.unaccounted());
        interrupt::pause(TICK)?;
    }
}

/// Whether what a host sent is what the switch received from it, and the other way round.
fn compare_with_hosts(bed: &Testbed) -> Result<()> {
    let ports = bed.show("ports")?;
    for (name, host) in [("h1", &bed.h1), ("h2", &bed.h2)] {
        let port = ports.as_array().into_iter().flatten().find(|port| port["name"] == name);
        let port = port.with_context(|| format!("the switch does not show {name}"))?;
        let counters = host.counters("eth0")?;
        let kernel = (counters.sent()?, counters.received()?);
        let ours = (port["rx_frames"].as_u64().unwrap_or(0), port["tx_frames"].as_u64().unwrap_or(0));
        ensure!(kernel == ours, "{name}'s kernel sent and received {kernel:?} frames, the switch says {ours:?}");
    }
    Ok(())
}
