//! A hub: a stage that lets every port see what a bridge would send to one. Runs without privileges.

use crossdock_engine::Switch;
use crossdock_engine::flow::{Depth, Flow, Verdict};
use crossdock_engine::frame::Offload;
use crossdock_engine::ports::channel::{Channel, ChannelEnd};
use crossdock_engine::stages::Stage;
use crossdock_engine::switch::{Config, Membership};
use crossdock_engine::tables::topology::Domain;
use std::error::Error;
use std::time::Duration;

/// Comes before `forward`, which sends to the port of a known destination: adds all the others.
struct Hub;

impl Stage for Hub {
    fn name(&self) -> &'static str {
        "hub"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        let key = flow.key();
        let Some(id) = flow.domain() else { return Verdict::Continue };
        // To an unknown destination `forward` floods anyway.
        let Some(known) = flow.tables.lookup(id, key.eth_dst) else { return Verdict::Continue };
        let members = flow.tables.topology.domain(id).map(|domain| domain.members.clone()).unwrap_or_default();
        for port in members.into_iter().filter(|&port| port != key.port && port != known) {
            if flow.tables.may_send(port, flow.isolation) {
                flow.explain_port("also to", port);
                flow.send_to(port);
            }
        }
        Verdict::Continue
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let stages = Box::new(|| vec![Box::new(Hub) as Box<dyn Stage>]);
    let switch = Switch::new(Config { frames: 512, super_frames: 8, stages, ..Config::default() })?;
    switch.add_domain(Domain::new("lan"))?;
    let mut ends = Vec::new();
    for name in ["a", "b", "c"] {
        let (port, end) = Channel::pair(name, 64, 1500, switch.arena())?;
        switch.add_port(Box::new(port), &Membership::of("lan"))?;
        ends.push((name, end));
    }
    for (from, to) in [(1, 0), (0, 1)] {
        ends[from].1.send(&frame(from as u8, to as u8), Offload::default())?;
        for (name, end) in ends.iter_mut().enumerate().filter(|(n, _)| *n != from).map(|(_, end)| end) {
            println!("station {from} to station {to}: {name} sees {} bytes", receive(end).ok_or("nothing came")?);
        }
    }
    Ok(())
}

/// An empty frame between two stations.
fn frame(from: u8, to: u8) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5][..], &[0; 46]].concat()
}

/// The length of the next frame.
fn receive(end: &mut ChannelEnd) -> Option<usize> {
    end.wait(Duration::from_secs(5));
    end.recv().map(|(bytes, _)| bytes.len())
}
