//! What the control side asks of a worker, and what a worker tells it. Neither waits for the other.

use super::core::Core;
use super::loops::LoopNews;
use super::schedule::QueueId;
use super::{Attachment, Worker};
use crate::capture::Sink;
use crate::drop::DropReason;
use crate::flow::PortId;
use crate::ports::Queue;
use crate::stats::Counter;
use crate::table::FlowEntry;
use crate::tables::Flap;
use crate::tables::fdb::{Fdb, FdbEntry, Station};
use crate::tables::topology::{Change, DomainId, PortView};
use crate::trace::{Hypothesis, Trace};
use crate::wire::Mac;
use crate::wire::vlan::Vid;
use crossbeam::channel::{Receiver, Sender};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// A page of a forwarding database.
#[derive(Debug, Default)]
pub struct FdbPage {
    /// Entries, with their age in milliseconds.
    pub entries: Vec<(FdbEntry, u32)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<usize>,
}

/// A page of the flow cache.
#[derive(Debug, Default)]
pub struct FlowPage {
    /// Live flows, with the milliseconds since their last frame.
    pub flows: Vec<(FlowEntry, u32)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<usize>,
}

/// What a worker can be told. Each takes a few microseconds, so that frames hardly notice.
pub enum Command {
    /// Take a port as the topology has it now, open it for what leaves by it, and say so.
    Attach(Attachment, Option<Box<PortView>>, Sender<()>),
    /// Take what comes in by a port, now that every worker has opened it, and say so.
    Serve(PortId, Sender<()>),
    /// Let go of a port, and give back its queues: closing them may take the kernel long.
    Detach(PortId, Sender<Vec<Box<dyn Queue>>>),
    /// Work by a changed topology from now on, and give back a forwarding database that is no longer needed; or say that there
    /// is no memory for a new one.
    Change(Change, Sender<io::Result<Option<Fdb>>>),
    /// Set an address to a port for good, or forget it where none is named, and say so.
    SetStatic(DomainId, Station, Option<PortId>, Sender<()>),
    /// Forget what was learned on a port, or everywhere in a domain, and say so.
    Flush(DomainId, Option<PortId>, Sender<()>),
    /// Void every cached decision: state that a stage keeps has changed.
    Invalidate,
    /// Show part of a forwarding database, from a position on.
    ShowFdb(DomainId, usize, Sender<FdbPage>),
    /// Say how many addresses each domain has learned.
    CountFdb(Sender<Vec<(DomainId, usize)>>),
    /// Show part of the flow cache, from a position on.
    ShowFlows(usize, Sender<FlowPage>),
    /// Copy frames into this sink from now on, and say so.
    Capture(Sink, Sender<()>),
    /// Copy none any more into the sink that counts here, and give it back.
    EndCapture(Arc<Counter>, Sender<Option<Sink>>),
    /// Take a frame that the control side made as if it had come in by a port that has queues here.
    Inject(PortId, Vec<u8>),
    /// Say what would happen to a frame.
    Trace(Box<Hypothesis>, Sender<Trace>),
    /// End.
    Stop,
}

/// What a worker reports.
#[derive(Debug)]
pub enum Event {
    /// A port is gone for good: its interface or namespace was deleted, or its far end closed.
    PortGone {
        /// The port's name. It stays taken until the port is removed.
        name: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Frames can pass a port again, or cannot: the interface was set up or down.
    Link {
        /// The port's name.
        name: String,
        /// Whether they can.
        up: bool,
    },
    /// Two ports lead to each other outside: one of them is blocked, until a few seconds after the loop is gone.
    LoopFound {
        /// The name of the port that is blocked,
        blocked: String,
        /// and of the one that it leads to.
        other: String,
    },
    /// A port that was blocked is open again.
    LoopGone {
        /// Its name.
        blocked: String,
    },
    /// An address jumps between ports faster than hosts move, and was pinned: a loop, or an address used twice.
    MacPinned {
        /// The address.
        mac: Mac,
        /// Its VLAN, if it has one.
        vlan: Option<Vid>,
        /// The name of the port where it stays,
        home: String,
        /// and of the one where it was seen.
        elsewhere: String,
    },
}

/// What ties a worker to its control side.
pub struct Lines {
    /// When the switch began: the workers' common clock.
    pub began: Instant,
    /// What it is told.
    pub commands: Receiver<Command>,
    /// What it reports.
    pub events: Sender<Event>,
    /// Where it leaves the queues of ports that are gone: closing a TAP waits for the kernel, which a worker must not.
    pub graveyard: Sender<Vec<Box<dyn Queue>>>,
}

/// Entries looked at for one page.
const PAGE: usize = 512;

impl Worker {
    /// Carries out what waits in `commands`; false when it is time to stop. What the other workers sent before a command
    /// was given is dealt with before it is carried out: nothing of a port that is removed outlives it.
    pub fn obey(&mut self, commands: &Receiver<Command>, sleeper: &mut super::Sleeper) -> bool {
        while !commands.is_empty() {
            let Ok(command) = commands.try_recv() else { break };
            self.core.catch_up();
            match command {
                Command::Stop => return false,
                Command::Attach(port, view, done) => {
                    let (id, mirror) = (port.port, view.as_ref().and_then(|view| view.mirror));
                    // A port's change needs no memory that there might not be.
                    let _ = self.core.tables.apply(Change::Port(id, view.map(|view| *view)));
                    self.open(port);
                    self.core.ports.set_mirror(id, mirror);
                    let _ = done.send(());
                }
                Command::Serve(port, done) => {
                    sleeper.watch(port, self.core.ports.queues_mut(port));
                    self.core.ports.serve(port);
                    let _ = done.send(());
                }
                Command::Detach(port, done) => drop(done.send(self.release(port, sleeper).unwrap_or_default().1)),
                Command::Change(change, done) => drop(done.send(self.apply(change))),
                Command::SetStatic(domain, who, port, done) => {
                    self.set_static(domain, who, port);
                    let _ = done.send(());
                }
                Command::Flush(domain, port, done) => {
                    self.core.tables.flush(domain, port);
                    let _ = done.send(());
                }
                Command::Invalidate => self.core.tables.invalidate(),
                Command::ShowFdb(domain, cursor, reply) => drop(reply.send(self.fdb_page(domain, cursor))),
                Command::CountFdb(reply) => drop(reply.send(self.core.tables.fdb_sizes())),
                Command::ShowFlows(cursor, reply) => drop(reply.send(self.flow_page(cursor))),
                Command::Capture(sink, done) => {
                    self.tap().add(sink);
                    let _ = done.send(());
                }
                Command::EndCapture(counter, sink) => drop(sink.send(self.tap().remove(&counter))),
                Command::Inject(port, bytes) => self.inject(port, &bytes),
                Command::Trace(frame, reply) => drop(reply.send(self.trace(&frame, self.core.now))),
            }
        }
        true
    }

    /// Lets a frame come in by a port with its next visit, if one could. It counts as made there, not as received.
    fn inject(&mut self, port: PortId, bytes: &[u8]) {
        let Some(up) = self.core.ports.check_link(port) else { return };
        self.core.tables.set_up(port, up);
        let Some(counters) = self.core.ports.counters(port).filter(|_| up) else { return };
        counters.generated.add(1);
        let Some(mut frame) = self.core.pool.alloc_spare(bytes.len()) else {
            return counters.count_drop(DropReason::PoolEmpty);
        };
        // It fits: a frame of that room was asked for.
        let _ = frame.fill(bytes);
        if let Err(frame) = self.core.ports.schedule.add(QueueId { port, queue: 0 }, frame) {
            self.core.discard(frame, port, DropReason::PortDown);
        }
    }

    /// Lets go of the ports that failed, and reports them.
    pub fn bury(&mut self, lines: &Lines, sleeper: &mut super::Sleeper) {
        while let Some((port, error)) = self.core.ports.next_failed() {
            if let Some((name, queues)) = self.release(port, sleeper) {
                let _ = lines.graveyard.send(queues);
                let _ = lines.events.send(Event::PortGone { name, error });
            }
        }
    }

    /// Reports links that changed, and addresses that were pinned.
    pub(super) fn report(&mut self, lines: &Lines) {
        let Core { ports, flaps, loops, .. } = &mut self.core;
        for &(port, up) in &ports.links.news {
            let name = ports.name(port).map(str::to_owned);
            name.into_iter().for_each(|name| drop(lines.events.send(Event::Link { name, up })));
        }
        ports.links.news.clear();
        for LoopNews { blocked, other, is_there } in loops.news.drain(..) {
            let [blocked, other] = [blocked, other].map(|port| ports.name(port).unwrap_or_default().to_owned());
            let found = Event::LoopFound { blocked: blocked.clone(), other };
            let _ = lines.events.send(if is_there { found } else { Event::LoopGone { blocked } });
        }
        for Flap { who, home, elsewhere } in flaps.drain(..) {
            let [home, elsewhere] = [home, elsewhere].map(|port| ports.name(port).unwrap_or_default().to_owned());
            let (mac, vlan) = (who.mac(), who.vlan().vid());
            let _ = lines.events.send(Event::MacPinned { mac, vlan, home, elsewhere });
        }
    }

    fn set_static(&mut self, domain: DomainId, who: Station, port: Option<PortId>) {
        match port {
            Some(port) => _ = self.core.tables.set_fixed(domain, who, port, self.core.now),
            None => _ = self.core.tables.forget(domain, who),
        }
    }

    /// Lets go of a port; `None` when that was done before.
    fn release(&mut self, port: PortId, sleeper: &mut super::Sleeper) -> Option<(String, Vec<Box<dyn Queue>>)> {
        sleeper.forget(self.core.ports.queues_mut(port));
        self.detach(port)
    }

    fn fdb_page(&self, domain: DomainId, cursor: usize) -> FdbPage {
        let Some(fdb) = self.core.tables.fdb(domain) else { return FdbPage::default() };
        let (entries, next) = fdb.page(cursor, PAGE);
        FdbPage { entries: entries.into_iter().map(|e| (e, self.core.now.since(e.seen))).collect(), next }
    }

    fn flow_page(&self, cursor: usize) -> FlowPage {
        let (flows, next) = self.core.table.page(cursor, PAGE, |port| self.core.tables.epoch(port));
        let aged = |flow: FlowEntry| {
            let idle = self.core.now.since(flow.seen);
            (flow, idle)
        };
        FlowPage { flows: flows.into_iter().map(aged).collect(), next }
    }
}
