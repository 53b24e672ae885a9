//! Small UDP packets as fast as one thread can send them.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use super::namespace::Namespace;

const PORT: u16 = 5202;
/// With the headers of UDP (8), IPv4 (20) and Ethernet (14, and 4 of FCS on a wire) the smallest frame there is: 64 bytes.
const PAYLOAD: [u8; 18] = [0; 18];
/// Packets a system call.
const BATCH: usize = 64;

/// The two ends of the load.
pub struct Load {
    from: UdpSocket,
    /// Never read: what counts is what reaches the host's kernel. Without it, the host would answer with ICMP errors.
    _to: UdpSocket,
}

impl Load {
    /// Prepares a load from `from` to `address`, which is in `to`.
    pub fn prepare(from: &Namespace, to: &Namespace, address: Ipv4Addr) -> io::Result<Self> {
        let address = SocketAddr::from((address, PORT));
        let from = from.run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(address).map(|()| socket)
        })?;
        Ok(Self { from, _to: to.run(|| UdpSocket::bind(address))? })
    }

    /// Sends for `time`, or until `stop`; returns the packets sent.
    pub fn send(&self, time: Duration, stop: &AtomicBool) -> io::Result<u64> {
        let payload = [IoSlice::new(&PAYLOAD)];
        let mut nothing: [SendAncillaryBuffer<'_, '_, '_>; BATCH] = std::array::from_fn(|_| Default::default());
        let mut packets: Vec<_> = nothing.iter_mut().map(|control| MMsgHdr::new(&payload, control)).collect();
        let (begin, mut sent) = (Instant::now(), 0);
        while begin.elapsed() < time && !stop.load(Relaxed) {
            sent += sendmmsg(&self.from, &mut packets, SendFlags::empty())? as u64;
        }
        Ok(sent)
    }
}
