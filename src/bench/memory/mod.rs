//! What a frame costs in memory, in ticks of the time-stamp counter: the pipeline alone, without any kernel.
//!
//! Two ports that are plain vectors: frames are made before the clock starts and taken away after it stops, so the
//! figure is the whole of `Worker::poll`: receive, classify, probe, run, flush. Each cell is the median of several
//! passes. The clock's own cost is measured and taken off.
//!
//! `cargo bench --bench memory`; `-- --quick` for a fast look, `-- --json FILE` for the numbers, `-- --profile hit`
//! (`captured`, `guarded` and the same `unguarded`, `mesh`, `fresh`, `ports`, `new`, `vlan-none`, `vlan-same`, `vlan-push`, `vlan-pop`) for one case alone.

mod cores;
mod rig;
mod spread;
mod yardstick;

use cores::{Common, rate};
use crossdock_engine::clock::{Millis, ticks};
use crossdock_engine::tables::vlan::Tagging;
use crossdock_engine::wire::Mac;
use crossdock_engine::wire::vlan::Vid;
use crossdock_engine::worker::PhaseTicks;
use rig::{FRAME, Random, Rig, mac};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;
use std::time::Duration;

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Every station with its partner: as many flows as stations.
    Pairs,
    /// Everybody on one side with everybody on the other: hardly a flow comes twice in a large network.
    Mesh,
}

/// `count` frames, alternating by batch between the ports, random within the pattern.
fn traffic(pattern: Pattern, macs: usize, batch: usize, count: usize, random: &mut Random) -> Vec<(usize, Mac, Mac)> {
    let half = (macs / 2).max(1);
    (0..count)
        .map(|i| {
            let port = (i / batch) % 2;
            let source = random.below(half);
            let peer = match pattern {
                Pattern::Pairs => source,
                Pattern::Mesh => random.below(half),
            };
            (port, mac(port, source), mac(1 - port, peer))
        })
        .collect()
}

/// Every station speaks once to its partner, twice over: addresses known, flows cached.
fn teach(rig: &mut Rig, macs: usize) {
    let half = (macs / 2).max(1);
    for _ in 0..2 {
        let mut all: Vec<_> =
            (0..half).flat_map(|n| [0, 1].map(|port| (port, mac(port, n), mac(1 - port, n)))).collect();
        all.sort_by_key(|&(port, ..)| port);
        let (a, b) = all.split_at(half);
        for (a, b) in a.chunks(rig.batch).zip(b.chunks(rig.batch)) {
            rig.load(&[a, b].concat());
            rig.worker.poll(Millis(rig.now));
            rig.unload();
        }
    }
}

/// A port of VLAN 1 without tags, and one with tags.
fn access() -> Tagging {
    Tagging::Access { vid: Vid::DEFAULT, admit_tagged: false }
}

fn trunk() -> Tagging {
    Tagging::Trunk { vids: [Vid::DEFAULT].into_iter().collect(), native: None }
}

/// What happens to a frame's tag on the way, by name, and the ports it goes between.
fn vlan_cases() -> [(&'static str, [Tagging; 2]); 4] {
    [
        ("none", [Tagging::Transparent, Tagging::Transparent]),
        ("same", [trunk(), trunk()]),
        ("push", [access(), trunk()]),
        ("pop", [trunk(), access()]),
    ]
}

/// The median; with `--best` the least, for a look while the machine is busy with something else.
fn typical(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let best = std::env::args().any(|a| a == "--best");
    values[if best { 0 } else { values.len() / 2 }]
}

/// What reading the clock twice costs.
fn clock_cost() -> u64 {
    let mut costs: Vec<u64> = (0..10_001)
        .map(|_| {
            let begin = ticks();
            ticks() - begin
        })
        .collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}

/// Stays on one core, away from the first, which interrupts prefer. A figure from a core left half-way is no figure.
pub fn pin_to_last_core() {
    let last = std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
    let mut set = CpuSet::new();
    set.set(last);
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("not pinned to core {last}: {error}");
    }
}

/// What is measured, and how long.
#[derive(Debug)]
pub struct Bench {
    clock: u64,
    passes: usize,
    frames: usize,
    cells: Vec<(String, f64)>,
}

impl Bench {
    /// Median of nine passes over half a million frames; for a quick look, of three over 65,536.
    #[must_use]
    pub fn new(quick: bool) -> Self {
        let (passes, frames) = if quick { (3, 1 << 16) } else { (9, 1 << 19) };
        Bench { clock: clock_cost(), passes, frames, cells: Vec::new() }
    }

    /// Median ticks per frame of established traffic, `batch` frames at a time between `macs` stations.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn hit(&mut self, pattern: Pattern, macs: usize, batch: usize) -> io::Result<f64> {
        let mut rig = Rig::new(batch, macs)?;
        teach(&mut rig, macs);
        self.established(rig, pattern, macs)
    }

    /// The same while everything is captured.
    fn captured(&mut self, macs: usize, batch: usize) -> io::Result<f64> {
        let mut rig = Rig::new(batch, macs)?;
        teach(&mut rig, macs);
        rig.capture();
        self.established(rig, Pattern::Pairs, macs)
    }

    /// Median ticks per frame between two stations, which are guarded or not.
    fn two_stations(&mut self, guarded: bool) -> io::Result<f64> {
        let mut rig = Rig::new(64, 2)?;
        if guarded {
            rig.guard()?;
        }
        teach(&mut rig, 2);
        self.established(rig, Pattern::Pairs, 2)
    }

    fn established(&mut self, mut rig: Rig, pattern: Pattern, macs: usize) -> io::Result<f64> {
        let (mut random, batch) = (Random(0x9e37_79b9_7f4a_7c15), rig.batch);
        let frames = traffic(pattern, macs, batch, self.frames - self.frames % (2 * batch), &mut random);
        rig.pass(&frames, self.clock, None);
        let pass = |_| rig.pass(&frames, self.clock, None) as f64 / frames.len() as f64;
        Ok(typical((0..self.passes).map(pass).collect()))
    }

    /// Median ticks per frame of established traffic from the first port to the second.
    fn one_way(&mut self, ports: [Tagging; 2], macs: usize, batch: usize) -> io::Result<f64> {
        let mut rig = Rig::with(&ports, batch, macs)?;
        teach(&mut rig, macs);
        rig.round = batch;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let frames = traffic(Pattern::Pairs, macs, self.frames, self.frames - self.frames % batch, &mut random);
        rig.pass(&frames, self.clock, None);
        let pass = |_| rig.pass(&frames, self.clock, None) as f64 / frames.len() as f64;
        Ok(typical((0..self.passes).map(pass).collect()))
    }

    /// Ticks per frame and phase of established traffic.
    fn phases(&mut self, macs: usize, batch: usize) -> io::Result<[f64; 5]> {
        let mut rig = Rig::new(batch, macs)?;
        teach(&mut rig, macs);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let frames = traffic(Pattern::Pairs, macs, batch, self.frames - self.frames % (2 * batch), &mut random);
        let mut columns: [Vec<f64>; 5] = Default::default();
        for _ in 0..self.passes {
            let mut spent = PhaseTicks::default();
            rig.pass(&frames, self.clock, Some(&mut spent));
            let laps = (frames.len() / batch) as u64 * self.clock;
            let all = [spent.receive, spent.classify, spent.probe, spent.run, spent.flush];
            for (column, ticks) in columns.iter_mut().zip(all) {
                column.push(ticks.saturating_sub(laps) as f64 / frames.len() as f64);
            }
        }
        Ok(columns.map(typical))
    }

    /// Ticks per frame when every frame comes from an address never seen, towards a known one.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new_macs(&mut self, batch: usize) -> io::Result<f64> {
        let passes = (0..self.passes).map(|_| {
            let count = 1 << 16;
            let mut rig = Rig::new(batch, 2 * count)?;
            teach(&mut rig, 2);
            let port = |n: usize| (n / batch) % 2;
            let frames: Vec<_> = (0..count).map(|n| (port(n), mac(port(n), n + 1), mac(1 - port(n), 0))).collect();
            Ok(rig.pass(&frames[..count - count % (2 * batch)], self.clock, None) as f64 / count as f64)
        });
        Ok(typical(passes.collect::<io::Result<Vec<f64>>>()?))
    }

    fn cell(&mut self, name: String, value: f64) -> f64 {
        self.cells.push((name, value));
        value
    }
}

/// Prints every table; the flags come from the command line.
///
/// # Errors
/// There is not enough memory, or nobody reads.
pub fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let quick = args.iter().any(|a| a == "--quick");
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    pin_to_last_core();
    let mut bench = Bench::new(quick);
    println!(
        "Ticks of the time-stamp counter per {FRAME}-byte frame, one core, median of {} passes; clock {}\n",
        bench.passes, bench.clock
    );
    if let Some(what) = args.iter().position(|a| a == "--profile").and_then(|i| args.get(i + 1)) {
        return profile(&mut bench, what);
    }
    hits(&mut bench)?;
    spread::tables(&mut bench)?;
    batches(&mut bench)?;
    vlans(&mut bench)?;
    misses(&mut bench)?;
    captures(&mut bench)?;
    phase_table(&mut bench)?;
    cores(&mut bench, all, quick)?;
    if let Some(file) = args.iter().position(|a| a == "--json").and_then(|i| args.get(i + 1)) {
        let body: Vec<String> = bench.cells.iter().map(|(name, value)| format!("  \"{name}\": {value:.2}")).collect();
        std::fs::write(file, format!("{{\n{}\n}}\n", body.join(",\n")))?;
    }
    Ok(())
}

/// One long run of a single case, for a profiler.
fn profile(bench: &mut Bench, what: &str) -> io::Result<()> {
    bench.passes *= 20;
    let vlan = vlan_cases().into_iter().find(|(name, _)| what.strip_prefix("vlan-") == Some(name));
    let ticks = match what {
        _ if let Some((_, ports)) = vlan => bench.one_way(ports, 64, 64)?,
        "single" => bench.hit(Pattern::Pairs, 64, 1)?,
        "new" => bench.new_macs(64)?,
        "captured" => bench.captured(64, 64)?,
        "guarded" | "unguarded" => bench.two_stations(what == "guarded")?,
        "mesh" => bench.hit(Pattern::Mesh, 1 << 12, 64)?,
        "fresh" => bench.fresh(1 << 16, 64)?,
        "ports" => bench.ports(1000, 64)?,
        _ => bench.hit(Pattern::Pairs, 64, 64)?,
    };
    println!("{ticks:.1}");
    Ok(())
}

/// Stations, and how a table calls so many.
pub const SIZES: [(&str, usize); 4] = [("64", 64), ("1 k", 1 << 10), ("64 k", 1 << 16), ("1 M", 1 << 20)];

fn hits(bench: &mut Bench) -> io::Result<()> {
    println!("| MAC addresses | 64 | 1 k | 64 k | 1 M |\n|---|---|---|---|---|");
    for (name, pattern) in [("pairs", Pattern::Pairs), ("mesh", Pattern::Mesh)] {
        print!("| L2, {name}, batch 64 |");
        for (label, macs) in SIZES {
            let ticks = bench.hit(pattern, macs, 64)?;
            print!(" {:.1} |", bench.cell(format!("hit_{name}_{}", label.replace(' ', "")), ticks));
        }
        println!();
    }
    println!();
    Ok(())
}

fn batches(bench: &mut Bench) -> io::Result<()> {
    println!("| batch | 1 | 4 | 16 | 64 | 256 |\n|---|---|---|---|---|---|");
    print!("| L2 hit, 64 addresses |");
    for batch in [1, 4, 16, 64, 256] {
        let ticks = bench.hit(Pattern::Pairs, 64, batch)?;
        print!(" {:.1} |", bench.cell(format!("hit_batch_{batch}"), ticks));
    }
    println!("\n");
    Ok(())
}

fn vlans(bench: &mut Bench) -> io::Result<()> {
    println!("| VLAN tag | none | same | push | pop |\n|---|---|---|---|---|");
    print!("| L2 hit, one way, 64 addresses, batch 64 |");
    for (name, ports) in vlan_cases() {
        let ticks = bench.one_way(ports, 64, 64)?;
        print!(" {:.1} |", bench.cell(format!("vlan_{name}"), ticks));
    }
    println!("\n");
    Ok(())
}

fn misses(bench: &mut Bench) -> io::Result<()> {
    let ticks = bench.new_macs(64)?;
    println!("New address (flow miss, learned, cached), batch 64: {:.1}\n", bench.cell("new_mac".into(), ticks));
    Ok(())
}

fn captures(bench: &mut Bench) -> io::Result<()> {
    let ticks = bench.captured(64, 64)?;
    println!(
        "L2 hit, 64 addresses, batch 64, captured (in and out): {:.1}\n",
        bench.cell("hit_captured".into(), ticks)
    );
    Ok(())
}

/// One worker on each of the last two cores alone, then on both, of one switch and of two that have nothing in common. All in
/// turns, and each pass has its own ratios.
fn cores(bench: &mut Bench, all: usize, quick: bool) -> io::Result<()> {
    let Some(last) = all.checked_sub(1).filter(|last| *last > 0) else { return Ok(()) };
    let time = Duration::from_millis(if quick { 200 } else { 1000 });
    let mut passes = Vec::new();
    for _ in 0..bench.passes {
        let alone = |core| rate(&[core], Common::Switch, time);
        let one = (alone(last - 1)? + alone(last)?) / 2.0;
        let both = |common| rate(&[last - 1, last], common, time);
        let (apart, two) = (both(Common::Nothing)?, both(Common::Switch)?);
        passes.push([one, two, apart, two / one, apart / one]);
    }
    let [one, two, apart, ratio, machine] = [0, 1, 2, 3, 4].map(|i| typical(passes.iter().map(|p| p[i]).collect()));
    println!("\n| workers, each on its own core | 1 | 2 of one switch | 2 switches |\n|---|---|---|---|");
    println!("| frames made, switched and freed, millions a second | {one:.1} | {two:.1} | {apart:.1} |");
    println!("| times one | | {ratio:.2} | {machine:.2} |");
    bench.cell("cores_ratio".into(), ratio);
    bench.cell("cores_ratio_apart".into(), machine);
    Ok(())
}

fn phase_table(bench: &mut Bench) -> io::Result<()> {
    println!("| phases, batch 64 | receive | classify | probe | run | flush |\n|---|---|---|---|---|---|");
    for (label, macs) in SIZES {
        let phases = bench.phases(macs, 64)?;
        let cells: Vec<String> = phases.iter().map(|ticks| format!("{ticks:.1}")).collect();
        println!("| {label} addresses | {} |", cells.join(" | "));
    }
    Ok(())
}
