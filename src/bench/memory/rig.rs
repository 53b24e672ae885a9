//! A worker between ports that are plain vectors.

use crossdock_engine::capture::{Scope, Source, ring};
use crossdock_engine::clock::{Millis, ticks};
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Arena, Batch, Frame, Pool};
use crossdock_engine::guard::Guard;
use crossdock_engine::ports::{Caps, Io, Queue};
use crossdock_engine::stats::PortCounters;
use crossdock_engine::tables::topology::{Change, Domain, DomainId, PortView, Topology};
use crossdock_engine::tables::vlan::Tagging;
use crossdock_engine::wire::ethernet::VLAN_TAG_LEN;
use crossdock_engine::wire::vlan::{Tag, Tci, Tpid};
use crossdock_engine::wire::{Cidr, Mac};
use crossdock_engine::worker::{Attachment, PhaseTicks, Worker, WorkerConfig};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

/// The tag of a trunk's frames.
const TAG: Tag = Tag::new(Tpid::CUSTOMER, Tci(1));
/// Length of every frame, without FCS.
pub(super) const FRAME: usize = 60;

/// What a TAP can carry.
pub(super) const CAPS: Caps = Caps { mtu: 1500, mac: None, csum: true, tso: true, uso: true };

/// A port whose far end is the bench: a vector of frames each way.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<(Vec<Frame>, Vec<Frame>)>>);

struct ShelfQueue {
    rx: Vec<Frame>,
    tx: Vec<Frame>,
    shelf: Shelf,
}

impl Shelf {
    fn with<T>(&self, f: impl FnOnce(&mut (Vec<Frame>, Vec<Frame>)) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Queue for ShelfQueue {
    fn receive(&mut self, _io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        batch.take_from(&mut self.rx);
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        io.count.tx_frames.add(batch.len() as u64);
        io.count.tx_bytes.add(batch.iter().map(|frame| frame.len() as u64).sum());
        batch.move_to(&mut self.tx);
        Ok(())
    }

    /// Swaps the vectors with the shelf: not part of what is timed.
    fn is_up(&mut self) -> bool {
        self.shelf.with(|(rx, tx)| {
            std::mem::swap(rx, &mut self.rx);
            std::mem::swap(tx, &mut self.tx);
        });
        true
    }
}

/// A worker between shelves.
pub(super) struct Rig {
    pub worker: Worker,
    pool: Pool,
    shelves: Vec<Shelf>,
    /// The tag of the frames that come by each port.
    tags: Vec<Option<Tag>>,
    pub batch: usize,
    /// Frames of a round: a batch for each port that sends.
    pub round: usize,
    pub now: u32,
    /// Reads a capture, where one is under way.
    source: Option<Source>,
}

impl Rig {
    pub fn new(batch: usize, macs: usize) -> io::Result<Rig> {
        Rig::with(&[Tagging::Transparent, Tagging::Transparent], batch, macs)
    }

    /// One port of each.
    pub fn with(ports: &[Tagging], batch: usize, macs: usize) -> io::Result<Rig> {
        let arena = Arena::new(4096, 32)?;
        let config = WorkerConfig { batch, flows: macs.max(1024), ..WorkerConfig::default() };
        let mut worker = Worker::new(config, &arena, Vec::new())?;
        let tags = ports.iter().map(|tagging| matches!(tagging, Tagging::Trunk { .. }).then_some(TAG)).collect();
        let domain = Some(DomainId(0));
        let view = |vlan: &Tagging| Some(PortView { domain, vlan: vlan.clone(), ..PortView::default() });
        let members = (0..ports.len()).map(|port| PortId(port as u16)).collect();
        let domain = Domain { fdb_max: (2 * macs).max(1024), members, ..Domain::new("lan") };
        let topology = Topology { ports: ports.iter().map(view).collect(), domains: vec![Some(domain)] };
        worker.tables().publish(Arc::new(topology))?;
        let shelves: Vec<Shelf> = ports.iter().map(|_| Shelf::default()).collect();
        for (i, shelf) in shelves.iter().enumerate() {
            let room = || Vec::with_capacity(if ports.len() > 2 { 256 } else { 4096 });
            shelf.with(|s| *s = (room(), room()));
            let queue = ShelfQueue { rx: room(), tx: room(), shelf: shelf.clone() };
            let counters = Arc::new(PortCounters::default());
            let (port, name) = (PortId(i as u16), i.to_string());
            worker.attach(Attachment {
                port,
                name,
                queues: vec![Box::new(queue)],
                owners: [0].into(),
                counters,
                up: Arc::default(),
                caps: CAPS,
            });
        }
        let round = 2 * batch;
        Ok(Rig { worker, pool: arena.pool(4096, 0), shelves, tags, batch, round, now: 1, source: None })
    }

    /// Puts frames of these addresses at the ports, in order of receipt.
    pub fn load(&mut self, frames: &[(usize, Mac, Mac)]) {
        for &(port, source, destination) in frames {
            let Some(mut frame) = self.pool.alloc(FRAME + VLAN_TAG_LEN) else { continue };
            let tag = self.tags[port].map(Tag::to_bytes);
            let tag = tag.as_ref().map_or(&[][..], |bytes| bytes);
            let filled = frame.fill(&[0; FRAME + VLAN_TAG_LEN][..FRAME + tag.len()]);
            frame[..6].copy_from_slice(&destination.0);
            frame[6..12].copy_from_slice(&source.0);
            frame[12..12 + tag.len()].copy_from_slice(tag);
            frame[12 + tag.len()] = 8;
            // An IPv4 header, for those who look.
            frame[14 + tag.len()] = 0x45;
            assert!(filled);
            self.shelves[port].with(|(rx, _)| rx.push(frame));
        }
        self.swap();
    }

    /// From now on every port is guarded: its frames come from its first station, and from 0.0.0.0.
    pub fn guard(&mut self) -> io::Result<()> {
        let nowhere = Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 32);
        for port in 0..self.shelves.len() {
            let Some(view) = self.worker.tables().topology.port(PortId(port as u16)).cloned() else { continue };
            let guard = Some(Arc::new(Guard::new(Some(&[mac(port, 0)]), Some(nowhere.as_slice()))));
            self.worker.apply(Change::Port(PortId(port as u16), Some(PortView { guard, ..view })))?;
        }
        Ok(())
    }

    /// From now on all frames are captured as `xdock capture` does it, and read while the clock stands still.
    pub fn capture(&mut self) {
        let (sink, source) = ring(Scope { port: None, drops_only: false, snaplen: 256 }, 8 << 20);
        self.worker.tap().add(sink);
        self.source = Some(source);
    }

    /// Reads what was captured; how many frames.
    pub fn read(&mut self) -> usize {
        self.source.as_mut().map_or(0, |source| std::iter::from_fn(|| source.read().map(drop)).count())
    }

    /// Takes back what the ports sent.
    pub fn unload(&mut self) -> usize {
        self.swap();
        let mut count = 0;
        for shelf in &self.shelves {
            shelf.with(|(rx, tx)| {
                for frame in tx.drain(..).chain(rx.drain(..)) {
                    self.pool.free(frame);
                    count += 1;
                }
            });
        }
        count
    }

    pub fn swap(&mut self) {
        self.worker.check_links();
    }

    /// Sends the frames through, one batch a port at a time; ticks for all of them.
    pub fn pass(&mut self, frames: &[(usize, Mac, Mac)], clock: u64, mut phases: Option<&mut PhaseTicks>) -> u64 {
        let mut spent = 0;
        for round in frames.chunks(self.round) {
            self.load(round);
            let begin = ticks();
            let n = match phases.as_deref_mut() {
                None => self.worker.poll(Millis(self.now)),
                Some(phases) => self.worker.poll_timed(Millis(self.now), phases),
            };
            spent += (ticks() - begin).saturating_sub(clock);
            let seen = self.read();
            assert!(seen == 0 || seen == 2 * n, "in and out");
            assert_eq!((n, self.unload()), (round.len(), round.len()), "every frame in, every frame out");
        }
        spent
    }
}

/// A small generator: the bench must not depend on what a library's version draws.
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

pub(super) fn mac(side: usize, n: usize) -> Mac {
    let [_, _, _, _, a, b, c, d] = (n as u64).to_be_bytes();
    Mac([2, side as u8, a, b, c, d])
}
