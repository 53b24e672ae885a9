//! Memory of what is there and idle: a host may have a thousand domains and thousands of ports. What the kernel has given the process
//! is measured, so there is one test here and nothing beside it.
#![cfg(test)]

mod support;

use crossdock_engine::clock::Millis;
use crossdock_engine::frame::Arena;
use crossdock_engine::ports::Port;
use crossdock_engine::ports::channel::Channel;
use crossdock_engine::tables::Tables;
use crossdock_engine::tables::topology::{Domain, Topology};
use std::sync::Arc;
use support::host::{attach_queue, workers};

/// What each of them may take, in KiB.
const LIMIT: usize = 64;

/// Memory of the process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).unwrap().parse().unwrap()
}

/// What each of so many things takes that are made, in KiB.
fn each<T>(count: usize, make: impl FnOnce() -> T) -> (usize, T) {
    let before = resident();
    let made = make();
    (resident().saturating_sub(before) / count, made)
}

/// A6
#[test]
fn an_idle_domain_and_an_idle_port_take_little_memory() {
    let domains = (0..1000).map(|n| Some(Domain::new(&n.to_string()))).collect();
    let topology = Arc::new(Topology { ports: Vec::new(), domains });
    let (domain, _tables) = each(1000, || {
        let mut tables = Tables::new();
        tables.publish(topology).unwrap();
        tables
    });
    assert!(domain <= LIMIT, "{domain} KiB a domain");

    let arena = Arena::new(65_536, 4096).unwrap();
    let mut all = workers(1, 200, &arena);
    let (port, _ends) = each(200, || {
        let open = |port: u16| {
            let (channel, end) = Channel::pair("c", 1024, 9000, &arena).unwrap();
            let (caps, queue) = (channel.caps(), Box::new(channel).open(&arena, 1).unwrap().remove(0));
            attach_queue(&mut all, 0, port, (queue, caps));
            end
        };
        (0..200).map(open).collect::<Vec<_>>()
    });
    all[0].poll(Millis(1));
    assert!(port <= LIMIT, "{port} KiB a port");
}
