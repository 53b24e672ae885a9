//! Whether a consumer sleeps: what keeps a producer from waking one that is awake, and a consumer from sleeping on work.
//!
//! The consumer arms the bell, looks at its ring once more, and sleeps. The producer publishes, and then rings. The
//! fences put both in one order: either the consumer sees what was published, or the producer sees that it sleeps.

#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst, fence};

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst, fence};

/// One consumer's sleep, seen by its producers. Costs a fence while the consumer is awake.
#[derive(Debug)]
pub(crate) struct Bell {
    asleep: AtomicBool,
}

impl Bell {
    pub fn new() -> Bell {
        Bell { asleep: AtomicBool::new(false) }
    }

    /// The consumer is about to sleep. It must look at the ring once more after this.
    pub fn arm(&self) {
        self.asleep.store(true, Relaxed);
        fence(SeqCst);
    }

    /// The producer has published something; true when it must wake the consumer.
    #[must_use]
    pub fn ring(&self) -> bool {
        fence(SeqCst);
        self.asleep.load(Relaxed) && self.asleep.swap(false, Relaxed)
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::atomic::Ordering::{AcqRel, Acquire, Release};

    /// Whatever the order, a consumer never sleeps on something that was published: it sees it, or it is woken.
    #[test]
    fn nobody_sleeps_on_work() {
        loom::model(|| {
            let shared = Arc::new((Bell::new(), AtomicUsize::new(0)));
            let producer = shared.clone();
            let woken = loom::thread::spawn(move || {
                producer.1.store(1, Relaxed);
                producer.0.ring()
            });
            shared.0.arm();
            let seen = shared.1.load(Relaxed) == 1;
            assert!(seen | woken.join().unwrap(), "asleep on work");
        });
    }

    /// Of two producers that find the consumer asleep, one wakes it.
    #[test]
    fn one_of_two_producers_wakes() {
        loom::model(|| {
            let bell = Arc::new(Bell::new());
            bell.arm();
            let other = bell.clone();
            let first = loom::thread::spawn(move || other.ring());
            let second = bell.ring();
            assert!(first.join().unwrap() ^ second, "exactly one");
        });
    }

    /// A ring of one frame, of rtrb's kind: what matters here is that publishing releases and taking acquires.
    #[derive(Default)]
    struct Slot(AtomicUsize);

    impl Slot {
        fn push(&self) {
            self.0.store(1, Release);
        }

        fn pop(&self) -> bool {
            self.0.load(Acquire) == 1 && self.0.swap(0, AcqRel) == 1
        }
    }

    /// `worker::peers`: two workers hand over to a third behind one door. It sleeps only when both rings were empty after
    /// arming; then whoever comes later wakes it, and nothing is left behind.
    #[test]
    fn a_worker_never_sleeps_on_frames_of_two_others() {
        loom::model(|| {
            let shared = Arc::new((Bell::new(), [Slot::default(), Slot::default()]));
            let hand_over = |i: usize| {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    shared.1[i].push();
                    shared.0.ring()
                })
            };
            let others = [hand_over(0), hand_over(1)];
            shared.0.arm();
            let seen = shared.1.iter().filter(|slot| slot.pop()).count();
            let woken = others.map(|other| other.join().unwrap()).iter().filter(|&&woken| woken).count();
            assert!(seen == 2 || woken > 0, "asleep on work");
            assert!(woken <= 1, "armed once, woken once");
            let late = shared.1.iter().filter(|slot| slot.pop()).count();
            assert_eq!(seen + late, 2);
        });
    }

    /// `worker::peers`: sightings are told before the frames that taught them are handed over, and heard after frames were
    /// taken. So whoever has a frame has what it taught.
    #[test]
    fn who_has_the_frame_has_the_sighting() {
        loom::model(|| {
            let rings = Arc::new((Slot::default(), Slot::default()));
            let teller = rings.clone();
            let telling = loom::thread::spawn(move || {
                teller.0.push();
                teller.1.push();
            });
            let frame = rings.1.pop();
            let sighting = rings.0.pop();
            assert!(!frame || sighting, "a frame whose sender is unknown");
            telling.join().unwrap();
        });
    }

    /// `worker::ports`: the worker of a link says that it is down before it tells what came in later. So whoever hears that
    /// sees it, and forgets first what came in before.
    #[test]
    fn who_hears_a_sighting_sees_the_link_that_was_down() {
        loom::model(|| {
            let shared = Arc::new((AtomicBool::new(true), Slot::default()));
            let owner = shared.clone();
            let telling = loom::thread::spawn(move || {
                owner.0.store(false, Relaxed);
                owner.1.push();
            });
            let heard = shared.1.pop();
            let up = shared.0.load(Relaxed);
            assert!(!heard || !up, "a link that goes down too late");
            telling.join().unwrap();
        });
    }

    /// `ports::channel`: a side that goes sets `closed` and rings. The other asks whether it is closed before it takes, so
    /// "closed and empty" means that nothing is missed; and it does not sleep through the end.
    #[test]
    fn a_closed_channel_is_emptied_and_noticed() {
        loom::model(|| {
            let shared = Arc::new((Bell::new(), Slot::default(), AtomicBool::new(false)));
            let far = shared.clone();
            let going = loom::thread::spawn(move || {
                far.1.push();
                let first = far.0.ring();
                far.2.store(true, Release);
                far.0.ring() || first
            });
            shared.0.arm();
            let closed = shared.2.load(Acquire);
            let taken = shared.1.pop();
            assert!(!closed || taken, "gone with the last frame");
            assert!(going.join().unwrap() || (closed && taken), "asleep for ever");
        });
    }

    /// `ports::channel`: whoever is last returns what is left, on whichever thread: the count of owners is `Arc`'s own.
    #[test]
    fn the_last_of_two_sides_finds_what_both_left() {
        loom::model(|| {
            struct Rest(loom::sync::Mutex<usize>, Arc<AtomicUsize>);
            impl Drop for Rest {
                fn drop(&mut self) {
                    self.1.fetch_add(*self.0.lock().unwrap(), Relaxed);
                }
            }
            let freed = Arc::new(AtomicUsize::new(0));
            let rest = Arc::new(Rest(loom::sync::Mutex::new(0), freed.clone()));
            let side = |rest: Arc<Rest>| move || *rest.0.lock().unwrap() += 1;
            let other = loom::thread::spawn(side(rest.clone()));
            side(rest)();
            other.join().unwrap();
            assert_eq!(freed.load(Relaxed), 2);
        });
    }

    /// `capture`: a record's head may be there before its bytes. The reader keeps the head and waits for as many bytes.
    #[test]
    fn half_a_record_is_not_read() {
        loom::model(|| {
            let ring = Arc::new((Slot::default(), Slot::default()));
            let sink = ring.clone();
            let writing = loom::thread::spawn(move || {
                sink.0.push();
                sink.1.push();
            });
            let mut head = ring.0.pop();
            let early = head && ring.1.pop();
            writing.join().unwrap();
            head |= ring.0.pop();
            assert!(head && (early || ring.1.pop()), "the record comes whole, once");
        });
    }

    /// `stats`: a counter with one writer loses nothing, and a reader never sees it go back.
    #[test]
    fn a_counter_of_one_writer_only_grows() {
        loom::model(|| {
            let counter = Arc::new(AtomicUsize::new(0));
            let worker = counter.clone();
            let working = loom::thread::spawn(move || {
                (0..2).for_each(|_| worker.store(worker.load(Relaxed) + 1, Relaxed));
            });
            let (first, second) = (counter.load(Relaxed), counter.load(Relaxed));
            assert!(first <= second);
            working.join().unwrap();
            assert_eq!(counter.load(Relaxed), 2);
        });
    }
}
