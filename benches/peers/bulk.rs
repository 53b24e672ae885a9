//! Bulk TCP between two threads, for samples that are short or that an attack may starve: iperf3 takes seconds to set up, counts
//! in whole seconds, and gives up where its control connection stands still.

use crate::lab::pin_thread;
use crate::systems::Placement;
use crate::testbed::{H2, Testbed};
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_tcp_congestion;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a call, as of iperf3.
const BLOCK: usize = 128 << 10;
/// Before it counts.
const WARM_UP: Duration = Duration::from_millis(400);
/// How long a connection may take to be made. One that is not carries nothing.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a call waits before it looks whether all is over.
const TICK: Duration = Duration::from_millis(50);
/// As the other loads of the benches; the hosts' own is Reno.
const CONGESTION: &str = "cubic";

/// Gbit/s from h1 at h2 during `time`, after a warm-up.
pub fn rate(bed: &Testbed, placement: Placement, time: Duration) -> Result<f64> {
    let listener = bed.h2.run(|| TcpListener::bind((H2, 0)))??;
    // Connections that are accepted have it too.
    set_tcp_congestion(&listener, CONGESTION)?;
    let target = listener.local_addr()?;
    let Ok(source) = bed.h1.run(|| connect(target))? else { return Ok(0.0) };
    let Some(sink) = accept(&listener)? else { return Ok(0.0) };
    let (done, received) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(source, &done));
        let receiver = scope.spawn(|| receive(sink, placement.server(), &received, &done));
        thread::sleep(WARM_UP);
        let (begin, before) = (Instant::now(), received.load(Relaxed));
        thread::sleep(time);
        let bits = (received.load(Relaxed) - before) as f64 * 8.0;
        let rate = bits / begin.elapsed().as_secs_f64() / 1e9;
        done.store(true, Relaxed);
        for side in [sender, receiver] {
            side.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(rate)
    })
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    set_tcp_congestion(&stream, CONGESTION)?;
    Ok(stream)
}

/// `None` when the last step of the handshake does not arrive in time.
fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    let timeout = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout))? {
        0 => Ok(None),
        _ => listener.accept().map(|(stream, _)| Some(stream)),
    }
}

fn send(mut stream: TcpStream, done: &AtomicBool) -> io::Result<()> {
    pin_thread(Placement::CLIENT)?;
    stream.set_write_timeout(Some(TICK))?;
    let block = vec![0x5a; BLOCK];
    until(done, || stream.write(&block).map(drop))
}

fn receive(mut stream: TcpStream, cpu: usize, received: &AtomicU64, done: &AtomicBool) -> io::Result<()> {
    pin_thread(cpu)?;
    stream.set_read_timeout(Some(TICK))?;
    let mut block = vec![0; BLOCK];
    until(done, || stream.read(&mut block).map(|count| _ = received.fetch_add(count as u64, Relaxed)))
}

/// Does something again and again. That nothing can be done for a while is no error, nor is that the other side ended first.
fn until(done: &AtomicBool, mut step: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    while !done.load(Relaxed) {
        match step() {
            Err(error) if is_lull(&error) => {}
            Err(_) if done.load(Relaxed) => break,
            result => result?,
        }
    }
    Ok(())
}

fn is_lull(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
