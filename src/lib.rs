//! Crossdock: a userspace packet-switching engine for container networks.
//!
//! This crate is the facade: the engine under one name, and what the command `xdock` is made of.

pub mod bench;
pub mod config;
pub mod control;
pub mod packet;
pub mod machine;
pub mod metrics;
pub mod service;

pub use crossdock_engine as engine;
