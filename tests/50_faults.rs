//! What goes wrong around a running switch, and that it costs nobody else anything. Needs root; everything happens in
//! namespaces made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::{Process, xdock_binary};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};
use world::paced::Paced;
use world::raw::Raw;
use world::transfer::transfer;
use world::{Random, World, number, until};

/// The time the threads of a process ran, as the scheduler counted it (Documentation/scheduler/sched-stats.rst).
fn time_on_cpu(process: &Process) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap().flatten();
    let ran = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("schedstat")).unwrap();
        stat.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    Duration::from_nanos(tasks.map(ran).sum())
}

/// The share of a core that a process takes while nothing is asked of it.
fn load(process: &Process, time: Duration) -> f64 {
    let before = time_on_cpu(process);
    sleep(time);
    (time_on_cpu(process) - before).as_secs_f64() / time.as_secs_f64()
}

fn descriptors(process: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap().count()
}

/// All frame memory is free again.
fn at_rest(world: &World) -> bool {
    let worker = &world.show("workers")[0];
    worker["pool_free"] == worker["pool_total"]
}

/// Every frame that came in or was made went out or was dropped by name. Holds at rest.
fn conserved(world: &World) -> bool {
    let ports = world.show("ports");
    let sum = |key: &str| ports.as_array().unwrap().iter().map(|port| number(&port[key])).sum::<u64>();
    let drops = ports.as_array().unwrap().iter().flat_map(|port| port["drops"].as_object().unwrap().values());
    let dropped = drops.map(number).sum::<u64>();
    assert_eq!(dropped, world.drops().values().sum::<u64>(), "show ports and show drops agree");
    sum("rx_frames") + sum("generated") == sum("tx_frames") + sum("coalesced") + dropped
}

/// Runs `xdock run` on this configuration by way of `wrapper`, which ends in the program to run.
fn run_wrapped(world: &World, wrapper: &[&str], program: &Path) -> Output {
    let file = world.lab.path("wrapped.toml");
    fs::write(&file, world.config()).unwrap();
    let mut command = world.switch.command(wrapper[0]);
    command.args(&wrapper[1..]).arg(program).arg("run").arg("-c").arg(file).output().unwrap()
}

/// Exit code 1, one sentence that begins so, at most one hint, and no interface left.
fn assert_refused(world: &World, output: &Output, sentence: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &[][..]), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines[0].starts_with(sentence) && lines.len() <= 2, "{stderr}");
    assert!(lines.get(1).is_none_or(|hint| hint.starts_with("hint: ")), "{stderr}");
    for namespace in world.hosts.iter().chain([&world.switch]) {
        assert_eq!(namespace.ip("-o link").unwrap().lines().count(), 1, "only lo");
    }
    assert!(!world.socket().exists());
}

#[test]
fn without_the_tun_device_it_says_so_and_leaves_nothing() {
    let world = World::new("notun", 2);
    let hide = "mount -t tmpfs none /dev/net && exec \"$@\"";
    let output = run_wrapped(&world, &["unshare", "--mount", "sh", "-c", hide, "sh"], xdock_binary().unwrap());
    assert_refused(&world, &output, "xdock: port h1: /dev/net/tun: No such file or directory");
}

#[test]
fn without_capabilities_it_says_so_and_leaves_nothing() {
    let world = World::new("nocap", 2);
    let wrapper = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let output = run_wrapped(&world, &wrapper, xdock_binary().unwrap());
    assert_refused(&world, &output, "xdock: port h1: ");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not permitted; it needs CAP_NET_ADMIN"));
}

#[test]
fn as_nobody_it_says_so_and_leaves_nothing() {
    let world = World::new("nobody", 2);
    let program = world.lab.path("xdock");
    fs::copy(xdock_binary().unwrap(), &program).unwrap();
    let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let output = run_wrapped(&world, &wrapper, &program);
    assert_refused(&world, &output, "xdock: control socket: ");
    assert!(String::from_utf8_lossy(&output.stderr).contains("ermission denied"));
}

#[test]
fn all_that_is_wrong_with_a_configuration_is_told_at_once() {
    let world = World::new("wrong", 1).engine("poll = \"sometimes\"\nspinus = 3").port(1, "mtu = 12\nqueues = 99");
    let output = run_wrapped(&world, &["env"], xdock_binary().unwrap());
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let config = world.config();
    for (wrong, words) in [("poll", "sometimes"), ("spinus", "spin_us"), ("mtu", "12"), ("queues", "99")] {
        let line = config.lines().position(|line| line.starts_with(wrong)).unwrap() + 1;
        let place = format!("xdock: {}:{line}: ", world.lab.path("wrapped.toml").display());
        let told = stderr.lines().skip_while(|told| !told.starts_with(&place)).take(2).collect::<String>();
        assert!(told.contains(words) && told.contains("hint: "), "{wrong} in line {line}: {stderr}");
    }
    assert_eq!(stderr.lines().filter(|line| line.starts_with("xdock: ")).count(), 4, "{stderr}");
}

/// The port `h3` is lost in one way or another while the first two hosts exchange datagrams and a transfer. It may be back soon.
fn lose_the_third_port(name: &str, comes_back: bool, lose: impl FnOnce(&mut World)) {
    let mut world = World::new(name, 3);
    let xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1) && world.pings(1, "10.0.0.3", 1));
    let before = descriptors(&xdock);
    let paced = Paced::start(world.host(1), world.host(2), "10.0.0.2");
    sleep(Duration::from_millis(100));
    lose(&mut world);
    until("the loss is told of", || xdock.stderr().contains("port gone"));
    match comes_back {
        true => until("it is open again", || world.shown("h3")["state"] == "up" && descriptors(&xdock) == before),
        false => {
            until("it is shown as gone", || world.shown("h3")["state"] == "gone" && descriptors(&xdock) < before);
            assert_eq!((world.shown("h3")["up"].as_bool(), world.learned("h3")), (Some(false), vec![]));
        }
    }
    transfer(world.host(2), (world.host(1), "10.0.0.1"), 32, 1);
    let sent = paced.finish();
    assert!(sent > 100, "{sent}");
    // Threads that carried requests out end now, and their time counts no more.
    sleep(Duration::from_millis(500));
    let share = load(&xdock, Duration::from_secs(2));
    assert!(share < 0.05, "{share} of a core");
    world.done("port rm h3");
    until("all memory is free", || at_rest(&world));
}

#[test]
fn a_namespace_deleted_under_its_port_costs_the_others_nothing() {
    lose_the_third_port("nonetns", false, |world| drop(world.hosts.pop()));
}

#[test]
fn an_interface_deleted_under_its_port_costs_the_others_nothing() {
    lose_the_third_port("nolink", true, |world| drop(world.host(3).ip("link del eth0").unwrap()));
}

#[test]
fn an_interface_set_down_is_forgotten_and_comes_back() {
    let world = World::new("downup", 3);
    let _xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1) && world.pings(1, "10.0.0.3", 1));
    assert_eq!(world.learned("h2"), ["02:00:00:00:00:02"]);
    let paced = Paced::start(world.host(1), world.host(3), "10.0.0.3");
    world.host(2).ip("link set eth0 down").unwrap();
    until("it is shown as down", || world.shown("h2")["up"] == false);
    assert_eq!(world.learned("h2"), Vec::<String>::new());
    assert!(!world.pings(1, "10.0.0.2", 1));
    world.host(2).ip("link set eth0 up").unwrap();
    until("traffic resumes", || world.pings(1, "10.0.0.2", 1));
    until("it is shown as up", || world.shown("h2")["up"] == true);
    paced.finish();
}

/// As Docker does with the interface that it is given.
#[test]
fn an_interface_moved_and_renamed_stays_the_same_port() {
    let world = World::new("moved", 3);
    let elsewhere = world.lab.namespace("h4").unwrap();
    let _xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
    let paced = Paced::start(world.host(1), world.host(3), "10.0.0.3");
    world.host(2).ip(&format!("link set eth0 netns {} name inside0", elsewhere.name())).unwrap();
    elsewhere.ip("addr add 10.0.0.2/24 dev inside0").unwrap();
    elsewhere.ip("link set inside0 up").unwrap();
    until("traffic resumes", || world.pings(1, "10.0.0.2", 3));
    let shown = world.shown("h2");
    assert_eq!((&shown["ifname"], &shown["netns"]), (&"inside0".into(), &elsewhere.name().into()));
    paced.finish();
    world.done("port rm h2");
    assert!(!elsewhere.ip("-o link").unwrap().contains("inside0"), "it goes with its port wherever it is");
}

#[test]
fn a_hundred_thousand_random_frames_are_all_accounted_for() {
    /// A TAP's queue holds twice as many.
    const BURST: u64 = 500;
    const BURSTS: u64 = 200;
    let world = World::new("fuzz", 3).port(1, "mtu = 9000");
    let mut xdock = world.start();
    let raw = Raw::open(world.host(1), "eth0").unwrap();
    let mut random = Random::seeded();
    let mut ping = world.host(2).command("ping");
    let ping = ping.args(["-q", "-i", "0.01", "-w", "60", "-W", "5", "10.0.0.3"]);
    let mut ping = world.lab.spawn("ping", ping).unwrap();
    let noise = random.bytes(64 * 1024);
    for burst in 1..=BURSTS {
        (0..BURST).for_each(|_| raw.send(&random_frame(&mut random, &noise)).unwrap());
        until("the burst is received", || number(&world.shown("h1")["rx_frames"]) >= burst * BURST);
    }
    ping.signal(Signal::INT).unwrap();
    ping.wait(Duration::from_secs(5)).unwrap();
    assert!(ping.stdout().contains(" 0% packet loss"), "{}", ping.stdout());
    until("all memory is free", || at_rest(&world));
    until("frames are conserved", || conserved(&world));
    assert!(world.drops().contains_key("too_big"), "{:?}", world.drops());
    assert!(world.pings(1, "10.0.0.2", 3));
    assert!(xdock.wait(Duration::ZERO).is_err() && !xdock.stderr().contains("ERROR"), "{}", xdock.stderr());
}

/// Any length, any bytes; half of them with a destination and a type that something might look into.
fn random_frame(random: &mut Random, noise: &[u8]) -> Vec<u8> {
    let length = match random.below(4) {
        0 => 14 + random.below(9000),
        _ => 14 + random.below(100),
    };
    let start = random.below(noise.len() - length);
    let mut frame = noise[start..start + length].to_vec();
    if random.below(2) == 0 {
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2 + random.below(3) as u8]);
        frame[6..12].copy_from_slice(&[2, 0xdd, 0, 0, 0, random.next() as u8]);
        frame[12..14].copy_from_slice(&random.pick(&[[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00], [0x88, 0xa8]]));
    }
    // The hosts whose pings are counted stay where they are.
    if frame[6..11] == [2, 0, 0, 0, 0] {
        frame[6] = 4;
    }
    frame
}

#[test]
fn it_starts_at_once_after_every_kill() {
    let world = World::new("kill", 2);
    for _ in 0..20 {
        let mut xdock = world.start();
        xdock.signal(Signal::KILL).unwrap();
        xdock.wait(Duration::from_secs(5)).unwrap();
    }
    for namespace in world.hosts.iter().chain([&world.switch]) {
        until("the kernel has removed the interfaces", || namespace.ip("-o link").unwrap().lines().count() == 1);
    }
    let _xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 3));
}

#[test]
fn it_ends_within_a_second_under_full_load() {
    let world = World::new("term", 2);
    let mut xdock = world.start();
    let _server = world.iperf_server(2);
    let mut client = world.host(1).command("iperf3");
    let mut client = world.lab.spawn("client", client.args(["-c", "10.0.0.2", "-P", "4", "-t", "30"])).unwrap();
    until("traffic flows", || number(&world.shown("h2")["tx_bytes"]) > 100_000_000);
    let begin = Instant::now();
    xdock.signal(Signal::TERM).unwrap();
    assert_eq!(xdock.wait(Duration::from_secs(5)).unwrap().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(!world.host(1).ip("-o link").unwrap().contains("eth0"));
    client.signal(Signal::KILL).unwrap();
}

#[test]
fn a_pause_of_the_process_pauses_the_traffic() {
    let world = World::new("pause", 2);
    let mut xdock = world.start();
    std::thread::scope(|scope| {
        scope.spawn(|| transfer(world.host(1), (world.host(2), "10.0.0.2"), 1024, 1));
        until("traffic flows", || number(&world.shown("h2")["tx_bytes"]) > 10_000_000);
        xdock.signal(Signal::STOP).unwrap();
        sleep(Duration::from_secs(2));
        xdock.signal(Signal::CONT).unwrap();
    });
    assert!(world.pings(1, "10.0.0.2", 3));
}

#[test]
fn ports_come_and_go_without_loss_or_leak() {
    let world = World::new("churn", 3);
    let xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 1));
    world.done("port rm h3");
    let before = descriptors(&xdock);
    let paced = Paced::start(world.host(1), world.host(2), "10.0.0.2");
    for _ in 0..50 {
        world.done(&format!("port add h3 --domain lan --ifname eth0 --netns {}", world.host(3).name()));
        world.done("port rm h3");
    }
    assert!(paced.finish() > 100);
    until("all descriptors are closed", || descriptors(&xdock) <= before);
    until("all memory is free", || at_rest(&world));
}

#[test]
fn a_broadcast_reaches_each_of_sixty_three_others_once() {
    const PORTS: usize = 64;
    let world = World::silent("many", 1);
    let mut config = world.config();
    for n in 2..=PORTS {
        config += "[[port]]\ndomain = \"lan\"\n";
        config += &format!("name = \"h{n}\"\nifname = \"eth{n}\"\nnetns = \"{}\"\n", world.host(1).name());
    }
    let _xdock = world.lab.xdock(&world.switch, &config).unwrap();
    let sender = Raw::open(world.host(1), "eth0").unwrap();
    let others: Vec<Raw> = (2..=PORTS).map(|n| Raw::open(world.host(1), &format!("eth{n}")).unwrap()).collect();
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend(Random(1).bytes(100));
    sender.send(&frame).unwrap();
    for other in &others {
        assert_eq!(other.receive(Duration::from_secs(5)).unwrap().as_ref(), Some(&frame));
    }
    sleep(Duration::from_millis(100));
    for raw in others.iter().chain([&sender]) {
        assert_eq!(raw.receive(Duration::ZERO).unwrap(), None, "once, and not back");
    }
    until("frames are conserved", || at_rest(&world) && conserved(&world));
}

#[test]
fn an_idle_switch_takes_next_to_no_time() {
    let world = World::silent("idle", 3);
    let xdock = world.start();
    sleep(Duration::from_millis(500));
    let share = load(&xdock, Duration::from_secs(5));
    println!("idle: {:.3} % of a core", share * 100.0);
    assert!(share < 0.02, "{share} of a core");
}

#[test]
fn a_command_without_a_switch_says_so() {
    let world = World::new("none", 0);
    let output =
        Command::new(xdock_binary().unwrap()).args(["show", "ports", "--control"]).arg(world.socket()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("xdock: show ports: "));
}
