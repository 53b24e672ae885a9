//! `xdock run`: the switch process.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossdock::config::Config;
use crossdock::control::server::serve;
use crossdock::control::socket::ControlSocket;
use crossdock::service::Service;
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::check::load;
use crate::cli::RunArgs;
use crate::failure::Failure;

/// Read when no file is named.
const DEFAULT_CONFIG: &str = "/etc/crossdock/xdock.toml";
/// How long a request that is being carried out may hold up the end.
const LAST_CALL: Duration = Duration::from_millis(500);

pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let config = config(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build();
    let runtime = runtime.map_err(cannot_run)?;
    // From here on a signal ends the switch in order, however far it has come.
    let signals = runtime.block_on(async { Signals::catch() }).map_err(cannot_run)?;
    let socket = ControlSocket::bind(&config.engine.control)?;
    let service = Arc::new(Service::start(&config)?);
    service.watch(port_gone).map_err(cannot_run)?;
    let ended = runtime.block_on(until(signals, &socket, service));
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    runtime.shutdown_timeout(LAST_CALL);
    ended.map_err(cannot_run)
}

fn config(args: &RunArgs) -> Result<Config, Failure> {
    let default = Path::new(DEFAULT_CONFIG);
    match &args.config {
        Some(file) => load(file),
        None if default.exists() => load(default),
        None => Ok(Config::default()),
    }
}

fn cannot_run(error: io::Error) -> Failure {
    Failure::new("cannot run", error, None)
}

/// What ends the switch.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }
}

/// Serves until a signal comes.
async fn until(mut signals: Signals, socket: &ControlSocket, service: Arc<Service>) -> io::Result<()> {
    let listener = socket.listener()?;
    listener.set_nonblocking(true)?;
    let server = serve(UnixListener::from_std(listener)?, service);
    ready();
    tokio::select! {
        () = server => {}
        _ = signals.terminate.recv() => {}
        _ = signals.interrupt.recv() => {}
    }
    Ok(())
}

/// Tells whoever started us. That nobody listens is no reason to stop.
fn ready() {
    let mut out = io::stdout();
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// Tells of a port that will not work again.
pub fn port_gone(port: &str, error: &io::Error) {
    eprintln!("xdock: port {port}: gone: {error}; its interface or its namespace was deleted");
}
