//! Two hosts and one system between them, in namespaces of their own; gone when dropped.

use crate::connect::connect;
use crate::lab::{self, Lab, Namespace, Process};
use crate::neighbours::Neighbours;
use crate::rtt;
use crate::systems::System;
use anyhow::{Context, Result};
use crossdock::control::client;
use hyper::Method;
use rustix::process::Signal;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// h1's address.
pub const H1: &str = "10.0.0.1";
/// h2's address.
pub const H2: &str = "10.0.0.2";
/// The hosts' MACs.
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// How much of what a switch wrote is shown when it carries nothing.
const LAST_LINES: usize = 6;

/// A system, up and carrying frames between `h1` and `h2`. Fields are dropped in this order.
#[derive(Debug)]
pub struct Testbed {
    /// What is measured.
    pub system: System,
    /// The process that switches, where there is one.
    pub switch: Option<Process>,
    /// Processes that it needs.
    pub helpers: Vec<Process>,
    /// The host of clients and generators.
    pub h1: Namespace,
    /// The host of servers and sinks.
    pub h2: Namespace,
    /// The namespace of the switch.
    pub switch_namespace: Namespace,
    /// What else the switch serves.
    pub neighbours: Neighbours,
    /// From the start of the switch until it was ready, where it says so.
    pub start: Option<Duration>,
    /// Owner of all.
    pub lab: Lab,
}

impl Testbed {
    /// Sets a system up and waits until a datagram has crossed it both ways.
    pub fn new(system: System) -> Result<Self> {
        Self::among(system, |_, _| Ok(Neighbours::default()))
    }

    /// The same for a switch that serves others too, whom `neighbours` makes with the lab and the switch's namespace.
    pub fn among(system: System, neighbours: impl FnOnce(&Lab, &Namespace) -> io::Result<Neighbours>) -> Result<Self> {
        let lab = Lab::new("peers")?;
        let (h1, h2, switch_namespace) = (lab.namespace("h1")?, lab.namespace("h2")?, lab.namespace("sw")?);
        [&h1, &h2].into_iter().try_for_each(without_pacing)?;
        let neighbours = neighbours(&lab, &switch_namespace).context("making its neighbours")?;
        let (switch, helpers, start) = (None, Vec::new(), None);
        let mut bed = Self { system, switch, helpers, h1, h2, switch_namespace, neighbours, start, lab };
        connect(&mut bed)?;
        rtt::await_path(&bed).with_context(|| bed.last_words())?;
        Ok(bed)
    }

    /// h1 or h2, by index.
    pub fn host(&self, index: usize) -> &Namespace {
        [&self.h1, &self.h2][index]
    }

    /// Runs `ethtool ARGS` in a namespace.
    pub fn ethtool(&self, namespace: &Namespace, arguments: &str) -> Result<()> {
        lab::run(namespace.command("ethtool").args(arguments.split_whitespace()))?;
        Ok(())
    }

    /// Makes both ends of h1's veth take XDP frames, or no longer: with GRO they have a queue for them. (An XDP program
    /// on the switch's end does the same.)
    pub fn take_live_frames(&self, on: bool) -> Result<()> {
        let state = if on { "on" } else { "off" };
        self.ethtool(&self.h1, &format!("-K eth0 gro {state}"))?;
        if self.system.is_in_kernel() {
            self.ethtool(&self.switch_namespace, &format!("-K p1 gro {state}"))?;
        }
        Ok(())
    }

    /// Crossdock's control socket.
    pub fn socket(&self) -> PathBuf {
        self.lab.path("control.sock")
    }

    /// What Crossdock says of `what` (`ports`, `domains`).
    pub fn show(&self, what: &str) -> Result<Value> {
        Ok(client::request(&self.socket(), Method::GET, &format!("/v1/{what}"), None)?)
    }

    /// Asks the switch's process to end, and says how long that took.
    pub fn stop(&mut self) -> Result<Duration> {
        let switch = self.switch.as_mut().context("no process switches")?;
        let begin = Instant::now();
        switch.signal(Signal::TERM)?;
        switch.wait(self.neighbours.patience())?;
        Ok(begin.elapsed())
    }

    /// The end of what the switch wrote.
    fn last_words(&self) -> String {
        let text = self.switch.as_ref().map(|switch| switch.stdout() + &switch.stderr()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ")
    }
}

/// Takes BBR away as a host's own congestion control, where it is: a connection that is accepted keeps BBR's pacing when iperf3
/// asks for cubic afterwards, and then its timers are what is measured. (Reno is the one that every namespace may choose.)
fn without_pacing(host: &Namespace) -> Result<()> {
    Ok(host.run(|| std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno"))??)
}
