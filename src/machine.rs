//! What the kernel says about this machine.

use std::fs;
use std::io;

/// The cores that are switched on, by number.
///
/// # Errors
/// There is no `/sys`.
pub fn cores() -> io::Result<Vec<usize>> {
    Ok(core_list(fs::read_to_string("/sys/devices/system/cpu/online")?.trim()))
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
