//! Capture files, as a pcap port and the trace command read them.

use crossdock::packet::{file, summary};
use crossdock_engine::pcapng::{Packet, Writer};
use crossdock_engine::ports::pcap::{PacketHead, Reader};
use std::io::{self, Cursor};

type Packets = Vec<(PacketHead, Vec<u8>)>;

/// No file makes the reader panic; what was read, written again and read again, is the same.
pub fn capture(data: &[u8]) {
    for number in 1..4 {
        if let Ok(frame) = file::frame(Cursor::new(data.to_vec()), number) {
            assert!(!summary::summary(&frame, frame.len()).is_empty());
        }
    }
    let Ok(packets) = read(data.to_vec()) else { return };
    // The writer's nanoseconds have 64 bits.
    if packets.iter().all(|(head, _)| u64::try_from(head.time.as_nanos()).is_ok()) {
        assert_eq!(write(&packets).and_then(read).unwrap_or_default(), packets);
    }
}

fn read(file: Vec<u8>) -> io::Result<Packets> {
    let mut reader = Reader::new(Cursor::new(file))?;
    let (mut packets, mut bytes) = (Vec::new(), Vec::new());
    while let Some(head) = reader.next(&mut bytes)? {
        packets.push((head, bytes.clone()));
    }
    Ok(packets)
}

fn write(packets: &Packets) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), "fuzz")?;
    let interface = writer.interface("any")?;
    for (PacketHead { time, len }, data) in packets {
        let (direction, comment) = (None, None);
        writer.packet(&Packet { interface, time: *time, data, len: *len, direction, comment })?;
    }
    Ok(writer.into_inner())
}
