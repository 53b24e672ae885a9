//! Closing many queues at a time.

use crate::ports::Queue;
use std::sync::Mutex;
use std::thread::{Builder, scope};

/// Threads that close, at most. Most of the time of each goes by in the kernel, waiting: 32 of them close TAPs a third more slowly,
/// 256 no faster.
const THREADS: usize = 128;
/// What a thread that closes needs of stack, and more.
const STACK: usize = 128 << 10;

/// Closes queues side by side; returns when all are closed. Closing a TAP waits some twenty milliseconds for the kernel, whoever
/// else is waiting.
pub fn close(queues: Vec<Box<dyn Queue>>) {
    let others = queues.len().min(THREADS).saturating_sub(1);
    let queues = Mutex::new(queues);
    let next = || queues.lock().ok().and_then(|mut queues| queues.pop());
    let work = || while next().is_some() {};
    scope(|scope| {
        // Where no thread can be had, those there are close the rest.
        (0..others).for_each(|_| drop(Builder::new().stack_size(STACK).spawn_scoped(scope, work)));
        work();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Batch;
    use crate::ports::Io;
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::{Arc, Barrier};

    /// A queue that is closed when so many others are being closed.
    struct Slow(Arc<Barrier>, Arc<AtomicUsize>);

    impl Queue for Slow {
        fn receive(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
            Ok(())
        }

        fn transmit(&mut self, _io: &mut Io<'_>, _batch: &mut Batch) -> io::Result<()> {
            Ok(())
        }
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.wait();
            self.1.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn queues_are_closed_side_by_side() {
        let (together, closed) = (Arc::new(Barrier::new(THREADS)), Arc::default());
        let slow = || Box::new(Slow(Arc::clone(&together), Arc::clone(&closed))) as Box<dyn Queue>;
        close((0..2 * THREADS).map(|_| slow()).collect());
        assert_eq!(closed.load(Relaxed), 2 * THREADS, "one after another they would wait for ever");
        close(Vec::new());
    }
}
