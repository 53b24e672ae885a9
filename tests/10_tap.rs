//! TAP ports against the kernel. Needs root: every test makes network namespaces of its own and deletes them.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says no more")]

use crossdock_engine::drop::DropReason;
use crossdock_engine::frame::{Arena, Batch, Csum, Frame, GsoKind, Pool, SMALL_ROOM, SUPER_ROOM};
use crossdock_engine::ports::tap::{Route, Tap, TapConfig, TapHandle, remove_together};
use crossdock_engine::ports::{Caps, Io, NetnsId, NetnsNames, Port, Queue, Whereabouts};
use crossdock_engine::stats::PortCounters;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{Scope, ScopedJoinHandle, scope};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);

/// A network namespace that is deleted again.
struct Netns(String);

impl Netns {
    fn new() -> Netns {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("xd-tap-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        assert!(rustix::process::geteuid().is_root(), "the TAP tests need root");
        ip(&format!("netns add {name}"));
        Netns(name)
    }

    /// Runs on a thread inside, so that nothing happens in the namespace of the test program.
    fn spawn<'s, T: Send + 's>(
        &self,
        scope: &'s Scope<'s, '_>,
        work: impl FnOnce() -> T + Send + 's,
    ) -> ScopedJoinHandle<'s, T> {
        let netns = File::open(format!("/run/netns/{}", self.0)).unwrap();
        scope.spawn(move || {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            drop(netns);
            work()
        })
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        scope(|s| self.spawn(s, work).join()).unwrap()
    }

    fn ip(&self, args: &str) -> String {
        ip(&format!("-n {} {args}", self.0))
    }

    fn id(&self) -> Option<NetnsId> {
        NetnsId::of(&self.0)
    }

    fn links(&self) -> String {
        self.ip("-o link")
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Fails harmlessly where the test deleted it already.
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

fn ip(args: &str) -> String {
    let output = Command::new("ip").args(args.split_whitespace()).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An open TAP with all it needs.
struct Rig {
    queues: Vec<Box<dyn Queue>>,
    handle: TapHandle,
    caps: Caps,
    pool: Pool,
    count: PortCounters,
    batch: Batch,
}

impl Rig {
    fn new(config: &TapConfig) -> Rig {
        let arena = Arena::new(64, 32).unwrap();
        let tap = Tap::create(config).unwrap_or_else(|e| panic!("{e}"));
        let (handle, caps) = (tap.handle(), tap.caps());
        let queues = Box::new(tap).open(&arena, 1).unwrap();
        Rig { queues, handle, caps, pool: arena.pool(64, 32), count: PortCounters::default(), batch: Batch::new(32) }
    }

    /// One receive call on every queue.
    fn receive(&mut self) -> std::io::Result<Vec<Frame>> {
        let mut io = Io::new(&mut self.pool, &self.count);
        self.queues.iter_mut().try_for_each(|queue| queue.receive(&mut io, &mut self.batch))?;
        Ok(self.batch.drain().collect())
    }

    /// One receive call; whether any frame is `wanted`.
    fn sees(&mut self, wanted: impl Fn(&Frame) -> bool) -> bool {
        let frames = self.receive().unwrap();
        let seen = frames.iter().any(wanted);
        frames.into_iter().for_each(|f| self.pool.free(f));
        seen
    }

    fn expect(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) {
        until(what, || self.sees(&wanted));
    }

    fn transmit(&mut self, queue: usize, frame: Frame) -> std::io::Result<()> {
        let mut io = Io::new(&mut self.pool, &self.count);
        self.batch.push(frame).unwrap();
        let result = self.queues[queue].transmit(&mut io, &mut self.batch);
        assert!(self.batch.is_empty());
        result
    }

    fn frame(&mut self, bytes: &[u8]) -> Frame {
        let mut frame = self.pool.alloc(bytes.len()).unwrap();
        assert!(frame.fill(bytes));
        frame
    }

    fn send(&mut self, queue: usize, bytes: &[u8]) -> std::io::Result<()> {
        let frame = self.frame(bytes);
        self.transmit(queue, frame)
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.count.drops[reason.index()].get()
    }

    /// Nothing is in flight: all frame memory is back.
    fn assert_full(self) {
        let Rig { pool, queues, .. } = self;
        let arena = pool.arena().clone();
        drop((pool, queues));
        assert_eq!(arena.free(), arena.total());
    }
}

/// A TAP `eth0` in `netns`.
fn eth0(netns: &Netns) -> TapConfig {
    let mut config = TapConfig::new("port", "eth0");
    config.netns = Some(netns.0.clone());
    config
}

fn addressed(netns: &Netns, addresses: &[&str]) -> TapConfig {
    TapConfig { addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(), ..eth0(netns) }
}

/// A broadcast frame of an experimental type, which the kernel does not answer.
fn sample(len: usize, seed: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, seed, 0x88, 0xb5]);
    frame.extend((14..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)));
    frame
}

fn is_arp(frame: &Frame) -> bool {
    frame.get(12..14) == Some(&[8, 6])
}

/// Makes the kernel inside ask for 10.9.0.2.
fn provoke_arp(netns: &Netns) {
    netns.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"?", "10.9.0.2:9")).unwrap();
}

#[test]
fn a_tap_is_created_moved_and_configured() {
    assert_configured(false);
}

#[test]
fn a_tap_is_created_inside_and_configured() {
    assert_configured(true);
}

fn assert_configured(inside: bool) {
    let (here, there) = (Netns::new(), Netns::new());
    here.run(|| {
        let mut config = TapConfig { inside, ..addressed(&there, &["10.9.0.1/24", "fd00::1/64"]) };
        config.mac = Some("02:00:00:00:00:01".parse().unwrap());
        config.mtu = 1400;
        config.routes = [("0.0.0.0/0", "10.9.0.254"), ("::/0", "fd00::fe")]
            .map(|(to, via)| Route { to: to.parse().unwrap(), via: Some(via.parse().unwrap()) })
            .into();
        config.routes.push(Route { to: "192.0.2.0/24".parse().unwrap(), via: None });
        let rig = Rig::new(&config);
        assert_eq!((rig.caps.mtu, rig.caps.mac), (1400, config.mac));
        assert!(rig.caps.csum && rig.caps.tso);

        let shown = there.ip("-j addr show eth0");
        for wanted in [
            r#""address":"02:00:00:00:00:01""#,
            r#""mtu":1400"#,
            r#""local":"10.9.0.1","prefixlen":24"#,
            r#""local":"fd00::1","prefixlen":64"#,
        ] {
            assert!(shown.contains(wanted), "{wanted} in {shown}");
        }
        assert!(!there.ip("addr show tentative").contains("fd00::1"));
        assert!(there.ip("route").contains("default via 10.9.0.254 dev eth0"));
        assert!(there.ip("route").contains("192.0.2.0/24 dev eth0"));
        assert!(there.ip("-6 route").contains("default via fd00::fe dev eth0"));
        let whereabouts = Whereabouts { ifname: "eth0".into(), netns: there.id() };
        assert_eq!(rig.handle.whereabouts(), Some(whereabouts));
        assert_eq!(there.id().and_then(|id| NetnsNames::read().of(id).map(str::to_owned)), Some(there.0.clone()));
        assert_eq!(rig.handle.holds().is_some(), inside);

        let handle = rig.handle.clone();
        rig.assert_full();
        assert_eq!(handle.whereabouts(), None);
        assert!(!there.links().contains("eth0"), "closing the port deletes the interface");
    });
}

#[test]
fn a_tap_may_stay_in_our_namespace() {
    let here = Netns::new();
    here.run(|| {
        let mut rig = Rig::new(&TapConfig { netns: None, ..addressed(&here, &["10.9.0.1/24"]) });
        until("nothing waits", || !rig.sees(|_| true) && !rig.queues[0].arm());
        provoke_arp(&here);
        until("the worker is woken", || is_readable(rig.queues[0].as_ref()));
        rig.expect("ARP request", is_arp);
        assert!(!here.links().contains("xd0"));
        rig.assert_full();
    });
}

fn is_readable(queue: &dyn Queue) -> bool {
    let fd = queue.fd().unwrap();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec::default())).is_ok_and(|n| n > 0)
}

/// Two TAPs joined by a bridge of the kernel: what goes into one comes out of the other, bit for bit.
fn assert_bit_exact(offload: bool) {
    let netns = Netns::new();
    netns.run(|| {
        let config = |ifname| TapConfig { mtu: 9000, offload, ..TapConfig::new(ifname, ifname) };
        let (mut a, mut b) = (Rig::new(&config("left")), Rig::new(&TapConfig { inside: true, ..config("right") }));
        for args in
            ["link add br0 type bridge", "link set left master br0", "link set right master br0", "link set br0 up"]
        {
            netns.ip(args);
        }
        until("the bridge forwards", || {
            a.send(0, &sample(60, 1)).unwrap();
            b.sees(|f| f[12..14] == [0x88, 0xb5])
        });
        let lengths = [60, 61, 64, 1514, SMALL_ROOM, SMALL_ROOM + 1, 9014];
        for len in lengths {
            let frame = sample(len, 7);
            a.send(0, &frame).unwrap();
            b.expect(&format!("{len} bytes from a to b"), |f| f[..] == frame[..]);
            b.send(0, &frame).unwrap();
            a.expect(&format!("{len} bytes from b to a"), |f| f[..] == frame[..]);
        }
        assert_eq!((a.count.dropped(), b.count.dropped()), (0, 0));
        assert_eq!(b.count.tx_frames.get(), lengths.len() as u64);
        assert_eq!(b.count.tx_bytes.get(), lengths.iter().sum::<usize>() as u64);
        a.assert_full();
        b.assert_full();
    });
}

#[test]
fn frames_pass_bit_for_bit() {
    assert_bit_exact(true);
}

#[test]
fn frames_pass_bit_for_bit_through_the_plain_tap() {
    assert_bit_exact(false);
}

#[test]
fn the_plain_tap_refuses_offloads() {
    let netns = Netns::new();
    netns.run(|| {
        let mut rig = Rig::new(&TapConfig { offload: false, ..eth0(&netns) });
        assert_eq!((rig.caps.csum, rig.caps.tso, rig.caps.uso), (false, false, false));
        let mut frame = rig.frame(&sample(64, 1));
        frame.offload.csum = Some(Csum { start: 34, offset: 6 });
        rig.transmit(0, frame).unwrap();
        assert_eq!(rig.drops(DropReason::TxError), 1);
        rig.assert_full();
    });
}

/// Carries what waits at one TAP to the other, and notes the longest super-frame of each kind.
fn carry(from: &mut Rig, to: &mut Rig, longest: &mut [usize; 3]) {
    for frame in from.receive().unwrap() {
        if let Some(gso) = frame.offload.gso {
            assert!(frame.offload.csum.is_some() && frame.wire_len() <= 1514);
            longest[gso.kind as usize] = frame.len().max(longest[gso.kind as usize]);
        }
        let copy = to.pool.copy(&frame).unwrap();
        from.pool.free(frame);
        to.transmit(0, copy).unwrap();
    }
}

/// Is a cable between two TAPs until `done`.
fn cable(a: &mut Rig, b: &mut Rig, mut done: impl FnMut() -> bool) -> [usize; 3] {
    let (mut longest, start) = ([0; 3], Instant::now());
    while !done() {
        assert!(start.elapsed() < 2 * PATIENCE, "the transfer hangs");
        carry(a, b, &mut longest);
        carry(b, a, &mut longest);
    }
    longest
}

fn pair() -> (Netns, Netns, Rig, Rig) {
    let (left, right) = (Netns::new(), Netns::new());
    let a = Rig::new(&addressed(&left, &["10.9.0.1/24", "fd00::1/64"]));
    let b = Rig::new(&addressed(&right, &["10.9.0.2/24", "fd00::2/64"]));
    (left, right, a, b)
}

/// Sends 4 MiB over TCP between two namespaces and returns the longest super-frame.
fn tcp_super_frame(address: &str, kind: GsoKind) -> usize {
    let here = Netns::new();
    here.run(|| {
        let (left, right, mut a, mut b) = pair();
        let data: Vec<u8> = (0..4 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let listener = right.run(|| TcpListener::bind(address).unwrap());
        let longest = scope(|s| {
            let sent = left.spawn(s, || TcpStream::connect(address).unwrap().write_all(&data).unwrap());
            let received = s.spawn(|| {
                let mut bytes = Vec::new();
                listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
                bytes
            });
            let longest = cable(&mut a, &mut b, || sent.is_finished() && received.is_finished());
            assert!(received.join().unwrap() == data, "the stream arrives as it was sent");
            longest
        });
        for rig in [a, b] {
            assert_eq!(rig.count.dropped(), 0);
            rig.assert_full();
        }
        longest[kind as usize]
    })
}

#[test]
fn tcp_sends_super_frames_and_takes_them() {
    assert!(tcp_super_frame("10.9.0.2:5001", GsoKind::Tcp4) > 10_000);
}

#[test]
fn tcp_over_ipv6_sends_super_frames_and_takes_them() {
    assert!(tcp_super_frame("[fd00::2]:5001", GsoKind::Tcp6) > 10_000);
}

#[test]
fn udp_sends_super_frames_and_takes_them() {
    let here = Netns::new();
    here.run(|| {
        let (left, right, mut a, mut b) = pair();
        if !(a.caps.uso && b.caps.uso) {
            eprintln!("this kernel has no USO");
            return;
        }
        let receiver = right.run(|| UdpSocket::bind("10.9.0.2:5001").unwrap());
        receiver.set_nonblocking(true).unwrap();
        let sender = left.run(|| UdpSocket::bind("10.9.0.1:5001").unwrap());
        segment(&sender, 1400);
        sender.send_to(&sample(30_000, 3), "10.9.0.2:5001").unwrap();
        let (mut bytes, mut datagram) = (Vec::new(), [0; 2000]);
        let longest = cable(&mut a, &mut b, || {
            while let Ok(len) = receiver.recv(&mut datagram) {
                assert!(len <= 1400);
                bytes.extend_from_slice(&datagram[..len]);
            }
            bytes.len() >= 30_000
        });
        assert_eq!(bytes, sample(30_000, 3));
        assert!(longest[GsoKind::Udp as usize] > 30_000);
        a.assert_full();
        b.assert_full();
    });
}

/// Sets UDP_SEGMENT, which the standard library does not know.
#[expect(unsafe_code, reason = "setsockopt")]
fn segment(socket: &UdpSocket, size: libc::c_int) {
    let option = (libc::SOL_UDP, libc::UDP_SEGMENT);
    // SAFETY: the option reads an `int`.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), option.0, option.1, (&raw const size).cast(), 4) };
    assert_eq!(result, 0);
}

#[test]
fn a_tap_that_others_move_and_rename_keeps_working() {
    let (here, first, second) = (Netns::new(), Netns::new(), Netns::new());
    here.run(|| {
        let mut rig = Rig::new(&eth0(&first));
        first.ip(&format!("link set eth0 netns {} name foo", second.0));
        assert!(!rig.queues[0].is_up(), "moving sets an interface down");
        second.ip("link set foo up");
        second.ip("addr add 10.9.0.1/24 dev foo");
        assert!(rig.queues[0].is_up());
        provoke_arp(&second);
        rig.expect("ARP request", is_arp);
        rig.send(0, &sample(100, 1)).unwrap();
        assert_eq!((rig.count.tx_frames.get(), rig.count.dropped()), (1, 0));
        let whereabouts = Whereabouts { ifname: "foo".into(), netns: second.id() };
        assert_eq!(rig.handle.whereabouts(), Some(whereabouts));
        rig.assert_full();
    });
}

#[test]
fn a_deleted_namespace_ends_the_port_and_is_really_gone() {
    let here = Netns::new();
    here.run(|| {
        for _ in 0..5 {
            let there = Netns::new();
            let mut rig = Rig::new(&addressed(&there, &["10.9.0.1/24"]));
            here.ip(&format!("link add witness type veth peer name peer netns {}", there.0));
            ip(&format!("netns del {}", there.0));
            until("the namespace dies under an open port", || !here.links().contains("witness"));
            until("the port learns of it", || {
                rig.receive().map(|frames| frames.into_iter().for_each(|f| rig.pool.free(f))).is_err()
            });
            assert!(rig.send(0, &sample(60, 1)).is_err());
            assert_eq!(rig.drops(DropReason::PortDown), 1);
            assert!(!rig.queues[0].is_up());
            assert_eq!(rig.handle.whereabouts(), None);
            rig.assert_full();
        }
    });
}

/// What made inside costs: who watches the port must look after the namespace.
#[test]
fn a_deleted_namespace_lives_on_with_the_port_made_inside_it_and_dies_with_that() {
    let (here, there) = (Netns::new(), Netns::new());
    here.run(|| {
        let rig = Rig::new(&TapConfig { inside: true, ..addressed(&there, &["10.9.0.1/24"]) });
        assert_eq!(rig.handle.holds(), there.id());
        here.ip(&format!("link add witness type veth peer name peer netns {}", there.0));
        ip(&format!("netns del {}", there.0));
        assert_eq!(there.id(), None);
        std::thread::sleep(Duration::from_millis(300));
        assert!(here.links().contains("witness") && rig.handle.whereabouts().is_some());
        rig.assert_full();
        until("the namespace dies with the port", || !here.links().contains("witness"));
    });
}

#[test]
fn taps_are_removed_together_unless_they_were_kept() {
    let (here, there, other) = (Netns::new(), Netns::new(), Netns::new());
    here.run(|| {
        let named = |netns: &Netns, ifname: &str| TapConfig { inside: true, ifname: ifname.into(), ..eth0(netns) };
        let mut rigs =
            ["eth0", "eth1", "eth2"].map(|ifname| Rig::new(&named(&there, ifname))).into_iter().collect::<Vec<_>>();
        rigs.extend([Rig::new(&named(&here, "eth3")), Rig::new(&named(&other, "eth4"))]);
        rigs[2].handle.keep().unwrap();
        there.ip("tuntap add eth5 mode tap");
        let handles: Vec<_> = rigs.iter().map(|rig| rig.handle.clone()).collect();
        remove_together(&handles);
        let left: Vec<_> = handles.iter().map(|handle| handle.whereabouts().map(|place| place.ifname)).collect();
        assert_eq!(
            left,
            [None, None, Some("eth2".into()), Some("eth3".into()), Some("eth4".into())],
            "one alone goes with its file"
        );
        assert!(rigs.iter_mut().take(2).all(|rig| rig.receive().is_err()));
        rigs.into_iter().for_each(Rig::assert_full);
        let links = [&there, &here, &other].map(Netns::links).concat();
        let left: Vec<_> = (0..6).filter(|n| links.contains(&format!("eth{n}"))).collect();
        assert_eq!(left, [2, 5], "what was kept, and somebody else's");
    });
}

#[test]
fn frames_left_when_the_device_dies_are_dropped_by_name() {
    let here = Netns::new();
    here.run(|| {
        let mut rig = Rig::new(&eth0(&here));
        here.ip("link del eth0");
        for _ in 0..3 {
            let frame = rig.frame(&sample(60, 1));
            rig.batch.push(frame).unwrap();
        }
        assert!(rig.send(0, &sample(60, 1)).is_err());
        assert_eq!((rig.drops(DropReason::PortDown), rig.count.tx_frames.get()), (4, 0));
        rig.assert_full();
    });
}

#[test]
fn an_interface_that_is_down_drops_by_name_and_comes_back() {
    let here = Netns::new();
    here.run(|| {
        let mut rig = Rig::new(&eth0(&here));
        assert!(rig.queues[0].is_up());
        here.ip("link set eth0 down");
        assert!(!rig.queues[0].is_up());
        rig.send(0, &sample(60, 1)).unwrap();
        assert_eq!((rig.drops(DropReason::PortDown), rig.count.tx_frames.get()), (1, 0));
        here.ip("link set eth0 up");
        assert!(rig.queues[0].is_up());
        rig.send(0, &sample(60, 1)).unwrap();
        assert_eq!(rig.count.tx_frames.get(), 1);
        rig.assert_full();
    });
}

#[test]
fn what_the_kernel_refuses_is_dropped_by_name() {
    let here = Netns::new();
    here.run(|| {
        let mut rig = Rig::new(&eth0(&here));
        rig.send(0, &sample(60, 1)[..10]).unwrap();
        assert_eq!(rig.drops(DropReason::TxError), 1);
        rig.assert_full();
    });
}

#[test]
fn several_queues_share_one_interface() {
    let (here, there) = (Netns::new(), Netns::new());
    here.run(|| {
        let mut rig = Rig::new(&TapConfig { queues: 3, ..addressed(&there, &["10.9.0.1/24"]) });
        assert_eq!(rig.queues.len(), 3);
        (0..3).for_each(|queue| rig.send(queue, &sample(60, 1)).unwrap());
        assert_eq!((rig.count.tx_frames.get(), rig.count.dropped()), (3, 0));
        provoke_arp(&there);
        rig.expect("ARP request on some queue", is_arp);
        rig.assert_full();
    });
}

#[test]
fn without_frame_memory_frames_are_dropped_by_name_and_the_port_recovers() {
    let (here, there) = (Netns::new(), Netns::new());
    here.run(|| {
        let mut rig = Rig::new(&addressed(&there, &["10.9.0.1/24"]));
        let hoard: Vec<_> = std::iter::from_fn(|| rig.pool.alloc(SUPER_ROOM)).collect();
        provoke_arp(&there);
        until("a frame is thrown away", || {
            assert!(rig.receive().unwrap().is_empty());
            rig.drops(DropReason::PoolEmpty) > 0
        });
        assert_eq!(rig.count.rx_frames.get(), rig.drops(DropReason::PoolEmpty));
        hoard.into_iter().for_each(|f| rig.pool.free(f));
        rig.expect("ARP request", is_arp);
        rig.assert_full();
    });
}

#[test]
fn a_persistent_tap_outlives_its_port_and_is_found_again() {
    let (here, there) = (Netns::new(), Netns::new());
    here.run(|| {
        let config = TapConfig { adopt: true, ..addressed(&there, &["10.9.0.1/24"]) };
        let tap = Tap::create(&config).unwrap();
        tap.handle().keep().unwrap();
        drop(tap);
        assert!(there.links().contains("eth0"));
        let error = Tap::create(&TapConfig { adopt: false, ..config.clone() }).err().unwrap().to_string();
        assert!(error.contains("exists already"), "{error}");
        let mut rig = Rig::new(&config);
        provoke_arp(&there);
        rig.expect("ARP request", is_arp);
        rig.assert_full();
    });
}

#[test]
fn without_privilege_the_error_says_so() {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    let here = Netns::new();
    here.run(|| {
        let empty = CapabilitySet::empty();
        let none = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
        set_capabilities(None, none).unwrap();
        let error = Tap::create(&eth0(&here)).err().unwrap().to_string();
        assert!(error.contains("not permitted; it needs CAP_NET_ADMIN"), "{error}");
    });
}

#[test]
fn errors_name_the_thing_and_leave_nothing_behind() {
    let (here, there) = (Netns::new(), Netns::new());
    there.ip("link add taken type veth peer name other");
    there.ip("tuntap add kept mode tap vnet_hdr");
    let base = || eth0(&there);
    let named = |ifname: &str| TapConfig { ifname: ifname.into(), ..base() };
    let within = |netns: &str| TapConfig { netns: Some(netns.into()), ..base() };
    let route = Route { to: "10.9.0.0/24".parse().unwrap(), via: Some("10.8.0.1".parse().unwrap()) };
    let cases = [
        (within("xd-tap-nowhere"), "`xd-tap-nowhere` (/run/netns/xd-tap-nowhere)"),
        (within("/etc/passwd"), "not a namespace"),
        (named("taken"), "`taken` exists already in network namespace `xd-tap-"),
        (named("kept"), "`kept` exists already in network namespace `xd-tap-"),
        (TapConfig { offload: false, ..named("kept") }, "`kept` exists already in network namespace `xd-tap-"),
        (named("sixteen-letters!"), "cannot name an interface"),
        (named("eth%d"), "cannot name an interface"),
        (named(""), "cannot name an interface"),
        (TapConfig { queues: 0, ..base() }, "`queues`"),
        (TapConfig { mtu: 67, ..base() }, "setting MAC and MTU of `eth0` in network namespace"),
        (TapConfig { mac: Some("01:00:00:00:00:01".parse().unwrap()), ..base() }, "setting MAC and MTU of `eth0`"),
        (addressed(&there, &["10.9.0.1/24", "ff02::1/64"]), "adding address ff02::1/64 to `eth0`"),
        (TapConfig { routes: vec![route], ..base() }, "adding route 10.9.0.0/24 via 10.8.0.1 to `eth0`"),
    ];
    here.run(|| {
        let before = (here.links(), there.links());
        let inside = |(config, wanted): &(TapConfig, _)| (TapConfig { inside: true, ..config.clone() }, *wanted);
        let cases: Vec<_> = cases.iter().map(inside).chain(cases.iter().cloned()).collect();
        for (config, wanted) in cases {
            let error = Tap::create(&config).err().unwrap_or_else(|| panic!("{wanted}: no error")).to_string();
            assert!(error.contains(wanted), "`{wanted}` in: {error}");
            assert_eq!((here.links(), there.links()), before, "after: {error}");
        }
    });
}
