//! The attacker's domain: its own namespace, a neighbour's, idle ports where the attack is at them, and the TAP elsewhere.

use super::{Attack, load};
use crate::generator::Generator;
use crate::interrupt;
use crate::lab::{Lab, Namespace};
use crate::neighbours::Neighbours;
use crate::systems::System;
use crate::testbed::Testbed;
use anyhow::{Context, Result};
use crossdock::engine::ports::tap::{Tap, TapConfig};
use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

pub(super) const ATTACKER: [u8; 6] = [2, 0x66, 0, 0, 0, 1];
pub(super) const NEIGHBOUR: [u8; 6] = [2, 0x66, 0, 0, 0, 2];
pub(super) const ATTACKER_IP: [u8; 4] = [10, 66, 0, 1];
pub(super) const NEIGHBOUR_IP: [u8; 4] = [10, 66, 0, 2];
/// Of the neighbour's socket.
pub(super) const PORT: u16 = 9;

/// Namespaces of the idle ports.
const HOMES: usize = 8;
/// Before anything is measured: the attack is under way, the loop closed, the table full.
const ONSET: Duration = Duration::from_millis(200);
/// How long addresses are made until the table is full of them.
const FILLING: Duration = Duration::from_secs(1);

/// A switch with an attacker.
pub(super) struct Mob {
    attack: Attack,
    /// A TAP that nobody reads, and the neighbour's socket, which nobody reads either.
    _deaf: (Tap, UdpSocket),
    pub bed: Testbed,
}

impl Mob {
    /// Starts the switch. Nobody attacks yet.
    pub fn gather(attack: Attack) -> Result<Self> {
        let bed = Testbed::among(System::Xdock, |lab, switch| domain(attack, lab, switch))?;
        let (neighbour, elsewhere) = (&bed.neighbours.namespaces[1], &bed.neighbours.namespaces[2]);
        let tap = elsewhere.run(|| Tap::create(&TapConfig::new("sink", "eth0")))??;
        let socket = neighbour.run(|| {
            let mut hello = super::frames::broadcast(0);
            hello[6..12].copy_from_slice(&NEIGHBOUR);
            Generator::open("eth0", vec![hello])?.send(3)?;
            UdpSocket::bind((std::net::Ipv4Addr::from(NEIGHBOUR_IP), PORT))
        })??;
        let mob = Self { attack, _deaf: (tap, socket), bed };
        mob.prepare()?;
        // What making the domain, or removing the one before, leaves the kernel to do is no part of it.
        interrupt::pause(ONSET)?;
        Ok(mob)
    }

    fn attacker(&self) -> &Namespace {
        &self.bed.neighbours.namespaces[0]
    }

    fn prepare(&self) -> Result<()> {
        match self.attack {
            Attack::MacFlood => self.attack(|| interrupt::pause(FILLING)).map(drop),
            Attack::Loop => {
                let join = ["link add br0 type bridge", "link set eth0 master br0", "link set eth1 master br0"];
                Ok(join.into_iter().try_for_each(|step| self.attacker().ip(step).map(drop))?)
            }
            _ => Ok(()),
        }
    }

    /// Does something under attack; what came of it, and how many frames a second the attacker sent.
    pub fn attack<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        let looped = self.attack == Attack::Loop;
        if looped {
            self.attacker().ip("link set br0 up")?;
        }
        let result = self.under(self.attacker(), work);
        if looped {
            self.attacker().ip("link set br0 down")?;
        }
        result
    }

    /// The same while what the attacker would send goes into a TAP that nobody reads.
    pub fn elsewhere<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        self.under(&self.bed.neighbours.namespaces[2], work)
    }

    fn under<T>(&self, place: &Namespace, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let load = scope.spawn(|| place.run(|| load::run(self.attack, "eth0", &done)));
            thread::sleep(ONSET);
            let result = work();
            done.store(true, Relaxed);
            let sent = load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((result?, sent?.context("the attacker could not send")?))
        })
    }

    /// Frames that the switch has taken from the attacker, refused ones included.
    pub fn received(&self) -> Result<u64> {
        let ports = self.bed.show("ports")?;
        let own = ports.as_array().into_iter().flatten().find(|port| port["name"] == "attacker");
        let count = own.and_then(|port| port["rx_frames"].as_u64());
        count.context("the switch does not show the attacker's port")
    }
}

/// The domain, in which the first namespace is the attacker's, the second its neighbour's, and the third that of the TAP elsewhere.
fn domain(attack: Attack, lab: &Lab, switch: &Namespace) -> io::Result<Neighbours> {
    let homes = lab.crowd("mob", 3)?;
    let mut all = Neighbours::default();
    let netns = format!("netns = \"{}\"", homes[0].name());
    all.domain("mob", "");
    all.port("attacker", "mob", &format!("{netns}\nifname = \"eth0\"\nmac = \"{}\"", mac(ATTACKER)));
    if attack == Attack::Loop {
        all.port("attacker2", "mob", &format!("{netns}\nifname = \"eth1\""));
    }
    let keys = if attack.cuts() { wire_port(&homes[1], switch)? } else { tap(&homes[1]) };
    all.port("neighbour", "mob", &keys);
    all.namespaces = homes;
    match attack.idle_ports() {
        0 => Ok(all),
        ports => all.idle(lab, "mob", ports, HOMES).map(|()| all),
    }
}

fn tap(home: &Namespace) -> String {
    let address = std::net::Ipv4Addr::from(NEIGHBOUR_IP);
    format!(
        "netns = \"{}\"\nifname = \"eth0\"\nmac = \"{}\"\naddress = [\"{address}/24\"]",
        home.name(),
        mac(NEIGHBOUR)
    )
}

/// A veth behind AF_XDP, which takes frames of wire size only.
fn wire_port(home: &Namespace, switch: &Namespace) -> io::Result<String> {
    home.ip(&format!("link add eth0 address {} type veth peer name mob netns {}", mac(NEIGHBOUR), switch.name()))?;
    home.ip(&format!("addr add {}/24 dev eth0", std::net::Ipv4Addr::from(NEIGHBOUR_IP)))?;
    home.ip("link set eth0 up")?;
    switch.ip("link set mob up")?;
    Ok("kind = \"xdp\"\nifname = \"mob\"".to_owned())
}

fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
