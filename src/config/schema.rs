//! The schema: which keys each table has, their ranges and their defaults.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::fault::Fault;
use super::fields::{Fields, Keys, boolean, integer, parsed, text};
use super::guard::Guard;
use super::kind::{self, BusyPoll, Files, PortKind};
use super::mirror::Mirror;
use super::node::Value;
use super::storm::Storm;
use super::value::{Invalid, Prefix, Route, gateway, station};
use super::vlan::vlan;
use super::{DomainConfig, EngineConfig, Poll, PortConfig, Report};

/// IP MTU of a port, in bytes: IPv4's least, and the most whose frame fits a super-frame.
pub const MTU: RangeInclusive<u16> = 68..=65521;
/// Ageing time of a learned MAC address, in seconds.
pub const AGEING_S: RangeInclusive<u32> = 1..=1_000_000;
/// Entries of a domain's FDB.
pub const FDB_MAX: RangeInclusive<u32> = 10..=1_000_000;
/// Queues of a TAP.
pub const QUEUES: RangeInclusive<u8> = 1..=16;
/// Longest path that `sockaddr_un` holds (unix(7): 108 bytes with the final zero).
const SOCKET_PATH_MAX: usize = 107;

/// A value that was read, with where its keys stand.
pub(super) struct Located<T> {
    pub value: T,
    pub keys: Keys,
}

/// Reads the keys of `[engine]`. `cores` are those that exist.
pub(super) fn engine(mut fields: Fields<'_>, cores: &[usize], report: &mut Report) -> EngineConfig {
    let default = EngineConfig::default();
    let engine = EngineConfig {
        cores: pinned(&mut fields, cores),
        poll: fields.value("poll", poll).unwrap_or(default.poll),
        spin_us: fields.value("spin_us", integer(0..=1_000_000, "microseconds")).unwrap_or(default.spin_us),
        control: fields.value("control", socket_path).unwrap_or(default.control),
        metrics: fields.value("metrics", listener),
        persist: fields.value("persist", boolean).unwrap_or(default.persist),
        flows_max: fields.value("flows_max", integer(64..=16_777_216, "entries")).unwrap_or(default.flows_max),
        frames: fields.value("frames", integer(512..=4_194_304, "frames of 4 KiB")).unwrap_or(default.frames),
        super_frames: fields
            .value("super_frames", integer(16..=65_536, "frames of 68 KiB"))
            .unwrap_or(default.super_frames),
    };
    fields.later(&["state"]);
    fields.finish(report);
    engine
}

/// One worker each.
fn pinned(fields: &mut Fields<'_>, cores: &[usize]) -> Vec<usize> {
    let exists = |value: &Value| {
        let core = integer(0..=u32::MAX, "")(value)? as usize;
        let list = || cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let missing = || Invalid::new(format!("core {core} does not exist"), format!("one of {}", list()));
        cores.contains(&core).then_some(core).ok_or_else(missing)
    };
    let wanted = fields.list("cores", exists);
    if let Some(core) = wanted.iter().enumerate().find_map(|(i, core)| wanted[..i].contains(core).then_some(core)) {
        fields.reject("cores", Invalid::new(format!("core {core} stands twice"), "each core once: it has one worker"));
    }
    wanted
}

fn poll(value: &Value) -> Result<Poll, Invalid> {
    match text(value)?.as_str() {
        "adaptive" => Ok(Poll::Adaptive),
        "busy" => Ok(Poll::Busy),
        "interrupt" => Ok(Poll::Interrupt),
        other => Err(Invalid::new(format!("unknown way \"{other}\""), "\"adaptive\", \"busy\" or \"interrupt\"")),
    }
}

fn socket_path(value: &Value) -> Result<PathBuf, Invalid> {
    let path = text(value)?;
    if !path.starts_with('/') || path.len() > SOCKET_PATH_MAX || path.contains('\0') {
        let hint = format!("an absolute path of at most {SOCKET_PATH_MAX} bytes");
        return Err(Invalid::new(format!("\"{path}\" cannot be a socket"), hint));
    }
    Ok(path.into())
}

fn listener(value: &Value) -> Result<SocketAddr, Invalid> {
    let address = text(value)?;
    let wrong = |_| Invalid::new(format!("\"{address}\" is not an address and port"), "like \"127.0.0.1:9469\"");
    address.parse().map_err(wrong)
}

/// Reads one `[[domain]]`.
pub(super) fn domain(mut fields: Fields<'_>, report: &mut Report) -> Located<DomainConfig> {
    let mut domain = DomainConfig::new(fields.name("domain"));
    domain.ageing_s = fields.value("ageing_s", integer(AGEING_S, "seconds")).unwrap_or(domain.ageing_s);
    domain.fdb_max = fields.value("fdb_max", integer(FDB_MAX, "entries")).unwrap_or(domain.fdb_max);
    domain.mac = fields.value("mac", |value| station(&text(value)?));
    domain.vlan_filtering = fields.value("vlan_filtering", boolean).unwrap_or(domain.vlan_filtering);
    Located { value: domain, keys: fields.finish(report) }
}

/// Reads one `[[port]]`.
pub(super) fn port(mut fields: Fields<'_>, report: &mut Report) -> Located<PortConfig> {
    let name = fields.name("port");
    let kind = fields.value("kind", parsed::<PortKind>);
    let ifname = interface(&mut fields, &name, kind.unwrap_or(PortKind::Tap));
    let mut port = PortConfig::new(name, fields.required("domain", text).unwrap_or_default());
    port.ifname = ifname;
    port.netns = fields.value("netns", netns);
    port.mac = fields.value("mac", |value| station(&text(value)?));
    port.address = fields.list("address", |value| parsed::<Prefix>(value)?.check_host());
    port.routes = fields.tables("routes").into_iter().filter_map(|route_fields| route(route_fields, report)).collect();
    port.mtu = fields.value("mtu", integer(MTU, "bytes"));
    port.queues = fields.value("queues", integer(QUEUES, "queues"));
    port.isolated = fields.value("isolated", boolean).unwrap_or(port.isolated);
    port.storm = Storm::read(&mut fields, report);
    port.busy_poll = fields.table("busy_poll").map(|keys| BusyPoll::read(keys, report));
    port.ring = fields.value("ring", kind::ring);
    port.files = Files::read(&mut fields);
    port.fault = fields.table("fault").map(|keys| Fault::read(keys, report));
    port.kind = kind.unwrap_or(port.kind);
    if kind.is_some() || !fields.has("kind") {
        kind::reject_senseless(port.kind, &mut fields);
    }
    port.vlan = fields.table("vlan").and_then(|keys| vlan(keys, report));
    port.guard = Guard::read(&mut fields, report);
    port.mirror = fields.table("mirror").and_then(|keys| Mirror::read(keys, report));
    Located { value: port, keys: fields.finish(report) }
}

/// The interface's name: the port's own unless the key says otherwise; either must suit the kernel.
fn interface(fields: &mut Fields<'_>, port: &str, kind: PortKind) -> String {
    if let Some(ifname) = fields.value("ifname", text) {
        if let Err(invalid) = check_ifname(&ifname) {
            fields.reject("ifname", invalid);
        }
        return ifname;
    }
    if !kind.has_interface() {
        return String::new();
    }
    if !port.is_empty() && check_ifname(port).is_err() {
        let what = format!("\"{port}\" is too long to be the interface's name too");
        fields.reject("name", Invalid::new(what, "add ifname = \"...\" of 1 to 15 bytes"));
    }
    port.to_owned()
}

/// The kernel's rule (`net/core/dev.c`: `dev_valid_name`), and no `%`, which it would fill in.
fn check_ifname(name: &str) -> Result<(), Invalid> {
    let forbidden = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(forbidden) {
        let hint = "1 to 15 bytes without \"/\", \":\", \"%\" or blanks";
        return Err(Invalid::new(format!("\"{name}\" cannot be an interface's name"), hint));
    }
    Ok(())
}

fn netns(value: &Value) -> Result<String, Invalid> {
    let netns = text(value)?;
    let named = !netns.contains('/') && !matches!(netns.as_str(), "" | "." | "..");
    if !(named || netns.starts_with('/')) || netns.contains('\0') {
        let hint = "a name under /run/netns, or an absolute path";
        return Err(Invalid::new(format!("\"{netns}\" is not a namespace"), hint));
    }
    Ok(netns)
}

fn route(mut fields: Fields<'_>, report: &mut Report) -> Option<Route> {
    let to = fields.required("to", parsed);
    let via = fields.value("via", |value| gateway(&text(value)?));
    let wrong_via = via.is_none() && fields.has("via");
    let checked = to.filter(|_| !wrong_via).map(|to| Route { to, via }.check());
    let route = checked.and_then(|result| result.map_err(|invalid| fields.reject("to", invalid)).ok());
    fields.finish(report);
    route
}
