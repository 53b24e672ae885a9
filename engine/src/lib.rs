//! The switch of Crossdock: frames in, frames out, and what is known in between. To be embedded in any program: no
//! configuration files, no JSON, no global state.
//!
//! A [`Switch`] has worker threads, bridge domains and ports. A port is a TAP, a packet socket, a channel in memory, a
//! capture file or a type of your own; it may come and go while traffic runs.
//!
//! ```
//! use crossdock_engine::Switch;
//! use crossdock_engine::frame::Offload;
//! use crossdock_engine::ports::channel::Channel;
//! use crossdock_engine::switch::{Config, Membership};
//! use crossdock_engine::tables::topology::Domain;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let switch = Switch::new(Config { frames: 512, super_frames: 8, ..Config::default() })?;
//! switch.add_domain(Domain::new("lan"))?;
//! let (port_a, mut a) = Channel::pair("a", 64, 1500, switch.arena())?;
//! let (port_b, mut b) = Channel::pair("b", 64, 1500, switch.arena())?;
//! switch.add_port(Box::new(port_a), &Membership::of("lan"))?;
//! switch.add_port(Box::new(port_b), &Membership::of("lan"))?;
//!
//! let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x88, 0xb5], b"hello"].concat();
//! a.send(&frame, Offload::default())?;
//! b.wait(Duration::from_secs(5));
//! assert_eq!(b.recv().map(|(bytes, _)| bytes), Some(frame));
//! # Ok(())
//! # }
//! ```
//!
//! What to read next: [`switch`] is the API, `examples/` has whole programs (a hub, a port and a stage of one's own, two
//! namespaces), [`ports`] says how frames come and go, [`stages`] how it is decided where, [`frame`] who owns their memory,
//! [`mod@drop`] why one may end. DESIGN.md of the project explains why it is built like this.
//!
//! Lengths are bytes of Ethernet frames without FCS unless something else is said; MTUs count the IP packet. An error is a
//! sentence that names the thing; between stages there is none, only a verdict or a [`drop::DropReason`].
//!
//! Modules stand in the order in which a frame meets them.

pub mod ports; // where frames come from and go to
pub mod frame; // the memory of a frame on its way
pub mod guard; // whom the frames of a port may come from
pub mod parse; // bytes to flow key
pub mod flow; // the key, and the value that stages edit
pub mod table; // this worker's flow cache
pub mod pipeline; // the ordered stages; a miss is compiled here
pub mod stages; // one decision, one file
pub mod tables; // what the stages know
pub mod program; // what is to be done, as data
pub mod execute; // runs a program on a frame
pub mod offload; // what a sender left undone and a port cannot do
pub mod worker; // the loop of one core
pub mod switch; // the embedding API

mod bell;
pub mod capture; // copies of frames, for people who watch
pub mod clock;
mod cpu;
pub mod drop;
mod memory;
pub mod pcapng;
pub mod stats;
pub mod trace; // what would happen to a frame, and why
pub mod wire;

pub use switch::Switch;
