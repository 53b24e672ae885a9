//! What the kernel says about this machine.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The cores that are switched on, by number.
///
/// # Errors
/// There is no `/sys`.
pub fn cores() -> io::Result<Vec<usize>> {
    Ok(core_list(fs::read_to_string("/sys/devices/system/cpu/online")?.trim()))
}

/// Lets this process have as many open files as it may without asking anybody: as many as its hard limit says. The soft one
/// (RLIMIT_NOFILE, 1024 as a rule) is for programs that use `select`.
///
/// # Errors
/// What the kernel says.
pub fn raise_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// How many open files this process may have; `None` for any number.
#[must_use]
pub fn file_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Reads the kernel's list format: `0-3,8`.
#[must_use]
pub fn core_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists() {
        assert_eq!(core_list("0"), [0]);
        assert_eq!(core_list("0-3,8,10-11"), [0, 1, 2, 3, 8, 10, 11]);
        assert!(core_list("").is_empty());
    }
}
