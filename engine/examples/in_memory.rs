//! A switch of two ports in memory. Runs without privileges.

use crossdock_engine::Switch;
use crossdock_engine::frame::Offload;
use crossdock_engine::ports::channel::Channel;
use crossdock_engine::switch::{Config, Membership};
use crossdock_engine::tables::topology::Domain;
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let switch = Switch::new(Config { frames: 512, super_frames: 8, ..Config::default() })?;
    switch.add_domain(Domain::new("lan"))?;
    let (port_a, mut a) = Channel::pair("a", 64, 1500, switch.arena())?;
    let (port_b, mut b) = Channel::pair("b", 64, 1500, switch.arena())?;
    switch.add_port(Box::new(port_a), &Membership::of("lan"))?;
    switch.add_port(Box::new(port_b), &Membership::of("lan"))?;

    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x88, 0xb5], b"hello from a"].concat();
    a.send(&frame, Offload::default())?;
    b.wait(Duration::from_secs(5));
    let (received, _) = b.recv().ok_or("nothing came")?;
    println!("b received: {}", String::from_utf8_lossy(&received[14..]));

    // The worker counts a frame a moment after it has handed it over.
    drop((a, b));
    ["a", "b"].iter().try_for_each(|port| switch.remove_port(port))?;
    println!("{:?}", switch.conservation());
    Ok(())
}
