//! `xdock top`: what passes the switch per second, again and again.

mod rates;
mod screen;

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crossdock::control::api::{PortInfo, WorkerInfo};
use serde::de::DeserializeOwned;

use super::read;
use super::show::other_version;
use super::stop::stop_on_signals;
use crate::cli::{Target, TopArgs};
use crate::failure::Failure;
use rates::Sample;
use screen::Screen;

/// How often a pause looks whether it is to end early.
const TICK: Duration = Duration::from_millis(50);

pub fn run(args: &TopArgs) -> Result<(), Failure> {
    let stop = stop_on_signals().map_err(|e| Failure::new("top", e, None))?;
    let terminal = io::stdout().is_terminal() && io::stdin().is_terminal() && !args.once;
    let mut before = sample(&args.target)?;
    let screen = terminal.then(Screen::open).transpose()?;
    let delay = Duration::from_secs_f64(args.delay);
    let least = if terminal { u64::MAX } else { 1 };
    for nth in 0..args.count.unwrap_or(least) {
        if ended(delay, &stop, screen.as_ref()) {
            break;
        }
        let now = sample(&args.target)?;
        match &screen {
            Some(screen) => screen.draw(&rates::page(&before, &now)?)?,
            None => print(nth, &rates::page(&before, &now)?)?,
        }
        before = now;
    }
    Ok(())
}

/// One after another, with a blank line between.
fn print(nth: u64, page: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if nth > 0 {
        writeln!(out)?;
    }
    out.write_all(page.as_bytes())
}

fn sample(target: &Target) -> Result<Sample, Failure> {
    let (ports, workers): (Vec<PortInfo>, Vec<WorkerInfo>) = (get(target, "ports")?, get(target, "workers")?);
    Ok(Sample { at: Instant::now(), ports, workers })
}

fn get<T: DeserializeOwned>(target: &Target, what: &str) -> Result<T, Failure> {
    let answer = read("top", target, &format!("/v1/{what}"))?;
    serde_json::from_str(&answer).map_err(|e| Failure::new("top", e, other_version()))
}

/// Waits; true when a signal or a key ended it.
fn ended(delay: Duration, stop: &AtomicBool, screen: Option<&Screen>) -> bool {
    let end = Instant::now() + delay;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        let quit = match screen {
            Some(screen) => screen.quits(left.min(TICK)),
            None => {
                thread::sleep(left.min(TICK));
                false
            }
        };
        if quit || stop.load(Relaxed) {
            return true;
        }
    }
    false
}
