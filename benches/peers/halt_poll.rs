//! The guest's halt polling: an idle CPU of a virtual machine spins this long before it halts
//! (Linux `Documentation/virt/guest-halt-polling.rst`).

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The module parameter, in nanoseconds.
pub const FILE: &str = "/sys/module/haltpoll/parameters/guest_halt_poll_ns";

/// What the second pass sets.
const NANOSECONDS: &str = "200000";

/// Halt polling switched on; dropping it writes the previous value back.
#[derive(Debug)]
pub struct HaltPoll {
    previous: String,
}

impl HaltPoll {
    /// Switches it on; `None` where the machine has no such parameter.
    pub fn on() -> Result<Option<Self>> {
        if !Path::new(FILE).exists() {
            return Ok(None);
        }
        let guard = Self { previous: value().context(FILE)? };
        fs::write(FILE, NANOSECONDS).context(FILE)?;
        Ok(Some(guard))
    }
}

impl Drop for HaltPoll {
    fn drop(&mut self) {
        if let Err(error) = fs::write(FILE, &self.previous) {
            eprintln!("{FILE} could not be set back to {}: {error}", self.previous);
        }
    }
}

/// The present value.
pub fn value() -> Result<String> {
    Ok(fs::read_to_string(FILE)?.trim().to_owned())
}
