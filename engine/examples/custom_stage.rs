//! A policy by MAC address: one station is shut out before anything is learned of it, what is meant for a retired one goes to
//! its successor. Runs without privileges.

use crossdock_engine::Switch;
use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::{Depth, Flow, Verdict};
use crossdock_engine::frame::Offload;
use crossdock_engine::ports::channel::{Channel, ChannelEnd};
use crossdock_engine::stages::{Place, Stage};
use crossdock_engine::switch::{Config, Membership};
use crossdock_engine::tables::topology::Domain;
use crossdock_engine::wire::Mac;
use std::error::Error;
use std::time::Duration;

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 1]);
const INTRUDER: Mac = Mac([2, 0, 0, 0, 0, 0x66]);
const RETIRED: Mac = Mac([2, 0, 0, 0, 0, 8]);
const SUCCESSOR: Mac = Mac([2, 0, 0, 0, 0, 9]);

/// Who may speak. It comes early: were the intruder's address learned, frames for whoever really has it would go to him.
struct Admission;

impl Stage for Admission {
    fn name(&self) -> &'static str {
        "admission"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    fn place(&self) -> Place {
        Place::BeforeLearning
    }

    /// Asked for the first frame of a flow; those that follow are treated alike.
    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        if flow.key().eth_src == INTRUDER { Verdict::Drop(DropReason::Denied) } else { Verdict::Continue }
    }
}

/// Who takes over for whom.
struct Succession;

impl Stage for Succession {
    fn name(&self) -> &'static str {
        "succession"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        if flow.key().eth_dst == RETIRED {
            flow.explain("retired: its successor takes over");
            flow.set_eth_dst(SUCCESSOR);
        }
        Verdict::Continue
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let stages = Box::new(|| vec![Box::new(Admission) as Box<dyn Stage>, Box::new(Succession)]);
    let switch = Switch::new(Config { frames: 512, super_frames: 8, stages, ..Config::default() })?;
    switch.add_domain(Domain::new("lan"))?;
    let [mut clients, mut servers] = [attach(&switch, "clients")?, attach(&switch, "servers")?];

    for source in [INTRUDER, CLIENT] {
        let header = [&RETIRED.0[..], &source.0, &[0x88, 0xb5]].concat();
        clients.send(&[&header[..], &[0; 46]].concat(), Offload::default())?;
    }
    servers.wait(Duration::from_secs(5));
    let (frame, _) = servers.recv().ok_or("nothing came")?;
    println!("servers received a frame for {}", frame.first_chunk().copied().map_or(Mac::ZERO, Mac));

    let ports = switch.ports();
    let denied: u64 = ports.iter().map(|port| port.counters.drops[DropReason::Denied.index()].get()).sum();
    println!("{denied} frame denied");
    let learned: Vec<Mac> = switch.fdb()?.iter().map(|entry| entry.mac).collect();
    println!("learned: {learned:?}");
    Ok(())
}

fn attach(switch: &Switch, name: &str) -> Result<ChannelEnd, Box<dyn Error>> {
    let (port, end) = Channel::pair(name, 64, 1500, switch.arena())?;
    switch.add_port(Box::new(port), &Membership::of("lan"))?;
    Ok(end)
}
