//! What is read from the kernel: privileges, limits, cores, memory, the machine.

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crossdock::machine;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::Check;

/// Round trips for the price of a wake-up, and how long the other thread sleeps before each.
const WAKES: usize = 100;
const SLEEP: Duration = Duration::from_millis(1);
/// Above this, spinning for a while beats sleeping at once.
const DEAR: Duration = Duration::from_micros(20);
/// For how long a guest's idle core may poll, in nanoseconds (Documentation/virt/guest-halt-polling.rst).
const GUEST_HALT_POLL: &str = "/sys/module/haltpoll/parameters/guest_halt_poll_ns";
/// What AF_XDP ports take in locked memory at the least: the UMEM that they share where there is no room for a larger one.
const UMEM: u64 = 1 << 20;

/// What this process may do.
pub fn privileges() -> Vec<Check> {
    let effective = capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    let held = |name, capability, leads_to: &str| match effective.contains(capability) {
        true => Check::ok(name, "held"),
        false => Check::missing(name, "not held", leads_to),
    };
    vec![
        Check::ok("kernel", rustix::system::uname().release().to_string_lossy()),
        held("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN, "no interface can be made: run as root").needed(),
        held("CAP_SYS_ADMIN", CapabilitySet::SYS_ADMIN, "no interface can be put into a host's namespace").needed(),
        held("CAP_NET_RAW", CapabilitySet::NET_RAW, "no xdp or packet ports; TAP ports do not need it"),
        held("CAP_BPF", CapabilitySet::BPF, "xdp ports fall back to packet ports, unless CAP_SYS_ADMIN is held"),
    ]
}

/// The machine, its limits, and the control socket's place.
pub fn machine(control: &Path) -> Vec<Check> {
    vec![cores(), isolation(), wake_up(), halt_polling(), hypervisor(), huge_pages(), locked(), files(), place(control)]
}

fn cores() -> Check {
    match machine::cores() {
        Ok(cores) if cores.len() > 1 => Check::ok("cores", cores.len()),
        Ok(_) => {
            Check::limited("cores", 1, "the switch shares it with the hosts: leave cores out, poll = \"adaptive\"")
        }
        Err(error) => Check::limited("cores", error, "cores cannot be checked in a configuration"),
    }
}

fn isolation() -> Check {
    let list = read("/sys/devices/system/cpu/isolated");
    match machine::core_list(&list).is_empty() {
        false => Check::ok("isolated cores", list),
        true => {
            let leads_to =
                "the scheduler may put other work on the switch's core: pin the hosts elsewhere, or isolcpus=";
            Check::limited("isolated cores", "none", leads_to)
        }
    }
}

/// What a sleeping thread costs the one that wakes it and waits for it.
fn wake_up() -> Check {
    let took = median_wake();
    let found = format!("{} us there and back (median of {WAKES})", took.as_micros());
    match took < DEAR {
        true => Check::ok("waking a thread", found),
        false => Check::limited(
            "waking a thread",
            found,
            "poll = \"adaptive\" spins for spin_us after a frame to save wake-ups",
        ),
    }
}

fn median_wake() -> Duration {
    let ((ask, asked), (answer, answered)) = (channel::<()>(), channel::<()>());
    let echo = thread::spawn(move || asked.iter().take_while(|()| answer.send(()).is_ok()).for_each(drop));
    let round = |_| {
        thread::sleep(SLEEP);
        let begin = Instant::now();
        let _ = ask.send(());
        let _ = answered.recv();
        begin.elapsed()
    };
    let mut rounds: Vec<Duration> = (0..WAKES).map(round).collect();
    drop(ask);
    let _ = echo.join();
    rounds.sort_unstable();
    rounds[WAKES / 2]
}

/// Whether an idle core of a guest polls for a while before it tells the host that it sleeps.
fn halt_polling() -> Check {
    let governor = read("/sys/devices/system/cpu/cpuidle/current_governor_ro");
    let ns = read(GUEST_HALT_POLL);
    match (governor.as_str(), ns.as_str()) {
        ("haltpoll", "" | "0") => {
            let leads_to =
                "waking an idle core costs more; 200000 there makes it cheap, and idle cores busy for so long";
            Check::limited("halt polling", format!("off: {GUEST_HALT_POLL} = {ns}"), leads_to)
        }
        ("haltpoll", ns) => Check::ok("halt polling", format!("on: {GUEST_HALT_POLL} = {ns}")),
        ("", _) => Check::ok("halt polling", "not this machine's: no cpuidle governor"),
        (other, _) => Check::ok("halt polling", format!("not this machine's: cpuidle governor {other}")),
    }
}

fn hypervisor() -> Check {
    let guest = read("/proc/cpuinfo").lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    let vendor = read("/sys/class/dmi/id/sys_vendor");
    match (guest, vendor.as_str()) {
        (false, _) => Check::ok("hypervisor", "none: bare metal"),
        (true, "") => Check::limited("hypervisor", "a virtual machine", "timings vary, wake-ups cost more"),
        (true, vendor) => {
            Check::limited("hypervisor", format!("a virtual machine ({vendor})"), "timings vary, wake-ups cost more")
        }
    }
}

/// Frame memory asks for transparent huge pages.
fn huge_pages() -> Check {
    let modes = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let mode = modes.split('[').nth(1).and_then(|rest| rest.split(']').next()).unwrap_or("absent");
    match mode {
        "always" | "madvise" => Check::ok("huge pages", format!("transparent, {mode}")),
        other => Check::limited("huge pages", format!("transparent: {other}"), "large tables cost more TLB misses"),
    }
}

fn locked() -> Check {
    let limit = getrlimit(Resource::Memlock).current;
    let free = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    match limit {
        None => Check::ok("locked memory", "no limit"),
        Some(limit) if limit >= UMEM || free => {
            let exempt = if free { ", CAP_IPC_LOCK exempts" } else { "" };
            Check::ok("locked memory", format!("{} KiB{exempt}", limit >> 10))
        }
        Some(limit) => Check::limited(
            "locked memory",
            format!("{} KiB", limit >> 10),
            "no room for an xdp port's frames: ulimit -l",
        ),
    }
}

fn files() -> Check {
    match getrlimit(Resource::Nofile).current {
        None => Check::ok("open files", "no limit"),
        Some(limit) if limit >= 1024 => Check::ok("open files", limit),
        Some(limit) => {
            Check::limited("open files", limit, "fewer ports: a TAP takes a file for each queue (ulimit -n)")
        }
    }
}

/// Whether the control socket can be made, or is there.
fn place(control: &Path) -> Check {
    let name = "control socket";
    if std::os::unix::net::UnixStream::connect(control).is_ok() {
        return Check::ok(name, format!("a switch runs on {}", control.display()));
    }
    let existing = control.ancestors().skip(1).find(|directory| directory.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::access(existing, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Check::ok(name, format!("{} can be made", control.display())),
        Err(error) => {
            let leads_to = "set another control under [engine], and name it with --control";
            Check::missing(name, format!("{}: {error}", existing.display()), leads_to)
        }
    }
}

/// A file of /proc or /sys, empty where there is none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
