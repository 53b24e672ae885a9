//! A port of one's own: each datagram of a socket is a frame. Runs without privileges.

use crossdock_engine::Switch;
use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::{Arena, Batch, SMALL_ROOM};
use crossdock_engine::ports::{Caps, Io, Port, Queue};
use crossdock_engine::switch::{Config, Membership};
use crossdock_engine::tables::topology::Domain;
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

struct Datagrams(String, UnixDatagram);

impl Port for Datagrams {
    fn name(&self) -> &str {
        &self.0
    }
    fn kind(&self) -> &'static str {
        "datagrams"
    }
    fn caps(&self) -> Caps {
        Caps { mtu: 1500, ..Caps::default() }
    }

    fn open(self: Box<Self>, _arena: &Arena, _workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        self.1.set_nonblocking(true)?;
        Ok(vec![Box::new(DatagramQueue(self.1, false))])
    }
}

/// A socket, and whether it may hold frames that the last batch had no room for.
struct DatagramQueue(UnixDatagram, bool);

impl Queue for DatagramQueue {
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        self.1 = true;
        while batch.room() > 0 {
            let Some(mut frame) = io.pool.alloc(SMALL_ROOM) else { return Ok(()) };
            let landed = frame.set_len(SMALL_ROOM).then(|| self.0.recv(&mut frame));
            if !matches!(landed, Some(Ok(len)) if frame.set_len(len)) {
                self.1 = false;
                io.pool.free(frame);
                return Ok(());
            }
            drop(batch.push(frame));
        }
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        batch.drain().for_each(|frame| match self.0.send(&frame) {
            Ok(_) => io.sent(frame),
            Err(_) => io.discard(frame, DropReason::TxFull),
        });
        Ok(())
    }
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
    fn arm(&mut self) -> bool {
        self.1
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let switch = Switch::new(Config { frames: 512, super_frames: 8, ..Config::default() })?;
    switch.add_domain(Domain::new("lan"))?;
    let ((left, a), (right, b)) = (UnixDatagram::pair()?, UnixDatagram::pair()?);
    switch.add_port(Box::new(Datagrams("left".into(), left)), &Membership::of("lan"))?;
    switch.add_port(Box::new(Datagrams("right".into(), right)), &Membership::of("lan"))?;
    b.set_read_timeout(Some(Duration::from_secs(5)))?;
    a.send(&[&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x88, 0xb5], b"through a socket"].concat())?;
    let mut frame = [0; 1514];
    let len = b.recv(&mut frame)?;
    println!("right received: {}", String::from_utf8_lossy(&frame[14..len]));
    Ok(())
}
