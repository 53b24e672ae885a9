//! A learning switch of twenty lines, to have something that the same machine does in the same minute: what a frame costs it is what our own
//! ticks are divided by where they are to say something of the build and not of the machine.

use super::rig::{FRAME, Random, mac};
use super::{Bench, Pattern, traffic, typical};
use crossdock_engine::clock::ticks;
use crossdock_engine::wire::Mac;
use std::collections::HashMap;

/// Addresses and their ports in a map of the standard library, frames in vectors.
struct Plain {
    table: HashMap<[u8; 6], usize>,
    out: [Vec<[u8; FRAME]>; 2],
}

impl Plain {
    /// Frames of one port: learns, looks up, moves.
    fn switch(&mut self, port: usize, frames: &[[u8; FRAME]]) {
        for frame in frames {
            let (mut destination, mut source) = ([0; 6], [0; 6]);
            destination.copy_from_slice(&frame[..6]);
            source.copy_from_slice(&frame[6..12]);
            self.table.insert(source, port);
            if let Some(&egress) = self.table.get(&destination).filter(|egress| **egress != port) {
                self.out[egress].push(*frame);
            }
        }
    }

    /// Ticks that all of them take, `batch` at a time.
    fn pass(&mut self, all: &[(usize, Mac, Mac)], batch: usize, clock: u64) -> u64 {
        let mut spent = 0;
        for round in all.chunks(batch) {
            let frames: Vec<[u8; FRAME]> = round.iter().map(frame).collect();
            let begin = ticks();
            self.switch(round[0].0, &frames);
            spent += (ticks() - begin).saturating_sub(clock);
            self.out.iter_mut().for_each(Vec::clear);
        }
        spent
    }
}

fn frame((_, source, destination): &(usize, Mac, Mac)) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&destination.0);
    frame[6..12].copy_from_slice(&source.0);
    frame
}

impl Bench {
    /// Median ticks per frame of a plain learning switch that knows `macs` stations.
    pub fn yardstick(&mut self, pattern: Pattern, macs: usize, batch: usize) -> f64 {
        let half = macs / 2;
        let table = (0..2).flat_map(|port| (0..half).map(move |n| (mac(port, n).0, port))).collect();
        let mut plain = Plain { table, out: [0, 1].map(|_| Vec::with_capacity(batch)) };
        let (mut random, count) = (Random(0x9e37_79b9_7f4a_7c15), self.frames - self.frames % (2 * batch));
        let mut pass = || {
            let frames = traffic(pattern, macs, batch, count, &mut random);
            plain.pass(&frames, batch, self.clock) as f64 / count as f64
        };
        pass();
        typical((0..self.passes).map(|_| pass()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_switch_switches() {
        let mut plain = Plain { table: HashMap::new(), out: [Vec::new(), Vec::new()] };
        let there = frame(&(0, mac(0, 1), mac(1, 1)));
        let back = frame(&(1, mac(1, 1), mac(0, 1)));
        plain.switch(0, &[there]);
        assert!(plain.out.iter().all(Vec::is_empty), "it does not flood");
        plain.switch(1, &[back]);
        plain.switch(0, &[there]);
        assert_eq!(plain.out, [vec![back], vec![there]]);
    }
}
