//! `xdock run`: the switch process.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crossdock::config::{Config, load};
use crossdock::control::server::{serve, serve_metrics};
use crossdock::control::socket::ControlSocket;
use crossdock::machine;
use crossdock::service::{Fate, Service};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::log;
use crate::cli::RunArgs;
use crate::failure::Failure;

/// Read when no file is named, if it is there.
const DEFAULT_CONFIG: &str = "/etc/crossdock/xdock.toml";
/// Threads that requests are carried out on, at most, and how long each waits for another: not so long that the look at the
/// ports, once a second, keeps them all.
const REQUEST_THREADS: (usize, Duration) = (8, Duration::from_millis(300));
/// How long a request that is being carried out may hold up the end.
const LAST_CALL: Duration = Duration::from_millis(500);

pub fn run(args: &RunArgs) -> Result<(), Failure> {
    log::start(args.log_format, &args.log_level);
    let (file, named) = (args.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into()), args.config.is_some());
    let config = if named || file.exists() { load(&file)? } else { Config::default() };
    let (most, patience) = REQUEST_THREADS;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(most).thread_keep_alive(patience).enable_all().build();
    let runtime = runtime.map_err(cannot_run)?;
    // From here on a signal ends the switch in order, however far it has come.
    let signals = runtime.block_on(async { Signals::catch() }).map_err(cannot_run)?;
    let socket = ControlSocket::bind(&config.engine.control)?;
    let metrics = config.engine.metrics.map(listen).transpose()?;
    // What the kernel refuses is told when a port finds no descriptor left.
    let _ = machine::raise_file_limit();
    // The usual file may come to be while the switch runs; a reload looks for it.
    let service = Arc::new(Service::prepare(&config)?.made_from(file));
    leave_to_workers(&config.engine.cores);
    service.watch(log_fate).map_err(cannot_run)?;
    let ended = runtime.block_on(live(&config, signals, (&socket, metrics), &service));
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    service.stop();
    runtime.shutdown_timeout(LAST_CALL);
    info!(signal = ended?, "switch stopped");
    Ok(())
}

/// Opens the ports and serves until a signal comes, which may be before they are open; says which.
async fn live(
    config: &Config,
    mut signals: Signals,
    sockets: (&ControlSocket, Option<TcpListener>),
    service: &Arc<Service>,
) -> Result<&'static str, Failure> {
    let ((told, plugged), starting, all) = (oneshot::channel(), Arc::clone(service), config.clone());
    // Aside, so that a signal is heard meanwhile. If it is, nobody asks any more what came of the start.
    let plug = move || drop(told.send(starting.plug(&all)));
    std::thread::Builder::new().name("xdock-start".into()).spawn(plug).map_err(cannot_run)?;
    tokio::select! {
        plugged = plugged => plugged.map_err(|error| cannot_run(io::Error::other(error)))??,
        signal = signals.end() => return Ok(signal),
    }
    tell_start(config);
    until(signals, sockets, Arc::clone(service)).await.map_err(cannot_run)
}

/// Keeps this thread, and those that it starts from now on, off the workers' cores: a capture or a request that runs there holds
/// up all traffic for a slice of the scheduler. Where no other core may be used they stay.
fn leave_to_workers(cores: &[usize]) {
    let Ok(mut others) = sched_getaffinity(None) else { return };
    cores.iter().filter(|&&core| core < CpuSet::MAX_CPU).for_each(|&core| others.unset(core));
    if others.count() > 0 {
        // What the kernel refuses costs traffic a little, and nobody anything else.
        let _ = sched_setaffinity(None, &others);
    }
}

fn tell_start(config: &Config) {
    let (version, control) = (env!("CARGO_PKG_VERSION"), config.engine.control.display());
    let metrics = config.engine.metrics.map(|address| address.to_string()).unwrap_or_default();
    let (domains, ports) = (config.domain.len(), config.port.len());
    info!(version, pid = std::process::id(), %control, metrics, domains, ports, "switch started");
}

/// Listens where metrics are to be read.
fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let hint = || Some("another metrics under [engine], or leave it out".to_owned());
    let listener = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|error| Failure::new(&format!("metrics: cannot listen on {address}"), error, hint()))
}

fn cannot_run(error: io::Error) -> Failure {
    Failure::new("cannot run", error, None)
}

/// What ends the switch, and what makes it read its file again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let [terminate, interrupt, hangup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { terminate: terminate?, interrupt: interrupt?, hangup: hangup? })
    }

    /// Waits for the one that ends the switch; says which.
    async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Serves until a signal comes; says which.
async fn until(
    mut signals: Signals,
    (control, metrics): (&ControlSocket, Option<TcpListener>),
    service: Arc<Service>,
) -> io::Result<&'static str> {
    let listener = control.listener()?;
    listener.set_nonblocking(true)?;
    let control = serve(UnixListener::from_std(listener)?, Arc::clone(&service));
    let metrics = metrics.map(tokio::net::TcpListener::from_std).transpose()?;
    let metrics = async {
        match metrics {
            Some(listener) => serve_metrics(listener, Arc::clone(&service)).await,
            None => std::future::pending().await,
        }
    };
    ready();
    Ok(tokio::select! {
        () = control => "",
        () = metrics => "",
        () = reload_on(&mut signals.hangup, Arc::clone(&service)) => "",
        _ = signals.terminate.recv() => "SIGTERM",
        _ = signals.interrupt.recv() => "SIGINT",
    })
}

/// Reads the configuration again whenever a signal asks for it. The log says what came of it.
async fn reload_on(hangup: &mut Signal, service: Arc<Service>) {
    while hangup.recv().await.is_some() {
        let service = Arc::clone(&service);
        let _ = tokio::task::spawn_blocking(move || drop(service.reload())).await;
    }
}

/// Tells whoever started us. That nobody listens is no reason to stop.
fn ready() {
    let mut out = io::stdout();
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// Tells what becomes of a port.
pub fn tell_fate(port: &str, fate: &Fate) {
    match fate {
        Fate::Gone(why) => eprintln!("xdock: port {port}: gone: {why}"),
        Fate::Back => eprintln!("xdock: port {port}: open again"),
        Fate::Refused(why) => eprintln!("xdock: port {port}: cannot be opened again: {why}"),
        Fate::Up => eprintln!("xdock: port {port}: up"),
        Fate::Down => eprintln!("xdock: port {port}: down"),
        Fate::Blocked { other } => {
            eprintln!("xdock: port {port}: blocked: a loop, it leads back to the switch by port {other}");
        }
        Fate::Unblocked => eprintln!("xdock: port {port}: no longer blocked: the loop is gone"),
        Fate::MacJumps { mac, elsewhere, .. } => {
            eprintln!("xdock: port {port}: {mac} jumps between it and port {elsewhere}");
        }
    }
}

fn log_fate(port: &str, fate: &Fate) {
    match fate {
        Fate::Gone(why) => error!(port, why, "port gone: its interface or its namespace was deleted"),
        Fate::Back => info!(port, "port open again"),
        Fate::Refused(why) => warn!(port, why, "port cannot be opened again yet"),
        Fate::Up => info!(port, "port up"),
        Fate::Down => warn!(port, "port down"),
        Fate::Blocked { other } => {
            error!(port, other, "port blocked: a loop outside, it leads back to the switch by the other port");
        }
        Fate::Unblocked => info!(port, "port no longer blocked: the loop is gone"),
        Fate::MacJumps { mac, vlan, elsewhere } => {
            warn!(port, mac, vlan, elsewhere, "a MAC address jumps between ports: a loop, or an address used twice");
        }
    }
}
