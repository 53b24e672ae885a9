//! An attacker's process: sends until it is told to end, or has sent enough.

use super::Attack;
use crate::generator::{BATCH, Generator};
use crate::lab::pin_thread;
use crate::systems::Placement;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No attack is longer, whatever happens to who is to end it.
const LONGEST: Duration = Duration::from_secs(60);
/// Nor of more frames.
const MOST: u64 = 200_000_000;
/// How often a paced one sends what is due.
const TICK: Duration = Duration::from_millis(1);
/// Where a frame's source address is.
const SOURCE: std::ops::Range<usize> = 6..12;

/// Sends what an attack sends from an interface of the calling thread's namespace, on the hosts' core. Returns how many frames a
/// second it offered to the interface.
pub fn run(attack: Attack, interface: &str, done: &AtomicBool) -> io::Result<f64> {
    pin_thread(Placement::CLIENT)?;
    let open = if attack.has_header() { Generator::with_vnet_header } else { Generator::open };
    let mut generator = open(interface, attack.frames())?;
    let (begin, mut sent, mut address) = (Instant::now(), 0, Addresses(0x9e37_79b9_7f4a_7c15));
    while !done.load(Relaxed) && begin.elapsed() < LONGEST && sent < MOST {
        let due = match attack.pace() {
            None => BATCH as u64,
            Some(pace) => (begin.elapsed().as_secs_f64() * f64::from(pace)) as u64 - sent,
        };
        if due == 0 {
            sleep(TICK);
            continue;
        }
        if attack.changes_sources() {
            generator.frames.iter_mut().for_each(|frame| frame[SOURCE].copy_from_slice(&address.next()));
        }
        // What finds the interface's queue full is dropped by the kernel, and ends the call.
        sent += generator.send(due as usize)?.max(1);
    }
    Ok(sent as f64 / begin.elapsed().as_secs_f64())
}

/// Random addresses of stations (Marsaglia, Xorshift RNGs, 2003).
struct Addresses(u64);

impl Addresses {
    fn next(&mut self) -> [u8; 6] {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let [a, b, c, d, e, ..] = self.0.to_le_bytes();
        [2, a, b, c, d, e]
    }
}
