//! Packets as people describe and read them, off the data path.

pub mod fields;
pub mod file;
pub mod summary;
