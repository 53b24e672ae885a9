//! The switch of Crossdock: frames in, frames out, and what is known in between.
//!
//! Modules stand in the order in which a frame meets them.

pub mod clock;
pub mod drop;
pub mod frame;
pub mod ports;
mod prefetch;
pub mod stats;
pub mod wire;
