//! Bulk TCP by iperf3, cubic, MTU 1500; what the receiver got after 1 s of warm-up.

use crate::lab::pin;
use crate::systems::Placement;
use crate::testbed::{H2, Testbed};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;

/// Gbit/s at the receiver over `streams` connections from h1 to h2.
pub fn measure(bed: &Testbed, placement: Placement, streams: u32, time: Duration) -> Result<f64> {
    let mut command = bed.h2.command("iperf3");
    pin(&mut command, placement.server()).args(["-s", "-1", "--forceflush", "-B", H2]);
    let mut server = bed.lab.spawn("iperf3-server", &mut command)?;
    server.wait_for_line("Server listening on", Duration::from_secs(5))?;

    let mut command = bed.h1.command("iperf3");
    pin(&mut command, Placement::CLIENT).args(["-J", "-C", "cubic", "-O", "1", "-c", H2]);
    command.args(["-P", &streams.to_string(), "-t", &time.as_secs().to_string()]);
    let mut client = bed.lab.spawn("iperf3-client", &mut command)?;
    let status = client.wait(time + Duration::from_secs(10))?;
    let output = client.stdout();
    ensure!(status.success(), "iperf3: {status}: {output}{}", client.stderr());
    received(&output)
}

fn received(output: &str) -> Result<f64> {
    let json: Value = serde_json::from_str(output).context("iperf3's JSON")?;
    let rate = json.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
    Ok(rate.with_context(|| format!("iperf3 received nothing: {output}"))? / 1e9)
}
