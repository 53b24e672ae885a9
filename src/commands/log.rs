//! The log of the switch process: what happens to it, on standard error. Never anything per frame.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::cli::LogFormat;

/// Starts the log. Whatever was started first stays.
pub fn start(format: LogFormat, level: &Targets) {
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    let layer = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let _ = registry().with(layer.with_filter(level.clone())).try_init();
}
