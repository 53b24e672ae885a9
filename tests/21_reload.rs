//! `xdock reload` and SIGHUP: only what differs is done, and what stays loses nothing. Needs root; everything happens
//! in namespaces made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use lab::{run, xdock_binary};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use world::World;
use world::paced::Paced;
use world::transfer::transfer;

/// Domains and ports of the answer, by what became of them: `port h1`.
fn names(answer: &Value, what: &str) -> Vec<String> {
    let items = answer[what].as_array().unwrap_or_else(|| panic!("no {what} in {answer}"));
    items.iter().map(|item| format!("{} {}", item["kind"], item["name"]).replace('"', "")).collect()
}

fn write(world: &World, config: &str) {
    fs::write(world.lab.path("xdock.toml"), config).unwrap();
}

/// Reloads with another file; what was done.
fn reload(world: &World, config: &str) -> Value {
    write(world, config);
    serde_json::from_str(&world.done("reload --json")).unwrap()
}

/// The file without a port's table.
fn without(config: &str, port: &str) -> String {
    let tables = config.split("[[port]]").filter(|table| !table.contains(&format!("name = \"{port}\"")));
    tables.collect::<Vec<_>>().join("[[port]]")
}

/// The file with one more key in a port's table.
fn with(config: &str, port: &str, key: &str) -> String {
    let name = format!("name = \"{port}\"\n");
    config.replace(&name, &format!("{name}{key}\n"))
}

/// The file with a port in another domain.
fn moved(config: &str, port: &str, domain: &str) -> String {
    let tables = config.split("[[port]]").map(|table| match table.contains(&format!("name = \"{port}\"")) {
        true => table.replace("domain = \"lan\"", &format!("domain = \"{domain}\"")),
        false => table.to_owned(),
    });
    tables.collect::<Vec<_>>().join("[[port]]")
}

/// The interface's number: another one is another interface.
fn index(world: &World, host: usize) -> Value {
    let links = run(world.host(host).command("ip").args(["-j", "link", "show", "eth0"])).unwrap();
    serde_json::from_str::<Value>(&links).unwrap()[0]["ifindex"].clone()
}

#[test]
fn untouched_ports_lose_nothing_while_others_change() {
    change_others(&World::new("reload", 4));
}

#[test]
fn nor_do_they_with_two_workers() {
    change_others(&World::new("reload2", 4).engine("cores = [0, 1]"));
}

/// Twenty reloads that concern hosts 3 and 4, while hosts 1 and 2 talk.
fn change_others(world: &World) {
    let base = world.config();
    let _xdock = world.start();
    let second = format!("{base}[[domain]]\nname = \"second\"\nageing_s = 10\n");
    // What waits for an address to be resolved is overtaken by what is sent as soon as it is (`__neigh_update`).
    assert!(world.pings(1, "10.0.0.2", 1));
    let paced = Paced::start(world.host(1), world.host(2), "10.0.0.2");
    std::thread::scope(|scope| {
        let bulk = scope.spawn(|| transfer(world.host(2), (world.host(1), "10.0.0.1"), 300, 1));
        for round in 0..5 {
            let done = reload(world, &without(&base, "h3"));
            assert_eq!(names(&done, "removed"), ["port h3"], "{done}");
            assert_eq!(names(&done, "unchanged"), ["domain lan", "port h1", "port h2", "port h4"]);
            let done = reload(world, &moved(&second, "h4", "second"));
            assert_eq!(names(&done, "added"), ["domain second", "port h3"]);
            assert_eq!(done["changed"], json!([{"kind": "port", "name": "h4", "keys": ["domain"]}]));
            let done = reload(world, &with(&second.replace("ageing_s = 10", "ageing_s = 20"), "h3", "mtu = 1400"));
            let changed = json!([
                {"kind": "domain", "name": "second", "keys": ["ageing_s"]},
                {"kind": "port", "name": "h4", "keys": ["domain"]},
                {"kind": "port", "name": "h3", "keys": ["mtu"], "recreated": true},
            ]);
            assert_eq!(done["changed"], changed, "round {round}");
            let done = reload(world, &base);
            assert_eq!(
                (names(&done, "removed"), names(&done, "changed")),
                (vec!["domain second".into()], vec!["port h3".into()])
            );
            assert_eq!((&done["restart"], &done["failed"]), (&json!([]), &json!([])));
        }
        bulk.join().unwrap();
    });
    let datagrams = paced.finish();
    assert!(datagrams > 100, "{datagrams} datagrams while twenty reloads were done");
    assert!(world.pings(1, "10.0.0.3", 1) && world.pings(1, "10.0.0.4", 1));
    assert_eq!(names(&reload(world, &base), "unchanged").len(), 5, "nothing is left to do");
}

#[test]
fn membership_changes_without_another_interface() {
    let world = World::new("live", 3);
    let base = world.config();
    let _xdock = world.start();
    assert!(world.pings(1, "10.0.0.3", 1));
    let before = index(&world, 3);
    reload(&world, &moved(&format!("{base}[[domain]]\nname = \"other\"\n"), "h3", "other"));
    assert!(!world.pings(1, "10.0.0.3", 1), "it is elsewhere");
    assert_eq!(world.shown("h3")["domain"], "other");
    assert!(
        !world
            .learned("h3")
            .iter()
            .any(|_| world.show("fdb").to_string().contains("\"lan\",\"mac\":\"02:00:00:00:00:03\""))
    );
    reload(&world, &base);
    assert!(world.pings(1, "10.0.0.3", 1), "it is back");
    reload(&world, &with(&with(&base, "h1", "isolated = true"), "h3", "isolated = true"));
    assert!(!world.pings(1, "10.0.0.3", 1) && world.pings(2, "10.0.0.3", 1), "isolated from isolated ports only");
    reload(&world, &with(&base, "h3", "storm = { broadcast = 0 }"));
    // The switch has announced the others for the last time.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    world.host(3).ip("neigh flush all").unwrap();
    assert!(!world.pings(3, "10.0.0.2", 1), "not even one ARP request passes");
    assert!(world.drops().contains_key("storm_broadcast"));
    assert_eq!(index(&world, 3), before, "the same interface all the time");
    let done = reload(&world, &with(&base, "h3", "mtu = 1400"));
    assert_eq!(done["changed"][0]["keys"], json!(["mtu", "storm"]));
    assert_eq!(world.shown("h3")["mtu"], 1400);
    assert!(world.pings(3, "10.0.0.2", 1));
}

#[test]
fn a_bad_file_changes_nothing_and_tells_everything() {
    let world = World::new("bad", 2);
    let base = world.config();
    let mut xdock = world.start();
    let before = world.show("ports").to_string();
    let shape = |ports: &str| ports.split("\"rx_bytes\"").next().unwrap().to_owned();
    write(&world, &format!("{}[[port]]\nname = \"h9\"\nmtuu = 5\ndomain = \"nowhere\"\n", without(&base, "h2")));
    let output = world.xdock("reload");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{stderr}");
    let file = world.lab.path("xdock.toml");
    for words in ["unknown key \"mtuu\"", "there is no domain \"nowhere\""] {
        let line = stderr.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {stderr}"));
        assert!(line.starts_with(&format!("xdock: {}:", file.display())), "{line}");
    }
    assert_eq!(stderr.lines().filter(|line| line.starts_with("hint: ")).count(), 2, "{stderr}");
    write(&world, &format!("{}[[port]]\nname = \"h9\"\nnetns = \"xd-none\"\ndomain = \"lan\"\n", without(&base, "h2")));
    let stderr = String::from_utf8(world.xdock("reload").stderr).unwrap();
    assert!(
        stderr.contains("port \"h9\": netns: /run/netns/xd-none does not exist\nhint: ip netns add xd-none"),
        "{stderr}"
    );
    fs::remove_file(&file).unwrap();
    assert_eq!(world.xdock("reload").status.code(), Some(1));
    xdock.signal(Signal::HUP).unwrap();
    world::until("the log tells", || xdock.stderr().matches("reload refused, nothing changed").count() == 4);
    assert_eq!(shape(&world.show("ports").to_string()), shape(&before));
    assert!(world.pings(1, "10.0.0.2", 1));
}

#[test]
fn sighup_reloads_and_tells_the_log() {
    let world = World::new("hup", 2).spare();
    let mut xdock = world.start();
    let third =
        format!("[[port]]\nname = \"h3\"\ndomain = \"lan\"\nifname = \"eth0\"\nnetns = \"{}\"\n", world.host(3).name());
    write(&world, &without(&world.config(), "h3").replace("[[domain]]", "spin_us = 7\n[[domain]]"));
    xdock.signal(Signal::HUP).unwrap();
    world::until("it is done", || xdock.stderr().contains("reloaded"));
    assert!(xdock.stderr().contains("these keys of [engine] differ and need a restart"), "{}", xdock.stderr());
    write(&world, &format!("{}{third}", without(&world.config(), "h3")));
    xdock.signal(Signal::HUP).unwrap();
    world::until("the port is there", || world.show("ports").as_array().unwrap().len() == 3);
    assert_eq!(xdock.stdout(), "ready\n", "one line, whatever happens");
}

#[test]
fn what_needs_a_restart_is_said() {
    let world = World::new("restart", 2);
    let _xdock = world.start();
    write(&world, &world.config().replace("[[domain]]", "poll = \"busy\"\nframes = 1024\n[[domain]]"));
    let said = world.done("reload");
    assert!(said.contains("needs a restart, not applied: [engine] frames, poll"), "{said}");
}

#[test]
fn a_step_that_fails_is_told_and_keeps_no_other_from_being_done() {
    let world = World::new("step", 2).spare();
    let base = world.config();
    let _xdock = world.start();
    world.host(3).ip("tuntap add eth0 mode tap").unwrap();
    let third =
        format!("[[port]]\nname = \"h3\"\ndomain = \"lan\"\nifname = \"eth0\"\nnetns = \"{}\"\n", world.host(3).name());
    let wanted = format!("{}{third}", with(&base, "h2", "isolated = true"));
    write(&world, &wanted);
    let output = world.xdock("reload --json");
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("xdock: reload: port h3: an interface named `eth0` exists already"), "{stderr}");
    assert_eq!((output.status.code(), names(&done, "failed")), (Some(1), vec!["port h3".to_owned()]));
    assert_eq!(names(&done, "changed"), ["port h2"], "{done}");
    assert!(world.pings(1, "10.0.0.2", 1));
    world.host(3).ip("link del eth0").unwrap();
    assert_eq!(names(&reload(&world, &wanted), "added"), ["port h3"], "the next reload does what is left");
}

#[test]
fn a_port_that_is_gone_is_left_alone_until_it_can_be_made_anew() {
    let mut world = World::new("anew", 3);
    let config = world.config();
    let xdock = world.start();
    drop(world.hosts.remove(2));
    world::until("the loss is noticed", || xdock.stderr().contains("port gone"));
    assert_eq!(names(&reload(&world, &config), "unchanged").len(), 4, "its namespace is missing");
    let third = world.lab.namespace("h3").unwrap();
    world.hosts.push(third);
    // It comes back by itself, unless the reload is quicker.
    let done = reload(&world, &config);
    let anew = json!([{"kind": "port", "name": "h3", "recreated": true}]);
    assert!(done["changed"] == anew || names(&done, "unchanged").len() == 4, "{done}");
    world::until("it works", || world.pings(1, "10.0.0.3", 1));
    assert_eq!(names(&reload(&world, &config), "unchanged").len(), 4);
}

#[test]
fn what_means_the_same_changes_nothing() {
    let world = World::new("same", 2);
    let (base, name) = (world.config(), world.host(1).name().to_owned());
    let _xdock = world.start();
    let before = index(&world, 1);
    let long = with(&base, "h1", "mtu = 1500\nqueues = 1\nfault = {}")
        .replace(&format!("netns = \"{name}\""), &format!("netns = \"/run/netns/{name}\""))
        .replace("[\"10.0.0.1/24\", \"fd00::1/64\"]", "[\"fd00::1/64\", \"10.0.0.1/24\"]");
    assert!(long.contains("/run/netns/") && long.contains("[\"fd00::1/64\""), "{long}");
    let done = reload(&world, &long);
    assert_eq!(names(&done, "unchanged"), ["domain lan", "port h1", "port h2"], "{done}");
    assert_eq!(index(&world, 1), before, "the same interface");
    assert!(world.pings(1, "10.0.0.2", 1));
}

#[test]
fn a_usual_file_that_comes_later_is_found() {
    let world = World::new("later", 0);
    // A machine's own /etc and /run are not for a test to write to.
    let script = "mount -t tmpfs none /etc && mount -t tmpfs none /run && exec \"$0\" run";
    let mut command = world.switch.command("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(xdock_binary().unwrap());
    let mut switch = world.lab.spawn("xdock", &mut command).unwrap();
    switch.wait_for_line("ready", world::PATIENCE).unwrap();
    let root = PathBuf::from(format!("/proc/{}/root", switch.pid()));
    let xdock = |command: &str| {
        let control = root.join("run/crossdock/control.sock");
        Command::new(xdock_binary().unwrap()).args(command.split(' ')).arg("--control").arg(control).output().unwrap()
    };
    let refused = xdock("reload");
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.starts_with("xdock: reload: /etc/crossdock/xdock.toml: No such file"), "{stderr}");
    fs::create_dir(root.join("etc/crossdock")).unwrap();
    fs::write(root.join("etc/crossdock/xdock.toml"), "[[domain]]\nname = \"late\"\n").unwrap();
    assert!(xdock("reload").status.success());
    assert!(String::from_utf8(xdock("show domains").stdout).unwrap().contains("late"));
}
