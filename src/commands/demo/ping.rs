//! ICMP echo (RFC 792), so that the demo needs no `ping` to be installed.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crossdock::engine::offload::sum;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, connect, ipproto, recv, send, socket};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Header and payload, as `ping` sends.
const LENGTH: usize = 64;
/// How long to wait for each answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends `count` requests one after another, each `pause` after the answer to the last, and returns the round trips of those
/// that were answered. Uses the namespace of the calling thread.
pub fn ping(to: Ipv4Addr, count: u16, pause: Duration) -> io::Result<Vec<Duration>> {
    let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))?;
    connect(&socket, &SocketAddrV4::new(to, 0))?;
    let mut answered = Vec::new();
    for sequence in 0..count {
        answered.extend(round_trip(&socket, sequence)?);
        std::thread::sleep(pause);
    }
    Ok(answered)
}

fn round_trip(socket: &OwnedFd, sequence: u16) -> io::Result<Option<Duration>> {
    let request = request(sequence);
    let begin = Instant::now();
    send(socket, &request, SendFlags::empty())?;
    let mut packet = [0; 1500];
    while let Some(left) = PATIENCE.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        set_socket_timeout(socket, Timeout::Recv, Some(left))?;
        match recv(socket, &mut packet, RecvFlags::empty()) {
            Ok((length, _)) if is_answer(&packet[..length], &request) => return Ok(Some(begin.elapsed())),
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn request(sequence: u16) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = ECHO_REQUEST;
    packet[4..6].copy_from_slice(&(std::process::id() as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    packet[8..].iter_mut().zip(0..).for_each(|(byte, at)| *byte = at);
    let checksum = checksum(&packet);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// Whether an IPv4 packet is the echo reply to `request`: same identifier, sequence number and payload.
fn is_answer(packet: &[u8], request: &[u8]) -> bool {
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let icmp = packet.get(header..).unwrap_or_default();
    icmp.first() == Some(&ECHO_REPLY) && icmp.get(4..) == Some(&request[4..])
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_checks_out_and_its_reply_is_recognised() {
        let request = request(7);
        assert_eq!(checksum(&request), 0);
        let mut packet = vec![0x45; 20];
        packet.extend(request);
        assert!(!is_answer(&packet, &request), "our own request is no answer");
        packet[20] = ECHO_REPLY;
        assert!(is_answer(&packet, &request));
        packet[27] ^= 1;
        assert!(!is_answer(&packet, &request), "another sequence number");
        assert!(!is_answer(&[0x4f], &request) && !is_answer(&[], &request));
    }
}
