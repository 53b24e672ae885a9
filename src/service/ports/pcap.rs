//! Pcap ports: capture files played in and written.

use std::io;
use std::sync::Arc;

use crossdock_engine::ports::Whereabouts;
use crossdock_engine::ports::pcap::{Pace, Pcap, PcapConfig, PcapError};

use super::{Handle, Kind, Made, Refusal};
use crate::config::{self, PortConfig};

/// Opens the files.
pub(super) fn make(port: &PortConfig) -> Result<Made, Refusal> {
    let pcap = Pcap::open(&config(port)).map_err(|error| refusal(port, &error))?;
    Ok(Made { port: Box::new(pcap), handle: Arc::new(Nowhere) })
}

/// Files are no interface.
struct Nowhere;

impl Handle for Nowhere {
    fn whereabouts(&self) -> Option<Whereabouts> {
        None
    }
}

fn config(port: &PortConfig) -> PcapConfig {
    let default = PcapConfig::new(&port.name);
    PcapConfig {
        replay: port.files.replay.clone(),
        record: port.files.record.clone(),
        pace: port.files.pace.map_or(default.pace, pace),
        times: port.files.times.unwrap_or(default.times),
        mtu: port.mtu.unwrap_or(default.mtu),
        ..default
    }
}

fn pace(pace: config::Pace) -> Pace {
    match pace {
        config::Pace::Original => Pace::Original,
        config::Pace::Max => Pace::Max,
        config::Pace::Rate(rate) => Pace::Rate(rate),
    }
}

fn refusal(port: &PortConfig, error: &PcapError) -> Refusal {
    let (kind, hint) = match error.source.kind() {
        io::ErrorKind::NotFound => {
            (Kind::Unknown, "replay takes a file that exists, record one in a directory that exists")
        }
        io::ErrorKind::InvalidData => {
            (Kind::Invalid, "a pcap or pcapng file of Ethernet frames, as \"tcpdump -w\" writes")
        }
        io::ErrorKind::InvalidInput => (Kind::Invalid, "record to another file than the one that is replayed"),
        _ => (Kind::Failed, "the switch process must be able to read replay and to write record"),
    };
    Refusal::new(kind, format!("port {}: {error}", port.name), hint)
}
