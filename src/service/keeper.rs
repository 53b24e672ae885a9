//! Ports that stay: one whose interface or namespace has vanished is opened again when that is back.
//!
//! # Theory of operation
//!
//! One thread hears of ports that ended ([`Event::PortGone`]) and looks around once a second. A look costs little however
//! many ports there are. It tries the ports that are gone, a bounded number at a time. And it looks after namespaces that
//! are held by the ports in them (`TapHandle::holds`) and die only with these: after all when something under /run/netns has
//! changed, otherwise after some in turn. A namespace whose name leads elsewhere, or nowhere, and in which nobody runs was
//! deleted: its ports are closed, and it dies. (A TAP that somebody moved out of it works on, and holds it still.)
//!
//! A port that does not live long is tried less and less often.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use crossdock_engine::ports::NetnsId;
use crossdock_engine::ports::tap::remove_together;
use crossdock_engine::switch::close;
use crossdock_engine::wire::vlan::Vid;
use crossdock_engine::worker::Event;

use super::namespaces::in_use;
use super::pool::side_by_side;
use super::ports::{self, Made};
use super::roster::{Absence, Entry};
use super::{Refusal, Service};
use crate::config::PortConfig;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);
/// Ports that are tried in one look.
const TRIES: usize = 256;
/// The least of ports whose namespaces one look is for; with many ports it is a sixteenth of them.
const PORTS: usize = 64;
/// How often all processes are looked through for one that runs in a namespace without a name.
const SEARCH: Duration = Duration::from_secs(5);

/// What became of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It does not work any more, for this reason. It is opened again when that can be.
    Gone(String),
    /// It is open again.
    Back,
    /// Its interface could be back, but the port cannot be opened, for this reason.
    Refused(String),
    /// Frames can pass again.
    Up,
    /// Frames cannot pass: the interface was set down.
    Down,
    /// It leads to the other port outside, a loop, and is blocked.
    Blocked {
        /// The other port.
        other: String,
    },
    /// The loop is gone.
    Unblocked,
    /// A MAC address jumps between this port and another faster than hosts move, and stays here.
    MacJumps {
        /// The address.
        mac: String,
        /// Its VLAN, if it has one.
        vlan: Option<u16>,
        /// The other port.
        elsewhere: String,
    },
}

/// Pairs of ports between which addresses jump, and when that was told.
#[derive(Default)]
struct Flaps(HashMap<[String; 2], Instant>);

impl Flaps {
    /// How long it is not told again.
    const QUIET: Duration = Duration::from_secs(60);

    /// Whether it is to be told that addresses jump between two ports.
    fn is_news(&mut self, home: &str, elsewhere: &str) -> bool {
        self.0.retain(|_, told| told.elapsed() < Flaps::QUIET);
        self.0.insert([home.into(), elsewhere.into()], Instant::now()).is_none()
    }
}

/// What the looks remember.
#[derive(Default)]
struct Watch {
    flaps: Flaps,
    /// Ports that ended, as a worker said, but look alive: it may have meant a predecessor.
    suspects: BTreeSet<String>,
    /// The last port that a look was for.
    cursor: String,
    /// When something under /run/netns changed last.
    changed: Option<SystemTime>,
    /// Namespaces without a name that were kept for somebody, and when that was looked for.
    nameless: HashSet<NetnsId>,
    searched: Option<Instant>,
}

impl Service {
    /// Keeps ports open until the switch ends, and calls `tell` with what becomes of which.
    ///
    /// # Errors
    /// No thread can be started for it.
    pub fn watch(self: &Arc<Self>, tell: impl Fn(&str, &Fate) + Send + 'static) -> io::Result<()> {
        let (events, service) = (self.switch.events().clone(), Arc::downgrade(self));
        let keep = move || {
            let (mut watch, mut next) = (Watch::default(), Instant::now() + LOOK);
            loop {
                let event = events.recv_timeout(next.saturating_duration_since(Instant::now()));
                let Some(service) = Weak::upgrade(&service) else { return };
                match event {
                    Ok(event) => service.hear(&mut watch, event, &tell),
                    Err(_) if !service.is_running() => return,
                    Err(_) => {
                        service.look(&mut watch, &tell);
                        next = Instant::now() + LOOK;
                    }
                }
            }
        };
        std::thread::Builder::new().name("xdock-keeper".into()).spawn(keep).map(drop)
    }

    /// A worker said something.
    fn hear(&self, watch: &mut Watch, event: Event, tell: &impl Fn(&str, &Fate)) {
        match event {
            Event::PortGone { name, error } => self.hear_of_loss(watch, &name, &error, tell),
            Event::Link { name, up } => tell(&name, if up { &Fate::Up } else { &Fate::Down }),
            Event::LoopFound { blocked, other } => {
                if self.leads(&blocked, Some(other.clone())) {
                    tell(&blocked, &Fate::Blocked { other });
                }
            }
            Event::LoopGone { blocked } => {
                if self.leads(&blocked, None) {
                    tell(&blocked, &Fate::Unblocked);
                }
            }
            Event::MacPinned { mac, vlan, home, elsewhere } => {
                if watch.flaps.is_news(&home, &elsewhere) {
                    let vlan = vlan.map(Vid::number);
                    tell(&home, &Fate::MacJumps { mac: mac.to_string(), vlan, elsewhere });
                }
            }
        }
    }

    /// Notes where a port leads outside; says whether that is new.
    fn leads(&self, port: &str, other: Option<String>) -> bool {
        let mut roster = self.roster();
        let Some(entry) = roster.get_mut(port) else { return false };
        std::mem::replace(&mut entry.leads_to, other.clone()).is_none() != other.is_none()
    }

    /// A worker said that a port is gone.
    fn hear_of_loss(&self, watch: &mut Watch, name: &str, error: &io::Error, tell: &impl Fn(&str, &Fate)) {
        let mut roster = self.roster();
        let Some(entry) = roster.get_mut(name).filter(|entry| entry.opening || entry.is_open()) else { return };
        let has_interface = entry.config.kind.has_interface();
        if entry.opening || (has_interface && entry.is_there()) {
            watch.suspects.insert(name.into());
            return;
        }
        let why = if has_interface { loss(&entry.config) } else { error.to_string() };
        roster.lose(name, why.clone());
        drop(roster);
        tell(name, &Fate::Gone(why));
    }

    /// Looks again at a port that looked alive when a worker said that it is gone; why it is, if it is.
    fn suspect(&self, watch: &mut Watch, name: String) -> Option<(String, String)> {
        let mut roster = self.roster();
        let entry = roster.get_mut(&name)?;
        if entry.opening {
            watch.suspects.insert(name);
            return None;
        }
        let entry = Some(entry).filter(|entry| entry.is_open() && !entry.is_there())?;
        let why = loss(&entry.config);
        roster.lose(&name, why.clone());
        Some((name, why))
    }

    fn look(&self, watch: &mut Watch, tell: &impl Fn(&str, &Fate)) {
        let suspects = std::mem::take(&mut watch.suspects);
        let mut lost: Vec<_> = suspects.into_iter().filter_map(|name| self.suspect(watch, name)).collect();
        lost.extend(self.forsake(watch));
        for (name, why) in lost {
            tell(&name, &Fate::Gone(why));
        }
        let absent = self.due();
        let fates = side_by_side(&absent, |port| self.reopen(port));
        absent.iter().zip(fates).for_each(|(port, fate)| fate.into_iter().for_each(|fate| tell(&port.name, &fate)));
        self.make_announcements();
    }

    /// The ports that are gone and whose turn it is.
    fn due(&self) -> Vec<PortConfig> {
        let now = Instant::now();
        let mut roster = self.roster();
        let due = roster.absent().filter(|entry| !entry.opening && entry.config.kind.has_interface());
        let mut due: Vec<_> = due.filter_map(|entry| Some((&entry.config, entry.absence.as_mut()?))).collect();
        due.retain(|(_, absence)| absence.again <= now);
        // After all others, it is its turn again.
        let rounds = u32::try_from(due.len() / TRIES).unwrap_or(u32::MAX);
        due.truncate(TRIES);
        due.iter_mut().for_each(|(_, absence)| absence.again = now + LOOK / 2 + LOOK * rounds);
        due.into_iter().map(|(config, _)| config.clone()).collect()
    }

    /// Opens a port again that is gone; `None` when there is nothing to tell.
    fn reopen(&self, port: &PortConfig) -> Option<Fate> {
        let _running = self.while_running().ok()?;
        if let Some(missing) = missing_namespace(port) {
            self.roster().get_mut(&port.name)?.explain(missing);
            return None;
        }
        let config = self.roster().get_mut(&port.name)?.begin_again()?;
        let opened = ports::make(&config, self.engine.persist, &self.common).and_then(|Made { port, handle }| {
            self.switch.reopen_port(port)?;
            Ok(handle)
        });
        let fate = match opened {
            Ok(handle) => {
                self.opened(&port.name, handle);
                // It was kept before; the kernel has no reason to refuse now, and the port works without.
                let _ = self.keep(&config);
                Some(Fate::Back)
            }
            Err(refusal) => self.not_opened(&config, &refusal).then(|| Fate::Refused(reason(&config, &refusal))),
        };
        self.settled.notify_all();
        fate
    }

    /// A port could not be opened again; says whether that is for another reason than before.
    fn not_opened(&self, port: &PortConfig, refusal: &Refusal) -> bool {
        let mut roster = self.roster();
        let Some(entry) = roster.get_mut(&port.name) else { return false };
        entry.opening = false;
        entry.explain(reason(port, refusal))
    }

    /// Closes the ports whose namespace was deleted, and tells why.
    fn forsake(&self, watch: &mut Watch) -> Vec<(String, String)> {
        let searched = watch.searched.is_some_and(|searched| searched.elapsed() < SEARCH);
        let changed = std::fs::metadata("/run/netns").and_then(|meta| meta.modified()).ok();
        let all = std::mem::replace(&mut watch.changed, changed) != changed;
        let all = all || !(searched || watch.nameless.is_empty());
        let nameless = self.nameless(watch, all);
        let ids: HashSet<NetnsId> = nameless.iter().map(|(_, id)| *id).collect();
        watch.nameless.retain(|id| !all || ids.contains(id));
        if ids.is_empty() || (searched && ids.is_subset(&watch.nameless)) {
            return Vec::new();
        }
        let used = in_use(&ids);
        watch.searched = Some(Instant::now());
        watch.nameless.extend(&ids);
        let forsaken: Vec<_> = nameless.into_iter().filter(|(_, id)| !used.contains(id)).collect();
        self.give_up(&forsaken)
    }

    /// Ports in namespaces to which what the port was asked for does not lead any more: of all ports, or of those whose turn it
    /// is.
    fn nameless(&self, watch: &mut Watch, all: bool) -> Vec<(String, NetnsId)> {
        let held: Vec<(String, NetnsId, String)> = {
            let roster = self.roster();
            let most = if all { roster.len() } else { roster.len().min(PORTS.max(roster.len() / 16)) };
            let turn = roster.after(Bound::Excluded(&watch.cursor)).chain(roster.after(Bound::Unbounded));
            let turn: Vec<&Entry> = turn.take(most).collect();
            watch.cursor = turn.last().map(|entry| entry.config.name.clone()).unwrap_or_default();
            turn.into_iter().filter_map(held).collect()
        };
        let elsewhere = held.into_iter().filter(|(_, id, netns)| NetnsId::of(netns) != Some(*id));
        elsewhere.map(|(name, id, _)| (name, id)).collect()
    }

    /// Closes ports whose namespaces were deleted: with the last of them each namespace dies.
    fn give_up(&self, forsaken: &[(String, NetnsId)]) -> Vec<(String, String)> {
        let Ok(_running) = self.while_running() else { return Vec::new() };
        let (mut lost, mut taps) = (Vec::new(), Vec::new());
        for (name, id) in forsaken {
            let mut roster = self.roster();
            let Some(entry) = roster.get_mut(name).filter(|entry| entry.is_open() && entry.is_in(*id)) else {
                continue;
            };
            taps.extend(entry.handle.as_ref().and_then(|handle| handle.tap().cloned()));
            let why = loss(&entry.config);
            roster.lose(name, why.clone());
            lost.push((name.clone(), why));
        }
        let names: Vec<&str> = lost.iter().map(|(name, _)| name.as_str()).collect();
        let queues = self.switch.release_ports(&names);
        remove_together(&taps);
        close(queues);
        lost
    }
}

/// What a port holds, and by what name it was asked for.
fn held(entry: &Entry) -> Option<(String, NetnsId, String)> {
    let id = entry.handle.as_ref().filter(|_| entry.is_open())?.holds()?;
    Some((entry.config.name.clone(), id, entry.config.netns.clone()?))
}

/// Why a port is gone, as far as that can be seen.
fn loss(port: &PortConfig) -> String {
    missing_namespace(port).unwrap_or_else(|| "its interface, or its namespace, was deleted".into())
}

/// Says that the namespace of a port is not there, if that is so.
pub(super) fn missing_namespace(port: &PortConfig) -> Option<String> {
    let netns = port.netns.as_ref()?;
    NetnsId::of(netns).is_none().then(|| format!("its namespace \"{netns}\" does not exist"))
}

/// Why a port cannot be opened, without its name.
fn reason(port: &PortConfig, refusal: &Refusal) -> String {
    let what = &refusal.what;
    what.strip_prefix(&format!("port {}: ", port.name)).unwrap_or(what).to_owned()
}

impl Absence {
    /// A port that ends within this time after it was opened is tried less often.
    const SHORT: Duration = Duration::from_secs(10);
    /// The longest time between two tries.
    const MOST: Duration = Duration::from_secs(60);

    /// Of a port that was opened at that time, after so many short lives; with their new number.
    pub fn new(why: String, opened: Instant, lives: u32) -> (Absence, u32) {
        let lives = if opened.elapsed() < Absence::SHORT { lives + 1 } else { 0 };
        let pause = LOOK.saturating_mul(1 << lives.saturating_sub(1).min(6)).min(Absence::MOST);
        let pause = if lives == 0 { Duration::ZERO } else { pause };
        (Absence { why, again: Instant::now() + pause }, lives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lives_shortly_is_tried_ever_less_often() {
        let now = Instant::now();
        let mut lives = 0;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let (absence, next) = Absence::new("why".into(), now, lives);
            lives = next;
            pauses.push(absence.again.duration_since(now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let old = now.checked_sub(Absence::SHORT).unwrap();
        let (absence, lives) = Absence::new("why".into(), old, 9);
        assert!(lives == 0 && absence.again <= Instant::now(), "who lived long is tried at once");
    }

    #[test]
    fn a_missing_namespace_is_told_by_the_name_it_was_asked_for_by() {
        let mut port = PortConfig::new("p".into(), "lan".into());
        assert_eq!(missing_namespace(&port), None);
        assert_eq!(loss(&port), "its interface, or its namespace, was deleted");
        port.netns = Some("xd-nowhere".into());
        assert_eq!(loss(&port), "its namespace \"xd-nowhere\" does not exist");
        port.netns = Some("/proc/self/ns/net".into());
        assert_eq!(missing_namespace(&port), None);
    }
}
