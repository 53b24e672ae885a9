//! For tests: a switch whose registry is held, as it is while ports are given to a worker that is busy.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crossdock_engine::frame::{Arena, Batch};
use crossdock_engine::ports::channel::Channel;
use crossdock_engine::ports::{Caps, Io, Port, Queue};
use crossdock_engine::switch::Membership;

use super::Service;
use crate::config::{Config, DomainConfig};

/// A port whose worker waits in it until its other end goes, or ten seconds, and says when that begins.
struct Trap(Sender<()>, Receiver<()>);

impl Port for Trap {
    fn name(&self) -> &str {
        "trap"
    }

    fn kind(&self) -> &'static str {
        "trap"
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn open(self: Box<Self>, _arena: &Arena, _workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        Ok(vec![self])
    }
}

impl Queue for Trap {
    fn receive(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
        self.0.send(()).map_err(io::Error::other)?;
        let _ = self.1.recv_timeout(Duration::from_secs(10));
        Err(io::ErrorKind::TimedOut.into())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        batch.drain().for_each(|frame| io.sent(frame));
        Ok(())
    }
}

/// A switch, and what holds its registry until it is dropped.
pub(crate) fn occupied() -> (Arc<Service>, Sender<()>) {
    let mut config = Config { domain: vec![DomainConfig::new("lan".into())], ..Config::default() };
    (config.engine.frames, config.engine.super_frames, config.engine.flows_max) = (512, 16, 64);
    let service = Arc::new(Service::start(&config).unwrap());
    let ((told, begun), (end, hold)) = (channel(), channel());
    service.switch().add_port(Box::new(Trap(told, hold)), &Membership::of("lan")).unwrap();
    begun.recv().unwrap();
    let switch = Arc::clone(&service);
    std::thread::spawn(move || {
        let next = Channel::pair("next", 16, 1500, switch.switch().arena()).unwrap().0;
        switch.switch().add_port(Box::new(next), &Membership::of("lan")).map(drop)
    });
    std::thread::sleep(Duration::from_millis(50));
    (service, end)
}
