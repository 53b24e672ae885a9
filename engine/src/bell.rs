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
}
