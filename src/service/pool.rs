//! Work on many things at once, most of which waits for the kernel.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{Builder, available_parallelism, scope};

/// Threads for each core: the kernel lets one of them at a time make an interface, while the others enter namespaces and tell
/// the workers.
const THREADS_A_CORE: usize = 4;

/// Calls `work` with each item, several at a time; what came of each, in the same order.
pub(super) fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    let toil = || {
        while let Some((at, item)) = Some(next.fetch_add(1, Relaxed)).and_then(|at| Some((at, items.get(at)?))) {
            let result = work(item);
            super::locked(&done).push((at, result));
        }
    };
    scope(|scope| {
        let most = available_parallelism().map_or(1, usize::from) * THREADS_A_CORE;
        // Where no thread can be had, those there are do the rest.
        (1..most.min(items.len())).for_each(|_| drop(Builder::new().spawn_scoped(scope, toil)));
        toil();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn results_are_in_order_and_work_is_done_together() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(side_by_side(&items, |n| n * 2), items.iter().map(|n| n * 2).collect::<Vec<_>>());
        let together = Barrier::new(THREADS_A_CORE);
        side_by_side(&[(); THREADS_A_CORE], |()| together.wait());
        assert_eq!(side_by_side(&[] as &[()], |()| ()), []);
    }
}
