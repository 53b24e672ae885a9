//! What one worker learns, all learn: also one that has no frames of its own, that sleeps, or that takes a configuration or
//! sees a link go down at another moment.
#![cfg(test)]

mod support;

use crossdock_engine::Switch;
use crossdock_engine::flow::PortId;
use crossdock_engine::frame::{Arena, Offload};
use crossdock_engine::switch::Config;
use crossdock_engine::tables::topology::{Domain, DomainId, PortView, Topology};
use crossdock_engine::tables::vlan::{Tagging, Vlan};
use crossdock_engine::wire::Mac;
use crossdock_engine::wire::vlan::{Tpid, Vid};
use crossdock_engine::worker::Polling;
use proptest::prelude::*;
use std::time::{Duration, Instant};
use support::mesh::Mesh;
use support::{PATIENCE, frame, mac, numbered, plug};

/// One of many stations.
fn station(n: u32) -> Mac {
    let [_, _, a, b] = n.to_be_bytes();
    Mac([2, 1, 0, 0, a, b])
}

/// A worker without ingress takes part in learning: more addresses are learned than a ring between workers holds.
#[test]
fn a_worker_without_frames_of_its_own_hears() {
    let mut mesh = Mesh::of(Domain { fdb_max: 8192, ..Domain::new("lan") }, 2, 2, 1024);
    for n in 0..3000 {
        mesh.copies(0, &numbered(station(n), mac(200), n));
    }
    assert_eq!(mesh.known(), [3000, 3000]);
}

/// One that sleeps too, and nothing but news wakes it: all frames end where they came from.
#[test]
fn a_worker_that_sleeps_hears() {
    let cores = (0..std::thread::available_parallelism().map_or(1, |n| n.get()).min(2)).collect::<Vec<_>>();
    let cores = if cores.len() == 2 { cores } else { vec![0, 0] };
    let switch = Switch::new(Config { cores, polling: Polling::Interrupt, ..Config::default() }).unwrap();
    switch.add_domain(Domain { fdb_max: 8192, ..Domain::new("lan") }).unwrap();
    let mut a = plug(&switch, "a", "lan");
    a.send(&frame(mac(1), Mac::BROADCAST), Offload::default()).unwrap();
    let begin = Instant::now();
    while switch.fdb_sizes().unwrap()["lan"] < 3001 {
        assert!(begin.elapsed() < PATIENCE, "{:?}", switch.fdb_sizes());
        for n in 0..3000 {
            // What finds the ring full is sent again in the next turn.
            let _ = a.send(&numbered(station(n), mac(1), n), Offload::default());
            if n % 64 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

const PORTS: usize = 4;

/// The `number`th configuration of a life, and what a station that says nothing of VLANs is then known by: another table,
/// other VLANs, another domain.
fn configuration(number: usize) -> (Topology, (DomainId, Vlan)) {
    let vid = Vid::new(10).unwrap();
    let (vlan, domain, known) = match number % 4 {
        2 => (Tagging::Access { vid, admit_tagged: false }, DomainId(0), Vlan::of(Tpid::CUSTOMER, vid)),
        3 => (Tagging::Transparent, DomainId(1), Vlan::NONE),
        _ => (Tagging::Transparent, DomainId(0), Vlan::NONE),
    };
    let fdb_max = if number % 4 == 1 { 1000 } else { 2000 };
    let mut domains = vec![Domain { fdb_max, ..Domain::new("one") }, Domain::new("other")];
    domains[domain.index()].members = (0..PORTS as u16).map(PortId).collect();
    let port = PortView { domain: Some(domain), vlan, ..PortView::default() };
    let topology = Topology { ports: vec![Some(port); PORTS], domains: domains.into_iter().map(Some).collect() };
    (topology, (domain, known))
}

/// What happens to workers and ports, in whatever order.
#[derive(Clone, Debug)]
enum Step {
    /// The station says something: each has a port of its own.
    Speak(u8),
    /// The worker gets its turn.
    Turn(usize),
    /// The worker takes the next configuration, once all have taken the one before.
    Take(usize),
    /// The port's link goes up or down.
    Link(usize, bool),
    /// The worker looks at its links.
    Look(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..9).prop_map(Step::Speak),
        6 => (0usize..4).prop_map(Step::Turn),
        2 => (0usize..4).prop_map(Step::Take),
        1 => (0usize..PORTS, any::<bool>()).prop_map(|(port, up)| Step::Link(port, up)),
        2 => (0usize..4).prop_map(Step::Look),
    ]
}

/// A mesh whose workers take configurations at different times.
struct Life {
    mesh: Mesh,
    /// How many configurations each worker has taken.
    taken: Vec<usize>,
}

impl Life {
    fn new(workers: usize) -> Life {
        let mesh = Mesh::build(configuration(0).0, workers, 1024, Arena::new(8192, 64).unwrap());
        Life { mesh, taken: vec![0; workers] }
    }

    fn take(&mut self, worker: usize) {
        let number = self.taken[worker] + 1;
        if self.taken.iter().any(|&taken| taken + 1 < number) {
            return;
        }
        self.taken[worker] = number;
        self.mesh.publish(worker, &configuration(number).0);
    }

    fn step(&mut self, step: &Step) {
        let workers = self.taken.len();
        match *step {
            Step::Speak(n) => self.mesh.send(usize::from(n) % PORTS, &frame(mac(n), Mac::BROADCAST)),
            Step::Turn(worker) => _ = self.mesh.poll(worker % workers),
            Step::Take(worker) => self.take(worker % workers),
            Step::Link(port, up) => self.mesh.set_link(port, up),
            Step::Look(worker) => self.mesh.workers[worker % workers].check_links(),
        }
    }

    /// All take the newest configuration, look at their links, and say what they have to say.
    fn end(&mut self) {
        let newest = self.taken.iter().copied().max().unwrap_or_default();
        for worker in 0..self.taken.len() {
            if self.taken[worker] < newest {
                self.take(worker);
            }
            self.mesh.workers[worker].check_links();
        }
        (0..3).for_each(|_| self.mesh.settle());
    }

    /// Where each worker believes a station to be.
    fn places(&mut self, n: u8) -> Vec<Option<PortId>> {
        let (domain, vlan) = configuration(self.taken[0]).1;
        self.mesh.workers.iter_mut().map(|worker| worker.tables().lookup(domain, (vlan, mac(n)))).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whenever workers take configurations and see links, what the worker of a port knows of its stations, all know.
    #[test]
    fn nothing_told_is_forgotten(workers in 2usize..5, steps in proptest::collection::vec(step(), 1..80)) {
        let mut life = Life::new(workers);
        steps.iter().for_each(|step| life.step(step));
        life.end();
        for n in 1..9 {
            let (places, owner) = (life.places(n), usize::from(n) % PORTS % workers);
            let here = PortId(u16::from(n) % PORTS as u16);
            prop_assert!(places[owner] != Some(here) || places == vec![Some(here); workers], "{n}: {places:?}");
        }
        prop_assert_eq!(life.mesh.in_flight(), 0);
    }
}

/// What the first worker learns by a new configuration, the second does not lose by taking it later.
#[test]
fn a_configuration_taken_later_keeps_what_was_heard() {
    for number in 1..=4 {
        let mut life = Life::new(2);
        for _ in 1..number {
            (0..2).for_each(|worker| life.take(worker));
        }
        life.take(0);
        [Step::Speak(4), Step::Turn(0), Step::Turn(1), Step::Turn(1)].iter().for_each(|step| life.step(step));
        life.end();
        assert_eq!(life.places(4), [Some(PortId(0)); 2], "configuration {number}");
    }
}

/// A worker that sees late that a link was down keeps what came in since it is up again.
#[test]
fn a_link_seen_down_late_keeps_what_was_heard() {
    let mut life = Life::new(2);
    let steps = [
        [Step::Speak(4), Step::Turn(0), Step::Turn(1)],
        [Step::Link(0, false), Step::Look(0), Step::Link(0, true)],
        [Step::Speak(4), Step::Turn(0), Step::Turn(1)],
    ];
    steps.iter().flatten().for_each(|step| life.step(step));
    life.step(&Step::Look(1));
    assert_eq!(life.places(4), [Some(PortId(0)); 2]);
    life.end();
    assert_eq!(life.places(4), [Some(PortId(0)); 2]);
}
