//! Meshes that no cache of pairs can hold: of which no frame comes twice, and over many ports.

use super::rig::{Random, Rig, mac};
use super::{Bench, Pattern, SIZES, teach, traffic, typical};
use crossdock_engine::clock::Millis;
use crossdock_engine::tables::vlan::Tagging;
use crossdock_engine::wire::Mac;
use std::io;

/// Ports, one station behind each.
const PORTS: [usize; 2] = [64, 1000];
/// Ports that send in a round. The others are there, and have nothing to say.
const ACTIVE: usize = 16;

impl Bench {
    /// Median ticks per frame of established traffic, everybody with everybody, with other pairs in each pass: a cache of pairs
    /// that holds a pass would have nothing of the next one.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn fresh(&mut self, macs: usize, batch: usize) -> io::Result<f64> {
        let mut rig = Rig::new(batch, macs)?;
        teach(&mut rig, macs);
        let (mut random, count) = (Random(0x9e37_79b9_7f4a_7c15), self.frames - self.frames % (2 * batch));
        let mut pass = || {
            let frames = traffic(Pattern::Mesh, macs, batch, count, &mut random);
            rig.pass(&frames, self.clock, None) as f64 / count as f64
        };
        pass();
        Ok(typical((0..self.passes).map(|_| pass()).collect()))
    }

    /// The same over `ports` ports with one station each, of which sixteen send in each round, in turns.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn ports(&mut self, ports: usize, batch: usize) -> io::Result<f64> {
        let mut rig = Rig::with(&vec![Tagging::Transparent; ports], batch, ports)?;
        introduce(&mut rig, ports);
        rig.round = ACTIVE * batch;
        let (mut random, rounds) = (Random(0x9e37_79b9_7f4a_7c15), self.frames / rig.round);
        let mut pass = || {
            let frames: Vec<_> = (0..rounds).flat_map(|n| round(n, ports, batch, &mut random)).collect();
            rig.pass(&frames, self.clock, None) as f64 / frames.len() as f64
        };
        pass();
        Ok(typical((0..self.passes).map(|_| pass()).collect()))
    }
}

/// Every station says twice who it is.
fn introduce(rig: &mut Rig, ports: usize) {
    for _ in 0..2 {
        for first in (0..ports).step_by(ACTIVE) {
            let frames: Vec<_> =
                (first..ports.min(first + ACTIVE)).map(|n| (n, mac(0, n), mac(0, (n + 1) % ports))).collect();
            rig.load(&frames);
            rig.worker.poll(Millis(rig.now));
            rig.unload();
        }
    }
}

/// A batch from each of the ports whose turn it is, to any others.
fn round(number: usize, ports: usize, batch: usize, random: &mut Random) -> Vec<(usize, Mac, Mac)> {
    let mut frames = Vec::with_capacity(ACTIVE * batch);
    for port in (0..ACTIVE).map(|n| (number * ACTIVE + n) % ports) {
        let other = |random: &mut Random| (port + 1 + random.below(ports - 1)) % ports;
        frames.extend((0..batch).map(|_| (port, mac(0, port), mac(0, other(random)))));
    }
    frames
}

pub(super) fn tables(bench: &mut Bench) -> io::Result<()> {
    println!("| MAC addresses | 64 | 1 k | 64 k | 1 M |\n|---|---|---|---|---|");
    print!("| L2, mesh, other pairs in each pass, batch 64 |");
    for (label, macs) in SIZES {
        let ticks = bench.fresh(macs, 64)?;
        print!(" {:.1} |", bench.cell(format!("fresh_{}", label.replace(' ', "")), ticks));
    }
    println!("\n\n| ports | {} | {} |\n|---|---|---|", PORTS[0], PORTS[1]);
    print!("| L2, mesh of one station each, {ACTIVE} ports send in a round, batch 64 |");
    for ports in PORTS {
        let ticks = bench.ports(ports, 64)?;
        print!(" {:.1} |", bench.cell(format!("ports_{ports}"), ticks));
    }
    println!("\n");
    Ok(())
}
