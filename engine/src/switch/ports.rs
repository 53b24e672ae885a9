//! Ports come and go, one or many at a time.
//!
//! # Theory of operation
//!
//! A port is opened while nothing is held: its name is reserved first. What must be done with the workers is done under the
//! registry's mutex, which gives all of them the same order, and for many ports at once: every command is on its way before the
//! first answer is waited for.

use super::registry::{Registered, Registry, station};
use super::{Error, Membership, Switch, close};
use crate::flow::PortId;
use crate::ports::{Caps, Port, Queue};
use crate::tables::topology::PortView;
use crate::worker::{Attachment, Command};
use crossbeam::channel::Sender;
use std::sync::Arc;

/// A port that is open, but has no number yet.
struct Opened {
    name: String,
    kind: &'static str,
    caps: Caps,
    queues: Vec<Box<dyn Queue>>,
}

/// A command, but for its reply channel.
type Order = Box<dyn FnOnce(Sender<()>) -> Command>;
/// What is told to workers at once.
type Turn = Vec<(usize, Order)>;

/// The queues that each worker gets of a port.
type Hands = Vec<Vec<Box<dyn Queue>>>;

impl Switch {
    /// Opens a port and puts it into a domain; returns when frames pass. Traffic between other ports does not notice, and other
    /// threads may open ports meanwhile.
    ///
    /// # Errors
    /// When its name is taken, the domain does not exist, or the port cannot be opened; nothing is left behind then.
    pub fn add_port(&self, port: Box<dyn Port>, membership: &Membership) -> Result<PortId, Error> {
        self.add_ports(vec![(port, membership)]).pop().unwrap_or(Err(Error::Stopped))
    }

    /// The same for several ports, which costs the workers hardly more than for one; says of each what became of it.
    pub fn add_ports(&self, ports: Vec<(Box<dyn Port>, &Membership)>) -> Vec<Result<PortId, Error>> {
        let opened: Vec<_> =
            ports.into_iter().map(|(port, membership)| (self.open_new(port, membership), membership)).collect();
        let (mut registry, mut hands) = (self.registry(), Vec::new());
        let mut enter = |opened: Opened, membership| {
            let (id, hand) = self.enter(&mut registry, opened, membership)?;
            hands.push((id, hand));
            Ok(id)
        };
        let entered: Vec<_> =
            opened.into_iter().map(|(opened, membership)| opened.and_then(|port| enter(port, membership))).collect();
        let ids: Vec<PortId> = hands.iter().map(|(id, _)| *id).collect();
        match self.attach(&registry, hands).and_then(|()| self.publish_mirrors(&registry, &ids)) {
            Ok(()) => entered,
            Err(_) => entered.into_iter().map(|result| result.and(Err(Error::Stopped))).collect(),
        }
    }

    /// Reserves the name of a port and opens it.
    fn open_new(&self, port: Box<dyn Port>, membership: &Membership) -> Result<Opened, Error> {
        let name = port.name().to_owned();
        {
            let mut registry = self.registry();
            registry.domain_id(&membership.domain)?;
            registry.reserve(&name)?;
        }
        self.open(port).inspect_err(|_| self.registry().give_up(&name))
    }

    fn open(&self, port: Box<dyn Port>) -> Result<Opened, Error> {
        let (name, kind, caps) = (port.name().to_owned(), port.kind(), port.caps());
        let queues = port.open(&self.arena, self.workers.count()).map_err(|e| Error::Open(name.clone(), e))?;
        Ok(Opened { name, kind, caps, queues })
    }

    /// Gives a port that is open its number, and deals its queues out.
    fn enter(&self, registry: &mut Registry, port: Opened, membership: &Membership) -> Result<(PortId, Hands), Error> {
        let Opened { name, kind, caps, queues } = port;
        let domain = registry.domain_id(&membership.domain).inspect_err(|_| registry.give_up(&name))?;
        let hand = deal(queues, registry.idlest(), self.workers.count());
        let counters = hand.iter().map(|_| Arc::default()).collect();
        let view = PortView { station: station(kind, &caps), ..membership.view(domain) };
        let (up, owners, mirror) = (Arc::default(), owners(&hand), membership.mirror.clone());
        let new = Registered { name, kind, caps, view, mirror, counters, up, owners };
        Ok((registry.add_port(new)?, hand))
    }

    /// Opens ports at every worker, and then lets those serve them that have queues.
    fn attach(&self, registry: &Registry, hands: Vec<(PortId, Hands)>) -> Result<(), Error> {
        let (mut first, mut then, mut last): (Turn, Turn, Turn) = Default::default();
        for (id, hand) in hands {
            for (worker, port) in attachments(registry, id, hand) {
                let (view, serves) = (registry.view(id).map(Box::new), !port.queues.is_empty());
                // Those with queues first: the others take from them whether the link is up.
                let turn = if serves { &mut first } else { &mut then };
                turn.push((worker, Box::new(move |done| Command::Attach(port, view, done))));
                last.extend(serves.then(|| (worker, Box::new(move |done| Command::Serve(id, done)) as Order)));
            }
        }
        // A worker that is alone need not wait for others.
        let turns = if self.workers.count() == 1 {
            vec![first.into_iter().chain(last).collect()]
        } else {
            vec![first, then, last]
        };
        turns.into_iter().try_for_each(|turn| self.workers.ask_each(turn).map(drop))
    }

    /// Opens a port again whose interface had gone, or gives a port that is open other queues. It keeps its number, its
    /// counters and its place in its domain.
    ///
    /// # Errors
    /// When there is no port of its name, or it cannot be opened: then the old one stays as it was.
    pub fn reopen_port(&self, port: Box<dyn Port>) -> Result<PortId, Error> {
        self.registry().port_id(port.name())?;
        let Opened { name, kind, caps, queues } = self.open(port)?;
        let hand = deal(queues, self.registry().idlest(), self.workers.count());
        let mut registry = self.registry();
        let id = registry.port_id(&name)?;
        let old = self.detach(&registry, &[id])?;
        registry.reopened(id, kind, caps, owners(&hand));
        self.attach(&registry, vec![(id, hand)])?;
        drop(registry);
        close(old);
        Ok(id)
    }

    /// Takes ports whose interfaces are of no use any more from the workers, and gives back their queues, which the caller has still
    /// to [`close`]. The ports keep their names, their counters and their places in their domains until they are opened again or
    /// removed. Names that there are not are passed over.
    pub fn release_ports(&self, names: &[impl AsRef<str>]) -> Vec<Box<dyn Queue>> {
        let registry = self.registry();
        let ids: Vec<PortId> = names.iter().filter_map(|name| registry.port_id(name.as_ref()).ok()).collect();
        self.detach(&registry, &ids).unwrap_or_default()
    }

    /// The same with every port. Where a worker has ended, it has closed its queues.
    pub fn release_all(&self) -> Vec<Box<dyn Queue>> {
        let registry = self.registry();
        let ids: Vec<PortId> = registry.ports().map(|(id, _)| id).collect();
        self.detach(&registry, &ids).unwrap_or_default()
    }

    /// Closes and removes a port; returns when it is closed.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn remove_port(&self, name: &str) -> Result<(), Error> {
        self.remove_ports(&[name]).map(close)
    }

    /// Removes ports, and gives back their queues, which the caller has still to [`close`]. No frame passes by them any more.
    ///
    /// # Errors
    /// When one of them does not exist: then none is removed.
    pub fn remove_ports(&self, names: &[impl AsRef<str>]) -> Result<Vec<Box<dyn Queue>>, Error> {
        let mut registry = self.registry();
        let ids = names.iter().map(|name| registry.port_id(name.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let queues = self.detach(&registry, &ids)?;
        names.iter().for_each(|name| registry.remove_port(name.as_ref()));
        self.publish_ports(&registry, &ids)?;
        // Before their numbers are used again.
        self.publish_mirrors(&registry, &ids)?;
        Ok(queues)
    }

    /// Tells the workers of all mirrors to ports that have come or gone.
    fn publish_mirrors(&self, registry: &Registry, ids: &[PortId]) -> Result<(), Error> {
        let mirrored: Vec<PortId> = ids.iter().flat_map(|&id| registry.mirrored_to(id)).collect();
        if mirrored.is_empty() { Ok(()) } else { self.publish_ports(registry, &mirrored) }
    }

    /// Takes ports from every worker; gives back their queues.
    fn detach(&self, registry: &Registry, ids: &[PortId]) -> Result<Vec<Box<dyn Queue>>, Error> {
        let owns =
            |&(worker, id): &(usize, PortId)| registry.port(id).is_some_and(|port| port.owners.contains(&worker));
        let everywhere = ids.iter().flat_map(|&id| self.workers.numbers().map(move |worker| (worker, id)));
        // Those with queues last: they still send what the others have handed over.
        let (last, first): (Vec<_>, Vec<_>) = everywhere.partition(owns);
        let mut queues = Vec::new();
        for turn in [first, last] {
            let detach = |(worker, id)| (worker, move |back| Command::Detach(id, back));
            queues.extend(self.workers.ask_each(turn.into_iter().map(detach))?.into_iter().flatten());
        }
        Ok(queues)
    }
}

/// Deals queues out to workers, one after another from `first` on.
fn deal(queues: Vec<Box<dyn Queue>>, first: usize, workers: usize) -> Hands {
    let mut hands: Hands = (0..workers).map(|_| Vec::new()).collect();
    for (i, queue) in queues.into_iter().enumerate() {
        hands[(first + i) % workers].push(queue);
    }
    hands
}

/// The workers that got queues.
fn owners(hands: &Hands) -> Arc<[usize]> {
    (0..hands.len()).filter(|&worker| !hands[worker].is_empty()).collect()
}

/// A port as each worker gets it.
fn attachments(registry: &Registry, id: PortId, hands: Hands) -> Vec<(usize, Attachment)> {
    let Some(port) = registry.port(id) else { return Vec::new() };
    let attachment = |(worker, queues): (usize, _)| {
        let attachment = Attachment {
            port: id,
            name: port.name.clone(),
            queues,
            owners: port.owners.clone(),
            counters: port.counters[worker].clone(),
            up: port.up.clone(),
            caps: port.caps.clone(),
        };
        (worker, attachment)
    };
    hands.into_iter().enumerate().map(attachment).collect()
}
