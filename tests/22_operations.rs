//! What operators use: metrics, the log, top, doctor, completions, manual pages, bench. Needs root; everything happens
//! in namespaces made for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no more")]

mod lab;
mod world;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use lab::{Namespace, Process, xdock_binary};
use rustix::process::{Pid, Signal};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use world::raw::Raw;
use world::{World, number};

/// Samples of OpenMetrics text, by name and labels as written.
type Samples = BTreeMap<String, f64>;

/// `GET path` inside a namespace: status, content type, body.
fn get(namespace: &Namespace, address: &str, path: &str) -> (u16, String, String) {
    let stream = namespace.run(|| TcpStream::connect(address).unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = Request::get(path).header("host", address).body(Empty::<Bytes>::new()).unwrap();
    runtime.block_on(async {
        let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream).unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    })
}

/// Reads OpenMetrics text as strictly as a scraper: every family has its type and help before its samples, counters
/// end in `_total`, no sample comes twice, and nothing follows the end.
fn parse(text: &str) -> Samples {
    let (mut kinds, mut helps, mut samples) = (BTreeMap::new(), BTreeSet::new(), Samples::new());
    let body = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}"));
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (word, rest) = comment.split_once(' ').unwrap();
            let (name, rest) = rest.split_once(' ').unwrap();
            match word {
                "TYPE" => assert_eq!(kinds.insert(name.to_owned(), rest.to_owned()), None, "{line}"),
                "HELP" => assert!(helps.insert(name.to_owned()) && !rest.is_empty(), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        assert!(
            name.starts_with("xdock_") && name.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
        );
        let family = |suffix| name.strip_suffix(suffix).filter(|family| kinds.contains_key(*family));
        let kind = family("_total").map(|family| (family, "counter")).or_else(|| family("_info").map(|f| (f, "info")));
        let (family, kind) = kind.unwrap_or((name, "gauge"));
        assert_eq!(kinds.get(family).map(String::as_str), Some(kind), "{line}");
        assert!(helps.contains(family), "{line}");
        assert_eq!(samples.insert(sample.to_owned(), value.parse().unwrap()), None, "{line}");
    }
    samples
}

#[test]
fn prometheus_reads_what_the_counters_say() {
    let world = World::new("metrics", 2).engine("metrics = \"127.0.0.1:9469\"");
    let _xdock = world.start();
    assert!(world.pings(1, "10.0.0.2", 10));
    let (status, kind, text) = get(&world.switch, "127.0.0.1:9469", "/metrics");
    assert_eq!((status, kind.split(';').next().unwrap()), (200, "application/openmetrics-text"));
    let (before, shown) = (parse(&text), world.shown("h1"));
    let now = parse(&get(&world.switch, "127.0.0.1:9469", "/metrics").2);
    for (metric, field) in [("rx_frames", "rx_frames"), ("rx_bytes", "rx_bytes"), ("tx_frames", "tx_frames")] {
        let name = format!("xdock_port_{metric}_total{{port=\"h1\"}}");
        let (least, most, shown) = (before[&name], now[&name], number(&shown[field]) as f64);
        assert!(least >= 10.0 && (least..=most).contains(&shown), "{name}: {least} {shown} {most}");
    }
    assert_eq!(now["xdock_port_up{port=\"h2\"}"], 1.0);
    assert_eq!(now["xdock_drops_total{port=\"h1\",reason=\"tx_full\"}"], 0.0, "the zero before the first");
    assert_eq!(now["xdock_fdb_entries{domain=\"lan\"}"], 2.0);
    assert!(now["xdock_worker_frames_total{worker=\"0\"}"] >= 20.0);
    assert!(now.contains_key("xdock_worker_moves_total{worker=\"0\"}"));
    world::until("frames are conserved, by the metrics alone", || {
        let now = parse(&get(&world.switch, "127.0.0.1:9469", "/metrics").2);
        let sum = |family: &str| {
            let of = |(sample, _): &(&String, &f64)| sample.split('{').next() == Some(family);
            now.iter().filter(of).map(|(_, value)| value).sum::<f64>()
        };
        let [rx, made, tx, joined] = ["rx_frames", "generated_frames", "tx_frames", "coalesced_frames"]
            .map(|counter| format!("xdock_port_{counter}_total"))
            .map(|family| if now.keys().any(|key| key.starts_with(&family)) { sum(&family) } else { f64::NAN });
        rx + made == tx + joined + sum("xdock_drops_total")
    });
    let load = now["xdock_worker_busy_ticks_total{worker=\"0\"}"] / now["xdock_worker_ticks_total{worker=\"0\"}"];
    assert!((0.0..1.0).contains(&load) && load > 0.0, "{load}");
    assert!(now["xdock_pool_free_frames{worker=\"0\"}"] <= now["xdock_pool_frames{worker=\"0\"}"]);
    assert_eq!(now[&format!("xdock_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], 1.0);
    assert_eq!(get(&world.switch, "127.0.0.1:9469", "/v1/ports").0, 404, "nothing else is open to the network");
    assert!(parse(&over_control_socket(&world)).keys().eq(now.keys()), "the same over the control socket");
}

fn over_control_socket(world: &World) -> String {
    use std::io::{Read, Write};
    let mut client = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
    client.write_all(b"GET /v1/metrics HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn an_address_in_use_for_metrics_is_one_sentence() {
    let world = World::new("inuse", 1).engine("metrics = \"127.0.0.1:9469\"");
    let _taken = world.switch.run(|| std::net::TcpListener::bind("127.0.0.1:9469").unwrap()).unwrap();
    std::fs::write(world.lab.path("xdock.toml"), world.config()).unwrap();
    let mut command = world.switch.command(xdock_binary().unwrap());
    let output = command.arg("run").arg("-c").arg(world.lab.path("xdock.toml")).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("xdock: metrics: cannot listen on 127.0.0.1:9469: Address already in use"), "{stderr}");
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 2), "{stderr}");
}

/// The log's lines as objects.
fn events(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn has(log: &[Value], message: &str, fields: &[(&str, &str)]) -> bool {
    let fits =
        |event: &&Value| fields.iter().all(|(field, value)| event[field].to_string().trim_matches('"') == *value);
    log.iter().filter(|event| event["message"] == message).any(|event| fits(&event))
}

#[test]
fn the_log_tells_in_json_what_happens() {
    let world = World::new("log", 2).spare();
    std::fs::write(world.lab.path("xdock.toml"), world.config()).unwrap();
    let mut command = world.switch.command(xdock_binary().unwrap());
    command.args(["run", "--log-format", "json", "-c"]).arg(world.lab.path("xdock.toml"));
    let mut xdock = world.lab.spawn("xdock", command.env("XDOCK_LOG", "info")).unwrap();
    xdock.wait_for_line("ready", Duration::from_secs(10)).unwrap();
    world.done(&format!("port add h3 --domain lan --ifname eth0 --netns {}", world.host(3).name()));
    world.done("port rm h3");
    world.host(2).ip("link set eth0 down").unwrap();
    world::until("the link is down", || {
        has(&events(&xdock.stderr()), "port down", &[("port", "h2"), ("level", "WARN")])
    });
    world.host(2).ip("link set eth0 up").unwrap();
    world::until("the link is up", || has(&events(&xdock.stderr()), "port up", &[("port", "h2"), ("level", "INFO")]));
    jump_between(&world);
    world::until("the jumping is told of", || xdock.stderr().contains("a MAC address jumps between ports"));
    xdock.signal(Signal::TERM).unwrap();
    assert_eq!(xdock.wait(Duration::from_secs(3)).unwrap().code(), Some(0));
    let log = events(&xdock.stderr());
    assert!(has(&log, "switch started", &[("ports", "2"), ("domains", "1")]), "{log:?}");
    assert!(
        has(&log, "port added", &[("port", "h3"), ("domain", "lan")]) && has(&log, "port removed", &[("port", "h3")])
    );
    assert!(has(&log, "switch stopped", &[("signal", "SIGTERM")]));
    assert!(log.iter().all(|event| event["timestamp"].is_string() && event["level"].is_string()));
    assert_eq!(xdock.stdout(), "ready\n");
}

/// One source address at two ports by turns, faster than a host moves.
fn jump_between(world: &World) {
    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 0x77], &[0x88, 0xb5], &[0; 46]].concat();
    let ends = [1, 2].map(|n| Raw::open(world.host(n), "eth0").unwrap());
    for end in ends.iter().cycle().take(40) {
        end.send(&frame).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_log_can_be_silent_and_a_wrong_level_is_wrong_usage() {
    let world = World::new("quiet", 1);
    std::fs::write(world.lab.path("xdock.toml"), world.config()).unwrap();
    let mut command = world.switch.command(xdock_binary().unwrap());
    command.args(["run", "--log-level", "off", "-c"]).arg(world.lab.path("xdock.toml"));
    let mut xdock = world.lab.spawn("xdock", &mut command).unwrap();
    xdock.wait_for_line("ready", Duration::from_secs(10)).unwrap();
    xdock.signal(Signal::TERM).unwrap();
    xdock.wait(Duration::from_secs(3)).unwrap();
    assert_eq!(xdock.stderr(), "");
    assert_eq!(run(&["run", "--log-level", "loud=loud=loud"]).status.code(), Some(2));
}

fn run(arguments: &[&str]) -> Output {
    Command::new(xdock_binary().unwrap()).args(arguments).output().unwrap()
}

#[test]
fn top_shows_rates_and_gives_the_terminal_back() {
    let world = World::new("top", 2);
    let _xdock = world.start();
    let mut ping = world.host(1).command("ping");
    let _ping = world.lab.spawn("ping", ping.args(["-q", "-i", "0.002", "-w", "20", "10.0.0.2"])).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    let text = world.done("top -d 0.5 -n 2");
    assert!(begin.elapsed() >= Duration::from_secs(1), "two intervals");
    let rates: Vec<f64> = text.lines().filter(|l| l.starts_with("h1")).map(|l| column(l, 3)).collect();
    assert!(rates.len() == 2 && rates.iter().all(|rate| (50.0..5000.0).contains(rate)), "{text}");
    assert!(text.lines().any(|line| line.starts_with("WORKER")), "{text}");
    assert_eq!(world.done("top --once -d 0.2").matches("PORT ").count(), 1);
    let control = world.socket();
    let top = format!("{} top -d 0.2 --control {}", xdock_binary().unwrap().display(), control.display());
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &format!("{top}; stty -a"), "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = terminal.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1000));
    std::io::Write::write_all(terminal.stdin.as_mut().unwrap(), b"q").unwrap();
    let output = terminal.wait_with_output().unwrap();
    let screen = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && screen.matches("\x1b[H").count() >= 2, "{screen:?}");
    let after = screen.split("\x1b[?1049l").nth(1).unwrap_or_else(|| panic!("{screen:?}"));
    assert!(after.contains(" icanon") && after.contains(" echo "), "{after}");
}

fn column(line: &str, at: usize) -> f64 {
    line.split_whitespace().nth(at).unwrap().parse().unwrap()
}

#[test]
fn the_doctor_tries_everything_and_leaves_nothing() {
    let world = World::new("doctor", 0);
    let doctor = |arguments: &[&str]| {
        world.switch.command(xdock_binary().unwrap()).arg("doctor").args(arguments).output().unwrap()
    };
    let links = || world.switch.ip("-o link").unwrap();
    let before = links();
    let output = doctor(&["--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &found["works"]), (Some(0), &Value::Bool(true)), "{found}");
    let state = |name: &str| {
        let check = found["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("no {name}"))["state"].clone()
    };
    for needed in ["network namespace", "/dev/net/tun", "TAP", "switch", "CAP_NET_ADMIN"] {
        assert_eq!(state(needed), "ok", "{needed}");
    }
    for looked in [
        "TAP offloads",
        "AF_PACKET",
        "AF_XDP, generic mode",
        "cores",
        "halt polling",
        "huge pages",
        "locked memory",
        "hypervisor",
    ] {
        assert!(["ok", "limited", "missing"].contains(&state(looked).as_str().unwrap()), "{looked}");
    }
    assert_eq!(links(), before);
    let text = String::from_utf8(doctor(&[]).stdout).unwrap();
    assert!(text.contains("The main job works here"), "{text}");
    let mut unprivileged = Command::new("setpriv");
    unprivileged.args(["--bounding-set=-net_admin,-sys_admin", "--inh-caps=-net_admin,-sys_admin", "--"]);
    let output = unprivileged.arg(xdock_binary().unwrap()).arg("doctor").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .starts_with("xdock: doctor: the main job does not work here\nhint: CAP_")
    );
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for (shell, mark) in [("bash", "complete -F _xdock"), ("zsh", "#compdef xdock"), ("fish", "complete -c xdock")] {
        let script = String::from_utf8(run(&["completions", shell]).stdout).unwrap();
        assert!(script.contains(mark) && script.contains("doctor") && script.contains("log-format"), "{shell}");
    }
    let syntax = Command::new("bash").args(["-n", "/dev/stdin"]).stdin(Stdio::piped()).spawn().and_then(|mut bash| {
        std::io::Write::write_all(bash.stdin.as_mut().unwrap(), &run(&["completions", "bash"]).stdout)?;
        bash.wait()
    });
    assert!(syntax.unwrap().success(), "bash understands its script");
    let lab = lab::Lab::new("man").unwrap();
    let directory = lab.path("man");
    assert!(run(&["man", directory.to_str().unwrap()]).status.success());
    for page in ["xdock", "xdock-run", "xdock-reload", "xdock-port-add", "xdock-show-fdb", "xdock-doctor"] {
        let text = std::fs::read_to_string(directory.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".TH") && text.contains("SYNOPSIS"), "{page}");
    }
    assert!(String::from_utf8(run(&["man"]).stdout).unwrap().contains(".TH xdock 1"));
    assert_eq!(run(&["man", "/proc/nowhere"]).status.code(), Some(1));
}

#[test]
fn the_bench_measures_and_leaves_nothing() {
    let world = World::new("bench", 0);
    let mut command = world.switch.command(xdock_binary().unwrap());
    let mut bench = world.lab.spawn("bench", command.args(["bench", "--quick", "--json"])).unwrap();
    let pid = bench.pid();
    assert_eq!(bench.wait(Duration::from_secs(120)).unwrap().code(), Some(0), "{}", bench.stderr());
    let report: Value = serde_json::from_str(&bench.stdout()).unwrap();
    let cells = report["memory"]["cells"].as_array().unwrap();
    assert!(cells.len() >= 7 && cells.iter().all(|cell| cell["ticks"].as_f64() > Some(1.0)), "{report}");
    let between = &report["namespaces"];
    assert!(between["tcp_gbit_s"]["median"].as_f64() > Some(0.1), "{report}");
    assert!(between["packets_mpps"]["median"].as_f64() > Some(0.001), "{report}");
    let round = &between["round_trip_us"];
    assert!(round["p50"].as_f64() > Some(1.0) && round["p99"].as_f64() >= round["p50"].as_f64(), "{report}");
    let left = std::fs::read_dir("/run/netns").unwrap().flatten();
    assert!(
        left.filter_map(|entry| entry.file_name().into_string().ok()).all(|name| !name.ends_with(&format!("-{pid}")))
    );
}

/// The cores that a thread of the process may use.
fn allowed_cores(xdock: &Process, thread: &str) -> CpuSet {
    let mut tasks = std::fs::read_dir(format!("/proc/{}/task", xdock.pid())).unwrap().map(|task| task.unwrap().path());
    let is_named = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread);
    let task = tasks.find(is_named).unwrap();
    let number = task.file_name().unwrap().to_str().unwrap().parse().unwrap();
    sched_getaffinity(Pid::from_raw(number)).unwrap()
}

#[test]
fn a_worker_has_its_core_for_itself() {
    let world = World::silent("cores", 1).engine("cores = [1]");
    let xdock = world.start();
    let worker = allowed_cores(&xdock, "xdock-worker-0");
    assert!(worker.is_set(1) && worker.count() == 1);
    assert!(["xdock", "xdock-keeper"].iter().all(|thread| !allowed_cores(&xdock, thread).is_set(1)));
}
