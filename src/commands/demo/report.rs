//! What the demo says, in words for people who see a switch for the first time.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use crossdock::engine::switch::Conservation;

use super::scene::{Host, Scene};
use crate::failure::Failure;
use crate::table::Table;

pub const PORTS: &[&str] = &[
    "A port is the switch's end of a cable; at the other end is eth0 of a host. RX is what came from the host,",
    "TX what went to it. A frame counts once, be it 64 bytes or a 64 KiB segment.",
];
pub const FDB: &[&str] = &[
    "The forwarding database: which MAC address is behind which port, learned from the frames' sources.",
    "AGE is the time since the last frame from there; after 300 s of silence the entry goes.",
];
pub const FLOWS: &[&str] = &[
    "The flow cache: decisions already made. A frame that matches KEY runs PROGRAM without any further thought;",
    "the first frame of each flow was decided by the stages (vlan, learn, isolate, forward).",
];
pub const DROPS: &[&str] = &[
    "Every frame that went no further, by reason; none is dropped without a name. A no_egress would be what a host",
    "said before there was another one to hear it.",
];

/// Prints a line. That nobody reads it (`| head`) changes nothing about the demo or its exit code.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Who takes part.
pub fn introduce(scene: &Scene) {
    say("Crossdock demo: three hosts on one userspace switch, each in a network namespace of its own.\n");
    let mut table = Table::new(&["HOST", "ADDRESS", "NAMESPACE"]);
    for host in &scene.hosts {
        table.row([host.name.clone(), host.address.to_string(), host.namespace.name().into()]);
    }
    table.row(["(switch)".into(), String::new(), scene.switch.name().into()]);
    print(&table);
    let name = scene.hosts.first().map_or("NAMESPACE", |host| host.namespace.name());
    say(format!("\n  They exist while the demo runs: ip netns exec {name} ip address"));
}

/// The answers to a row of pings.
pub fn round_trips(from: &Host, to: &Host, answered: &[Duration], sent: u16) {
    let ms = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
    let mut sorted = answered.to_vec();
    sorted.sort_unstable();
    let times = match (answered.first(), sorted.get(sorted.len() / 2)) {
        (Some(first), Some(median)) => format!("first {}, median {}", ms(*first), ms(*median)),
        _ => "no answer".into(),
    };
    say(format!("  {} > {}  {} of {sent} answered, {times}", from.name, to.name, answered.len()));
}

/// A table with the command that shows it, and what it means.
pub fn table(command: &str, table: &Table, meaning: &[&str]) {
    say(format!("  $ {command}"));
    print(table);
    meaning.iter().for_each(|line| say(format!("  # {line}")));
    say("");
}

fn print(table: &Table) {
    let mut text = Vec::new();
    let _ = table.write(&mut text);
    String::from_utf8_lossy(&text).lines().for_each(|line| say(format!("  {line}")));
}

/// Where all frames went.
pub fn conservation(frames: &Conservation) {
    let line = |n: u64, what: &str| say(format!("  {:>14}  {what}", count(n)));
    line(frames.received, "received from the hosts");
    line(frames.generated, "made: copies of frames to everybody, announcements of the hosts");
    line(frames.sent, "sent to the hosts");
    line(frames.dropped, "dropped, each for a reason with a name");
    say(format!("  {:>14}  left: received + made - sent - dropped", frames.in_flight()));
}

/// The other side's view.
pub fn agreement(host: &Host, agrees: bool) {
    let verdict = if agrees { "counted exactly the frames" } else { "did NOT count the frames" };
    say(format!("  The kernel of {} {verdict} that the switch says it exchanged with it.", host.name));
}

/// What must hold for the demo to succeed.
#[derive(Default)]
pub struct Checks {
    passed: usize,
    failed: Vec<String>,
}

impl Checks {
    pub fn add(&mut self, what: impl Into<String>, passed: bool) {
        if passed { self.passed += 1 } else { self.failed.push(what.into()) }
    }

    /// Success only if all of them passed.
    pub fn conclude(self) -> Result<(), Failure> {
        if self.failed.is_empty() {
            say(format!("\nAll {} checks passed; the namespaces are gone again.", self.passed));
            return Ok(());
        }
        Err(Failure::new("demo: failed checks", self.failed.join("; "), None))
    }
}

/// A number with its thousands apart.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in a unit that suits them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let counted: Vec<String> = [0, 999, 1000, 1_234_567].map(count).into();
        assert_eq!(counted, ["0", "999", "1,000", "1,234,567"]);
        let sizes: Vec<String> = [999, 1500, 64_500, 2_500_000, 9_870_000_000].map(size).into();
        assert_eq!(sizes, ["999 bytes", "1.5 kB", "64.5 kB", "2.5 MB", "9.87 GB"]);
    }

    #[test]
    fn one_failed_check_fails_the_demo() {
        let mut checks = Checks::default();
        checks.add("one", true);
        checks.add("two", false);
        assert!(checks.conclude().is_err());
    }
}
