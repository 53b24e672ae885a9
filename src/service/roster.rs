//! The ports as they were asked for, and what is kept of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crossdock_engine::ports::NetnsId;
use crossdock_engine::switch;
use crossdock_engine::wire::Mac;

use super::mac::Machine;
use super::ports::Handle;
use super::{Kind, Refusal};
use crate::config::{PortConfig, PortKind};

/// A port.
pub(super) struct Entry {
    pub config: PortConfig,
    /// The MAC address of the TAP that it is, asked for or drawn.
    mac: Option<Mac>,
    /// What is left of its opening; `None` while it is not open.
    pub handle: Option<Arc<dyn Handle>>,
    /// Somebody is opening it.
    pub opening: bool,
    /// It was open and is no more.
    pub absence: Option<Absence>,
    /// The port that it leads to outside: it is blocked, because that is a loop.
    pub leads_to: Option<String>,
    /// When it was opened last.
    opened: Instant,
    /// How often in succession it lived only for a short time.
    lives: u32,
}

/// A port that is gone.
pub(super) struct Absence {
    /// Why, in words.
    pub why: String,
    /// When it may be tried again.
    pub again: Instant,
}

impl Entry {
    fn new(config: PortConfig, mac: Option<Mac>) -> Entry {
        let (handle, absence, leads_to, opened) = (None, None, None, Instant::now());
        Entry { config, mac, handle, opening: true, absence, leads_to, opened, lives: 0 }
    }

    /// What is to be made: as it was asked for, with its MAC address.
    pub fn to_make(&self) -> PortConfig {
        PortConfig { mac: self.mac, ..self.config.clone() }
    }

    /// Whether it is open, as far as is known.
    pub fn is_open(&self) -> bool {
        self.handle.is_some() && !self.opening
    }

    /// Whether its interface is there.
    pub fn is_there(&self) -> bool {
        self.handle.as_ref().is_some_and(|handle| handle.whereabouts().is_some())
    }

    /// Whether its interface is in this namespace.
    pub fn is_in(&self, netns: NetnsId) -> bool {
        let place = self.handle.as_ref().and_then(|handle| handle.whereabouts());
        place.is_some_and(|place| place.netns == Some(netns))
    }

    /// It is open.
    pub fn open(&mut self, handle: Arc<dyn Handle>) {
        (self.handle, self.opening, self.absence, self.opened) = (Some(handle), false, None, Instant::now());
        self.leads_to = None;
    }

    fn lose(&mut self, why: String) {
        let (absence, lives) = Absence::new(why, self.opened, self.lives);
        (self.handle, self.absence, self.lives) = (None, Some(absence), lives);
    }

    /// It is gone for this reason; says whether that is another than before.
    pub fn explain(&mut self, why: String) -> bool {
        let Some(absence) = &mut self.absence else { return false };
        let news = absence.why != why;
        absence.why = why;
        news
    }

    /// It is to be opened again, if nobody does so already; gives what it is to be.
    pub fn begin_again(&mut self) -> Option<PortConfig> {
        let absent = self.absence.is_some() && !std::mem::replace(&mut self.opening, self.absence.is_some());
        absent.then(|| self.to_make())
    }
}

/// All ports by name. It is locked for moments only: what is being opened has its place here, and nobody waits for it.
#[derive(Default)]
pub(super) struct Roster {
    entries: BTreeMap<String, Entry>,
    /// The port that each interface is, by namespace and name.
    interfaces: HashMap<(Option<PathBuf>, String), String>,
    /// Ports that were lost, and maybe found again.
    lost: BTreeSet<String>,
    /// The port that has each MAC address: the first, where several were asked to have it.
    macs: HashMap<Mac, String>,
}

impl Roster {
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.get_mut(name)
    }

    /// A port as it was asked for, with the MAC address that its TAP has.
    pub fn with_mac(&self, port: &PortConfig) -> PortConfig {
        let mac = self.entries.get(&port.name).and_then(|entry| entry.mac);
        PortConfig { mac, ..port.clone() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Those whose names come after this one, in order.
    pub fn after(&self, name: Bound<&str>) -> impl Iterator<Item = &Entry> {
        self.entries.range::<str, _>((name, Bound::Unbounded)).map(|(_, entry)| entry)
    }

    /// A port is gone.
    pub fn lose(&mut self, name: &str, why: String) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.lose(why);
            self.lost.insert(name.into());
        }
    }

    /// Those that are gone. While none is, it costs nothing to ask.
    pub fn absent(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.lost.retain(|name| self.entries.get(name).is_some_and(|entry| entry.absence.is_some()));
        let any = !self.lost.is_empty();
        self.entries.values_mut().take_while(move |_| any).filter(|entry| entry.absence.is_some())
    }

    /// Whether somebody is opening one of these.
    pub fn is_opening(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.entries.get(*name).is_some_and(|entry| entry.opening))
    }

    /// Takes a place for a port that is to be opened, on this machine; gives what is to be made.
    ///
    /// # Errors
    /// Its name, or the interface that it takes, is a port already.
    pub fn reserve(&mut self, port: &PortConfig, machine: Machine) -> Result<PortConfig, Refusal> {
        if self.entries.contains_key(&port.name) {
            return Err(switch::Error::Exists(format!("port {}", port.name)).into());
        }
        self.check_interface(port)?;
        if let Some(interface) = interface(port) {
            self.interfaces.entry(interface).or_insert_with(|| port.name.clone());
        }
        let drawn = || machine.mac(&port.name, |mac| self.macs.contains_key(&mac));
        let mac = (port.kind == PortKind::Tap).then(|| port.mac.unwrap_or_else(drawn));
        if let Some(mac) = mac {
            self.macs.entry(mac).or_insert_with(|| port.name.clone());
        }
        let entry = Entry::new(port.clone(), mac);
        let wanted = entry.to_make();
        self.entries.insert(port.name.clone(), entry);
        Ok(wanted)
    }

    /// Refuses an interface that is a port already: frames would come in twice, and round in circles. For a TAP the kernel looks
    /// after that.
    fn check_interface(&self, port: &PortConfig) -> Result<(), Refusal> {
        let foreign = interface(port).filter(|_| port.kind != PortKind::Tap);
        let Some(other) = foreign.and_then(|interface| self.interfaces.get(&interface)) else { return Ok(()) };
        let what = format!("port {}: interface \"{}\" is port {other} already", port.name, port.ifname);
        Err(Refusal::new(Kind::Conflict, what, format!("remove port {other} first, or take another interface")))
    }

    /// Gives the place of a port away.
    pub fn remove(&mut self, name: &str) {
        let Some(entry) = self.entries.remove(name) else { return };
        if let Some(interface) = interface(&entry.config)
            && self.interfaces.get(&interface).is_some_and(|port| port == name)
        {
            self.interfaces.remove(&interface);
        }
        if let Some(mac) = entry.mac
            && self.macs.get(&mac).is_some_and(|port| port == name)
        {
            self.macs.remove(&mac);
        }
    }
}

/// The interface of a port, by namespace and name.
fn interface(port: &PortConfig) -> Option<(Option<PathBuf>, String)> {
    port.kind.has_interface().then(|| (port.netns_path(), port.ifname.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, kind: PortKind, ifname: &str) -> PortConfig {
        PortConfig { kind, ifname: ifname.into(), ..PortConfig::new(name.into(), "lan".into()) }
    }

    #[test]
    fn a_name_and_a_foreign_interface_are_taken_until_their_port_goes() {
        let mut roster = Roster::default();
        roster.reserve(&port("a", PortKind::Packet, "eth0"), Machine::this()).unwrap();
        let again = |roster: &mut Roster, port| {
            roster.reserve(&port, Machine::this()).map(drop).map_err(|refusal| refusal.what)
        };
        assert_eq!(again(&mut roster, port("a", PortKind::Tap, "x")), Err("port a exists already".into()));
        let taken = Err("port b: interface \"eth0\" is port a already".into());
        assert_eq!(again(&mut roster, port("b", PortKind::Xdp, "eth0")), taken);
        let elsewhere = PortConfig { netns: Some("n".into()), ..port("c", PortKind::Packet, "eth0") };
        assert_eq!(again(&mut roster, elsewhere), Ok(()), "in another namespace it is another one");
        assert_eq!(again(&mut roster, port("d", PortKind::Tap, "eth0")), Ok(()), "the kernel will say so");
        roster.remove("d");
        assert_eq!(again(&mut roster, port("b", PortKind::Xdp, "eth0")), taken, "it is still a's");
        roster.remove("a");
        assert_eq!(again(&mut roster, port("b", PortKind::Xdp, "eth0")), Ok(()));
    }

    #[test]
    fn a_tap_has_the_address_it_was_asked_to_have_or_one_that_no_other_port_has() {
        let (mut roster, machine) = (Roster::default(), Machine::this());
        let mut reserve = |port: &PortConfig| roster.reserve(port, machine).unwrap().mac;
        let drawn = reserve(&port("a", PortKind::Tap, "x")).unwrap();
        assert_eq!(drawn, machine.mac("a", |_| false));
        let other = machine.mac("c", |_| false);
        let asked = PortConfig { mac: Some(other), ..port("b", PortKind::Tap, "y") };
        assert_eq!(reserve(&asked), Some(other));
        let evading = reserve(&port("c", PortKind::Tap, "z")).unwrap();
        assert!(evading != other && evading != drawn);
        assert_eq!(reserve(&port("d", PortKind::Packet, "eth0")), None);
        assert_eq!(roster.get("a").map(|entry| entry.config.mac), Some(None), "as it was asked for");
        roster.remove("b");
        roster.remove("c");
        assert_eq!(roster.reserve(&port("c", PortKind::Tap, "z"), machine).unwrap().mac, Some(other));
    }
}
