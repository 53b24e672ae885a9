//! A switch between two namespaces, in thirty lines: `two_taps h1 h2 [CORE...]`, as root, with namespaces h1 and h2 there.
//! Each gets an interface `eth0` with 10.0.0.1/24 or 10.0.0.2/24. Ends with standard input.

use crossdock_engine::Switch;
use crossdock_engine::ports::tap::{Tap, TapConfig};
use crossdock_engine::switch::{Config, Membership};
use crossdock_engine::tables::topology::Domain;
use std::error::Error;
use std::io::Read;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [h1, h2, cores @ ..] = &args[..] else { return Err("usage: two_taps NETNS NETNS [CORE...]".into()) };
    let cores = cores.iter().map(|core| core.parse()).collect::<Result<_, _>>()?;
    let switch = Switch::new(Config { cores, ..Config::default() })?;
    switch.add_domain(Domain::new("lan"))?;
    for (netns, address) in [(h1, "10.0.0.1/24"), (h2, "10.0.0.2/24")] {
        let port = TapConfig {
            netns: Some(netns.clone()),
            addresses: vec![address.parse()?],
            ..TapConfig::new(netns.clone(), "eth0")
        };
        switch.add_port(Box::new(Tap::create(&port)?), &Membership::of("lan"))?;
    }
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for port in switch.ports() {
        let c = &port.counters;
        println!(
            "{}: received {} frames, sent {}, dropped {}",
            port.name,
            c.rx_frames.get(),
            c.tx_frames.get(),
            c.dropped()
        );
    }
    println!("{:?}", switch.workers());
    Ok(())
}
