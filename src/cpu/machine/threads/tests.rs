//! The team as the ops use it. `tests/loom` tries every order of events.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[path = "../../../../tests/shared/float_mode.rs"]
mod float_mode;

#[test]
fn every_task_runs_once() {
    let threads = Threads::new(3);
    for tasks in [0, 1, 2, 3, 50] {
        for _ in 0..200 {
            let runs: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            threads.for_each(tasks, |worker, index| {
                assert!(worker < 3);
                runs[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
        }
    }
}

#[test]
fn workers_that_sleep_wake_up() {
    let threads = Threads::new(2);
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        // each waits for the other: the region ends only if both take part
        let barrier = std::sync::Barrier::new(2);
        threads.for_each(2, |_, _| _ = barrier.wait());
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_team_lives_on() {
    let threads = Threads::new(2);
    for panicking in 0..4 {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            threads.for_each(4, |_, index| assert!(index != panicking, "task {index}"));
        }));
        assert!(caught.is_err());
        let barrier = std::sync::Barrier::new(2);
        threads.for_each(2, |_, _| _ = barrier.wait());
    }
}

#[test]
fn two_panics_are_over_with_their_region() {
    let threads = Threads::new(2);
    let barrier = std::sync::Barrier::new(2);
    let both = AssertUnwindSafe(|| {
        threads.for_each(2, |_, index| {
            barrier.wait();
            panic!("task {index}");
        });
    });
    assert!(catch_unwind(both).is_err());
    threads.for_each(2, |_, _| _ = barrier.wait());
}

#[test]
fn callers_at_the_same_time_and_regions_in_regions() {
    let threads = Threads::new(2);
    let count = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    threads.for_each(3, |_, _| {
                        threads.for_each(2, |_, _| _ = count.fetch_add(1, Ordering::Relaxed))
                    });
                }
            });
        }
    });
    assert_eq!(count.into_inner(), 4 * 100 * 6);
}

/// The third of the smallest normal number, which flush to zero and rounding change.
#[test]
fn workers_do_not_take_the_mode_of_the_thread_that_starts_them() {
    let third = || std::hint::black_box(f32::MIN_POSITIVE) / std::hint::black_box(3.0);
    let expected = third().to_bits();
    for &mode in float_mode::OTHERS {
        let threads = Threads::new(2);
        let barrier = std::sync::Barrier::new(2);
        let found = AtomicUsize::new(0);
        float_mode::within(mode, || {
            threads.for_each(2, |worker, _| {
                barrier.wait();
                if worker == 1 {
                    found.store(third().to_bits() as usize, Ordering::Relaxed);
                }
            });
        });
        assert_eq!(found.into_inner(), expected as usize, "{}", mode.0);
    }
}
