//! Random lives of a switch: configurations, frames, time, ports that come and go.

use super::vlan::{C, S, access, native, tagged, trunk, tunnel};
use super::{Rig, Seen, Setup, datagram, mac};
use crossdock_engine::drop::DropReason;
use crossdock_engine::flow::{Depth, Flow, PortId, Verdict};
use crossdock_engine::frame::{Arena, Csum, Gso, GsoKind, Offload};
use crossdock_engine::guard::Guard;
use crossdock_engine::stages::Stage;
use crossdock_engine::tables::topology::{Domain, DomainId, PortView, Topology};
use crossdock_engine::tables::vlan::Tagging;
use crossdock_engine::wire::Mac;
use crossdock_engine::wire::vlan::{Tag, Tci};
use crossdock_engine::worker::WorkerConfig;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

/// Frames to this address go to station 2 instead, as from station 3.
pub const VIRTUAL: Mac = Mac([2, 0, 0, 0, 1, 0]);
/// Frames to this address are answered by the switch.
pub const ASKED: Mac = Mac([2, 0, 0, 0, 1, 1]);
/// The domains' own address.
const OWN: Mac = Mac([2, 0, 0, 0, 1, 2]);
/// UDP datagrams to this port are refused.
const REFUSED_PORT: u16 = 666;

/// A frame to be sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub port: usize,
    source: Mac,
    destination: Mac,
    udp_port: u16,
    tags: Vec<Tag>,
    shape: Shape,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Whole(usize),
    /// Cut off after so many bytes.
    Cut(usize),
    Super,
}

/// One event of a life.
#[derive(Clone, Debug)]
pub enum Step {
    Frames(Vec<Sent>),
    /// Each goes through before the next is sent.
    OneByOne(Vec<Sent>),
    Round,
    Time(u32),
    Link(usize, bool),
    /// Removes the port, or puts it back.
    Toggle(usize),
}

/// A configuration and what happens to it.
#[derive(Clone, Debug)]
pub struct Life {
    /// Domain and isolation by port.
    ports: Vec<(u16, bool)>,
    /// By port; transparent where it ends.
    vlans: Vec<Tagging>,
    /// Whether each port refuses the station of its own number.
    guarded: bool,
    pub stages: bool,
    pub ageing_s: u32,
    pub steps: Vec<Step>,
}

impl Life {
    pub fn setup(&self, config: WorkerConfig, arena: &Arena) -> Setup {
        let view = |&(domain, isolated): &(u16, bool)| {
            Some(PortView { domain: Some(DomainId(domain)), isolated, ..PortView::default() })
        };
        let domain = |id: u16| {
            let members = (0..).zip(&self.ports).filter(|(_, port)| port.0 == id).map(|(n, _)| PortId(n)).collect();
            Some(Domain {
                ageing_s: self.ageing_s,
                mac: Some(OWN),
                vlan_filtering: !self.vlans.is_empty(),
                members,
                ..Domain::new(&format!("d{id}"))
            })
        };
        let mut ports: Vec<_> = self.ports.iter().map(view).collect();
        for (port, vlan) in ports.iter_mut().flatten().zip(&self.vlans) {
            port.vlan = vlan.clone();
        }
        for (n, port) in (0..).zip(ports.iter_mut().flatten()).filter(|_| self.guarded) {
            port.guard = Some(Arc::new(all_but(n)));
        }
        let mut topology = Topology { ports, domains: vec![domain(0), domain(1)] };
        topology.settle();
        let stages = if self.stages { stages() } else { Vec::new() };
        Setup { config, topology, stages, ring: 256, mtus: Vec::new(), takes: Vec::new(), arena: arena.clone() }
    }
}

/// Lets pass all stations of lives but one.
fn all_but(n: u8) -> Guard {
    let macs: Vec<Mac> = (0..=u8::MAX).filter(|&other| other != n).map(mac).collect();
    Guard::new(Some(&macs), Some(&["10.0.0.1/32".parse().unwrap()]))
}

impl Sent {
    pub fn bytes(&self) -> (Vec<u8>, Offload) {
        let len = match self.shape {
            Shape::Whole(len) => len,
            Shape::Cut(_) => 60,
            Shape::Super => 9000,
        };
        let mut frame = datagram(self.source, self.destination, &vec![self.udp_port as u8; len - 42]);
        frame[36..38].copy_from_slice(&self.udp_port.to_be_bytes());
        let mut frame = tagged(&self.tags, &frame);
        let shift = 4 * self.tags.len() as u16;
        let csum = Some(Csum { start: 34 + shift, offset: 6 });
        let offload = match self.shape {
            Shape::Whole(len) => Offload { csum: csum.filter(|_| len % 2 == 0), gso: None },
            Shape::Cut(len) => {
                frame.truncate(len);
                Offload::default()
            }
            Shape::Super => {
                Offload { csum, gso: Some(Gso { size: 1400, hdr_len: 42 + shift, kind: GsoKind::Udp, ecn: false }) }
            }
        };
        (frame, offload)
    }
}

/// When the worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At the rounds of the life: frames wait at several ports at once.
    Rounds,
    /// Whenever the frames of one port have been sent: what happens first is the same for every batch size.
    PortByPort,
}

/// Frames offered to ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offered {
    pub taken: usize,
    pub refused: usize,
}

/// Carries out one step; says what became of its frames.
pub fn step(rig: &mut Rig, step: &Step, pace: Pace) -> Offered {
    match step {
        Step::Frames(frames) => return send(rig, frames, pace),
        Step::OneByOne(frames) => {
            return frames.chunks(1).fold(Offered::default(), |sum, one| {
                let offered = send(rig, one, Pace::PortByPort);
                Offered { taken: sum.taken + offered.taken, refused: sum.refused + offered.refused }
            });
        }
        Step::Round => _ = rig.round(),
        Step::Time(ms) => rig.advance(*ms),
        Step::Link(port, up) => rig.set_link(*port, *up),
        Step::Toggle(port) if rig.has(*port) => drop(rig.remove(*port)),
        Step::Toggle(port) => rig.add(*port),
    }
    Offered::default()
}

fn send(rig: &mut Rig, frames: &[Sent], pace: Pace) -> Offered {
    let mut offered = Offered::default();
    let mut frames: Vec<_> = frames.iter().filter(|sent| rig.has(sent.port)).collect();
    if pace == Pace::PortByPort {
        frames.sort_by_key(|sent| sent.port);
    }
    for (i, sent) in frames.iter().enumerate() {
        let (bytes, offload) = sent.bytes();
        let taken = rig.offer(sent.port, &bytes, offload);
        *(if taken { &mut offered.taken } else { &mut offered.refused }) += 1;
        if pace == Pace::PortByPort && frames.get(i + 1).is_none_or(|next| next.port != sent.port) {
            rig.settle();
        }
    }
    offered
}

/// What came out of every port in order, and what was dropped where.
pub type Outcome = (Vec<Vec<Seen>>, Vec<Vec<u64>>);

thread_local! {
    /// Mapped once a test, and whole again after every life.
    static ARENA: Arena = Arena::new(4096, 256).unwrap();
}

/// Lives a life through and collects what came of it.
pub fn live(life: &Life, config: WorkerConfig, pace: Pace) -> Outcome {
    let arena = ARENA.with(Arena::clone);
    let mut rig = Rig::build(life.setup(config, &arena));
    let mut out = vec![Vec::new(); life.ports.len()];
    for (i, event) in life.steps.iter().enumerate() {
        if i % 8 == 0 || matches!(event, Step::Toggle(_)) {
            rig.settle();
        }
        collect(&mut rig, &mut out);
        assert_eq!(step(&mut rig, event, pace).refused, 0, "the rings are large enough");
    }
    rig.settle();
    collect(&mut rig, &mut out);
    let drops = rig.drops();
    assert_eq!(rig.balance().0, rig.balance().1);
    assert!(rig.ends_at_rest());
    for reason in [DropReason::TxFull, DropReason::PoolEmpty] {
        assert!(drops.iter().all(|port| port[reason.index()] == 0), "rings and memory are large enough");
    }
    (out, drops)
}

/// Where two outcomes differ first.
pub fn difference(a: &Outcome, b: &Outcome) -> Option<String> {
    for (port, (a, b)) in a.0.iter().zip(&b.0).enumerate() {
        let first = (0..a.len().max(b.len())).find(|&i| a.get(i) != b.get(i));
        if let Some(i) = first {
            return Some(format!("frame {i} of port {port}: {:02x?} or {:02x?}", a.get(i), b.get(i)));
        }
    }
    for (port, (a, b)) in a.1.iter().zip(&b.1).enumerate() {
        let reason = DropReason::ALL.iter().find(|reason| a[reason.index()] != b[reason.index()]);
        if let Some(reason) = reason {
            return Some(format!("port {port}: {} {} or {}", a[reason.index()], b[reason.index()], reason.name()));
        }
    }
    None
}

fn collect(rig: &mut Rig, out: &mut [Vec<Seen>]) {
    for (all, new) in out.iter_mut().zip(rig.all_received()) {
        all.extend(new);
    }
}

/// A life of at most `steps` events.
pub fn life(steps: usize) -> impl Strategy<Value = Life> {
    (3usize..=6).prop_flat_map(move |ports| {
        let port = (prop_oneof![4 => Just(0u16), 1 => Just(1)], proptest::bool::weighted(0.25));
        let ageing = prop_oneof![Just(3u32), Just(100_000)];
        let vlans = prop_oneof![1 => Just(Vec::new()), 2 => vec(tagging(), ports)];
        let guarded = proptest::bool::weighted(0.25);
        (vec(port, ports), vlans, any::<bool>(), ageing, vec(event(ports), 1..steps), guarded).prop_map(
            |(ports, vlans, stages, ageing_s, steps, guarded)| Life { ports, vlans, guarded, stages, ageing_s, steps },
        )
    })
}

/// Ports of few VLANs, so that they meet.
fn tagging() -> impl Strategy<Value = Tagging> {
    prop_oneof![
        3 => prop_oneof![Just(10), Just(20)].prop_map(access),
        3 => Just(trunk(&[10, 20, 100])),
        2 => any::<bool>().prop_map(|tagged| native(&[20], 10, tagged)),
        2 => prop_oneof![Just(S), Just(C)].prop_map(|tpid| tunnel(100, tpid)),
        1 => Just(Tagging::Transparent),
    ]
}

/// Mostly none, or one that a port may carry.
fn tags() -> impl Strategy<Value = Vec<Tag>> {
    let number = prop_oneof![6 => Just(10u16), 2 => Just(20), 2 => Just(100), 1 => Just(0), 1 => Just(4095)];
    let priority = prop_oneof![3 => Just(0u16), 1 => Just(0x7000)];
    let tag = (prop_oneof![3 => Just(C), 1 => Just(S)], number, priority)
        .prop_map(|(tpid, number, priority)| Tag::new(tpid, Tci(number | priority)));
    prop_oneof![3 => Just(Vec::new()), 2 => vec(tag.clone(), 1), 1 => vec(tag, 2)]
}

fn event(ports: usize) -> impl Strategy<Value = Step> {
    let time = prop_oneof![3 => 1u32..200, 1 => 200u32..3000, 1 => Just(6000u32)];
    prop_oneof![
        12 => vec(sent(ports), 1..12).prop_map(Step::Frames),
        1 => jumping(ports).prop_map(Step::OneByOne),
        6 => Just(Step::Round),
        3 => time.prop_map(Step::Time),
        1 => (0..ports, proptest::bool::weighted(0.6)).prop_map(|(port, up)| Step::Link(port, up)),
        1 => (0..ports).prop_map(Step::Toggle),
    ]
}

/// A station that says the same thing now at one port, now at another.
fn jumping(ports: usize) -> impl Strategy<Value = Vec<Sent>> {
    (sent(ports), vec(0..ports, 10..30))
        .prop_map(|(sent, ports)| ports.into_iter().map(|port| Sent { port, ..sent.clone() }).collect())
}

fn sent(ports: usize) -> impl Strategy<Value = Sent> {
    let source = prop_oneof![
        20 => (0u8..6).prop_map(mac),
        1 => prop_oneof![Just(Mac::ZERO), Just(Mac([1, 0, 0x5e, 0, 0, 1])), Just(OWN), Just(VIRTUAL)],
    ];
    let destination = prop_oneof![
        16 => (0u8..6).prop_map(mac),
        2 => Just(Mac::BROADCAST),
        1 => (0u8..0x30).prop_map(|last| Mac([1, 0x80, 0xc2, 0, 0, last])),
        2 => Just(VIRTUAL),
        2 => Just(ASKED),
    ];
    let shape = prop_oneof![
        12 => (60usize..80).prop_map(Shape::Whole),
        1 => Just(Shape::Whole(1519)),
        1 => (0usize..45).prop_map(Shape::Cut),
        1 => Just(Shape::Super),
    ];
    let udp_port = prop_oneof![8 => 1u16..4, 1 => Just(REFUSED_PORT)];
    (0..ports, source, destination, udp_port, tags(), shape).prop_map(
        |(port, source, destination, udp_port, tags, shape)| Sent { port, source, destination, udp_port, tags, shape },
    )
}

/// Stages that refuse by layer 4, rewrite and answer.
pub fn stages() -> Vec<Box<dyn Stage>> {
    vec![Box::new(Filter), Box::new(Translate), Box::new(Answer)]
}

/// Refuses datagrams by their port: reads to layer 4.
struct Filter;

impl Stage for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn depth(&self) -> Depth {
        Depth::L4
    }

    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        if flow.key().l4_dst == REFUSED_PORT { Verdict::Drop(DropReason::Denied) } else { Verdict::Continue }
    }
}

/// Rewrites both addresses of frames to the virtual station.
struct Translate;

impl Stage for Translate {
    fn name(&self) -> &'static str {
        "translate"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        if flow.key().eth_dst == VIRTUAL {
            flow.set_eth_dst(mac(2));
            flow.set_eth_src(mac(3));
        }
        Verdict::Continue
    }
}

/// Sends frames to [`ASKED`] back with their addresses swapped.
struct Answer;

impl Stage for Answer {
    fn name(&self) -> &'static str {
        "answer"
    }

    fn depth(&self) -> Depth {
        Depth::L2
    }

    fn apply(&mut self, flow: &mut Flow<'_>) -> Verdict {
        let (key, frame) = (flow.key(), flow.frame());
        if key.eth_dst != ASKED {
            return Verdict::Continue;
        }
        let answer = flow.answer();
        answer.extend(key.eth_src.0);
        answer.extend(ASKED.0);
        answer.extend(&frame[12..]);
        Verdict::Reply
    }
}
