//! What this build does on this machine, measured: for `xdock bench` and for cargo's benches.

pub mod account;
pub mod judge;
pub mod memory;
