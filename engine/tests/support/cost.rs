//! What things cost, compared with each other: no machine's speed is assumed, and what else it does is not counted.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

const TRIES: usize = 7;

/// How long this thread has had a processor.
pub fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How long something takes this thread.
pub fn time(work: impl FnOnce()) -> Duration {
    let begin = spent();
    work();
    spent() - begin
}

/// The one in the middle.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// How many times as long `large` takes as `small`: they take turns, and the median of the tries counts.
pub fn times_as_long(mut large: impl FnMut() -> Duration, mut small: impl FnMut() -> Duration) -> f64 {
    large();
    small();
    median((0..TRIES).map(|_| large().as_secs_f64() / small().as_secs_f64().max(1e-9)).collect())
}
