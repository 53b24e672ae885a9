//! Bit-exact transfers over TCP: the receiver makes the same pattern anew and compares every byte.

use super::Random;
use crate::lab::Namespace;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Blocks that make a gigabyte.
pub const BLOCKS_PER_GB: usize = 954;
/// Bytes of a block: random, but for the number of the block at its beginning.
pub const BLOCK: usize = 1 << 20;
const NUMBER: usize = size_of::<u64>();
/// How long a connection may stand still.
const STALL: Duration = Duration::from_secs(10);

/// Sends `blocks` blocks from one host to another that has `address`, and compares what arrives.
pub fn transfer(from: &Namespace, (to, address): (&Namespace, &str), blocks: usize, seed: u64) {
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let target = listener.local_addr().unwrap();
    let source = from.run(|| TcpStream::connect_timeout(&target, STALL).unwrap()).unwrap();
    let (sink, _) = listener.accept().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| send(source, blocks, Random(seed).bytes(BLOCK)));
        compare(sink, blocks, Random(seed).bytes(BLOCK));
    });
}

fn send(mut stream: TcpStream, blocks: usize, mut block: Vec<u8>) {
    stream.set_write_timeout(Some(STALL)).unwrap();
    for number in 0..blocks {
        block[..NUMBER].copy_from_slice(&number.to_be_bytes());
        stream.write_all(&block).unwrap();
    }
}

fn compare(mut stream: TcpStream, blocks: usize, mut expected: Vec<u8>) {
    stream.set_read_timeout(Some(STALL)).unwrap();
    let mut block = vec![0; BLOCK];
    for number in 0..blocks {
        expected[..NUMBER].copy_from_slice(&number.to_be_bytes());
        stream.read_exact(&mut block).unwrap();
        assert!(block == expected, "block {number} differs");
    }
    assert_eq!(stream.read(&mut block).unwrap(), 0, "more than was sent");
}
