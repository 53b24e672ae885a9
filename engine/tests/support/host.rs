//! Hosts behind queues like a TAP's: what they say is read into memory for super-frames first, and what they hear is copied.

use super::one_domain;
use crossbeam::channel::unbounded;
use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Arena, Batch, Frame, Offload, SUPER_ROOM};
use crossdock_engine::ports::{Caps, Io, Port, Queue};
use crossdock_engine::stats::PortCounters;
use crossdock_engine::tables::topology::{Domain, PortView, Topology};
use crossdock_engine::worker::{Attachment, Command, Peers, Sleeper, Worker, WorkerConfig};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// Bytes of super-frames after which a call ends, as a TAP's does.
const SUPER_BURST: usize = 64 * 1024;

/// A host with its queue.
pub struct Host {
    name: String,
    says: Box<dyn FnMut() -> Option<(Vec<u8>, Offload)> + Send>,
    caps: Caps,
    /// Its queue copies what is flooded, as a TAP's does.
    lends: bool,
}

impl Host {
    /// A host that says these frames, one after the other.
    pub fn saying(mut next: impl FnMut() -> Option<Vec<u8>> + Send + 'static) -> Host {
        Host::asking(move || next().map(|bytes| (bytes, Offload::default())))
    }

    /// The same with what it leaves undone.
    pub fn asking(next: impl FnMut() -> Option<(Vec<u8>, Offload)> + Send + 'static) -> Host {
        let caps = Caps { mtu: 9000, csum: true, tso: true, uso: true, mac: None };
        Host { name: String::new(), says: Box::new(next), caps, lends: true }
    }

    /// A host that says nothing.
    pub fn silent() -> Host {
        Host::saying(|| None)
    }

    /// A host that says a frame so many times.
    pub fn repeating(bytes: &[u8], times: usize) -> Host {
        let (bytes, mut left) = (bytes.to_vec(), times);
        Host::saying(move || {
            left = left.checked_sub(1)?;
            Some(bytes.clone())
        })
    }

    /// A host that says what is put into a list.
    pub fn prompted() -> (Host, Arc<Mutex<VecDeque<Vec<u8>>>>) {
        let list: Arc<Mutex<VecDeque<Vec<u8>>>> = Arc::default();
        let prompter = list.clone();
        (Host::saying(move || list.lock().unwrap().pop_front()), prompter)
    }

    /// The same host, behind a port of a switch.
    pub fn named(self, name: &str) -> Host {
        Host { name: name.into(), ..self }
    }

    /// The same host, whose queue needs a frame of its own of every flood.
    pub fn that_is_given_copies(self) -> Host {
        Host { lends: false, ..self }
    }

    /// The same host, for which super-frames are cut.
    pub fn without_offloads(self) -> Host {
        Host { caps: Caps { csum: false, tso: false, uso: false, ..self.caps }, ..self }
    }

    /// A frame as a TAP reads it: through the memory of a super-frame.
    fn land(io: &mut Io<'_>, bytes: &[u8], offload: Offload) -> Option<Frame> {
        let landing = io.pool.alloc(SUPER_ROOM)?;
        let frame = io.pool.alloc(bytes.len());
        io.pool.free(landing);
        let mut frame = frame?;
        frame.offload = offload;
        assert!(frame.fill(bytes), "it has that room");
        Some(frame)
    }
}

impl Port for Host {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "host"
    }

    fn caps(&self) -> Caps {
        self.caps.clone()
    }

    fn open(self: Box<Self>, _arena: &Arena, _workers: usize) -> io::Result<Vec<Box<dyn Queue>>> {
        Ok(vec![self])
    }
}

impl Queue for Host {
    fn receive(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        let mut supers = 0;
        for _ in 0..batch.room() {
            if supers >= SUPER_BURST {
                break;
            }
            let Some((bytes, offload)) = (self.says)() else { break };
            match Host::land(io, &bytes, offload) {
                Some(frame) => {
                    supers += if frame.is_super() { bytes.len() } else { 0 };
                    batch.push(frame).unwrap();
                }
                None => io.refuse(bytes.len(), DropReason::PoolEmpty),
            }
        }
        Ok(())
    }

    fn transmit(&mut self, io: &mut Io<'_>, batch: &mut Batch) -> io::Result<()> {
        batch.drain().for_each(|frame| io.sent(frame));
        Ok(())
    }

    fn lend(&mut self, io: &mut Io<'_>, frame: &mut Frame) -> io::Result<bool> {
        if self.lends {
            io.lent(frame);
        }
        Ok(self.lends)
    }
}

/// Workers that share a domain of so many ports, none of which is open.
pub fn workers(count: usize, ports: u16, arena: &Arena) -> Vec<Worker> {
    workers_of(&one_domain(Domain::new("lan"), vec![PortView::default(); ports.into()]), count, arena)
}

/// Workers that share these ports, none of which is open.
pub fn workers_of(topology: &Topology, count: usize, arena: &Arena) -> Vec<Worker> {
    let config = WorkerConfig { flows: 1024, workers: count, ..WorkerConfig::default() };
    let make = |peers| {
        let mut worker = Worker::new(config, arena, Vec::new()).unwrap();
        if count > 1 {
            worker.join(peers);
        }
        worker.tables().publish(Arc::new(topology.clone())).unwrap();
        worker
    };
    Peers::mesh(count).into_iter().map(make).collect()
}

/// Opens a port at a worker for what leaves by it. Nothing comes in: what it costs to look for that is not counted in.
pub fn listen(worker: &mut Worker, port: u16, host: Host) -> Arc<PortCounters> {
    let (commands, mailbox) = unbounded();
    let (done, opened) = unbounded();
    let (counters, caps) = (Arc::<PortCounters>::default(), host.caps.clone());
    let (name, owners, up) = (port.to_string(), [0].into(), Arc::default());
    let queues: Vec<Box<dyn Queue>> = vec![Box::new(host)];
    let attachment = Attachment { port: PortId(port), name, queues, owners, counters: counters.clone(), up, caps };
    let view = worker.tables().topology.port(PortId(port)).cloned().map(Box::new);
    commands.send(Command::Attach(attachment, view, done)).unwrap();
    assert!(worker.obey(&mailbox, &mut Sleeper::new().unwrap()));
    opened.try_recv().unwrap();
    counters
}

/// Opens a port at all workers, with its queue at one; what each counts of it.
pub fn attach(workers: &mut [Worker], owner: usize, port: u16, host: Host) -> Vec<Arc<PortCounters>> {
    let caps = host.caps.clone();
    attach_queue(workers, owner, port, (Box::new(host), caps))
}

/// The same for any queue.
pub fn attach_queue(
    workers: &mut [Worker],
    owner: usize,
    port: u16,
    (queue, caps): (Box<dyn Queue>, Caps),
) -> Vec<Arc<PortCounters>> {
    let counters: Vec<Arc<PortCounters>> = workers.iter().map(|_| Arc::default()).collect();
    let (up, mut queues) = (Arc::new(AtomicBool::new(true)), vec![queue]);
    for (number, worker) in workers.iter_mut().enumerate() {
        let queues = if number == owner { std::mem::take(&mut queues) } else { Vec::new() };
        let (counters, up, caps) = (counters[number].clone(), up.clone(), caps.clone());
        let (port, name, owners) = (PortId(port), port.to_string(), [owner].into());
        worker.attach(Attachment { port, name, queues, owners, counters, up, caps });
    }
    counters
}
