//! Every stored input of every target, seeds and crashes, through the same functions that libFuzzer drives.
#![cfg(test)]

use crossdock_fuzz::{TARGETS, Target};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of `fuzz/KIND/TARGET`, sorted; none where there is no such directory.
fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target);
    let mut files: Vec<_> = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(kind: &str, name: &str, target: Target) -> usize {
    let files = inputs(kind, name);
    for file in &files {
        println!("{}", file.display());
        target(&fs::read(file).unwrap());
    }
    files.len()
}

#[test]
fn seeds_and_crashes_pass() {
    for &(name, target) in TARGETS {
        assert!(replay("corpus", name, target) > 0, "{name} has no seeds");
        replay("crashes", name, target);
    }
}

#[test]
fn every_directory_and_binary_is_of_a_target() {
    let is_target = |name: &str| TARGETS.iter().any(|(target, _)| *target == name);
    for kind in ["corpus", "crashes", "targets"] {
        for path in inputs(kind, "") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(is_target(name) || name == ".gitkeep", "{}", path.display());
        }
    }
    for (name, _) in TARGETS {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("targets/{name}.rs")).exists(), "{name}");
    }
}
