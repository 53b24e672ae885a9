//! Bulk TCP by iperf3, cubic, MTU 1500; what the receiver got after 1 s of warm-up, and what each Gbit cost.

use crate::cpu::Usage;
use crate::lab::pin;
use crate::systems::Placement;
use crate::testbed::{H2, Testbed};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;

/// What is transferred.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    /// Connections at once.
    pub streams: u32,
    /// From h2 to h1; otherwise from h1 to h2.
    pub back: bool,
    /// Where the hosts run.
    pub placement: Placement,
}

/// How it went.
#[derive(Debug, Clone, Copy)]
pub struct Throughput {
    /// Gbit/s at the receiver, all streams together.
    pub rate: f64,
    /// Everything that was transferred, the warm-up included, in Gbit.
    pub volume: f64,
    /// What was used meanwhile.
    pub usage: Usage,
}

/// Transfers for `time` and a warm-up.
pub fn measure(bed: &Testbed, transfer: Transfer, time: Duration) -> Result<Throughput> {
    let mut command = bed.h2.command("iperf3");
    pin(&mut command, transfer.placement.server()).args(["-s", "-1", "--forceflush", "-B", H2]);
    let mut server = bed.lab.spawn("iperf3-server", &mut command)?;
    server.wait_for_line("Server listening on", Duration::from_secs(5))?;

    let switch = bed.switch.as_ref().map(|process| process.pid());
    let before = Usage::now(switch)?;
    let output = run_client(bed, transfer, time)?;
    let usage = Usage::now(switch)?.since(&before);
    let json: Value = serde_json::from_str(&output).context("iperf3's JSON")?;
    let rate = json.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
    let rate = rate.filter(|rate| *rate > 0.0).with_context(|| format!("iperf3 received nothing: {output}"))? / 1e9;
    Ok(Throughput { rate, volume: volume(&json), usage })
}

fn run_client(bed: &Testbed, transfer: Transfer, time: Duration) -> Result<String> {
    let mut command = bed.h1.command("iperf3");
    pin(&mut command, Placement::CLIENT).args(["-J", "-C", "cubic", "-O", "1", "-c", H2]);
    command.args(["-P", &transfer.streams.to_string(), "-t", &time.as_secs().to_string()]);
    if transfer.back {
        command.arg("-R");
    }
    let mut client = bed.lab.spawn("iperf3-client", &mut command)?;
    let status = client.wait(time + Duration::from_secs(10))?;
    let output = client.stdout();
    ensure!(status.success(), "iperf3: {status}: {output}{}", client.stderr());
    Ok(output)
}

/// Of all intervals, those of the warm-up too.
fn volume(json: &Value) -> f64 {
    let intervals = json["intervals"].as_array().into_iter().flatten();
    let bytes: f64 = intervals.filter_map(|interval| interval["sum"]["bytes"].as_f64()).sum();
    bytes * 8.0 / 1e9
}
