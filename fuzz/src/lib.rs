//! The fuzz targets: each a function over bytes that panics when a promise is broken.
//!
//! libFuzzer calls them through `targets/`, and `tests/replay.rs` runs every file of `corpus/` and `crashes/` through the
//! same functions. A crash becomes a file in `crashes/TARGET/`, and stays there.

mod capture;
mod execute;
mod guard;
mod memory;
mod offload;
mod parse;
mod text;
mod vnet;

pub use capture::capture;
pub use execute::execute;
pub use guard::guard;
pub use offload::{gro, gso};
pub use parse::parse;
pub use text::{config, fields};
pub use vnet::vnet;

/// A target: any bytes at all.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("parse", parse),
    ("guard", guard),
    ("execute", execute),
    ("vnet", vnet),
    ("gso", gso),
    ("gro", gro),
    ("config", config),
    ("capture", capture),
    ("fields", fields),
];
