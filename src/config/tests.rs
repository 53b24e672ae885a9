//! The configuration as a user meets it: good files, each mistake, and any mixture of mistakes.

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;

/// A correct file in which each line of [`FAULTS`] occurs once.
const GOOD: &str = r#"
[engine]
cores = [1]
poll = "adaptive"
spin_us = 50
control = "/tmp/x.sock"
persist = false
flows_max = 65536
frames = 8192
super_frames = 256
metrics = "127.0.0.1:9469"

[[domain]]
name = "lan"
ageing_s = 300
fdb_max = 65536
mac = "02:00:00:00:00:fe"

[[port]]
name = "h1"
kind = "tap"
ifname = "eth0"
netns = "one"
mac = "02:00:00:00:00:01"
address = [
  "10.0.0.1/24",
  "fd00::1/64",
]
mtu = 1500
domain = "lan"
queues = 1
isolated = true
storm = { broadcast = 500 }
vlan = { trunk = [10, "20-29"], native = 10 } # h1

[[port.routes]]
to = "default"
via = "10.0.0.254"

[[port]]
name = "h2"
ifname = "eth1"
netns = "two"
mtu = 9000
domain = "lan" # h2

[[port]]
name = "h3"
ifname = "eth2"
netns = "three"
mtu = 1400
domain = "lan" # h3
"#;

/// What may be wrong: a line of [`GOOD`], what stands there instead, which of those lines is wrong, and the complaint.
type Fault = (&'static str, &'static [&'static str], usize, &'static str);

const FAULTS: &[Fault] = &[
    ("cores = [1]", &["cores = [1, 0, 1]"], 0, "core 1 stands twice"),
    ("poll = \"adaptive\"", &["poll = \"lazy\""], 0, "unknown way \"lazy\""),
    ("spin_us = 50", &["spin_us = 1.5"], 0, "a fraction"),
    ("control = \"/tmp/x.sock\"", &["control = \"x.sock\""], 0, "\"x.sock\" cannot be a socket"),
    ("persist = false", &["persist = \"no\""], 0, "a string"),
    ("flows_max = 65536", &["flows_max = 1"], 0, "1 is out of range"),
    ("frames = 8192", &["frames = 99999999999999999999"], 0, "beyond 64 bits"),
    ("super_frames = 256", &["super_frames = 256", "state = \"/tmp\""], 1, "not in this version"),
    ("metrics = \"127.0.0.1:9469\"", &["metrics = \"localhost\""], 0, "is not an address and port"),
    ("ageing_s = 300", &["ageing_s = 0"], 0, "0 is out of range"),
    ("fdb_max = 65536", &["fdb_max = 9"], 0, "9 is out of range"),
    ("mac = \"02:00:00:00:00:fe\"", &["mac = \"02:00:00:00:fe\""], 0, "not a MAC address"),
    ("kind = \"tap\"", &["kind = \"wifi\""], 0, "unknown kind \"wifi\""),
    ("ifname = \"eth0\"", &["ifname = \"sixteen-letters-\""], 0, "cannot be an interface's name"),
    ("netns = \"one\"", &["netns = \"a/b\""], 0, "\"a/b\" is not a namespace"),
    ("mac = \"02:00:00:00:00:01\"", &["mac = \"03:00:00:00:00:01\""], 0, "multicast"),
    ("  \"10.0.0.1/24\",", &["  \"10.0.0.1/33\","], 0, "is not an IP prefix"),
    ("  \"fd00::1/64\",", &["  \"fd00::1\","], 0, "not an IP prefix"),
    ("queues = 1", &["queues = 17"], 0, "17 is out of range"),
    ("isolated = true", &["isolated = 1"], 0, "an integer"),
    ("storm = { broadcast = 500 }", &["storm = { brodcast = 500 }"], 0, "unknown key \"brodcast\""),
    ("vlan = { trunk = [10, \"20-29\"], native = 10 } # h1", &["vlan = { trunk = [10], acces = 1 }"], 0, "unknown key"),
    ("to = \"default\"", &["to = \"10.1.0.1/16\""], 0, "host bits set"),
    ("via = \"10.0.0.254\"", &["via = \"10.0.0\""], 0, "not an IP address"),
    ("name = \"h2\"", &["name = \"h1\""], 0, "port \"h1\" exists twice"),
    ("netns = \"two\"", &["netns = \"two\"", "vlan = { access = 4095 }"], 1, "4095 is out of range"),
    ("netns = \"three\"", &["netns = \"three\"", "vlan = {}"], 1, "vlan does not say how the port takes part"),
    ("mtu = 9000", &["mtu = 9000", "mtus = 9"], 1, "unknown key \"mtus\""),
    ("domain = \"lan\" # h2", &["domain = \"wan\""], 0, "there is no domain \"wan\""),
    ("name = \"h3\"", &["nam = \"h3\""], 0, "unknown key \"nam\""),
    ("mtu = 1400", &["mtu = 67"], 0, "67 is out of range"),
    (
        "domain = \"lan\" # h3",
        &["domain = \"lan\"", "", "[[uplink]]", "name = \"wan\""],
        2,
        "uplink: not in this version",
    ),
];

fn lines_of(problems: &[Problem]) -> Vec<(usize, &str)> {
    problems.iter().map(|problem| (problem.line.unwrap_or(0), problem.what.as_str())).collect()
}

fn problems(text: &str) -> Vec<Problem> {
    Config::parse(text, &[0, 1]).expect_err("the file is wrong").problems
}

/// The first problem of a file, with its hint.
fn first(text: &str) -> String {
    let problem = problems(text).remove(0);
    format!("{}: {} ({})", problem.line.unwrap_or(0), problem.what, problem.hint)
}

/// The file with these faults, and for each its line and complaint.
fn inject(faults: &[Fault]) -> (String, Vec<(usize, &'static str)>) {
    let mut lines = Vec::new();
    let mut expected = Vec::new();
    for line in GOOD.lines() {
        match faults.iter().find(|(target, ..)| *target == line) {
            Some((_, instead, wrong, what)) => {
                expected.push((lines.len() + wrong + 1, *what));
                lines.extend_from_slice(instead);
            }
            None => lines.push(line),
        }
    }
    assert_eq!(expected.len(), faults.len(), "every fault has its own line");
    (lines.join("\n"), expected)
}

proptest! {
    #[test]
    fn every_fault_is_reported_with_its_line(faults in subsequence(FAULTS, 1..FAULTS.len())) {
        let (text, expected) = inject(&faults);
        let found = problems(&text);
        for (line, what) in expected {
            let hit = found.iter().any(|problem| problem.line == Some(line) && problem.what.contains(what));
            prop_assert!(hit, "line {line}: {what}\nnot in {:#?}", lines_of(&found));
        }
        prop_assert!(found.iter().all(|problem| !problem.hint.is_empty()));
        prop_assert!(found.is_sorted_by_key(|problem| problem.line));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[ -~\n]{0,200}") {
        drop(Config::parse(&text, &[0]));
    }

    #[test]
    fn no_cut_makes_it_panic(at in 0..GOOD.len()) {
        drop(Config::parse(&GOOD[..at], &[0]));
        drop(Config::parse(&GOOD[at..], &[0]));
    }
}

/// The table is a test oracle: each fault alone must give exactly its own complaint and no consequences.
#[test]
fn one_fault_is_one_problem() {
    for fault in FAULTS.iter().filter(|fault| !matches!(fault.0, "name = \"h3\"")) {
        let (text, expected) = inject(&[*fault]);
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{} {:#?}", expected[0].1, found);
    }
}

#[test]
fn a_good_file_becomes_values() {
    let config = Config::parse(GOOD, &[0, 1]).unwrap();
    assert_eq!(config.engine.cores, [1]);
    assert_eq!(config.engine.control, Path::new("/tmp/x.sock"));
    assert_eq!(config.domain[0].mac, "02:00:00:00:00:fe".parse().ok());
    let [h1, h2, h3] = config.port.as_slice() else { panic!("three ports") };
    assert_eq!((h1.name.as_str(), h1.ifname.as_str(), h1.mtu), ("h1", "eth0", None), "1500 is what a TAP has anyway");
    assert_eq!(h1.netns_path().unwrap(), Path::new("/run/netns/one"));
    assert_eq!(h1.address, ["10.0.0.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()]);
    assert_eq!(h1.routes, ["default via 10.0.0.254".parse().unwrap()]);
    assert_eq!(h1.storm, "broadcast=500".parse().unwrap());
    assert!(h1.isolated && !h2.isolated);
    assert_eq!((h2.mtu, h3.mtu, h3.queues), (Some(9000), Some(1400), None));
}

#[test]
fn an_empty_file_is_an_empty_switch() {
    assert_eq!(Config::parse("", &[0]).unwrap(), Config::default());
}

#[test]
fn hints_say_what_would_be_right() {
    assert_eq!(first("[engine]\ncores = [7]"), "2: engine: cores: core 7 does not exist (one of 0, 1)");
    assert!(first("[engine]\nspinus = 7").contains("did you mean \"spin_us\"?"));
    assert!(first("[[prot]]\nname = \"x\"").starts_with("1: unknown key \"prot\" (did you mean \"port\"?"));
    assert!(
        first("[[domain]]\nname = \"x\"\n[[port]]\nname = \"a\"")
            .starts_with("3: port \"a\" has no domain (add domain")
    );
    assert!(first("[domain]\nname = \"x\"").contains("[[domain]]"));
    assert!(first("engine = 5").starts_with("1: engine is an integer (a table"));
    assert!(first("[[domain]]\nname = \"a/b\"").contains("\"a/b\" is not a usable name"));
}

fn one_port(keys: &str) -> String {
    format!("[[domain]]\nname = \"lan\"\n[[port]]\nname = \"a\"\ndomain = \"lan\"\n{keys}")
}

#[test]
fn keys_of_a_port_must_agree() {
    let v6 = "6: port \"a\": mtu: 1000 is too small for an interface with an IPv6 address (1280";
    assert!(first(&one_port("mtu = 1000\naddress = [\"fd00::1/64\"]")).starts_with(v6));
    let gateway = "7: port \"a\": routes 1: no address of this port is in its gateway's network";
    let keys = "address = [\"10.0.0.1/24\"]\nroutes = [{ to = \"default\", via = \"10.0.1.254\" }]";
    assert!(first(&one_port(keys)).starts_with(gateway));
    let link_local = one_port("routes = [{ to = \"default\", via = \"fe80::1\" }]");
    assert!(Config::parse(&link_local, &[0]).is_ok());
    let multicast = first(&one_port("address = [\"224.0.0.1/24\"]"));
    assert!(multicast.contains("224.0.0.1/24 is not a host's address"), "{multicast}");
}

#[test]
fn one_interface_has_one_port() {
    let second = "[[port]]\nname = \"b\"\ndomain = \"lan\"\nifname = \"eth0\"\nnetns = \"/var/run/netns/n\"";
    let found = first(&one_port(&format!("ifname = \"eth0\"\nnetns = \"n\"\n{second}")));
    assert_eq!(found, "11: interface \"eth0\" in /run/netns/n exists twice (another ifname; the first is in line 6)");
    let elsewhere = one_port(&format!("ifname = \"eth0\"\nnetns = \"m\"\n{second}"));
    assert!(Config::parse(&elsewhere, &[0]).is_ok());
}

/// A file's only complaints, whatever their order.
fn all(text: &str) -> Vec<String> {
    problems(text).into_iter().map(|problem| format!("{} ({})", problem.what, problem.hint)).collect()
}

#[test]
fn each_kind_takes_its_own_keys() {
    let good = [
        "kind = \"xdp\"\nqueues = 2\nring = 512\nbusy_poll = { micros = 30, budget = 16 }",
        "kind = \"packet\"\nifname = \"veth0\"\nnetns = \"n\"",
    ];
    for keys in
        good.into_iter().chain(["kind = \"pcap\"\nreplay = \"/a\"\nrecord = \"/b\"\npace = 5\ntimes = 2\nmtu = 9000"])
    {
        let config = Config::parse(&one_port(keys), &[0]).unwrap_or_else(|report| panic!("{keys}: {report}"));
        let json = serde_json::to_value(&config.port[0]).unwrap();
        assert_eq!(PortConfig::from_json(&json).as_ref(), Ok(&config.port[0]), "{json}");
    }
    let tap =
        "mac = \"02:00:00:00:00:01\"\naddress = [\"10.0.0.1/24\"]\nroutes = [{ to = \"10.1.0.0/16\" }]\nmtu = 1400";
    let found = all(&one_port(&format!("kind = \"packet\"\n{tap}")));
    assert_eq!(found.len(), 4, "{found:#?}");
    assert_eq!(
        found[0],
        "port \"a\": mac: makes no sense for kind \"packet\" (leave it out: the interface is somebody else's, and keeps what it has)"
    );
    let interface = "ifname = \"x\"\nnetns = \"n\"\nqueues = 1\nreplay = \"/a\"";
    assert_eq!(all(&one_port(&format!("kind = \"pcap\"\n{interface}"))).len(), 3);
    assert!(first(&one_port("record = \"/a\"")).contains("record: makes no sense for kind \"tap\""));
}

#[test]
fn only_an_xdp_port_is_polled_busily() {
    let port = |kind: &str, keys: &str| one_port(&format!("kind = \"{kind}\"\nbusy_poll = {{ {keys} }}"));
    let read = |keys: &str| Config::parse(&port("xdp", keys), &[0]).unwrap().port[0].busy_poll;
    assert_eq!(read("micros = 30, budget = 16"), Some(BusyPoll { micros: 30, budget: 16 }));
    assert_eq!(read(""), Some(BusyPoll { micros: 20, budget: 64 }));
    for (kind, keys, complaint) in [
        ("packet", "", "busy_poll: makes no sense for kind \"packet\" (only with kind = \"xdp\")"),
        ("tap", "micros = 20", "busy_poll: makes no sense for kind \"tap\""),
        ("xdp", "micros = 0", "busy_poll: micros: 0 is out of range"),
        ("xdp", "budget = 65536", "busy_poll: budget: 65536 is out of range"),
        ("xdp", "frames = 1", "unknown key \"frames\""),
    ] {
        let found = all(&port(kind, keys));
        assert!(found.len() == 1 && found[0].contains(complaint), "{kind} {keys}: {found:?}");
    }
}

#[test]
fn the_ring_of_an_xdp_port_is_a_power_of_two() {
    let port = |kind: &str, ring: &str| one_port(&format!("kind = \"{kind}\"\nring = {ring}"));
    for ring in [64, 512, 8192] {
        let config = Config::parse(&port("xdp", &ring.to_string()), &[0]).unwrap();
        assert_eq!(config.port[0].ring, Some(ring));
    }
    for (kind, ring, complaint) in [
        ("packet", "512", "ring: makes no sense for kind \"packet\" (only with kind = \"xdp\")"),
        ("xdp", "32", "ring: 32 is out of range"),
        ("xdp", "16384", "ring: 16384 is out of range"),
        ("xdp", "500", "ring: 500 is not a power of two (like 512)"),
    ] {
        let found = all(&port(kind, ring));
        assert!(found.len() == 1 && found[0].contains(complaint), "{kind} {ring}: {found:?}");
    }
}

#[test]
fn a_pcap_port_has_files() {
    let pcap = |keys: &str| one_port(&format!("kind = \"pcap\"\n{keys}"));
    let cases = [
        ("", "a pcap port needs a file"),
        ("replay = \"a.pcap\"", "\"a.pcap\" is no file"),
        ("replay = \"/a\"\npace = 0", "\"0\" is no pace"),
        ("replay = \"/a\"\npace = \"fast\"", "\"fast\" is no pace"),
        ("replay = \"/a\"\ntimes = 0", "0 is out of range"),
        ("replay = \"/a\"\nrecord = \"/a\"", "record: is replay's file, and would be emptied"),
    ];
    for (keys, complaint) in cases {
        let found = all(&pcap(keys));
        assert!(found.len() == 1 && found[0].contains(complaint), "{keys}: {found:?}");
    }
    let second = "[[port]]\nname = \"b\"\ndomain = \"lan\"\nkind = \"pcap\"\nrecord = \"/a\"";
    assert!(first(&pcap(&format!("record = \"/a\"\n{second}"))).contains("recording to /a exists twice"));
}

#[test]
fn any_port_may_have_faults() {
    let fault = "fault = { drop = 0.01, duplicate = 1, corrupt = 1e-3, delay_ms = 5, rate_mbit = 100, seed = 7, direction = \"in\" }";
    let port = Config::parse(&one_port(fault), &[0]).unwrap().port.remove(0);
    let read = port.fault.clone().unwrap();
    assert_eq!(
        [read.drop, read.duplicate, read.reorder, read.corrupt].map(|share| share.0.share()),
        [0.01, 1.0, 0.0, 0.001]
    );
    assert_eq!((read.delay_ms, read.rate_mbit, read.seed, read.direction), (5, 100, 7, Direction::In));
    let json = serde_json::to_value(&port).unwrap();
    assert_eq!(PortConfig::from_json(&json).as_ref(), Ok(&port), "{json}");
    let flag = keys_of_flag("drop=0.01,duplicate=1,corrupt=1e-3,delay_ms=5,rate_mbit=100,seed=7,direction=in").unwrap();
    let flags = serde_json::json!({"name": "a", "domain": "lan", "fault": flag});
    assert_eq!(PortConfig::from_json(&flags), Ok(port));
    assert!(keys_of_flag("drop").is_err());
    let cases = [
        ("drop = 1.5", "1.5 is no share of frames"),
        ("drop = -1", "-1 is no share of frames"),
        ("drop = nan", "is no share of frames"),
        ("corrupt = \"some\"", "\"some\" is no share of frames"),
        ("delay_ms = 0.5", "a fraction"),
        ("rate_mbit = 0", "0 is out of range"),
        ("direction = \"up\"", "unknown direction \"up\""),
        ("drops = 0.1", "unknown key \"drops\""),
    ];
    for (keys, complaint) in cases {
        let found = all(&one_port(&format!("fault = {{ {keys} }}")));
        assert!(found.len() == 1 && found[0].contains(complaint), "{keys}: {found:?}");
    }
}

#[test]
fn syntax_errors_do_not_hide_others() {
    let found = problems("[engine]\npoll = \"lazy\"\nspin_us = = 5\npersist = true\npersist = true\nfrmes = 1");
    let lines: Vec<_> = found.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(2), Some(3), Some(5), Some(6)], "{found:#?}");
}

#[test]
fn json_meets_the_same_rules() {
    let config = Config::parse(GOOD, &[0, 1]).unwrap();
    for port in &config.port {
        assert_eq!(PortConfig::from_json(&serde_json::to_value(port).unwrap()).as_ref(), Ok(port));
    }
    for domain in &config.domain {
        assert_eq!(DomainConfig::from_json(&serde_json::to_value(domain).unwrap()).as_ref(), Ok(domain));
    }
    let wrong = serde_json::json!({"name": "x", "mtu": 5, "quues": 1});
    let report = PortConfig::from_json(&wrong).unwrap_err().to_string();
    for what in ["has no domain", "5 is out of range", "unknown key \"quues\""] {
        assert!(report.contains(what), "{report}");
    }
}

const DOCUMENT: &str = include_str!("../../docs/configuration.md");

/// The keys of a table, as the complaint about another one lists them.
fn keys_beside(unknown: &str) -> Vec<String> {
    let found = problems(unknown).into_iter().find(|problem| problem.what.contains("unknown key \"zzz\"")).unwrap();
    let (_, known) = found.hint.split_once("Known here: ").unwrap();
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_document_has_every_key() {
    let tables = [
        ("engine", "[engine]\nzzz = 1".to_owned()),
        ("[domain]", "[[domain]]\nname = \"x\"\nzzz = 1".to_owned()),
        ("[port]", one_port("zzz = 1")),
        ("[port]", one_port("routes = [{ to = \"10.1.0.0/16\", zzz = 1 }]")),
        ("[port]", one_port("storm = { zzz = 1 }")),
        ("[port]", one_port("kind = \"xdp\"\nbusy_poll = { zzz = 1 }")),
        ("[port]", one_port("fault = { zzz = 1 }")),
        ("[port]", one_port("vlan = { access = 1, zzz = 1 }")),
    ];
    for (table, unknown) in tables {
        let section = DOCUMENT.split("\n## ").find(|section| section.starts_with(&format!("`[{table}]`"))).unwrap();
        let keys = keys_beside(&unknown);
        assert!(keys.len() > 1, "{table}: {keys:?}");
        for key in keys {
            let told = [format!("`{key}`"), format!("{key} = ")].iter().any(|words| section.contains(words));
            assert!(told, "{table} {key} is not in docs/configuration.md");
        }
    }
}

#[test]
fn the_documents_examples_are_good() {
    let examples: Vec<_> = DOCUMENT.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let config = Config::parse(example, &[0]).unwrap_or_else(|report| panic!("{report}"));
        assert!(!config.port.is_empty());
    }
}
