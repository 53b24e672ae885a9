//! Every stored input of every target, seeds and crashes, through the same functions that libFuzzer drives; and a smoke run
//! of seeds that were changed, the same in every run, for those who have no C++ compiler.
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

/// Changed seeds for each target: a few seconds for all, in a debug build.
const ROUNDS: usize = 100;

/// Numbers that look random and are the same every time (Marsaglia, Xorshift RNGs, 2003).
struct Random(u64);

impl Random {
    /// Less than `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// A seed with a few bits turned, its end cut off, or another one's end in place of its own.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match (random.below(4), bytes.get_mut(at)) {
            (0, _) => bytes.truncate(at),
            (1, _) => {
                let other = &seeds[random.below(seeds.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            (_, Some(byte)) => *byte ^= 1 << random.below(8),
            _ => {}
        }
    }
    bytes
}

#[test]
fn changed_seeds_pass() {
    for &(name, target) in TARGETS {
        let seeds: Vec<_> = inputs("corpus", name).into_iter().map(|file| fs::read(file).unwrap()).collect();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..ROUNDS {
            let bytes = changed(&seeds, &mut random);
            println!("{name} {bytes:02x?}");
            target(&bytes);
        }
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
