//! The switch of Crossdock: frames in, frames out, and what is known in between.
//!
//! Modules stand in the order in which a frame meets them.

pub mod ports; // where frames come from and go to
pub mod frame; // the memory of a frame on its way
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
