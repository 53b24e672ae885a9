//! What a frame costs in memory, in ticks of the time-stamp counter: the pipeline alone, without any kernel.
//!
//! Two ports that are plain vectors: frames are made before the clock starts and taken away after it stops, so the
//! figure is the whole of `Worker::poll`: receive, classify, probe, run, flush. Each cell is the median of several
//! passes. The clock's own cost is measured and taken off.
//!
//! `cargo bench --bench memory`; `-- --quick` for a fast look, `-- --json FILE` for the numbers, `-- --profile hit`
//! (`captured`, `mesh`, `new`, `vlan-none`, `vlan-same`, `vlan-push`, `vlan-pop`) for one case alone.

use crossdock_engine::capture::{Scope, Source, ring};
use crossdock_engine::clock::{Millis, ticks};
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Arena, Batch, Frame, Pool};
use crossdock_engine::ports::{Caps, Io, Queue};
use crossdock_engine::stats::PortCounters;
use crossdock_engine::tables::topology::{Domain, DomainId, PortView, Topology};
use crossdock_engine::tables::vlan::Tagging;
use crossdock_engine::wire::Mac;
use crossdock_engine::wire::ethernet::VLAN_TAG_LEN;
use crossdock_engine::wire::vlan::{Tag, Tci, Tpid, Vid};
use crossdock_engine::worker::{Attachment, PhaseTicks, Worker, WorkerConfig};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Length of every frame, without FCS.
const FRAME: usize = 60;

/// A port whose far end is the bench: a vector of frames each way.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<(Vec<Frame>, Vec<Frame>)>>);

struct ShelfQueue {
    rx: Vec<Frame>,
    tx: Vec<Frame>,
    shelf: Shelf,
}

impl Shelf {
    fn with<T>(&self, f: impl FnOnce(&mut (Vec<Frame>, Vec<Frame>)) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Queue for ShelfQueue {
    fn receive(&mut self, _io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        batch.take_from(&mut self.rx);
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        io.count.tx_frames.add(batch.len() as u64);
        io.count.tx_bytes.add(batch.iter().map(|frame| frame.len() as u64).sum());
        batch.move_to(&mut self.tx);
        Ok(())
    }

    /// Swaps the vectors with the shelf: not part of what is timed.
    fn is_up(&mut self) -> bool {
        self.shelf.with(|(rx, tx)| {
            std::mem::swap(rx, &mut self.rx);
            std::mem::swap(tx, &mut self.tx);
        });
        true
    }
}

/// A worker between two shelves.
struct Rig {
    worker: Worker,
    pool: Pool,
    shelves: [Shelf; 2],
    /// The tag of the frames that come by each port.
    tags: [Option<Tag>; 2],
    batch: usize,
    /// Frames of a round: a batch for each port that sends.
    round: usize,
    now: u32,
    /// Reads a capture, where one is under way.
    source: Option<Source>,
}

impl Rig {
    fn new(batch: usize, macs: usize) -> io::Result<Rig> {
        Rig::with([Tagging::Transparent, Tagging::Transparent], batch, macs)
    }

    fn with(ports: [Tagging; 2], batch: usize, macs: usize) -> io::Result<Rig> {
        let arena = Arena::new(4096, 32)?;
        let config = WorkerConfig { batch, flows: macs.max(1024), ..WorkerConfig::default() };
        let mut worker = Worker::new(config, &arena, Vec::new())?;
        let tags = ports.each_ref().map(|tagging| matches!(tagging, Tagging::Trunk { .. }).then_some(TAG));
        let view = |vlan| Some(PortView { domain: Some(DomainId(0)), vlan, ..PortView::default() });
        let members = vec![PortId(0), PortId(1)];
        let domain = Domain { fdb_max: (2 * macs).max(1024), members, ..Domain::new("lan") };
        worker.tables().publish(Arc::new(Topology { ports: ports.map(view).into(), domains: vec![Some(domain)] }))?;
        let shelves = [Shelf::default(), Shelf::default()];
        for (i, shelf) in shelves.iter().enumerate() {
            let room = || Vec::with_capacity(4096);
            shelf.with(|s| *s = (room(), room()));
            let queue = ShelfQueue { rx: room(), tx: room(), shelf: shelf.clone() };
            let counters = Arc::new(PortCounters::default());
            let (port, name) = (PortId(i as u16), i.to_string());
            worker.attach(Attachment {
                port,
                name,
                queues: vec![Box::new(queue)],
                via: 0,
                counters,
                up: Arc::default(),
                caps: Caps { mtu: 1500, ..Caps::default() },
            });
        }
        let round = 2 * batch;
        Ok(Rig { worker, pool: arena.pool(4096, 0), shelves, tags, batch, round, now: 1, source: None })
    }

    /// Puts frames of these addresses at the ports, in order of receipt.
    fn load(&mut self, frames: &[(usize, Mac, Mac)]) {
        for &(port, source, destination) in frames {
            let Some(mut frame) = self.pool.alloc(FRAME + VLAN_TAG_LEN) else { continue };
            let tag = self.tags[port].map(Tag::to_bytes);
            let tag = tag.as_ref().map_or(&[][..], |bytes| bytes);
            let filled = frame.fill(&[0; FRAME + VLAN_TAG_LEN][..FRAME + tag.len()]);
            frame[..6].copy_from_slice(&destination.0);
            frame[6..12].copy_from_slice(&source.0);
            frame[12..12 + tag.len()].copy_from_slice(tag);
            frame[12 + tag.len()] = 8;
            assert!(filled);
            self.shelves[port].with(|(rx, _)| rx.push(frame));
        }
        self.swap();
    }

    /// From now on all frames are captured as `xdock capture` does it, and read while the clock stands still.
    fn capture(&mut self) {
        let (sink, source) = ring(Scope { port: None, drops_only: false, snaplen: 256 }, 8 << 20);
        self.worker.tap().add(sink);
        self.source = Some(source);
    }

    /// Reads what was captured; how many frames.
    fn read(&mut self) -> usize {
        self.source.as_mut().map_or(0, |source| std::iter::from_fn(|| source.read().map(drop)).count())
    }

    /// Takes back what the ports sent.
    fn unload(&mut self) -> usize {
        self.swap();
        let mut count = 0;
        for shelf in &self.shelves {
            shelf.with(|(rx, tx)| {
                for frame in tx.drain(..).chain(rx.drain(..)) {
                    self.pool.free(frame);
                    count += 1;
                }
            });
        }
        count
    }

    fn swap(&mut self) {
        self.worker.check_links();
    }

    /// Sends the frames through, one batch a port at a time; ticks for all of them.
    fn pass(&mut self, frames: &[(usize, Mac, Mac)], clock: u64, mut phases: Option<&mut PhaseTicks>) -> u64 {
        let mut spent = 0;
        for round in frames.chunks(self.round) {
            self.load(round);
            let begin = ticks();
            let n = match phases.as_deref_mut() {
                None => self.worker.poll(Millis(self.now)),
                Some(phases) => self.worker.poll_timed(Millis(self.now), phases),
            };
            spent += (ticks() - begin).saturating_sub(clock);
            let seen = self.read();
            assert!(seen == 0 || seen == 2 * n, "in and out");
            assert_eq!((n, self.unload()), (round.len(), round.len()), "every frame in, every frame out");
        }
        spent
    }
}

/// A small generator: the bench must not depend on what a library's version draws.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn mac(side: usize, n: usize) -> Mac {
    let [_, _, _, _, a, b, c, d] = (n as u64).to_be_bytes();
    Mac([2, side as u8, a, b, c, d])
}

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

/// The tag of a trunk's frames.
const TAG: Tag = Tag::new(Tpid::CUSTOMER, Tci(1));

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

    fn established(&mut self, mut rig: Rig, pattern: Pattern, macs: usize) -> io::Result<f64> {
        let (mut random, batch) = (Random(0x9e37_79b9_7f4a_7c15), rig.batch);
        let frames = traffic(pattern, macs, batch, self.frames - self.frames % (2 * batch), &mut random);
        rig.pass(&frames, self.clock, None);
        let pass = |_| rig.pass(&frames, self.clock, None) as f64 / frames.len() as f64;
        Ok(typical((0..self.passes).map(pass).collect()))
    }

    /// Median ticks per frame of established traffic from the first port to the second.
    fn one_way(&mut self, ports: [Tagging; 2], macs: usize, batch: usize) -> io::Result<f64> {
        let mut rig = Rig::with(ports, batch, macs)?;
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
    batches(&mut bench)?;
    vlans(&mut bench)?;
    misses(&mut bench)?;
    captures(&mut bench)?;
    phase_table(&mut bench)?;
    if let Some(file) = args.iter().position(|a| a == "--json").and_then(|i| args.get(i + 1)) {
        let body: Vec<String> = bench.cells.iter().map(|(name, value)| format!("  \"{name}\": {value:.1}")).collect();
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
        "new" => bench.new_macs(64)?,
        "captured" => bench.captured(64, 64)?,
        "mesh" => bench.hit(Pattern::Mesh, 1 << 12, 64)?,
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

fn phase_table(bench: &mut Bench) -> io::Result<()> {
    println!("| phases, batch 64 | receive | classify | probe | run | flush |\n|---|---|---|---|---|---|");
    for (label, macs) in SIZES {
        let phases = bench.phases(macs, 64)?;
        let cells: Vec<String> = phases.iter().map(|ticks| format!("{ticks:.1}")).collect();
        println!("| {label} addresses | {} |", cells.join(" | "));
    }
    Ok(())
}
