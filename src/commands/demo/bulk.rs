//! One TCP stream at full speed, every byte of it compared with what was sent.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::namespace::Namespace;

const PORT: u16 = 5201;
/// Longest wait for the other side.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes handed to the kernel at a time.
const CHUNK: usize = 128 * 1024;
/// After how many bytes the pattern repeats: a prime, so that no lost, repeated or swapped segment looks right.
const PERIOD: usize = 1_048_583;

/// The two ends of a connection, each inside its namespace.
pub struct Stream {
    from: TcpStream,
    to: TcpStream,
    pattern: Vec<u8>,
}

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    pub bytes: u64,
    /// Every byte was the one that was sent.
    pub identical: bool,
}

impl Stream {
    /// Connects `from` with `address`, which is in `to`.
    pub fn connect(from: &Namespace, to: &Namespace, address: Ipv4Addr) -> io::Result<Self> {
        let address = SocketAddr::from((address, PORT));
        let listener = to.run(|| TcpListener::bind(address))?;
        let from = from.run(|| TcpStream::connect_timeout(&address, PATIENCE))?;
        let (to, _) = listener.accept()?;
        from.set_write_timeout(Some(PATIENCE))?;
        to.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { from, to, pattern: pattern() })
    }

    /// Sends for `time`, or until `stop`; returns the bytes sent.
    pub fn send(&self, time: Duration, stop: &AtomicBool) -> io::Result<u64> {
        let begin = Instant::now();
        let mut sent = 0;
        while begin.elapsed() < time && !stop.load(Relaxed) {
            sent += (&self.from).write(self.expected(sent, CHUNK))? as u64;
        }
        self.from.shutdown(Shutdown::Write)?;
        Ok(sent)
    }

    /// Receives until the sender has ended.
    pub fn receive(&self) -> io::Result<Received> {
        let mut received = Received { bytes: 0, identical: true };
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = (&self.to).read(&mut buffer)?;
            if length == 0 {
                return Ok(received);
            }
            received.identical &= buffer[..length] == *self.expected(received.bytes, length);
            received.bytes += length as u64;
        }
    }

    /// The bytes of the stream from `offset` on; `length` is at most [`CHUNK`].
    fn expected(&self, offset: u64, length: usize) -> &[u8] {
        let from = (offset % PERIOD as u64) as usize;
        &self.pattern[from..from + length]
    }
}

/// Noise (xorshift64, G. Marsaglia 2003) of one period, and its beginning again so that every chunk is contiguous.
fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let mut pattern: Vec<u8> = (0..PERIOD).map(|_| noise()).collect();
    pattern.extend_from_within(..CHUNK);
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Stream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let from = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Stream { from, to: listener.accept().unwrap().0, pattern: pattern() }
    }

    #[test]
    fn what_is_sent_arrives_identical() {
        let (stream, stop) = (local(), AtomicBool::new(false));
        let (sent, received) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| stream.send(Duration::from_millis(50), &stop).unwrap());
            let received = stream.receive().unwrap();
            (sender.join().unwrap(), received)
        });
        assert!(received.identical && received.bytes == sent && sent > PERIOD as u64);
    }

    #[test]
    fn one_wrong_byte_is_noticed() {
        let stream = local();
        let mut bytes = stream.expected(0, 1000).to_vec();
        bytes[999] ^= 1;
        (&stream.from).write_all(&bytes).unwrap();
        stream.from.shutdown(Shutdown::Write).unwrap();
        let received = stream.receive().unwrap();
        assert!(!received.identical && received.bytes == 1000);
    }
}
