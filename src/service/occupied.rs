//! For tests: a switch whose registry is held, as it is while an interface is being made.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crossdock_engine::frame::Arena;
use crossdock_engine::ports::{Caps, Port, Queue};
use crossdock_engine::switch::Membership;

use super::Service;
use crate::config::{Config, DomainConfig};

/// A port that says when it is being opened, and is refused as soon as its other end goes, or after ten seconds.
struct Slow(Sender<()>, Receiver<()>);

impl Port for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn kind(&self) -> &'static str {
        "slow"
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn open(self: Box<Self>, _arena: &Arena, _workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        self.0.send(()).map_err(io::Error::other)?;
        let _ = self.1.recv_timeout(std::time::Duration::from_secs(10));
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// A switch, and what holds its registry until it is dropped.
pub(crate) fn occupied() -> (Arc<Service>, Sender<()>) {
    let mut config = Config { domain: vec![DomainConfig::new("lan".into())], ..Config::default() };
    (config.engine.frames, config.engine.super_frames, config.engine.flows_max) = (512, 16, 64);
    let service = Arc::new(Service::start(&config).unwrap());
    let ((told, begun), (end, hold)) = (channel(), channel());
    let switch = Arc::clone(&service);
    std::thread::spawn(move || switch.switch().add_port(Box::new(Slow(told, hold)), &Membership::of("lan")).map(drop));
    begun.recv().unwrap();
    (service, end)
}
