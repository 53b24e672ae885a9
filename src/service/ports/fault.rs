//! Faults in front of a port of any kind.

use std::time::Duration;

use crossdock_engine::ports::Port;
use crossdock_engine::ports::fault::{FaultConfig, Faults, Faulty};

use crate::config::{Direction, Fault};

/// The port, behind the faults that the configuration asks for.
pub(super) fn wrap(port: Box<dyn Port>, fault: Option<&Fault>) -> Box<dyn Port> {
    match fault {
        Some(fault) => Box::new(Faulty::new(port, config(fault))),
        None => port,
    }
}

fn config(fault: &Fault) -> FaultConfig {
    let faults = Faults {
        drop: fault.drop.0,
        duplicate: fault.duplicate.0,
        reorder: fault.reorder.0,
        corrupt: fault.corrupt.0,
        delay: Duration::from_millis(fault.delay_ms.into()),
        rate: (fault.rate_mbit > 0).then_some(u64::from(fault.rate_mbit) * 1_000_000),
    };
    let befalls = |direction| if fault.direction == direction { Faults::default() } else { faults.clone() };
    FaultConfig { receive: befalls(Direction::Out), transmit: befalls(Direction::In), seed: fault.seed.into() }
}
