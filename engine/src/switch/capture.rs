//! Watching a running switch: begins and ends captures on every worker.

use super::workers::Link;
use super::{Error, Switch};
use crate::capture::{Captured, Scope, Source, ring};
use crate::worker::Command;

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureConfig {
    /// Only this port, until it is removed.
    pub port: Option<String>,
    /// Only frames that are dropped.
    pub drops_only: bool,
    /// Most bytes of each frame.
    pub snaplen: usize,
    /// Bytes of copies that may wait to be read, for each worker.
    pub room: usize,
}

impl Default for CaptureConfig {
    /// All frames at all ports, 256 bytes of each, room for 8 MiB: 20 ms of two million frames a second, seen twice.
    fn default() -> CaptureConfig {
        CaptureConfig { port: None, drops_only: false, snaplen: 256, room: 8 << 20 }
    }
}

/// A capture; dropping it ends it.
pub struct Capture {
    sources: Vec<(Link, Source)>,
}

impl Switch {
    /// Begins to copy frames as they pass. Copies that nobody reads in time are missed and counted; traffic never waits.
    ///
    /// # Errors
    /// When there is no such port, or the switch has stopped.
    pub fn capture(&self, config: &CaptureConfig) -> Result<Capture, Error> {
        let port = config.port.as_ref().map(|name| self.registry().port_id(name)).transpose()?;
        let scope = Scope { port, drops_only: config.drops_only, snaplen: config.snaplen };
        let mut capture = Capture { sources: Vec::new() };
        for worker in self.workers.all() {
            let (sink, source) = ring(scope, config.room);
            worker.ask(|done| Command::Capture(sink, done))?;
            capture.sources.push((worker.clone(), source));
        }
        Ok(capture)
    }
}

impl Capture {
    /// The next frame, the earliest of those that wait at the workers; `None` where none waits. Look again a few
    /// milliseconds later.
    pub fn read(&mut self) -> Option<Captured<'_>> {
        let waiting = self.sources.iter_mut().enumerate();
        let times = waiting.filter_map(|(i, (_, source))| source.peek().map(|at| (at, i)));
        let (_, earliest) = times.min()?;
        self.sources[earliest].1.read()
    }

    /// Frames whose copies were missed: they waited too long to be read.
    pub fn missed(&self) -> u64 {
        self.sources.iter().map(|(_, source)| source.missed()).sum()
    }

    /// Copies no more frames. Those copied until now can still be read.
    pub fn end(&mut self) {
        for (worker, source) in &self.sources {
            // The sink comes back to be freed here: unmapping it takes the kernel long. A worker that ended has none.
            drop(worker.ask(|sink| Command::EndCapture(source.identity().clone(), sink)));
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}
