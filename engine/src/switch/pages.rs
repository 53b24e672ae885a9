//! What the workers' tables hold, asked for page by page, so that even a million addresses do not make traffic wait.

use super::{Error, Switch};
use crate::flow::FlowKey;
use crate::program::Action;
use crate::table::FlowEntry;
use crate::tables::fdb::FdbEntry;
use crate::tables::topology::DomainId;
use crate::wire::Mac;
use crate::wire::vlan::Vid;
use crate::worker::{Command, FdbPage};
use crossbeam::channel::Sender;
use std::collections::BTreeMap;
use std::time::Duration;

/// Pages of a table that a worker is asked for at once: it deals with them in one round, in some tens of microseconds.
const AHEAD: usize = 8;

/// An address of a forwarding database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbStatus {
    /// The domain's name.
    pub domain: String,
    /// The VLAN's number; `None` where the domain knows of none.
    pub vlan: Option<u16>,
    /// Whether the VLAN is a provider's (802.1ad): another one than a customer's of the same number.
    pub service: bool,
    /// The address.
    pub mac: Mac,
    /// The port's name.
    pub port: String,
    /// Since it was last seen. Frames of cached flows are noted about once a second.
    pub age: Duration,
    /// It is a static entry ([`Switch::set_static`]), or was set by a stage of the embedding program: it never ages.
    pub fixed: bool,
    /// False of a static entry that waits for its port.
    pub active: bool,
}

/// A cached flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStatus {
    /// The worker's number.
    pub worker: usize,
    /// The ingress port's name.
    pub in_port: String,
    /// What its frames have in common.
    pub key: FlowKey,
    /// What is done with them.
    pub program: Vec<Action>,
    /// Frames so far.
    pub frames: u64,
    /// Bytes so far.
    pub bytes: u64,
    /// Since the last frame.
    pub idle: Duration,
}

impl Switch {
    /// All addresses of all domains, asked for page by page; also static entries that wait for their ports.
    ///
    /// # Errors
    /// When the switch has stopped.
    pub fn fdb(&self) -> Result<Vec<FdbStatus>, Error> {
        let domains: BTreeMap<DomainId, String> =
            self.registry().domains().map(|(id, domain)| (id, domain.name.clone())).collect();
        let known = self.known(domains.keys().copied().collect())?;
        let registry = self.registry();
        let status = |(domain, entry, age): (DomainId, FdbEntry, u32)| FdbStatus {
            domain: domains.get(&domain).cloned().unwrap_or_default(),
            vlan: entry.vlan.vid().map(Vid::number),
            service: entry.vlan.is_service(),
            mac: entry.mac,
            port: registry.port(entry.port).map_or_else(|| "-".into(), |p| p.name.clone()),
            age: Duration::from_millis(age.into()),
            fixed: entry.fixed,
            active: true,
        };
        Ok(known.into_iter().map(status).chain(registry.waiting_statics()).collect())
    }

    /// What is known of the addresses of domains. Every worker knows all; the one that an address's frames come to has seen it
    /// last.
    fn known(&self, domains: Vec<DomainId>) -> Result<Vec<(DomainId, FdbEntry, u32)>, Error> {
        let mut all: Vec<(DomainId, FdbEntry, u32)> = Vec::new();
        let mut note = |domain, page: FdbPage| {
            all.extend(page.entries.into_iter().map(|(entry, age)| (domain, entry, age)));
            page.next
        };
        for worker in self.workers.numbers() {
            for some in domains.chunks(AHEAD) {
                let ask = |&domain: &DomainId| (worker, move |reply| Command::ShowFdb(domain, 0, reply));
                let first = self.workers.ask_each(some.iter().map(ask))?;
                for (&domain, page) in some.iter().zip(first) {
                    let Some(next) = note(domain, page) else { continue };
                    let ask = move |from, reply| Command::ShowFdb(domain, from, reply);
                    self.pages(worker, next, ask, |page| note(domain, page))?;
                }
            }
        }
        all.sort_by_key(|&(domain, entry, age)| (domain, entry.vlan, entry.mac, age));
        all.dedup_by_key(|(domain, entry, _)| (*domain, entry.vlan, entry.mac));
        Ok(all)
    }

    /// All live entries of the flow cache, asked for page by page.
    ///
    /// # Errors
    /// When the switch has stopped.
    pub fn flows(&self) -> Result<Vec<FlowStatus>, Error> {
        let name = |id| self.registry().port(id).map_or_else(|| "-".into(), |port| port.name.clone());
        let mut all = Vec::new();
        for worker in self.workers.numbers() {
            let status = |(flow, idle): (FlowEntry, u32)| FlowStatus {
                worker,
                in_port: name(flow.key.port),
                key: flow.key,
                program: flow.program,
                frames: flow.frames,
                bytes: flow.bytes,
                idle: Duration::from_millis(idle.into()),
            };
            self.pages(worker, 0, Command::ShowFlows, |page| {
                all.extend(page.flows.into_iter().map(status));
                page.next
            })?;
        }
        Ok(all)
    }

    /// Asks a worker for page after page, from a position on. `take` says where the next begins; as a rule pages are as long as the
    /// one before, so several are asked for at once, and asked for again where they begin elsewhere.
    fn pages<P>(
        &self,
        worker: usize,
        from: usize,
        ask: impl Fn(usize, Sender<P>) -> Command,
        mut take: impl FnMut(P) -> Option<usize>,
    ) -> Result<(), Error> {
        let (mut next, mut length, ask) = (Some(from), 0, &ask);
        while let Some(begin) = next {
            let count = if length > 0 { AHEAD } else { 1 };
            let guessed: Vec<usize> = (0..count).map(|page| begin + page * length).collect();
            let pages = guessed.iter().map(|&from| (worker, move |reply| ask(from, reply)));
            for (&from, page) in guessed.iter().zip(self.workers.ask_each(pages)?) {
                if next == Some(from) {
                    next = take(page);
                    length = next.map_or(0, |next| next.saturating_sub(from));
                }
            }
        }
        Ok(())
    }
}
