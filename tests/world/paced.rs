//! A steady stream of numbered datagrams, to see whether what happens elsewhere costs it a single one.

use crate::lab::Namespace;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

/// Two thousand datagrams a second at most: nothing that a busy machine could not carry.
const PACE: Duration = Duration::from_micros(500);
/// Room for all that is sent within minutes: the receiver reads at the end.
const BACKLOG: usize = 256 << 20;

/// A stream that flows until it is told to end.
pub struct Paced {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: UdpSocket,
}

impl Paced {
    /// From one host to another that has `address`.
    pub fn start(from: &Namespace, to: &Namespace, address: &str) -> Paced {
        let receiver = to.run(|| UdpSocket::bind((address, 9000)).unwrap()).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, BACKLOG).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let socket = from.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        socket.connect((address, 9000)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = std::thread::spawn(move || {
            let mut sent = 0_u64;
            while !stopped.load(Relaxed) {
                socket.send(&sent.to_be_bytes()).unwrap();
                sent += 1;
                sleep(PACE);
            }
            sent
        });
        Paced { stop, sender, receiver }
    }

    /// Ends the stream; every datagram has arrived, once and in order. Returns how many there were.
    pub fn finish(self) -> u64 {
        self.stop.store(true, Relaxed);
        let sent = self.sender.join().unwrap();
        let mut datagram = [0; 8];
        for expected in 0..sent {
            let received = self.receiver.recv(&mut datagram).map(|_| u64::from_be_bytes(datagram));
            assert_eq!(received.ok(), Some(expected), "of {sent} datagrams");
        }
        sent
    }
}
