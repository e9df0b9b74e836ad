//! `cargo test --manifest-path tests/loom/Cargo.toml`: the protocol by which the threads of the CPU backend sleep, wake
//! up, panic and stop, under the model checker loom.
//!
//! loom runs a test once for every order in which the threads' accesses can happen, and for every value that the memory
//! model lets a load see. It finds lost wake-ups (as a deadlock), accesses of the job without synchronisation, and
//! orderings that are too weak. `team.rs` is the file of the crate itself; only `sync` differs.
//!
//! The orders are bounded to so many preemptions: [`PREEMPTIONS`], or `LOOM_MAX_PREEMPTIONS`.
#![cfg(test)]

#[path = "../../../src/cpu/machine/threads/team.rs"]
#[allow(clippy::absurd_extreme_comparisons, clippy::reversed_empty_ranges, reason = "SPINS is 0 here")]
mod team;

/// loom's in the place of the standard library's.
mod sync {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::Mutex;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub(super) use loom::thread::{Thread, park, yield_now};

    /// A worker sleeps at once: loom lets no load after a wait see what one before it has seen, which would hide faults.
    pub(super) const SPINS: usize = 0;
}

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::JoinHandle;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use team::Team;

/// Preemptions in a run, beyond the switches at which a thread waits.
const PREEMPTIONS: usize = 3;

/// Runs `test` in every order.
fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.max_branches = 100_000;
    builder.check(test);
}

/// A team as `Workers` of `threads/mod.rs` starts and ends it.
struct Running {
    team: Arc<Team>,
    handles: Vec<JoinHandle<()>>,
}

impl Running {
    fn new(workers: usize) -> Self {
        let team = Arc::new(Team::new(workers));
        let spawn = |worker| {
            let team = Arc::clone(&team);
            loom::thread::spawn(move || team.work(worker))
        };
        let handles: Vec<_> = (1..=workers).map(spawn).collect();
        team.set_threads(handles.iter().map(|handle| handle.thread().clone()).collect());
        Self { team, handles }
    }

    /// A region whose tasks count themselves, each once.
    fn region(&self, tasks: usize, workers: usize) {
        let runs: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        self.team.run(tasks, workers, &|worker, index| {
            assert!(worker < workers);
            runs[index].fetch_add(1, Ordering::Relaxed);
        });
        // the tasks' accesses are before this, and the counters are dropped here: a late worker would be noticed
        assert!(runs.into_iter().all(|mut runs| runs.with_mut(|runs| *runs) == 1));
    }

    fn end(self) {
        self.team.stop();
        self.handles.into_iter().for_each(|handle| handle.join().unwrap());
    }
}

/// The worker sleeps, is about to, or is awake when it is to stop.
#[test]
fn a_team_without_regions_ends() {
    check(|| Running::new(1).end());
    check(|| Running::new(2).end());
}

#[test]
fn every_task_of_a_region_runs_once() {
    check(|| {
        let running = Running::new(1);
        running.region(2, 2);
        running.end();
    });
}

/// The job of the second is written when nobody reads that of the first, and a worker that was late for one takes part in
/// the other or in none.
#[test]
fn two_regions_do_not_mix() {
    check(|| {
        let running = Running::new(1);
        running.region(2, 2);
        running.region(3, 2);
        running.end();
    });
}

/// More workers than the region takes: one that is too many runs nothing.
#[test]
fn no_more_workers_than_are_wanted() {
    check(|| {
        let running = Running::new(2);
        running.region(2, 2);
        running.end();
    });
}

/// The tasks wait for each other: the worker must take part, so its wake-up must not be lost.
#[test]
fn a_worker_that_is_needed_wakes_up() {
    check(|| {
        let running = Running::new(1);
        let here = AtomicUsize::new(0);
        running.team.run(2, 2, &|_, _| {
            here.fetch_add(1, Ordering::AcqRel);
            while here.load(Ordering::Acquire) < 2 {
                loom::thread::yield_now();
            }
        });
        running.end();
    });
}

/// A panic of any task, on whichever thread, reaches the caller; the next region has none, and the worker lives.
#[test]
fn a_panic_reaches_the_caller_once() {
    for panicking in 0..2 {
        check(move || {
            let running = Running::new(1);
            let region = || {
                running.team.run(2, 2, &|_, index| {
                    if index == panicking {
                        panic_any(index)
                    }
                })
            };
            let caught = catch_unwind(AssertUnwindSafe(region)).expect_err("a task has panicked");
            assert_eq!(caught.downcast_ref(), Some(&panicking));
            running.region(2, 2);
            running.end();
        });
    }
}

/// Both threads panic: one payload reaches the caller, and none is left for the next region.
#[test]
fn two_panics_are_over_with_their_region() {
    check(|| {
        let running = Running::new(1);
        let region = || running.team.run(2, 2, &|_, index| panic_any(index));
        assert!(catch_unwind(AssertUnwindSafe(region)).is_err());
        running.region(2, 2);
        running.end();
    });
}
