//! A configuration file on the disk.

use std::io;
use std::path::{Path, PathBuf};

use super::{Config, Report};
use crate::machine;

/// Why a file gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is wrong.
    #[error("{path}: {report}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it.
        report: Report,
    },
}

/// Reads a configuration file for this machine.
///
/// # Errors
/// It cannot be read, or it is wrong; then everything that is.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let cores = machine::cores().map_err(unreadable)?;
    Config::parse(&text, &cores).map_err(|report| LoadError::Invalid { path: path.to_owned(), report })
}
