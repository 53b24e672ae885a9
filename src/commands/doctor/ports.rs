//! What ports can be had: tried in a namespace that only the trying thread is in.

use std::fmt::Display;
use std::io;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use crossdock::engine::ports::packet::{Packet, PacketConfig};
use crossdock::engine::ports::tap::{Tap, TapConfig};
use crossdock::engine::ports::{Caps, Port};
use crossdock::engine::switch::{Config, Membership, Switch};
use crossdock::engine::tables::topology::Domain;

use super::Check;
use super::sys;

/// How long a frame may take through an idle switch on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tries everything, on a thread that takes its namespace along when it ends.
pub fn all() -> Vec<Check> {
    let tried = thread::scope(|scope| scope.spawn(inside).join());
    tried.unwrap_or_else(|_| vec![Check::missing("probe", "panicked", "this is a bug").needed()])
}

fn inside() -> Vec<Check> {
    let namespace = sys::unshare_network().map(|()| "made for this look, and gone after it");
    let outside = namespace.is_err();
    let leads_to = "no hosts in namespaces; run as root, in a container with --cap-add SYS_ADMIN --cap-add NET_ADMIN";
    let mut checks = vec![Check::tried("network namespace", namespace, leads_to).needed()];
    if outside {
        // Elsewhere nothing may be tried: it would be seen.
        return checks;
    }
    checks.extend(taps());
    checks.push(switch());
    checks.push(packet());
    checks.extend(xdp());
    checks
}

fn taps() -> Vec<Check> {
    let device = std::fs::File::options().read(true).write(true).open("/dev/net/tun").map(|_| "there");
    let no_device = "no TAP ports: modprobe tun; in a container also --device /dev/net/tun";
    let mut checks = vec![Check::tried("/dev/net/tun", device, no_device).needed()];
    match Tap::create(&TapConfig::new("one", "xdprobe0")) {
        Ok(tap) => {
            checks.push(Check::ok("TAP", "made, set up and removed").needed());
            checks.push(offloads(&tap.caps()));
        }
        Err(error) => checks.push(Check::missing("TAP", error, "no TAP ports").needed()),
    }
    let many = Tap::create(&TapConfig { queues: 2, ..TapConfig::new("many", "xdprobe0") });
    let one = "one queue for each TAP: one core serves it";
    checks.push(Check::tried("TAP queues", many.map(|_| "several"), one));
    checks
}

/// What super-frames and unfinished checksums a TAP of this kernel carries.
fn offloads(caps: &Caps) -> Check {
    let all = [("csum", caps.csum), ("tso", caps.tso), ("uso", caps.uso)];
    let names = |wanted: bool| {
        let names: Vec<&str> = all.iter().filter(|(_, has)| *has == wanted).map(|(name, _)| *name).collect();
        names.join(", ")
    };
    if !caps.csum {
        let leads_to = "plain TAPs: every frame at wire size with its checksum complete, several times slower for bulk";
        return Check::limited("TAP offloads", "no virtio-net header", leads_to);
    }
    if caps.tso && caps.uso {
        return Check::ok("TAP offloads", names(true));
    }
    let leads_to = "hosts segment these themselves: more frames for the same bytes (USO: Linux 6.2)";
    Check::limited("TAP offloads", format!("{}, but not {}", names(true), names(false)), leads_to)
}

/// The main job in small: a frame of one TAP arrives at another, through a switch.
fn switch() -> Check {
    let passed =
        passes().map(|took| format!("a frame crossed it from TAP to TAP ({} us after it was sent)", took.as_micros()));
    Check::tried("switch", passed, "the main job does not work").needed()
}

fn passes() -> io::Result<Duration> {
    let switch = Switch::new(Config { frames: 512, super_frames: 16, ..Config::default() })?;
    switch.add_domain(Domain::new("probe")).map_err(io::Error::other)?;
    for (name, address) in [("xdprobe1", Some("169.254.77.1/24")), ("xdprobe2", None)] {
        let addresses = address.into_iter().filter_map(|address| address.parse().ok()).collect();
        let tap = Tap::create(&TapConfig { addresses, ..TapConfig::new(name, name) }).map_err(io::Error::other)?;
        switch.add_port(Box::new(tap), &Membership::of("probe")).map_err(io::Error::other)?;
    }
    let sent = || {
        switch.ports().iter().filter(|port| port.name == "xdprobe2").map(|p| p.counters.tx_frames.get()).sum::<u64>()
    };
    let before = sent();
    let begin = Instant::now();
    // Nobody has this address: the kernel asks for it by ARP, a broadcast, out of the first TAP.
    UdpSocket::bind("169.254.77.1:0")?.send_to(&[0], "169.254.77.2:9")?;
    while sent() == before {
        if begin.elapsed() > PATIENCE {
            return Err(io::Error::other("no frame came through"));
        }
        thread::yield_now();
    }
    Ok(begin.elapsed())
}

/// A packet port on a TAP, which stands for an interface that somebody else made.
fn packet() -> Check {
    let tried = stand_in("xdprobe2").and_then(|_tap| Packet::open(&PacketConfig::new("p", "xdprobe2")).map_err(text));
    let leads_to = "no packet ports, the fallback for interfaces that others made (needs CAP_NET_RAW)";
    Check::tried("AF_PACKET", tried.map(|_| "bound to a TAP, with virtio-net header"), leads_to)
}

/// AF_XDP ports on a TAP.
#[cfg(feature = "xdp")]
fn xdp() -> Vec<Check> {
    use crossdock::engine::ports::xdp::{Mode, Xdp, XdpConfig};
    let tried = |ifname: &str, mode| {
        let tap = stand_in(ifname)?;
        let config = XdpConfig { mode: Some(mode), ..XdpConfig::new("x", ifname) };
        let bound = Xdp::open(&config).map(|_| "bound to a TAP, and gone with it").map_err(text);
        drop(tap);
        bound
    };
    let packet = "xdp ports fall back to packet ports (needs CONFIG_XDP_SOCKETS, CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW)";
    vec![
        Check::tried("AF_XDP, driver mode", tried("xdprobe3", Mode::Driver), "xdp ports use generic mode"),
        Check::tried("AF_XDP, generic mode", tried("xdprobe4", Mode::Generic), packet),
    ]
}

#[cfg(not(feature = "xdp"))]
fn xdp() -> Vec<Check> {
    vec![Check::missing("AF_XDP", "this build has none (feature xdp)", "xdp ports fall back to packet ports")]
}

/// A TAP in place of an interface that somebody else made.
fn stand_in(ifname: &str) -> Result<Tap, String> {
    Tap::create(&TapConfig::new(ifname, ifname)).map_err(text)
}

fn text(error: impl Display) -> String {
    error.to_string()
}
