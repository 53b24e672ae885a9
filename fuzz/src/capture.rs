//! Capture files, read twice: by the pcap port, and by the trace command.

use crossdock::packet::{file, summary};
use crossdock_engine::pcapng::{Packet, Writer};
use crossdock_engine::ports::fuzzing;

/// No file makes a reader panic; what was read, written again and read again, is the same.
pub fn capture(data: &[u8]) {
    for number in 1..4 {
        if let Ok(frame) = file::frame(data, number) {
            assert!(!summary::summary(frame, frame.len()).is_empty());
        }
    }
    let Ok(packets) = fuzzing::packets(data.to_vec()) else { return };
    // The writer's nanoseconds have 64 bits.
    let fits = |time: std::time::Duration| u64::try_from(time.as_nanos()).is_ok();
    if packets.iter().all(|(time, _)| fits(*time)) {
        let again = write(&packets).and_then(fuzzing::packets).unwrap_or_default();
        assert_eq!(again, packets);
    }
}

fn write(packets: &[(std::time::Duration, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), "fuzz")?;
    let interface = writer.interface("any")?;
    for (time, data) in packets {
        let (len, direction, comment) = (data.len(), None, None);
        writer.packet(&Packet { interface, time: *time, data, len, direction, comment })?;
    }
    Ok(writer.into_inner())
}
