//! A process of a lab: its output in files, every wait bounded, ended on drop.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a wait looks again.
const TICK: Duration = Duration::from_millis(10);

/// How long a process may take to obey SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// A running child. Dropping it sends SIGTERM, and SIGKILL 3 s later.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Process {
    pub(super) fn spawn(name: &str, directory: &Path, command: &mut Command) -> io::Result<Self> {
        let output = directory.join(format!("{name}.out"));
        let errors = directory.join(format!("{name}.err"));
        command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(File::create(&errors)?);
        let child = command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        Ok(Self { name: name.to_owned(), child, output, errors })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Waits until it has printed a line that starts with `start`.
    ///
    /// # Errors
    /// When it ends first, or `timeout` passes; with what it wrote to stderr.
    pub fn wait_for_line(&mut self, start: &str, timeout: Duration) -> io::Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let ended = self.child.try_wait()?;
            if self.stdout().lines().any(|line| line.starts_with(start)) {
                return Ok(());
            }
            if let Some(status) = ended {
                return Err(self.error(&format!("ended with {status} before it said {start:?}")));
            }
            if Instant::now() >= deadline {
                return Err(self.error(&format!("did not say {start:?} within {timeout:?}")));
            }
            sleep(TICK);
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.error(&format!("still runs after {timeout:?}")));
            }
            sleep(TICK);
        }
    }

    /// Sends it a signal, if it still runs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        match (self.child.try_wait()?, Pid::from_raw(self.child.id().cast_signed())) {
            (None, Some(pid)) => Ok(kill_process(pid, signal)?),
            _ => Ok(()),
        }
    }

    fn error(&self, what: &str) -> io::Error {
        io::Error::other(format!("{}: {what}: {}{}", self.name, self.stdout().trim(), self.stderr().trim()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let obeyed = self.signal(Signal::TERM).and_then(|()| self.wait(GRACE));
        if obeyed.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
