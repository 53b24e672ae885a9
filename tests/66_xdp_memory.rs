//! The memory that many AF_XDP ports share: how much an idle one takes, and that none feels what befalls another. Needs root;
//! everything happens in namespaces made for it.

#![cfg(feature = "xdp")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use crossdock_engine::Switch;
use crossdock_engine::frame::Arena;
use crossdock_engine::ports::Port;
use crossdock_engine::ports::xdp::{Mode, Xdp, XdpConfig, XdpError, XdpMemory};
use crossdock_engine::switch::{Config, Membership};
use crossdock_engine::tables::topology::Domain;
use lab::{Lab, Namespace, Process, run, xdock_binary};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use world::raw::Raw;
use world::transfer::transfer;
use world::{assert_undamaged, silence, until};

/// Bytes of a UMEM that some thirty ports share, and of the first two of a switch.
const DENSE: usize = 1 << 20;
const ROOMY: usize = 8 << 20;

/// Memory in which nothing roomy has a place.
fn dense() -> XdpMemory {
    XdpMemory::new(ROOMY - 1)
}

/// Veth pairs: the switch's ends are `v1`, `v2`, ... in one namespace, and of the hosts' ends the first few are `eth0` in
/// namespaces of their own, with addresses; the others stay silent in one.
struct Cables {
    outside: Namespace,
    hosts: Vec<Namespace>,
    _mob: Namespace,
    lab: Lab,
}

impl Cables {
    fn new(name: &str, hosts: usize, silent: usize) -> Cables {
        let lab = Lab::new(name).unwrap();
        let (outside, mob) = (lab.namespace("sw").unwrap(), lab.namespace("mob").unwrap());
        [&outside, &mob].into_iter().for_each(silence);
        let named = |n: usize| lab.namespace(&format!("h{n}")).unwrap();
        let hosts: Vec<_> = (1..=hosts).map(named).collect();
        hosts.iter().for_each(silence);
        let all = hosts.len() + silent;
        let mut made = String::new();
        for n in 1..=all {
            let (peer, place) = hosts.get(n - 1).map_or((format!("p{n}"), &mob), |host| ("eth0".into(), host));
            let address = format!("02:00:00:00:{:02x}:{:02x}", n >> 8, n & 0xff);
            made += &format!("link add v{n} type veth peer name {peer} address {address} netns {}\n", place.name());
            made += &format!("link set v{n} up\n");
        }
        batch(&lab, &outside, &made);
        for (n, host) in (1..).zip(&hosts) {
            host.ip(&format!("addr add 10.0.0.{n}/24 dev eth0")).unwrap();
            host.ip("link set eth0 up").unwrap();
        }
        batch(&lab, &mob, &(hosts.len() + 1..=all).map(|n| format!("link set p{n} up\n")).collect::<String>());
        Cables { outside, hosts, _mob: mob, lab }
    }

    fn host(&self, n: usize) -> &Namespace {
        &self.hosts[n - 1]
    }

    fn config(&self, n: usize, memory: &XdpMemory) -> XdpConfig {
        let (netns, memory) = (Some(self.outside.name().into()), memory.clone());
        XdpConfig { netns, memory, ..XdpConfig::new(format!("h{n}"), format!("v{n}")) }
    }

    /// Connects cable `n`.
    fn connect(&self, switch: &Switch, n: usize, memory: &XdpMemory) {
        let xdp = Xdp::open(&self.config(n, memory)).unwrap();
        switch.add_port(Box::new(xdp), &Membership::of("lan")).unwrap();
    }

    /// A switch of one domain with the first `ports` cables.
    fn switch(&self, cores: &[usize], ports: usize, memory: &XdpMemory) -> Switch {
        let switch = Switch::new(Config { cores: cores.to_vec(), ..Config::default() }).unwrap();
        switch.add_domain(Domain::new("lan")).unwrap();
        (1..=ports).for_each(|n| self.connect(&switch, n, memory));
        switch
    }

    fn file(&self, ports: usize) -> String {
        let mut config =
            format!("[engine]\ncontrol = {:?}\n[[domain]]\nname = \"lan\"\n", self.lab.path("control.sock"));
        (1..=ports).for_each(|n| {
            config += &format!("[[port]]\nname = \"v{n}\"\nkind = \"xdp\"\ndomain = \"lan\"\n");
        });
        config
    }

    fn pings(&self, n: usize, address: &str) -> bool {
        let mut ping = self.host(n).command("ping");
        let output = ping.args(["-q", "-i", "0.01", "-W", "1", "-c", "5", address]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains(" 5 received")
    }
}

/// Runs many `ip` commands as one.
fn batch(lab: &Lab, namespace: &Namespace, commands: &str) {
    let file = lab.path("batch");
    fs::write(&file, commands).unwrap();
    run(namespace.command("ip").arg("-batch").arg(file)).unwrap();
}

/// Lines `Vm...` and `Rss...` of a process, in bytes.
fn status(process: &Process) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let sizes = text.lines().filter_map(|line| line.strip_suffix(" kB")?.split_once(':'));
    sizes.map(|(name, size)| (name.to_owned(), size.trim().parse::<usize>().unwrap() << 10)).collect()
}

/// What is resident, and what would be locked or pinned beside it.
fn resident(process: &Process) -> usize {
    let status = status(process);
    ["VmRSS", "VmLck", "VmPin"].iter().map(|name| status[*name]).sum()
}

/// What 136 ports more take: idle, and when two ports have exchanged what they like. Those that were there have the first two
/// UMEMs and two dense ones; all have four more of these.
#[test]
fn an_idle_port_takes_less_than_64_kib() {
    const FIRST: usize = 16 + 68;
    const MORE: usize = 136;
    let cables = Cables::new("idle", 2, FIRST + MORE - 2);
    let measure = |ports| {
        let xdock = cables.lab.xdock(&cables.outside, &cables.file(ports)).unwrap();
        let idle = resident(&xdock);
        transfer(cables.host(1), (cables.host(2), "10.0.0.2"), 100, 1);
        transfer(cables.host(2), (cables.host(1), "10.0.0.1"), 100, 2);
        [idle, resident(&xdock)]
    };
    let (first, all) = (measure(FIRST), measure(FIRST + MORE));
    let each = [0, 1].map(|i| all[i].saturating_sub(first[i]) / MORE);
    println!("{each:?} bytes each, {first:?} of {FIRST} ports");
    assert!(each[0] >= 4 * DENSE / MORE && each.iter().all(|each| *each <= 64 << 10), "{each:?}");
    assert_undamaged(&cables.hosts);
}

/// Sockets of one UMEM, polled by two workers.
#[test]
fn those_who_share_memory_do_not_mix_up_their_frames() {
    let cables = Cables::new("share", 4, 12);
    let memory = dense();
    let _switch = cables.switch(&[0, 1], 16, &memory);
    assert_eq!(memory.bytes(), DENSE);
    std::thread::scope(|scope| {
        for (from, to) in [(1, 2), (3, 4), (2, 3), (4, 1)] {
            let (cables, address) = (&cables, format!("10.0.0.{to}"));
            scope.spawn(move || transfer(cables.host(from), (cables.host(to), &address), 60, to as u64));
        }
    });
    assert_undamaged(&cables.hosts);
}

/// The kernel lets go of a socket before another one gets its chunks: whoever uses them next finds nobody's frames in them.
#[test]
fn a_port_that_goes_in_a_flood_harms_nobody() {
    let cables = Cables::new("leave", 4, 0);
    let memory = dense();
    let switch = cables.switch(&[], 4, &memory);
    assert!(cables.pings(2, "10.0.0.4"));
    let (done, flood) = (AtomicBool::new(false), Raw::open(cables.host(1), "eth0").unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                // To a station that is nowhere, of a length like no segment's.
                (0..64).for_each(|_| _ = flood.send(&[&[4; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88; 1000]].concat()));
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        let others = scope.spawn(|| {
            transfer(cables.host(3), (cables.host(4), "10.0.0.4"), 150, 1);
            transfer(cables.host(4), (cables.host(3), "10.0.0.3"), 150, 2);
        });
        let mut times = 0;
        while !others.is_finished() {
            switch.remove_port("h1").unwrap();
            cables.connect(&switch, 1, &memory);
            times += 1;
        }
        done.store(true, Relaxed);
        others.join().unwrap();
        println!("{times} times");
        assert!(times > 5, "{times}");
    });
    assert_undamaged(&cables.hosts[1..]);
}

/// What is sent to a port whose link is down stays in its ring, and is chunks that others cannot have.
#[test]
fn ports_that_are_stuck_leave_the_others_enough() {
    let cables = Cables::new("stuck", 4, 36);
    let memory = dense();
    let switch = cables.switch(&[], 40, &memory);
    assert_eq!(memory.bytes(), 2 * DENSE);
    let flood = Raw::open(cables.host(1), "eth0").unwrap();
    for _ in 0..3 {
        batch(&cables.lab, &cables.outside, &(5..=40).map(|n| format!("link set v{n} down\n")).collect::<String>());
        for _ in 0..2000 {
            flood.send_patiently(&[&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88; 100]].concat()).unwrap();
        }
        assert!(cables.pings(3, "10.0.0.4"));
        batch(&cables.lab, &cables.outside, &(5..=40).map(|n| format!("link set v{n} up\n")).collect::<String>());
    }
    transfer(cables.host(3), (cables.host(4), "10.0.0.4"), 60, 1);
    transfer(cables.host(1), (cables.host(2), "10.0.0.2"), 60, 2);
    until("all are accounted for", || switch.conservation().in_flight() == 0);
    assert_undamaged(&cables.hosts);
}

/// A port that is flooded has what it can get of the shared memory. The others talk on.
#[test]
fn a_flooded_port_does_not_stop_another() {
    let cables = Cables::new("flooded", 6, 34);
    let memory = dense();
    let _switch = cables.switch(&[], 40, &memory);
    let done = AtomicBool::new(false);
    let sources: Vec<_> = (1..=2).map(|n| Raw::open(cables.host(n), "eth0").unwrap()).collect();
    std::thread::scope(|scope| {
        for flood in &sources {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    (0..256).for_each(|_| _ = flood.send(&[&[4; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88; 1000]].concat()));
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            });
        }
        transfer(cables.host(3), (cables.host(5), "10.0.0.5"), 40, 1);
        transfer(cables.host(4), (cables.host(6), "10.0.0.6"), 40, 2);
        done.store(true, Relaxed);
    });
    assert_undamaged(&cables.hosts[2..]);
}

/// What a process holds of the kernel's: files, and mappings.
fn holdings(process: &Process) -> [usize; 2] {
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid())).unwrap().lines().count();
    [fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap().count(), maps]
}

#[test]
fn ports_that_come_and_go_leave_nothing_behind() {
    let cables = Cables::new("churn", 3, 5);
    let xdock = cables.lab.xdock(&cables.outside, &cables.file(8)).unwrap();
    let command = |arguments: &str| {
        let mut command = Command::new(xdock_binary().unwrap());
        let command = command.args(arguments.split_whitespace()).arg("--control").arg(cables.lab.path("control.sock"));
        run(command).unwrap()
    };
    let again = |round: usize| {
        for port in [3, 4 + round % 5] {
            command(&format!("port rm v{port}"));
        }
        for port in [3, 4 + round % 5] {
            command(&format!("port add v{port} --kind xdp --domain lan"));
        }
        until("the new port carries frames", || cables.pings(3, "10.0.0.1"));
    };
    (0..5).for_each(again);
    let (before, memory) = (holdings(&xdock), resident(&xdock));
    (0..50).for_each(again);
    until(&format!("nothing is left in the process: {:?} before, {:?}", before, holdings(&xdock)), || {
        let now = holdings(&xdock);
        now.iter().zip(before).all(|(now, before)| *now <= before)
    });
    let grown = resident(&xdock).saturating_sub(memory);
    println!("{before:?}, {grown} bytes more after 50 rounds");
    assert!(grown < 512 << 10, "{grown}");
    (1..=8).for_each(|n| drop(command(&format!("port rm v{n}"))));
    until("all of it is free", || resident(&xdock) < memory - 2 * ROOMY);
}

/// All ports of a service have one memory: a third port needs no third UMEM, however it comes to be opened.
#[test]
fn a_port_that_is_opened_again_shares_memory_as_before() {
    let cables = Cables::new("again", 3, 0);
    let xdock = cables.lab.xdock(&cables.outside, &cables.file(3)).unwrap();
    until("the port carries frames", || cables.pings(3, "10.0.0.1"));
    let before = resident(&xdock);
    cables.outside.ip("link del v3").unwrap();
    cables.outside.ip(&format!("link add v3 type veth peer name eth0 netns {}", cables.host(3).name())).unwrap();
    cables.outside.ip("link set v3 up").unwrap();
    cables.host(3).ip("addr add 10.0.0.3/24 dev eth0").unwrap();
    cables.host(3).ip("link set eth0 up").unwrap();
    until("the port is open again", || cables.pings(3, "10.0.0.1"));
    let more = resident(&xdock).saturating_sub(before);
    assert!(more < ROOMY / 2, "{more}");
}

/// Memory of a port's own, and how much there may be of all.
#[test]
fn memory_that_is_used_up_is_said_and_comes_back() {
    let cables = Cables::new("limit", 2, 2);
    let memory = XdpMemory::new(2 * DENSE);
    let open = |n, ring| Xdp::open(&XdpConfig { ring, ..cables.config(n, &memory) });
    let (first, second) = (open(1, Some(64)).unwrap(), open(2, None).unwrap());
    assert_eq!(memory.bytes(), 64 * 8192 + DENSE);
    let refused = open(3, Some(64).map(|ring| 2 * ring)).err().unwrap();
    let place = cables.outside.name();
    assert_eq!(
        refused.to_string(),
        format!(
            "binding to queue 0 of `v3` in network namespace `{place}`: AF_XDP ports have the 2 MiB of memory that they may have together"
        )
    );
    assert!(refused.is_refusal());
    let third = open(3, None).unwrap();
    assert_eq!(memory.bytes(), 64 * 8192 + DENSE, "there is a place left");
    drop((first, second, third));
    assert_eq!(memory.bytes(), 0);
    open(3, Some(128)).unwrap();
    assert!(open(3, Some(100)).is_err(), "no power of two");
}

#[test]
fn a_ring_of_its_own_carries_frames_too() {
    let cables = Cables::new("ring", 2, 0);
    let memory = XdpMemory::default();
    let switch = cables.switch(&[], 1, &memory);
    let own = Xdp::open(&XdpConfig { ring: Some(256), ..cables.config(2, &memory) }).unwrap();
    assert_eq!(memory.bytes(), ROOMY + 256 * 8192);
    switch.add_port(Box::new(own), &Membership::of("lan")).unwrap();
    transfer(cables.host(1), (cables.host(2), "10.0.0.2"), 60, 1);
    transfer(cables.host(2), (cables.host(1), "10.0.0.1"), 60, 2);
    assert_undamaged(&cables.hosts);
}

/// In generic mode super-frames come, which need much room: such a queue shares with nobody.
#[test]
fn who_shares_is_decided_by_what_the_interface_is() {
    let cables = Cables::new("who", 1, 0);
    let bytes = |mtu: usize, mode: Mode| {
        let memory = XdpMemory::default();
        for side in [&cables.outside, cables.host(1)] {
            let link = if side.name() == cables.outside.name() { "v1" } else { "eth0" };
            side.ip(&format!("link set {link} mtu {mtu}")).unwrap();
        }
        let xdp = Xdp::open(&XdpConfig { mode: Some(mode), ..cables.config(1, &memory) }).unwrap();
        let queues = Box::new(xdp).open(&Arena::new(8, 8).unwrap(), 1).unwrap();
        assert_eq!(queues.len(), 1);
        memory.bytes()
    };
    assert_eq!(bytes(1500, Mode::Driver), ROOMY);
    assert_eq!(bytes(9000, Mode::Driver), 2 * ROOMY, "whole pages");
    assert_eq!(bytes(65_000, Mode::Driver), 2 * ROOMY);
    assert_eq!(bytes(1500, Mode::Generic), 2 * ROOMY);
}

/// A packet port refuses them too.
#[test]
fn interfaces_that_carry_no_ethernet_are_refused() {
    let cables = Cables::new("tun", 0, 0);
    cables.outside.ip("tuntap add tun0 mode tun").unwrap();
    cables.outside.ip("link set tun0 up").unwrap();
    for ifname in ["lo", "tun0"] {
        let config = XdpConfig { netns: Some(cables.outside.name().into()), ..XdpConfig::new("p", ifname) };
        let refused = Xdp::open(&config).err().unwrap();
        assert!(matches!(refused, XdpError::NotEthernet(_)) && !refused.is_refusal());
        assert_eq!(refused.to_string(), format!("interface `{ifname}` carries no Ethernet frames"));
    }
    let socket = cables.lab.path("control.sock");
    let _xdock = cables.lab.xdock(&cables.outside, &cables.file(0)).unwrap();
    let mut add = Command::new(xdock_binary().unwrap());
    let add = add.args(["port", "add", "p", "--kind", "xdp", "--ifname", "tun0", "--domain", "lan", "--control"]);
    let output = add.arg(socket).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("port p: interface `tun0` carries no Ethernet frames"), "{told}");
    assert!(told.contains("a veth, a network card, or another interface with a MAC address"), "{told}");
}
