//! A switch and its hosts, for tests of traffic: `xdock run` in one namespace, a host in each of the others.
//!
//! Host `n` (from 1) is the port `hn`: interface `eth0` with the MAC `02:00:00:00:00:0n` and, unless the hosts are to be
//! silent, the addresses `10.0.0.n/24` and `fd00::n/64`. The control socket lies in the lab's scratch directory.
#![allow(dead_code, reason = "each test takes the part it needs")]

pub mod paced;
pub mod raw;
pub mod tagger;
pub mod transfer;

use crate::lab::{Lab, Namespace, Process, run, xdock_binary};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A switch that is configured, and its hosts.
pub struct World {
    pub switch: Namespace,
    pub hosts: Vec<Namespace>,
    pub lab: Lab,
    engine: String,
    domain: String,
    ports: Vec<HostPort>,
}

/// A host's port.
struct HostPort {
    kind: &'static str,
    addressed: bool,
    keys: String,
}

impl HostPort {
    fn tap(addressed: bool) -> HostPort {
        HostPort { kind: "tap", addressed, keys: String::new() }
    }
}

impl World {
    /// `hosts` hosts, all ports of one domain `lan`.
    pub fn new(name: &str, hosts: usize) -> World {
        let mut world = World::silent(name, 0);
        for n in 1..=hosts {
            world.hosts.push(world.lab.namespace(&format!("h{n}")).unwrap());
            world.ports.push(HostPort::tap(true));
        }
        world
    }

    /// Hosts without addresses, so that they send nothing on their own account.
    pub fn silent(name: &str, hosts: usize) -> World {
        let lab = Lab::new(name).unwrap();
        let switch = lab.namespace("sw").unwrap();
        let hosts: Vec<_> = (1..=hosts).map(|n| lab.namespace(&format!("h{n}")).unwrap()).collect();
        hosts.iter().for_each(silence);
        let ports = hosts.iter().map(|_| HostPort::tap(false)).collect();
        World { switch, ports, hosts, lab, engine: String::new(), domain: String::new() }
    }

    /// Adds a host that is no port yet.
    pub fn spare(mut self) -> World {
        self.hosts.push(self.lab.namespace(&format!("h{}", self.hosts.len() + 1)).unwrap());
        self
    }

    /// Adds keys to `[engine]`.
    pub fn engine(mut self, keys: &str) -> World {
        self.engine += &format!("{keys}\n");
        self
    }

    /// Adds keys to the domain.
    pub fn domain(mut self, keys: &str) -> World {
        self.domain += &format!("{keys}\n");
        self
    }

    /// Adds keys to every port.
    pub fn every_port(mut self, keys: &str) -> World {
        self.ports.iter_mut().for_each(|port| port.keys += &format!("{keys}\n"));
        self
    }

    /// Adds keys to the port of host `n`.
    pub fn port(mut self, n: usize, keys: &str) -> World {
        self.ports[n - 1].keys += &format!("{keys}\n");
        self
    }

    /// Gives host `n` one end of a veth, `eth0` of this MTU. The other, `vethn` beside the switch, is to be its port, of a kind
    /// that takes interfaces of somebody else.
    pub fn veth(mut self, n: usize, kind: &'static str, mtu: usize) -> World {
        let (host, switch) = (&self.hosts[n - 1], &self.switch);
        silence(switch);
        let peer = format!("peer name eth0 netns {} mtu {mtu} address 02:00:00:00:00:{n:02x}", host.name());
        switch.ip(&format!("link add veth{n} mtu {mtu} type veth {peer}")).unwrap();
        switch.ip(&format!("link set veth{n} up")).unwrap();
        if self.ports[n - 1].addressed {
            host.ip(&format!("addr add 10.0.0.{n}/24 dev eth0")).unwrap();
            host.ip(&format!("addr add fd00::{n:x}/64 dev eth0 nodad")).unwrap();
        }
        host.ip("link set eth0 up").unwrap();
        self.ports[n - 1].kind = kind;
        self
    }

    pub fn socket(&self) -> PathBuf {
        self.lab.path("run/control.sock")
    }

    pub fn config(&self) -> String {
        let mut config = format!("[engine]\ncontrol = \"{}\"\n{}", self.socket().display(), self.engine);
        config += &format!("[[domain]]\nname = \"lan\"\n{}", self.domain);
        for (n, (host, port)) in (1..).zip(self.hosts.iter().zip(&self.ports)) {
            config += &format!("[[port]]\nname = \"h{n}\"\nkind = \"{}\"\ndomain = \"lan\"\n", port.kind);
            config += &match port.kind {
                "tap" => format!("ifname = \"eth0\"\nnetns = \"{}\"\nmac = \"02:00:00:00:00:{n:02x}\"\n", host.name()),
                _ => format!("ifname = \"veth{n}\"\n"),
            };
            if port.addressed && port.kind == "tap" {
                config += &format!("address = [\"10.0.0.{n}/24\", \"fd00::{n:x}/64\"]\n");
            }
            config += &port.keys;
        }
        config
    }

    /// Starts the switch, and returns when it is ready.
    pub fn start(&self) -> Process {
        self.lab.xdock(&self.switch, &self.config()).unwrap()
    }

    /// Host `n`.
    pub fn host(&self, n: usize) -> &Namespace {
        &self.hosts[n - 1]
    }

    pub fn xdock(&self, arguments: &str) -> Output {
        let mut command = Command::new(xdock_binary().unwrap());
        command.args(arguments.split_whitespace()).arg("--control").arg(self.socket()).output().unwrap()
    }

    /// Runs a command that succeeds.
    pub fn done(&self, arguments: &str) -> String {
        let output = self.xdock(arguments);
        assert!(output.status.success(), "xdock {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn show(&self, what: &str) -> Value {
        serde_json::from_str(&self.done(&format!("show {what} --json"))).unwrap()
    }

    /// One port of `show ports`.
    pub fn shown(&self, port: &str) -> Value {
        let ports = self.show("ports");
        ports.as_array().unwrap().iter().find(|shown| shown["name"] == port).unwrap().clone()
    }

    /// The MAC addresses learned on a port.
    pub fn learned(&self, port: &str) -> Vec<String> {
        let fdb = self.show("fdb");
        let entries = fdb.as_array().unwrap().iter().filter(|entry| entry["port"] == port);
        entries.map(|entry| entry["mac"].as_str().unwrap().to_owned()).collect()
    }

    /// Reasons that occurred.
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let drops = self.show("drops");
        let counts = drops.as_object().unwrap().iter().map(|(reason, drop)| (reason.clone(), number(&drop["count"])));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Nothing was dropped in the switch, and nothing arrived damaged.
    pub fn assert_unharmed(&self) {
        let mut drops = self.drops();
        // What the first host says (IPv6 does so unasked) before there is a second port.
        drops.remove("no_egress");
        assert_eq!(drops.into_iter().collect::<Vec<_>>(), []);
        assert_undamaged(&self.hosts);
    }

    /// Frames inside the switch, ports that are gone included; 0 at rest. Under load it is only as exact as the reading.
    pub fn in_flight(&self) -> i64 {
        let mut client = UnixStream::connect(self.socket()).unwrap();
        client.write_all(b"GET /v1/metrics HTTP/1.1\r\nhost: xdock\r\n\r\n").unwrap();
        let mut metrics = String::new();
        client.read_to_string(&mut metrics).unwrap();
        let line = metrics.lines().find(|line| line.starts_with("xdock_frames_in_flight")).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as i64
    }

    /// Whether no frame is inside the switch and all frame memory is free.
    pub fn at_rest(&self) -> bool {
        let workers = self.show("workers");
        let free = |worker: &Value| worker["pool_free"] == worker["pool_total"];
        self.in_flight() == 0 && workers.as_array().unwrap().iter().all(free)
    }

    /// Whether each of `count` pings from host `n` is answered.
    pub fn pings(&self, n: usize, address: &str, count: usize) -> bool {
        let mut ping = self.host(n).command("ping");
        let output = ping.args(["-q", "-i", "0.01", "-W", "1", "-c", &count.to_string(), address]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains(&format!(" {count} received"))
    }

    /// Starts an iperf3 server on host `n`.
    pub fn iperf_server(&self, n: usize) -> Process {
        let mut command = self.host(n).command("iperf3");
        let mut server = self.lab.spawn(&format!("iperf3-h{n}"), command.args(["-s", "--forceflush"])).unwrap();
        server.wait_for_line("Server listening", PATIENCE).unwrap();
        server
    }

    /// Runs an iperf3 client on host `n`, and gives the `end` of its report. Each test begins anew where the server
    /// has not yet finished with the one before.
    pub fn iperf(&self, n: usize, arguments: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let recovers = |error: &str| error.contains("busy") || error.contains("refused");
        loop {
            let mut client = self.host(n).command("iperf3");
            let output = client.arg("-J").args(arguments.split_whitespace()).output().unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            match report["error"].as_str() {
                None => return report["end"].clone(),
                Some(error) if recovers(error) && Instant::now() < deadline => sleep(Duration::from_millis(20)),
                Some(error) => panic!("iperf3 {arguments}: {error}"),
            }
        }
    }
}

/// Every counter of /proc/net/snmp, snmp6 and netstat, and of the interfaces, that tells of a frame that arrived
/// damaged; those that are not zero.
pub fn damage(host: &Namespace) -> Vec<String> {
    let read = |file: &str| host.run(|| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap()).unwrap();
    let mut damage = Vec::new();
    for file in ["snmp", "netstat"] {
        let text = read(file);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        for pair in lines.chunks(2) {
            let counts = pair[0].iter().zip(&pair[1]).skip(1);
            damage.extend(counts.map(|(name, count)| (format!("{}{name}", pair[0][0]), (*count).to_owned())));
        }
    }
    damage.extend(read("snmp6").lines().filter_map(|line| line.split_once(char::is_whitespace)).map(pair_of_strings));
    let links: Value = serde_json::from_str(&run(host.command("ip").args(["-s", "-j", "link"])).unwrap()).unwrap();
    for link in links.as_array().unwrap() {
        damage.push((format!("{}:InErrors", link["ifname"]), link["stats64"]["rx"]["errors"].to_string()));
    }
    const TELLING: [&str; 5] = ["InCsumErrors", "InErrs", "InHdrErrors", "InErrors", "TCPBadCsum"];
    damage.retain(|(name, count)| TELLING.iter().any(|word| name.contains(word)) && count != "0");
    damage.into_iter().map(|(name, count)| format!("{name}={count}")).collect()
}

/// Nothing arrived damaged at any host.
pub fn assert_undamaged(hosts: &[Namespace]) {
    for host in hosts {
        assert_eq!(damage(host), Vec::<String>::new());
    }
}

fn pair_of_strings((name, count): (&str, &str)) -> (String, String) {
    (name.to_owned(), count.trim().to_owned())
}

/// Turns IPv6 off in a namespace, before it has interfaces, so that nobody speaks there unasked.
pub fn silence(namespace: &Namespace) {
    for scope in ["all", "default"] {
        let file = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        namespace.run(|| fs::write(file, "1")).unwrap().unwrap();
    }
}

/// Waits for something that must come true.
pub fn until(what: &str, done: impl FnMut() -> bool) {
    until_within(PATIENCE, what, done);
}

/// Waits for something that must come true within `patience`.
pub fn until_within(patience: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {patience:?}");
        sleep(Duration::from_millis(10));
    }
}

/// A JSON number.
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A stream of numbers that looks random and is the same for the same seed (Steele and others, SplitMix64, 2014).
pub struct Random(pub u64);

impl Random {
    /// A seed from the environment (`CROSSDOCK_SEED`, to repeat a failure) or the clock; printed, so that it can be.
    pub fn seeded() -> Random {
        let given = std::env::var("CROSSDOCK_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |now| now.as_nanos() as u64);
        let seed = given.unwrap_or_else(clock);
        println!("CROSSDOCK_SEED={seed}");
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}
