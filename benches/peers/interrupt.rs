//! Ctrl-C, SIGTERM and SIGHUP set a flag that every step looks at, so that all is removed by the usual drops.
#![expect(unsafe_code, reason = "a signal handler is installed")]

use anyhow::{Result, ensure};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Installs the handlers.
pub fn install() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        let previous = unsafe { libc::signal(signal, interrupt as *const () as libc::sighandler_t) };
        ensure!(previous != libc::SIG_ERR, "signal {signal}: {}", io::Error::last_os_error());
    }
    Ok(())
}

/// Fails once a signal has come.
pub fn check() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// Sleeps, but not on after a signal.
pub fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        check()?;
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
