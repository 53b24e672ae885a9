//! UDP request/response: one byte there and back over blocking sockets, one at a time.

use crate::interrupt;
use crate::lab::pin_thread;
use crate::systems::Placement;
use crate::testbed::{H1, H2, Testbed};
use anyhow::{Result, ensure};
use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PORT: u16 = 7;
/// After which a byte is not waited for any longer.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// Round-trip times in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Rtt {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// Exchanges bytes for `time`, one after the other.
pub fn measure(bed: &Testbed, placement: Placement, time: Duration) -> Result<Rtt> {
    let times = exchanges(bed, placement, (time, Duration::ZERO))?;
    let answered = times.iter().filter(|time| **time < PATIENCE).count();
    ensure!(answered >= 100, "only {answered} answers in {time:?}");
    Ok(Rtt::of(times.into_iter().filter(|time| *time < PATIENCE).collect()))
}

/// Exchanges bytes for `time`, one every `pause`, whatever becomes of them: what is not answered counts as [`PATIENCE`].
pub fn endure(bed: &Testbed, placement: Placement, time: Duration, pause: Duration) -> Result<Rtt> {
    Ok(Rtt::of(exchanges(bed, placement, (time, pause))?))
}

impl Rtt {
    /// There is at least one time.
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { p50: percentile(&times, 50), p99: percentile(&times, 99) }
    }
}

/// At least one.
fn exchanges(bed: &Testbed, placement: Placement, (time, pause): (Duration, Duration)) -> Result<Vec<Duration>> {
    with_echo(bed, placement, |client| {
        let (begin, mut times) = (Instant::now(), Vec::new());
        while times.is_empty() || begin.elapsed() < time {
            times.push(exchange(client, times.len() as u8)?.unwrap_or(PATIENCE));
            let next = begin + pause * times.len() as u32;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(times)
    })
}

/// Waits until a datagram has crossed both ways, at most 10 s.
pub fn await_path(bed: &Testbed) -> Result<()> {
    with_echo(bed, bed.system.placement(), |client| {
        let end = Instant::now() + Duration::from_secs(10);
        while exchange(client, 0)?.is_none() {
            interrupt::check()?;
            ensure!(Instant::now() < end, "no datagram crossed {} within 10 s", bed.system.name());
        }
        Ok(())
    })
}

/// Runs `client` on its CPU with a socket connected to an echo server in h2.
fn with_echo<T: Send>(
    bed: &Testbed,
    placement: Placement,
    client: impl FnOnce(&UdpSocket) -> Result<T> + Send,
) -> Result<T> {
    let server = bed.h2.run(|| socket(H2, PORT))??;
    let socket = bed.h1.run(|| socket(H1, 0))??;
    socket.connect((H2, PORT))?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let echo = scope.spawn(|| echo(&server, placement.server(), &done));
        let client = scope.spawn(|| pin_thread(Placement::CLIENT).map_err(Into::into).and_then(|()| client(&socket)));
        let result = joined(client.join());
        done.store(true, Ordering::Relaxed);
        joined(echo.join())?;
        result
    })
}

/// A socket stays in the namespace of the thread that made it.
fn socket(address: &str, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn echo(server: &UdpSocket, cpu: usize, done: &AtomicBool) -> Result<()> {
    pin_thread(cpu)?;
    let mut byte = [0];
    while !done.load(Ordering::Relaxed) {
        match server.recv_from(&mut byte) {
            Ok((_, from)) => server.send_to(&byte, from).map(drop)?,
            Err(error) => ignore_timeout(error)?,
        }
    }
    Ok(())
}

/// One round trip; `None` when no answer came in time.
fn exchange(client: &UdpSocket, request: u8) -> Result<Option<Duration>> {
    let mut answer = [!request];
    let start = Instant::now();
    client.send(&[request])?;
    while answer[0] != request {
        if let Err(error) = client.recv(&mut answer) {
            return ignore_timeout(error).map(|()| None);
        }
    }
    Ok(Some(start.elapsed()))
}

fn ignore_timeout(error: io::Error) -> Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error.into()),
    }
}

fn joined<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// Microseconds; `sorted` is not empty.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1e6
}
