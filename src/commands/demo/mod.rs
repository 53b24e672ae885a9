//! `xdock demo`: the main job on an embedded default. Three hosts in namespaces of their own, real traffic between them
//! through a switch in a fourth, and what there is to see.
//!
//! Nothing appears in the namespace that the command was started in: the thread moves into the switch's namespace
//! before it creates any interface. Everything ends by itself, and a signal only makes it end earlier.

pub mod bulk;
pub mod namespace;
pub mod packets;
pub mod ping;
mod report;
pub mod scene;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::show;
use super::stop::stop_on_signals;
use crate::failure::Failure;
use bulk::Stream;
use packets::Load;
use report::{Checks, count, say, size};
use scene::{Host, Scene};

const PINGS: u16 = 5;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(50);
const BULK: Duration = Duration::from_secs(3);
const LOAD: Duration = Duration::from_secs(2);
/// Between two lines of a running load.
const SAMPLE: Duration = Duration::from_secs(1);

pub fn run() -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        let hint = "sudo xdock demo; it touches nothing outside the namespaces it makes";
        return Err(Failure::new("demo", "making network namespaces needs root", Some(hint.into())));
    }
    let stop = stop_on_signals().map_err(failed("signals"))?;
    namespace::remove_stale();
    namespace::remove_on_panic();
    let scene = Scene::build(None)?;
    report::introduce(&scene);
    let mut demo = Demo { scene, stop, checks: Checks::default() };
    for act in [Demo::ping, Demo::bulk, Demo::packets, Demo::show, Demo::account] {
        act(&mut demo)?;
        demo.interrupted()?;
    }
    let Demo { scene, checks, .. } = demo;
    drop(scene);
    checks.conclude()
}

struct Demo {
    scene: Scene,
    stop: Arc<AtomicBool>,
    checks: Checks,
}

impl Demo {
    fn ping(&mut self) -> Result<(), Failure> {
        say("\n[1/5] Ping: every host asks every other one, by its own ICMP echo\n");
        for from in &self.scene.hosts {
            for to in self.scene.hosts.iter().filter(|to| to.name != from.name) {
                let answered = from.namespace.run(|| ping::ping(to.address, PINGS, PAUSE)).map_err(failed("ping"))?;
                report::round_trips(from, to, &answered, PINGS);
                let what = format!("ping {} > {}", from.name, to.name);
                self.checks.add(what, answered.len() == usize::from(PINGS));
            }
        }
        say(
            "  Hosts that have not spoken before ask for the address by ARP first, and the switch learns where they are.",
        );
        Ok(())
    }

    fn bulk(&mut self) -> Result<(), Failure> {
        let [h1, h2] = self.pair();
        say(format!(
            "\n[2/5] TCP: one stream from {} to {}, {} s, every byte compared\n",
            h1.name,
            h2.name,
            BULK.as_secs()
        ));
        let stream = Stream::connect(&h1.namespace, &h2.namespace, h2.address).map_err(failed("TCP"))?;
        let (begin, before) = (Instant::now(), self.scene.sent_to(&h2.name));
        let (sent, received) = thread::scope(|scope| {
            let sender = scope.spawn(|| stream.send(BULK, &self.stop));
            let receiver = scope.spawn(|| stream.receive());
            self.observe(&h2.name, || receiver.is_finished());
            (sender.join().unwrap_or_else(panicked), receiver.join().unwrap_or_else(panicked))
        });
        let took = begin.elapsed();
        let (sent, received) = (sent.map_err(failed("TCP sender"))?, received.map_err(failed("TCP receiver"))?);
        let frames = self.scene.sent_to(&h2.name).frames - before.frames;
        let exact = received.identical && received.bytes == sent;
        let verdict = if exact { "all of them identical to those sent" } else { "NOT those that were sent" };
        say(format!("  {} arrived, {verdict}: {:.1} Gbit/s.", size(received.bytes), gbits(received.bytes, took)));
        say(format!(
            "  They took {} frames of {} on average: a segment of up to 64 KiB crosses the switch whole.",
            count(frames),
            size(received.bytes / frames.max(1))
        ));
        self.checks.add("TCP transfer is bit-exact", exact && sent > 0);
        Ok(())
    }

    fn packets(&mut self) -> Result<(), Failure> {
        let [h1, h2] = self.pair();
        say(format!("\n[3/5] Packet rate: 64-byte UDP frames from {} to {}, {} s\n", h1.name, h2.name, LOAD.as_secs()));
        let load = Load::prepare(&h1.namespace, &h2.namespace, h2.address).map_err(failed("UDP"))?;
        let counted = || h1.kernel_counts().map_err(failed("kernel counters"));
        let (begin, before, kernel) = (Instant::now(), self.scene.sent_to(&h2.name), counted()?);
        let sent = thread::scope(|scope| {
            let sender = scope.spawn(|| load.send(LOAD, &self.stop));
            self.observe(&h2.name, || sender.is_finished());
            sender.join().unwrap_or_else(panicked)
        });
        let (sent, took) = (sent.map_err(failed("UDP sender"))?, begin.elapsed());
        self.scene.settle();
        let switched = self.scene.sent_to(&h2.name).frames - before.frames;
        say(format!("  {} packets sent, {} switched: {:.2} Mpps.", count(sent), count(switched), rate(switched, took)));
        let overflowed = counted()?.overflowed - kernel.overflowed;
        say(format!("  {} overflowed {}'s own queue before the switch could take them.", count(overflowed), h1.name));
        self.checks.add("UDP packets arrive", switched > 0);
        Ok(())
    }

    fn show(&mut self) -> Result<(), Failure> {
        let service = &self.scene.service;
        say("\n[4/5] What the switch knows\n");
        report::table("xdock show ports", &show::ports(service.ports()), report::PORTS);
        report::table("xdock show fdb", &show::fdb(service.fdb()?), report::FDB);
        report::table("xdock show flows", &show::flows(service.flows()?), report::FLOWS);
        report::table("xdock show drops", &show::drops(show::occurred(service.drops())), report::DROPS);
        Ok(())
    }

    fn account(&mut self) -> Result<(), Failure> {
        say("[5/5] The account: no frame may vanish\n");
        self.scene.settle();
        let frames = self.scene.service.switch().conservation();
        report::conservation(&frames);
        self.checks.add("frames are conserved", frames.in_flight() == 0);
        for host in &self.scene.hosts {
            let agrees = self.scene.agrees(host).map_err(failed("kernel counters"))?;
            report::agreement(host, agrees);
            self.checks.add(format!("{}'s kernel counted the same frames", host.name), agrees);
        }
        Ok(())
    }

    /// Says once a second how much reaches `port`, until `done`.
    fn observe(&self, port: &str, done: impl Fn() -> bool) {
        let (mut then, mut before) = (Instant::now(), self.scene.sent_to(port));
        while !done() {
            thread::sleep(Duration::from_millis(10));
            let took = then.elapsed();
            if took >= SAMPLE {
                let now = self.scene.sent_to(port);
                let (frames, bytes) = (now.frames - before.frames, now.bytes - before.bytes);
                say(format!("  {:6.2} Gbit/s  {:6.3} M frames/s", gbits(bytes, took), rate(frames, took)));
                (then, before) = (Instant::now(), now);
            }
        }
    }

    fn pair(&self) -> [&Host; 2] {
        [&self.scene.hosts[0], &self.scene.hosts[1]]
    }

    fn interrupted(&self) -> Result<(), Failure> {
        if self.stop.load(Relaxed) { Err(Failure::new("demo", "interrupted", None)) } else { Ok(()) }
    }
}

pub fn gbits(bytes: u64, took: Duration) -> f64 {
    bytes as f64 * 8.0 / took.as_secs_f64() / 1e9
}

/// Millions a second.
pub fn rate(n: u64, took: Duration) -> f64 {
    n as f64 / took.as_secs_f64() / 1e6
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::new(&format!("demo: {what}"), error, None)
}

pub fn panicked<T>(_: Box<dyn std::any::Any + Send>) -> io::Result<T> {
    Err(io::Error::other("panicked"))
}
