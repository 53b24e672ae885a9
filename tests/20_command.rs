//! The command `xdock` from outside: processes, exit codes, the control socket. Needs root; everything happens in
//! namespaces made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::{Process, xdock_binary};
use rustix::process::Signal;
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use world::{World, until_within};

/// A switch, two hosts that are its ports, and a third that is not yet.
fn two_hosts_and_a_spare(name: &str) -> World {
    World::new(name, 2).spare()
}

/// `xdock run` that is expected to fail.
fn run_in_vain(world: &World) -> Output {
    std::fs::write(world.lab.path("vain.toml"), world.config()).unwrap();
    let mut command = world.switch.command(xdock_binary().unwrap());
    command.arg("run").arg("-c").arg(world.lab.path("vain.toml")).output().unwrap()
}

fn links(world: &World, host: usize) -> String {
    world.hosts[host].ip("-o link").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn until(what: &str, done: impl FnMut() -> bool) {
    until_within(Duration::from_secs(5), what, done);
}

#[test]
fn run_switches_shows_and_cleans_up() {
    let world = two_hosts_and_a_spare("run");
    let mut xdock = world.start();
    assert_eq!(xdock.stdout(), "ready\n");
    std::thread::sleep(Duration::from_millis(500)); // A sleep that must not count as work on the next frame.
    assert!(world.pings(1, "10.0.0.2", 1));
    let ports = world.show("ports");
    for (port, host) in ports.as_array().unwrap().iter().zip(&world.hosts) {
        assert_eq!((&port["up"], &port["ifname"], &port["netns"]), (&json!(true), &json!("eth0"), &json!(host.name())));
        assert!(port["rx_frames"].as_u64() >= Some(2) && port["tx_bytes"].as_u64() >= Some(98), "{port}");
    }
    let fdb = world.show("fdb");
    let learned = |port: &str| fdb.as_array().unwrap().iter().any(|entry| entry["port"] == port);
    assert!(learned("h1") && learned("h2"), "{fdb}");
    let flows = world.show("flows");
    assert!(flows.as_array().unwrap().iter().any(|flow| flow["program"] == json!(["output:h2"])), "{flows}");
    let worker = &world.show("workers")[0];
    assert!(worker["frames"].as_u64() >= Some(4) && worker["cycles_per_frame"].as_f64() < Some(2e7), "{worker}");
    assert!(world.done("show drops --all").contains("tx_full"));

    let begin = Instant::now();
    xdock.signal(Signal::TERM).unwrap();
    assert_eq!(xdock.wait(Duration::from_secs(3)).unwrap().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(!links(&world, 0).contains("eth0") && !links(&world, 1).contains("eth0"));
    assert_eq!(std::fs::read_dir(world.lab.path("run")).unwrap().count(), 0);
    let log = xdock.stderr();
    assert!(log.contains("switch started") && log.contains("switch stopped"), "{log}");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn ports_and_domains_come_and_go_while_it_runs() {
    let world = two_hosts_and_a_spare("add");
    let _xdock = world.start();
    let add = format!("port add h3 --domain lan --ifname eth0 --address 10.0.0.3/24 --netns {}", world.hosts[2].name());
    world.done(&add);
    assert!(world.pings(1, "10.0.0.3", 1));
    let twice = world.xdock(&add);
    assert_eq!(
        (twice.status.code(), text(&twice.stderr).lines().next()),
        (Some(1), Some("xdock: port add: port h3 exists already"))
    );
    assert_eq!(
        text(&world.xdock("domain rm lan").stderr).lines().next(),
        Some("xdock: domain rm: domain lan still has ports")
    );
    world.done("port rm h3");
    assert!(!links(&world, 2).contains("eth0"));
    assert_eq!(world.xdock("port rm h3").status.code(), Some(1));
    world.done("domain add second --ageing_s 10");
    assert!(world.done("domain ls").contains("second  10 s"));
    world.done("domain rm second");
    assert!(world.pings(1, "10.0.0.2", 1), "the others lost nothing");
}

#[test]
fn a_start_that_fails_is_one_sentence_and_leaves_nothing() {
    let mut world = two_hosts_and_a_spare("fail");
    let gone = world.hosts.remove(1).name().to_owned();
    let config = world.config().replace(world.hosts[1].name(), &gone);
    std::fs::write(world.lab.path("xdock.toml"), config).unwrap();
    let mut command = world.switch.command(xdock_binary().unwrap());
    let output = command.arg("run").arg("-c").arg(world.lab.path("xdock.toml")).output().unwrap();
    let expected = format!(
        "xdock: port h2: no namespace \"{gone}\" under /run/netns\nhint: create it with \"ip netns add {gone}\"\n"
    );
    assert_eq!((output.status.code(), text(&output.stderr), text(&output.stdout)), (Some(1), expected, String::new()));
    assert!(!links(&world, 0).contains("eth0"), "the first port is undone");
    assert_eq!(std::fs::read_dir(world.lab.path("run")).unwrap().count(), 0);
}

#[test]
fn a_kept_interface_outlives_its_switch_but_not_a_start_that_fails() {
    let mut world = two_hosts_and_a_spare("keep").engine("persist = true");
    let spare = world.hosts.remove(2);
    let wrong = format!("{}[[port]]\nname = \"h3\"\ndomain = \"lan\"\nnetns = \"{}\"\n", world.config(), spare.name());
    drop(spare);
    let fails = || {
        std::fs::write(world.lab.path("wrong.toml"), &wrong).unwrap();
        let mut command = world.switch.command(xdock_binary().unwrap());
        let output = command.arg("run").arg("-c").arg(world.lab.path("wrong.toml")).output().unwrap();
        assert!(text(&output.stderr).starts_with("xdock: port h3: no namespace"), "{}", text(&output.stderr));
    };
    fails();
    assert!(!links(&world, 0).contains("eth0") && !links(&world, 1).contains("eth0"), "made and gone again");
    let mut first = world.start();
    first.signal(Signal::TERM).unwrap();
    first.wait(Duration::from_secs(3)).unwrap();
    assert!(links(&world, 0).contains("eth0"), "kept");
    fails();
    assert!(links(&world, 0).contains("eth0"), "what an earlier switch kept is not the failed one's to remove");
    let _second = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
    world.done("port rm h2");
    assert!(!links(&world, 1).contains("eth0"), "removed on purpose");
}

/// `xdock run` under a shell's limits.
fn run_limited(world: &World, limits: &str, config: &str) -> Command {
    std::fs::write(world.lab.path("xdock.toml"), config).unwrap();
    let mut command = world.switch.command("sh");
    command.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]).arg(xdock_binary().unwrap());
    command.args(["run", "-c"]).arg(world.lab.path("xdock.toml"));
    command
}

#[test]
fn a_low_limit_of_open_files_is_raised_and_one_too_low_is_named() {
    let world = two_hosts_and_a_spare("files").port(1, "queues = 16").port(2, "queues = 16");
    let output = run_limited(&world, "ulimit -n 40", &world.config()).output().unwrap();
    let told = text(&output.stderr);
    let expected = "no file descriptor is left: this process may have 40 (RLIMIT_NOFILE)\nhint: a higher hard limit";
    assert!(told.starts_with("xdock: port h") && told.contains(expected), "{told}");
    assert!(!links(&world, 0).contains("eth0") && !links(&world, 1).contains("eth0"));
    let mut command = run_limited(&world, "ulimit -Sn 20 && ulimit -Hn 200", &world.config());
    let mut xdock = world.lab.spawn("xdock", &mut command).unwrap();
    xdock.wait_for_line("ready", Duration::from_secs(10)).unwrap();
    assert!(world.pings(1, "10.0.0.2", 1));
}

#[test]
fn a_start_that_is_interrupted_ends_soon_and_leaves_nothing() {
    let world = two_hosts_and_a_spare("early");
    let port = |n: usize| {
        let place = format!("netns = \"{}\"\nifname = \"x{n}\"", world.host(3).name());
        format!("[[port]]\nname = \"x{n}\"\ndomain = \"lan\"\n{place}\n")
    };
    let config = world.config() + &(0..3000).map(port).collect::<String>();
    let mut command = run_limited(&world, "true", &config);
    let mut xdock = world.lab.spawn("xdock", &mut command).unwrap();
    until("the start is under way", || links(&world, 2).contains("x0"));
    let begin = Instant::now();
    xdock.signal(Signal::TERM).unwrap();
    assert_eq!(xdock.wait(Duration::from_secs(10)).unwrap().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(xdock.stdout(), "", "it was not ready");
    assert!(links(&world, 2).lines().all(|link| link.contains(" lo:")), "{}", links(&world, 2));
    assert!(!links(&world, 0).contains("eth0"));
    assert_eq!(std::fs::read_dir(world.lab.path("run")).unwrap().count(), 0);
}

#[test]
fn one_switch_a_socket_even_after_a_kill() {
    let world = two_hosts_and_a_spare("two");
    let mut first = world.start();
    let second = run_in_vain(&world);
    let expected = format!("xdock: control socket: another switch runs on {}", world.socket().display());
    assert_eq!((second.status.code(), text(&second.stderr).lines().next()), (Some(1), Some(expected.as_str())));
    assert!(world.pings(1, "10.0.0.2", 1), "the first is undisturbed");
    first.signal(Signal::KILL).unwrap();
    first.wait(Duration::from_secs(3)).unwrap();
    assert!(world.socket().exists(), "what a killed switch leaves");
    let _third = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
}

#[test]
fn a_port_whose_namespace_goes_is_told_of_and_the_others_go_on() {
    let mut world = two_hosts_and_a_spare("gone");
    let xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
    let third = world.hosts.remove(2);
    world.done(&format!("port add h3 --domain lan --ifname eth0 --netns {}", third.name()));
    drop(third);
    until("the loss is logged", || xdock.stderr().contains("port gone"));
    assert_eq!(xdock.stderr().lines().filter(|line| line.contains("ERROR") && line.contains("h3")).count(), 1);
    let ports = world.show("ports");
    let up =
        |name: &str| ports.as_array().unwrap().iter().find(|port| port["name"] == name).map(|port| port["up"].clone());
    assert_eq!((up("h2"), up("h3")), (Some(json!(true)), Some(json!(false))));
    assert!(world.pings(1, "10.0.0.2", 1));
    world.done("port rm h3");
    assert_eq!(world.show("ports").as_array().unwrap().len(), 2);
}

#[test]
fn slow_and_silent_clients_block_nobody() {
    let world = two_hosts_and_a_spare("slow");
    let _xdock = world.start();
    let mut clients: Vec<_> = (0..20).map(|_| UnixStream::connect(world.socket()).unwrap()).collect();
    for client in &mut clients[..10] {
        client.write_all(b"POST /v1/ports HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
    }
    let begin = Instant::now();
    world.done("show ports");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    let mut answer = String::new();
    clients[0].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    clients[0].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[test]
fn requests_that_are_too_large_are_refused() {
    let world = two_hosts_and_a_spare("large");
    let _xdock = world.start();
    let mut client = UnixStream::connect(world.socket()).unwrap();
    client.write_all(b"POST /v1/ports HTTP/1.1\r\nhost: x\r\ncontent-length: 1048577\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"error\":\"the body is too large\""), "{answer}");
}

fn demo(world: &World) -> Process {
    let mut command = world.switch.command(xdock_binary().unwrap());
    world.lab.spawn("demo", command.arg("demo")).unwrap()
}

fn leftovers(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").unwrap().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("xdemo-") && name.ends_with(&format!("-{pid}"))).collect()
}

#[test]
fn the_demo_passes_and_leaves_nothing() {
    let world = two_hosts_and_a_spare("demo");
    let mut demo = demo(&world);
    let status = demo.wait(Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(0), "{}{}", demo.stdout(), demo.stderr());
    assert!(demo.stdout().contains("All 12 checks passed"));
    assert_eq!(leftovers(demo.pid()), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let world = two_hosts_and_a_spare("stop");
    let mut demo = demo(&world);
    demo.wait_for_line("[2/5]", Duration::from_secs(20)).unwrap();
    assert_eq!(leftovers(demo.pid()).len(), 4);
    demo.signal(Signal::INT).unwrap();
    let status = demo.wait(Duration::from_secs(5)).unwrap();
    assert_eq!((status.code(), demo.stderr().as_str()), (Some(1), "xdock: demo: interrupted\n"));
    assert_eq!(leftovers(demo.pid()), Vec::<String>::new());
}
