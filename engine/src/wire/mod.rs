//! One header, one file: field positions, a checked view, and the values they carry.

pub mod ethernet;

pub use ethernet::Mac;
