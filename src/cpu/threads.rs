//! The threads of a [`Cpu`](super::Cpu): a pool of its own, started at the first parallel call.

use rayon::prelude::*;
use std::sync::OnceLock;

/// A fixed number of threads. Which thread runs a task changes no result.
#[derive(Debug)]
pub(super) struct Threads {
    count: usize,
    pool: OnceLock<Option<rayon::ThreadPool>>,
}

impl Threads {
    pub(super) fn new(count: usize) -> Self {
        Self { count, pool: OnceLock::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Runs `task(worker, index)` for each index below `tasks`, in any order, and returns when all are done. No two
    /// tasks that run at the same time have the same worker, which is below [`Threads::count`].
    pub(super) fn for_each(&self, tasks: usize, task: impl Fn(usize, usize) + Sync) {
        let pool = if tasks > 1 { self.pool() } else { None };
        match pool {
            Some(pool) => pool.install(|| {
                (0..tasks).into_par_iter().with_max_len(1).for_each(|index| {
                    // inside a pool every thread has an index
                    task(rayon::current_thread_index().unwrap_or(0), index);
                });
            }),
            None => (0..tasks).for_each(|index| task(0, index)),
        }
    }

    /// The pool, or `None` where one thread was asked for or the system gives no more.
    fn pool(&self) -> Option<&rayon::ThreadPool> {
        let start = || {
            let builder = rayon::ThreadPoolBuilder::new()
                .num_threads(self.count)
                .thread_name(|i| format!("mamba-kernels-{i}"));
            if self.count > 1 { builder.build().ok() } else { None }
        };
        self.pool.get_or_init(start).as_ref()
    }
}

/// A pointer that tasks may share: each writes a part of its own.
#[derive(Clone, Copy)]
pub(super) struct Shared<P>(P);

// SAFETY: it is only a number to Send and Sync; whoever dereferences it argues that no two tasks touch the same part.
unsafe impl<P> Send for Shared<P> {}
// SAFETY: as above.
unsafe impl<P> Sync for Shared<P> {}

impl<P: Copy> Shared<P> {
    pub(super) fn new(pointer: P) -> Self {
        Self(pointer)
    }

    pub(super) fn get(&self) -> P {
        self.0
    }
}

/// The part `index` of `0..len` cut into `parts` ranges whose borders are multiples of `unit`.
pub(super) fn part(len: usize, unit: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    let units = len.div_ceil(unit);
    let border = |i: usize| (units * i / parts * unit).min(len);
    border(index)..border(index + 1)
}
