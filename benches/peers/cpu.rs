//! CPU time: of the whole machine, of one process, of everybody else (Linux `proc(5)`).

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

/// Length of a tick in `/proc/stat` and `/proc/PID/stat`: USER_HZ is 100 on Linux.
const TICK: Duration = Duration::from_millis(10);

/// Share of one CPU that others may use before a sample counts as disturbed.
const TOLERANCE: f64 = 0.06;

/// Flag of kernel threads in `/proc/PID/stat` (`PF_KTHREAD`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// CPU time used since some moment.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// All CPUs, interrupts included, idle and stolen time not; in ticks of 10 ms.
    pub busy: Duration,
    /// The part of it in hard and soft interrupts, of source, switch and sink alike; in ticks of 10 ms.
    pub softirq: Duration,
    /// The switch's process, where there is one: user, system, and interrupts served while it ran; to the nanosecond.
    pub switch: Option<Duration>,
}

impl Usage {
    /// Since boot; the process since its start.
    pub fn now(switch: Option<u32>) -> Result<Self> {
        let switch = switch.map(of_process).transpose()?;
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        let fields: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
        let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else {
            anyhow::bail!("/proc/stat: {line}");
        };
        Ok(Self { busy: ticks(user + nice + system + irq + softirq), softirq: ticks(irq + softirq), switch })
    }

    /// Between an earlier moment and this one.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(before.busy),
            softirq: self.softirq.saturating_sub(before.softirq),
            switch: self.switch.zip(before.switch).map(|(after, before)| after.saturating_sub(before)),
        }
    }
}

/// Time the threads of a process have run, to the nanosecond (`/proc/PID/task/TID/schedstat`).
pub fn of_process(pid: u32) -> Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

/// Does something, and says whether others used the CPUs meanwhile.
///
/// # Errors
/// Those of `work`.
pub fn watched<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, bool)> {
    let (start, before) = (Instant::now(), of_others());
    let result = work()?;
    let others = of_others().saturating_sub(before);
    Ok((result, others.as_secs_f64() > TOLERANCE * start.elapsed().as_secs_f64()))
}

/// Time used since boot by user processes that are neither this one nor its descendants, ended ones included
/// (their parents inherit it); in ticks of 10 ms.
fn of_others() -> Duration {
    let processes = processes();
    let others = processes.iter().filter(|(pid, process)| !process.kernel && !is_ours(**pid, &processes));
    ticks(others.map(|(_, process)| process.ticks).sum())
}

/// One line of `/proc/PID/stat`.
struct Stat {
    parent: u32,
    kernel: bool,
    ticks: u64,
}

fn processes() -> HashMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

/// `None` when the process has ended meanwhile.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let times = number(11)? + number(12)? + number(13)? + number(14)?;
    Some(Stat { parent: fields.get(1)?.parse().ok()?, kernel: number(6)? & KERNEL_THREAD != 0, ticks: times })
}

fn is_ours(mut pid: u32, processes: &HashMap<u32, Stat>) -> bool {
    while pid != std::process::id() {
        match processes.get(&pid) {
            Some(process) => pid = process.parent,
            None => return false,
        }
    }
    true
}

fn ticks(count: u64) -> Duration {
    TICK * u32::try_from(count).unwrap_or(u32::MAX)
}
