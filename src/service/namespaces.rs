//! Who uses a namespace that has no name any more.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crossdock_engine::ports::NetnsId;

/// Which of these namespaces somebody uses, as far as this process sees: a thread runs there, or it is mounted somewhere. Files
/// and sockets that others hold are not seen.
pub(super) fn in_use(ids: &HashSet<NetnsId>) -> HashSet<NetnsId> {
    let used: HashSet<u64> = mounted().into_iter().chain(inhabited()).collect();
    ids.iter().copied().filter(|id| used.contains(&id.inode())).collect()
}

/// The namespaces in which threads run.
fn inhabited() -> HashSet<u64> {
    let inside = |thread: &Path| number(fs::read_link(thread.join("ns/net")).ok()?.to_str()?);
    let processes = numbered(Path::new("/proc"));
    let threads = processes.flat_map(|process| numbered(&process.join("task")));
    threads.filter_map(|thread| inside(&thread)).collect()
}

/// The entries of a directory that are called by a number.
fn numbered(directory: &Path) -> impl Iterator<Item = std::path::PathBuf> + use<> {
    let is_number = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(move |entry| is_number(&entry.file_name())).map(|entry| entry.path())
}

/// The namespaces that are mounted somewhere (proc_pid_mountinfo(5): the fourth field is the root of the mount).
fn mounted() -> HashSet<u64> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().filter_map(|mount| number(mount.split(' ').nth(3)?)).collect()
}

/// The number in `net:[4026531840]`.
fn number(link: &str) -> Option<u64> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_in_use() {
        let own = NetnsId::of("/proc/self/ns/net").unwrap();
        let other = NetnsId::of("/proc/self/ns/mnt").unwrap();
        assert_eq!(in_use(&HashSet::from([own, other])), HashSet::from([own]));
    }

    #[test]
    fn numbers_of_namespaces() {
        assert_eq!(number("net:[4026531840]"), Some(4_026_531_840));
        assert_eq!([number("mnt:[1]"), number("/"), number("net:[]")], [None; 3]);
    }
}
