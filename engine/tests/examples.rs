//! The examples that need no privileges run and say what they promise.
#![cfg(test)]

use std::path::PathBuf;
use std::process::Command;

/// What an example prints. Cargo builds examples together with the tests, next to them.
fn output_of(example: &str) -> String {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let program = path.join("examples").join(example);
    assert!(program.exists(), "with --test, build them first: cargo build -p crossdock-engine --examples");
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success(), "{example}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn in_memory_delivers_and_accounts() {
    let account = "Conservation { received: 1, generated: 0, coalesced: 0, sent: 1, dropped: 0 }";
    assert_eq!(output_of("in_memory"), format!("b received: hello from a\n{account}\n"));
}

#[test]
fn a_hub_shows_everybody_everything() {
    let lines = [
        "station 1 to station 0: a sees 60 bytes",
        "station 1 to station 0: c sees 60 bytes",
        "station 0 to station 1: b sees 60 bytes",
        "station 0 to station 1: c sees 60 bytes",
    ];
    assert_eq!(output_of("hub").lines().collect::<Vec<_>>(), lines);
}

#[test]
fn a_custom_stage_drops_and_rewrites() {
    let lines = ["servers received a frame for 02:00:00:00:00:09", "1 frame denied", "learned: [02:00:00:00:00:01]"];
    assert_eq!(output_of("custom_stage").lines().collect::<Vec<_>>(), lines);
}

#[test]
fn a_custom_port_carries_frames() {
    assert_eq!(output_of("custom_port"), "right received: through a socket\n");
}
