//! Two hosts in namespaces with the switch between them: TCP, small frames, round trips.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crossdock::machine;
use serde::Serialize;

use crate::commands::demo::bulk::Stream;
use crate::commands::demo::packets::Load;
use crate::commands::demo::scene::{Host, Scene};
use crate::commands::demo::{gbits, namespace, panicked, ping, rate};
use crate::commands::stop::stop_on_signals;
use crate::failure::Failure;

/// Pings before those that count: the first asks for the address.
const WARM_UP: u16 = 20;

/// What two hosts get.
#[derive(Debug, Serialize)]
pub struct Between {
    /// Where the switch ran.
    pub placement: String,
    /// One TCP stream, in Gbit/s of payload.
    pub tcp_gbit_s: Spread,
    /// Frames of 64 bytes that reach the other host, in millions a second, offered faster.
    pub packets_mpps: Spread,
    /// ICMP echo, one at a time.
    pub round_trip_us: RoundTrip,
}

/// Of several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// Microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RoundTrip {
    pub count: usize,
    pub p50: f64,
    pub p99: f64,
}

/// How long and how often.
struct Effort {
    runs: usize,
    time: Duration,
    pings: u16,
}

/// Builds the scene, measures, and takes it down.
pub fn measure(quick: bool) -> Result<Between, Failure> {
    if !rustix::process::geteuid().is_root() {
        let hint = "sudo xdock bench; it touches nothing outside the namespaces it makes";
        return Err(Failure::new("bench", "making network namespaces needs root", Some(hint.into())));
    }
    let stop = stop_on_signals().map_err(failed("signals"))?;
    namespace::remove_stale();
    namespace::remove_on_panic();
    let effort = match quick {
        true => Effort { runs: 1, time: Duration::from_secs(1), pings: 200 },
        false => Effort { runs: 5, time: Duration::from_secs(2), pings: 2000 },
    };
    let core = own_core();
    let scene = Scene::build(core)?;
    let placement = match core {
        Some(core) => format!("The switch on core {core}, the hosts where the scheduler puts them."),
        None => "One core for the switch and the hosts.".into(),
    };
    let [h1, h2] = [&scene.hosts[0], &scene.hosts[1]];
    let between = Between {
        placement,
        round_trip_us: round_trips(h1, h2, effort.pings).map_err(failed("ping"))?,
        tcp_gbit_s: spread(effort.runs, || tcp((h1, h2), effort.time, &stop)).map_err(failed("TCP"))?,
        packets_mpps: spread(effort.runs, || packets(&scene, (h1, h2), effort.time, &stop)).map_err(failed("UDP"))?,
    };
    if stop.load(Relaxed) { Err(Failure::new("bench", "interrupted", None)) } else { Ok(between) }
}

/// The last core, if the hosts have another one.
fn own_core() -> Option<usize> {
    machine::cores().ok().filter(|cores| cores.len() > 1)?.last().copied()
}

fn round_trips(from: &Host, to: &Host, count: u16) -> io::Result<RoundTrip> {
    let mut times = from.namespace.run(|| {
        ping::ping(to.address, WARM_UP, Duration::ZERO)?;
        ping::ping(to.address, count, Duration::ZERO)
    })?;
    times.sort_unstable();
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).map(|time| time.as_secs_f64() * 1e6);
    let nothing = || io::Error::other("no answer");
    Ok(RoundTrip { count: times.len(), p50: at(0.5).ok_or_else(nothing)?, p99: at(0.99).ok_or_else(nothing)? })
}

fn tcp((from, to): (&Host, &Host), time: Duration, stop: &AtomicBool) -> io::Result<f64> {
    let stream = Stream::connect(&from.namespace, &to.namespace, to.address)?;
    let begin = Instant::now();
    let (sent, received) = thread::scope(|scope| {
        let sender = scope.spawn(|| stream.send(time, stop));
        let received = stream.receive();
        (sender.join().unwrap_or_else(panicked), received)
    });
    let (sent, received) = (sent?, received?);
    match received.identical && received.bytes == sent {
        true => Ok(gbits(received.bytes, begin.elapsed())),
        false => Err(io::Error::other("what arrived is not what was sent")),
    }
}

/// What reaches the other host's kernel.
fn packets(scene: &Scene, (from, to): (&Host, &Host), time: Duration, stop: &AtomicBool) -> io::Result<f64> {
    let load = Load::prepare(&from.namespace, &to.namespace, to.address)?;
    let (begin, before) = (Instant::now(), to.kernel_counts()?.received);
    load.send(time, stop)?;
    let took = begin.elapsed();
    scene.settle();
    Ok(rate(to.kernel_counts()?.received - before, took))
}

fn spread(runs: usize, mut measure: impl FnMut() -> io::Result<f64>) -> io::Result<Spread> {
    let mut values = (0..runs).map(|_| measure()).collect::<io::Result<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    Ok(Spread { median: at(runs / 2), min: at(0), max: at(runs - 1) })
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::new(&format!("bench: {what}"), error, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_in_order() {
        let mut values = [3.0, 1.0, 2.0].into_iter();
        let spread = spread(3, || Ok(values.next().unwrap())).unwrap();
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0 });
    }
}
