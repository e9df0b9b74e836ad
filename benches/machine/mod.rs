//! What this machine can do: the ceilings that a kernel's figure is a fraction of, measured in the same run.

mod arithmetic;
mod caches;
mod memory;
mod streams;
mod turns;

pub use arithmetic::{bf16_dots, elementary, multiply_adds};
pub use caches::{Level, Levels};
pub use memory::{Memory, Traffic};
pub use turns::{Loop, Plan, Spread, Turns, turns};

use std::time::Instant;

/// Runs `work` on `threads` threads at once and gives the seconds of the slowest, as a mean over `repeats`.
pub fn seconds_on(threads: usize, repeats: usize, work: impl Fn(usize) + Sync) -> f64 {
    let barrier = std::sync::Barrier::new(threads);
    let slowest = std::thread::scope(|scope| {
        let (work, barrier) = (&work, &barrier);
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    work(thread); // warms up
                    barrier.wait();
                    let start = Instant::now();
                    (0..repeats).for_each(|_| work(thread));
                    start.elapsed().as_secs_f64()
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panics")).fold(0.0, f64::max)
    });
    slowest / repeats as f64
}
