//! The laboratory itself: what it makes works, and is gone afterwards. Needs root.

mod lab;

use lab::{Lab, run};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn netns(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

#[test]
fn everything_is_removed_after_a_panic() {
    let lab = Lab::new("panic").unwrap();
    let (namespace, directory) = (lab.namespace("h1").unwrap(), lab.path(""));
    let name = namespace.name().to_owned();
    assert!(netns(&name).exists() && directory.exists());
    let failed = std::thread::spawn(move || {
        let _moved = (lab, namespace);
        panic!("on purpose");
    });
    assert!(failed.join().is_err());
    assert!(!netns(&name).exists() && !directory.exists());
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next_lab() {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let dead = format!("xd-stale-{}x0000-h1", child.id());
    let alive = format!("xd-stale-{}x0000-h1", std::process::id());
    for name in [&dead, &alive] {
        run(Command::new("ip").args(["netns", "add", name])).unwrap();
    }
    let _lab = Lab::new("sweep").unwrap();
    let left = (netns(&dead).exists(), netns(&alive).exists());
    run(Command::new("ip").args(["netns", "del", &alive])).unwrap();
    assert_eq!(left, (false, true));
}

#[test]
fn commands_threads_and_counters_are_inside() {
    let lab = Lab::new("inside").unwrap();
    let (h1, h2) = (lab.namespace("h1").unwrap(), lab.namespace("h2").unwrap());
    h1.ip(&format!("link add eth0 type veth peer name eth0 netns {}", h2.name())).unwrap();
    for (host, address) in [(&h1, "10.0.0.1/24"), (&h2, "10.0.0.2/24")] {
        host.ip(&format!("addr add {address} dev eth0")).unwrap();
        host.ip("link set eth0 up").unwrap();
    }
    let server = h2.run(|| std::net::UdpSocket::bind("10.0.0.2:7000")).unwrap().unwrap();
    let counters = h2.counters("eth0").unwrap();
    let before = counters.received().unwrap();
    run(h1.command("ping").args(["-c", "3", "-i", "0.01", "-W", "5", "10.0.0.2"])).unwrap();
    assert!(counters.received().unwrap() >= before + 3);
    assert!(run(h1.command("ip").args(["route", "get", "10.0.0.2"])).unwrap().contains("eth0"));
    assert!(h1.run(|| std::net::UdpSocket::bind("10.0.0.2:7000")).unwrap().is_err());
    drop(server);
}

#[test]
fn a_failing_command_says_why() {
    let lab = Lab::new("why").unwrap();
    let error = lab.namespace("h1").unwrap().ip("link set nothing up").unwrap_err().to_string();
    assert!(error.contains("nothing"), "{error}");
}

#[test]
fn waits_are_bounded_and_processes_end_with_their_value() {
    let lab = Lab::new("process").unwrap();
    let mut said = lab.spawn("said", Command::new("sh").args(["-c", "echo ready; exec sleep 60"])).unwrap();
    said.wait_for_line("ready", Duration::from_secs(5)).unwrap();
    assert!(said.wait(Duration::from_millis(50)).is_err());
    let stat = PathBuf::from(format!("/proc/{}/stat", said.pid()));
    assert!(stat.exists());
    drop(said);
    assert!(!stat.exists());

    let mut dies = lab.spawn("dies", Command::new("sh").args(["-c", "echo because >&2; exit 1"])).unwrap();
    let error = dies.wait_for_line("ready", Duration::from_secs(5)).unwrap_err().to_string();
    assert!(error.contains("because"), "{error}");
}

#[test]
fn a_crowd_is_made_side_by_side_and_is_silent() {
    let lab = Lab::new("crowd").unwrap();
    let crowd = lab.crowd("c", 9).unwrap();
    let names: Vec<_> = crowd.iter().map(|namespace| namespace.name().to_owned()).collect();
    let inodes: Vec<_> = names.iter().map(|name| std::fs::metadata(netns(name)).unwrap().ino()).collect();
    assert_eq!(inodes.iter().collect::<BTreeSet<_>>().len(), 9, "each is another one");
    for namespace in &crowd {
        namespace.ip("link add v0 type veth peer name v1").unwrap();
        namespace.ip("link set v0 up").unwrap();
        assert_eq!(namespace.ip("-6 -o addr").unwrap(), "", "nothing that would speak");
    }
    drop(crowd);
    assert!(!names.iter().any(|name| netns(name).exists()));
}
