//! A laboratory of network namespaces, for tests and load tests that need root.
//!
//! # Theory of operation
//!
//! A [`Lab`] gives out [`Namespace`]s with unique names (`xd-NAME-PIDxNONCE-ROLE`), a scratch directory, and
//! [`Process`]es whose output goes to files in that directory. Everything is a value that removes what it stands for
//! when it is dropped, so a test that fails or panics cleans up like one that passes. What a killed test left behind
//! is found by the process id in its name, and removed by the next lab.
//!
//! ```no_run
//! let lab = Lab::new("ping")?;
//! let (h1, switch) = (lab.namespace("h1")?, lab.namespace("sw")?);
//! let mut xdock = lab.xdock(&switch, &config)?; // returns once it said `ready`
//! let status = h1.command("ping").args(["-c", "1", "10.0.0.2"]).status()?;
//! ```
//!
//! Nothing here touches the caller's own namespace. A namespace is entered by `setns` on a thread of its own or
//! between fork and exec, so the caller's threads never move. `/sys` is not remounted: read interface state by `ip`
//! or from [`Namespace::counters`], not from `/sys/class/net`.
#![expect(unsafe_code, reason = "commands enter namespaces and CPUs between fork and exec")]
#![allow(dead_code, reason = "each user takes the part it needs")]

mod crowd;
mod process;

pub use process::Process;

use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_setaffinity};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{io, panic, thread};

/// Where `ip netns` keeps its namespaces.
const NETNS: &str = "/run/netns";

/// How long a switch may take to be ready.
const READY: Duration = Duration::from_secs(10);

/// One experiment: the prefix of its namespaces' names and a scratch directory, removed on drop.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    directory: PathBuf,
}

impl Lab {
    /// Opens a lab. `name` is short, of letters and digits: it becomes part of every name.
    ///
    /// # Errors
    /// Without root, or when the scratch directory cannot be made.
    pub fn new(name: &str) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::other("network namespaces need root"));
        }
        remove_stale();
        let nonce = RandomState::new().build_hasher().finish() & 0xffff;
        let prefix = format!("xd-{name}-{}x{nonce:04x}", std::process::id());
        let directory = std::env::temp_dir().join(&prefix);
        fs::create_dir(&directory)?;
        Ok(Self { prefix, directory })
    }

    /// A fresh namespace, loopback up. `role` (`h1`, `sw`) ends its name.
    ///
    /// # Errors
    /// When `ip netns add` fails, with its words.
    pub fn namespace(&self, role: &str) -> io::Result<Namespace> {
        Namespace::create(format!("{}-{role}", self.prefix))
    }

    /// The path of a file in the scratch directory.
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Starts `command`; its output goes to `NAME.out` and `NAME.err` in the scratch directory.
    ///
    /// # Errors
    /// When the files or the process cannot be made.
    pub fn spawn(&self, name: &str, command: &mut Command) -> io::Result<Process> {
        Process::spawn(name, &self.directory, command)
    }

    /// Starts `xdock run` inside `namespace` with this configuration (TOML), and waits until it is `ready`.
    ///
    /// # Errors
    /// When there is no binary, or it is not ready within 10 s; with what it wrote to stderr.
    pub fn xdock(&self, namespace: &Namespace, config: &str) -> io::Result<Process> {
        self.xdock_within(namespace, config, READY)
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// When there is no binary, or it is not ready in time; with what it wrote to stderr.
    pub fn xdock_within(&self, namespace: &Namespace, config: &str, patience: Duration) -> io::Result<Process> {
        let file = self.path("xdock.toml");
        fs::write(&file, config)?;
        let mut command = namespace.command(xdock_binary()?);
        let mut process = self.spawn("xdock", command.arg("run").arg("-c").arg(file))?;
        process.wait_for_line("ready", patience)?;
        Ok(process)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("{}: {error}", self.directory.display());
        }
    }
}

/// A network namespace, deleted on drop. Interfaces in it die with it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: Arc<File>,
}

impl Namespace {
    fn create(name: String) -> io::Result<Self> {
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let handle = Arc::new(File::open(Path::new(NETNS).join(&name))?);
        let namespace = Self { name, handle };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name under `/run/netns`, as `ip netns` and the configuration's `netns` take it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread of its own inside the namespace. Sockets and files of `/proc/thread-self/net` opened
    /// there stay in the namespace, wherever they are used afterwards. A panic of `work` is passed on.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| enter(&self.handle).map(|()| work()));
            thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }

    /// A command that will run inside the namespace, and is killed when the thread that started it ends.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let handle = Arc::clone(&self.handle);
        let prepare = move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            enter(&handle)
        };
        // SAFETY: between fork and exec the closure makes two system calls; it neither allocates nor takes a lock.
        unsafe { command.pre_exec(prepare) };
        command
    }

    /// Runs `ip ARGS` inside, for example `ns.ip("addr add 10.0.0.1/24 dev eth0")`.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn ip(&self, arguments: &str) -> io::Result<String> {
        run(self.command("ip").args(arguments.split_whitespace()))
    }

    /// Opens the receive counter of `interface` in here.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn counters(&self, interface: &str) -> io::Result<Counters> {
        let file = self.run(|| File::open("/proc/thread-self/net/dev"))??;
        Ok(Counters { file, interface: format!("{interface}:") })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("{}: {error}", self.name);
        }
    }
}

/// The frame counters of one interface, readable from any namespace.
#[derive(Debug)]
pub struct Counters {
    file: File,
    interface: String,
}

impl Counters {
    /// Frames received by the interface since it exists.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn received(&self) -> io::Result<u64> {
        self.column(2)
    }

    /// Frames that the interface has sent since it exists.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn sent(&self) -> io::Result<u64> {
        self.column(10)
    }

    /// A word of the interface's line, of which the name is the first (proc_pid_net(5)).
    fn column(&self, index: usize) -> io::Result<u64> {
        let mut text = [0; 8192];
        let length = std::os::unix::fs::FileExt::read_at(&self.file, &mut text, 0)?;
        let text = String::from_utf8_lossy(&text[..length]);
        let mut words = text.split_whitespace().skip_while(|word| *word != self.interface).skip(index);
        let count = words.next().and_then(|word| word.parse().ok());
        count.ok_or_else(|| io::Error::other(format!("no interface {}", self.interface)))
    }
}

/// Makes `command` run on one CPU.
pub fn pin(command: &mut Command, cpu: usize) -> &mut Command {
    // SAFETY: between fork and exec the closure makes one system call; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(move || pin_thread(cpu)) }
}

/// Moves the calling thread to one CPU.
///
/// # Errors
/// When there is no such CPU.
pub fn pin_thread(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// Runs `command` to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails, with the command and what it wrote to stderr.
pub fn run(command: &mut Command) -> io::Result<String> {
    let output = command.output().map_err(|error| io::Error::new(error.kind(), format!("{command:?}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}: {}", output.status, words.trim())))
}

/// The `xdock` that cargo built together with this test or bench.
///
/// # Errors
/// When the package has no such binary, or it is gone.
pub fn xdock_binary() -> io::Result<&'static Path> {
    let path = option_env!("CARGO_BIN_EXE_xdock").map(Path::new).filter(|path| path.exists());
    path.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "this build has no binary xdock"))
}

/// Takes a namespace's name away, as `ip netns del` does: it is gone when nobody is in it any more.
fn remove(name: &str) -> io::Result<()> {
    let path = Path::new(NETNS).join(name);
    unmount(&path, UnmountFlags::DETACH)?;
    fs::remove_file(path)
}

fn enter(namespace: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Removes namespaces and directories of labs whose process is gone. Best effort: two labs may do it at once.
fn remove_stale() {
    for name in stale_names(Path::new(NETNS)) {
        // A process that was killed in between may have left a file that is no mount.
        let _ = unmount(Path::new(NETNS).join(&name), UnmountFlags::DETACH);
        let _ = fs::remove_file(Path::new(NETNS).join(&name));
    }
    let scratch = std::env::temp_dir();
    for name in stale_names(&scratch) {
        let _ = fs::remove_dir_all(scratch.join(name));
    }
}

fn stale_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_stale(name)).collect()
}

/// Whether this is a lab's name (`xd-NAME-PIDxNONCE...`) and its process is gone.
fn is_stale(name: &str) -> bool {
    let mut parts = name.split('-');
    let owner = match (parts.next(), parts.next(), parts.next()) {
        (Some("xd"), Some(_), Some(owner)) => owner.split_once('x').and_then(|(pid, _)| pid.parse::<u32>().ok()),
        _ => None,
    };
    owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}
