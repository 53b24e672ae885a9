//! What things cost, compared with each other: no machine's speed is assumed, and none that stays the same for long.

use std::time::{Duration, Instant};

const TRIES: usize = 9;

/// How long something takes.
pub fn time(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
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
