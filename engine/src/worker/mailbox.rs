//! What the control side asks of a worker, and what a worker tells it. Neither waits for the other.

use super::{Attachment, Worker};
use crate::flow::PortId;
use crate::table::FlowEntry;
use crate::tables::fdb::{Fdb, FdbEntry};
use crate::tables::topology::{DomainId, Topology};
use crossbeam::channel::{Receiver, Sender};
use std::io;
use std::sync::Arc;

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
    /// Open a port, and say so.
    Attach(Attachment, Sender<()>),
    /// Close a port, and say so.
    Detach(PortId, Sender<()>),
    /// The forwarding database of a domain that the next topology has.
    Prepare(DomainId, Box<Fdb>),
    /// Work by this topology from now on.
    Publish(Arc<Topology>),
    /// Show part of a forwarding database, from a position on.
    ShowFdb(DomainId, usize, Sender<FdbPage>),
    /// Show part of the flow cache, from a position on.
    ShowFlows(usize, Sender<FlowPage>),
    /// End.
    Stop,
}

/// What a worker reports.
#[derive(Debug)]
pub enum Event {
    /// A port is gone for good: its interface or namespace was deleted, or its far end closed.
    PortGone {
        /// The port.
        port: PortId,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Entries looked at for one page.
const PAGE: usize = 512;

impl Worker {
    /// Carries out what waits in `commands`; false when it is time to stop.
    pub fn obey(&mut self, commands: &Receiver<Command>, sleeper: &mut super::Sleeper) -> bool {
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Stop => return false,
                Command::Attach(port, done) => {
                    sleeper.watch(port.port, &port.queues);
                    self.attach(port);
                    let _ = done.send(());
                }
                Command::Detach(port, done) => {
                    self.close(port, sleeper);
                    let _ = done.send(());
                }
                Command::Prepare(domain, fdb) => self.core.tables.prepare(domain, *fdb),
                // Every forwarding database was prepared, so none is made here that could fail.
                Command::Publish(topology) => drop(self.core.tables.publish(topology)),
                Command::ShowFdb(domain, cursor, reply) => drop(reply.send(self.fdb_page(domain, cursor))),
                Command::ShowFlows(cursor, reply) => drop(reply.send(self.flow_page(cursor))),
            }
        }
        true
    }

    /// Closes the ports that failed and reports them.
    pub fn bury(&mut self, events: &Sender<Event>, sleeper: &mut super::Sleeper) {
        while let Some((port, error)) = self.core.ports.next_failed() {
            if self.close(port, sleeper) {
                let _ = events.send(Event::PortGone { port, error });
            }
        }
    }

    /// Closes a port; false when it was closed before.
    fn close(&mut self, port: PortId, sleeper: &mut super::Sleeper) -> bool {
        sleeper.forget(self.core.ports.queues_mut(port));
        self.detach(port)
    }

    fn fdb_page(&self, domain: DomainId, cursor: usize) -> FdbPage {
        let Some(fdb) = self.core.tables.fdb(domain) else { return FdbPage::default() };
        let (entries, next) = fdb.page(cursor, PAGE);
        FdbPage { entries: entries.into_iter().map(|e| (e, self.core.now.since(e.seen))).collect(), next }
    }

    fn flow_page(&self, cursor: usize) -> FlowPage {
        let (flows, next) = self.core.table.page(cursor, PAGE, self.core.tables.epoch());
        let aged = |flow: FlowEntry| {
            let idle = self.core.now.since(flow.seen);
            (flow, idle)
        };
        FlowPage { flows: flows.into_iter().map(aged).collect(), next }
    }
}
