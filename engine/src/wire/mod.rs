//! One header, one file: field positions, a checked view, and the values they carry.

pub mod cidr;
pub mod ethernet;
#[cfg(test)]
pub(crate) mod sample;
pub mod transport;
pub mod tunnel;
pub mod vlan;
pub mod vnet;

pub use cidr::Cidr;
pub use ethernet::Mac;
