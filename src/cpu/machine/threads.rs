//! The threads of a [`Cpu`](crate::Cpu): a small team of its own, started at the first parallel call.
//!
//! A decode step has about a hundred short parallel regions, so the cost of starting and ending one matters. A general
//! pool pays for queues and for waking threads; here an idle worker spins for a few tens of microseconds before it
//! sleeps, and a region starts with one store and ends with one counter. `benches/machine/fork_join.rs` compares the two.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};
use std::thread::{JoinHandle, Thread};

/// Rounds of waiting before an idle worker sleeps: some tens of microseconds.
const SPINS: usize = 4000;
/// Tasks per thread: they are claimed one by one, so a CPU that is slower, or taken by another program for a while,
/// does fewer of them.
pub(in crate::cpu) const TASKS_PER_THREAD: usize = 4;
/// Set in [`Team::joined`] while a region takes workers.
const OPEN: usize = 1 << (usize::BITS - 1);
/// In [`Team::joined`], one worker that takes part now, and one that has joined since the region was opened.
const PRESENT: usize = 1;
const JOINED: usize = 1 << (usize::BITS / 2);

type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// A fixed number of threads. Which thread runs a task changes no result.
#[derive(Debug)]
pub(in crate::cpu) struct Threads {
    count: usize,
    /// How many there are in fact: more than the CPUs would only wait for each other.
    team: usize,
    workers: OnceLock<Workers>,
}

/// A team of up to so many is as asked for, however few CPUs there are: three threads find faults that two do not.
const SMALL_TEAM: usize = 3;

impl Threads {
    pub(in crate::cpu) fn new(count: usize) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
        let team = if count <= SMALL_TEAM { count } else { count.min(cpus) };
        Self { count, team, workers: OnceLock::new() }
    }

    /// The number of threads that was asked for.
    pub(in crate::cpu) fn count(&self) -> usize {
        self.count
    }

    /// The number of threads that take part in a region at most.
    pub(in crate::cpu) fn team(&self) -> usize {
        self.team
    }

    /// The most tasks that a call is divided into.
    pub(in crate::cpu) fn most_tasks(&self) -> usize {
        if self.team > 1 { self.team * TASKS_PER_THREAD } else { 1 }
    }

    /// The number of workers that as many tasks can have: [`Threads::for_each`] names those below it.
    pub(in crate::cpu) fn workers_for(&self, tasks: usize) -> usize {
        self.team.min(tasks).max(1)
    }

    /// Runs `task(worker, index)` for each index below `tasks`, in any order, and returns when all are done. No two
    /// tasks that run at the same time have the same worker, which is below [`Threads::workers_for`] them.
    ///
    /// If another thread is using the team, the tasks run on the calling thread alone, as worker 0 of the caller's own
    /// scratch.
    pub(in crate::cpu) fn for_each(&self, tasks: usize, task: impl Fn(usize, usize) + Sync) {
        if tasks > 1 && self.team > 1 {
            let workers = self.workers.get_or_init(|| Workers::start(self.team - 1));
            let region = match workers.region.try_lock() {
                Ok(region) => Some(region),
                // a task of an earlier region panicked: the team is as good as before
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(_region) = region {
                return workers.team.run(tasks, self.workers_for(tasks), &task);
            }
        }
        (0..tasks).for_each(|index| task(0, index));
    }
}

#[derive(Debug)]
struct Workers {
    team: Arc<Team>,
    /// Held by the thread whose region runs.
    region: Mutex<()>,
    handles: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` workers, or as many as the system grants.
    fn start(count: usize) -> Self {
        let team = Arc::new(Team::new(count));
        let spawn = |worker: usize| {
            let team = Arc::clone(&team);
            let builder = std::thread::Builder::new().name(format!("mamba-kernels-{worker}"));
            builder.spawn(move || team.work(worker)).ok()
        };
        let handles: Vec<_> = (1..=count).map_while(spawn).collect();
        let threads = handles.iter().map(|handle| handle.thread().clone()).collect();
        // the only place that sets it
        let _ = team.threads.set(threads);
        Self { team, region: Mutex::new(()), handles }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.team.stop.store(true, Ordering::SeqCst);
        self.team.announce(usize::MAX);
        for handle in self.handles.drain(..) {
            // a worker catches the panics of its tasks
            let _ = handle.join();
        }
    }
}

/// What the caller of a region and the workers share.
struct Team {
    /// Raised at the start of a region: what an idle worker watches.
    epoch: AtomicUsize,
    /// [`OPEN`], and of the workers how many take part in the region and how many have joined it.
    joined: AtomicUsize,
    /// The next task that nobody has taken.
    next: AtomicUsize,
    /// Written while the region is closed and nobody takes part.
    job: UnsafeCell<Job>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
    /// By worker, whether it sleeps or is about to.
    asleep: Box<[AtomicBool]>,
    threads: OnceLock<Vec<Thread>>,
}

/// What a region is for.
struct Job {
    task: *const Task<'static>,
    tasks: usize,
    /// The most workers, the caller among them.
    workers: usize,
}

// SAFETY: the pointer in `job` is dereferenced only by those who have joined an open region, and `run` keeps what it
// points to alive until they have left. The task is Sync.
unsafe impl Send for Team {}
// SAFETY: as above; `job` is written only while the region is closed and empty, by the holder of the region's lock.
unsafe impl Sync for Team {}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("workers", &self.asleep.len()).finish_non_exhaustive()
    }
}

/// Closes the region and waits until no worker takes part any more, also if the caller's own task panics.
struct Region<'a>(&'a Team);

impl Drop for Region<'_> {
    fn drop(&mut self) {
        self.0.joined.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while !self.0.joined.load(Ordering::Acquire).is_multiple_of(JOINED) {
            spins += 1;
            // the system may have stopped a worker to run something else on its CPU
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

fn nothing(_: usize, _: usize) {}

impl Team {
    fn new(workers: usize) -> Self {
        let idle: &Task<'static> = &nothing;
        Self {
            epoch: AtomicUsize::new(0),
            joined: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(Job { task: idle, tasks: 0, workers: 0 }),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
            asleep: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            threads: OnceLock::new(),
        }
    }

    /// Runs a region with at most `workers` workers, this thread among them. The caller holds the lock of regions.
    fn run(&self, tasks: usize, workers: usize, task: &Task<'_>) {
        // SAFETY: only the lifetime changes. `Region` ends this call only when no worker can use the task any more.
        let task: *const Task<'static> = unsafe { std::mem::transmute::<*const Task<'_>, _>(task) };
        // SAFETY: the region before is closed and empty, and this thread holds the lock: nobody reads it now.
        unsafe { *self.job.get() = Job { task, tasks, workers } };
        self.next.store(0, Ordering::Relaxed);
        self.take_panic(); // of a region whose caller panicked as well
        self.joined.store(OPEN, Ordering::Release);
        let region = Region(self);
        self.announce(workers - 1);
        // SAFETY: the task is alive, and this thread takes part in the open region.
        unsafe { self.take_tasks(0) };
        drop(region);
        if let Some(panic) = self.take_panic() {
            resume_unwind(panic);
        }
    }

    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.panic.lock().map_or(None, |mut panic| panic.take())
    }

    /// Announces something new to the workers, and wakes some if fewer than `wanted` are awake: to wake one takes as
    /// long as a small task.
    fn announce(&self, wanted: usize) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let awake = self.asleep.iter().filter(|asleep| !asleep.load(Ordering::SeqCst)).count();
        let mut missing = wanted.saturating_sub(awake);
        for (asleep, thread) in self.asleep.iter().zip(self.threads.get().into_iter().flatten()) {
            if missing == 0 {
                return;
            }
            if asleep.swap(false, Ordering::SeqCst) {
                thread.unpark();
                missing -= 1;
            }
        }
    }

    /// Runs tasks until none is left.
    ///
    /// # Safety
    /// The calling thread takes part in an open region: it has joined it, or it is the region's caller.
    unsafe fn take_tasks(&self, worker: usize) {
        // SAFETY: while somebody takes part, the job is not written and its task is alive.
        let job = unsafe { &*self.job.get() };
        // SAFETY: the same.
        let Some(task) = (unsafe { job.task.as_ref() }) else { return };
        if worker >= job.workers {
            return;
        }
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= job.tasks {
                return;
            }
            task(worker, index);
        }
    }

    /// The life of a worker.
    fn work(&self, worker: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait(worker, seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let Some(number) = self.join() else {
                continue; // all tasks were done before this worker woke up
            };
            // SAFETY: this worker has joined the open region.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { self.take_tasks(number) }));
            if let (Err(panic), Ok(mut first)) = (result, self.panic.lock()) {
                first.get_or_insert(panic);
            }
            self.joined.fetch_sub(PRESENT, Ordering::Release);
        }
    }

    /// Takes part in the region, if one is open: gives a number from 1 on, another one to each worker that joins.
    fn join(&self) -> Option<usize> {
        let join = |joined| (joined & OPEN != 0).then_some(joined + PRESENT + JOINED);
        let before = self.joined.fetch_update(Ordering::Acquire, Ordering::Relaxed, join).ok()?;
        Some((before & !OPEN) / JOINED + 1)
    }

    /// Waits for an epoch other than `seen`, and gives it.
    fn wait(&self, worker: usize, seen: usize) -> usize {
        for _ in 0..SPINS {
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch != seen {
                return epoch;
            }
            std::hint::spin_loop();
        }
        let asleep = &self.asleep[worker - 1];
        loop {
            // either this load sees the new epoch, or `announce` sees the flag and unparks
            asleep.store(true, Ordering::SeqCst);
            let epoch = self.epoch.load(Ordering::SeqCst);
            if epoch != seen {
                asleep.store(false, Ordering::SeqCst);
                return epoch;
            }
            std::thread::park();
        }
    }
}

/// A value with raw pointers, carried to the tasks of a region.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Shared<P>(P);

// SAFETY: `Shared` only transports the pointers. Each dereference has its own SAFETY argument that tasks touch disjoint
// memory.
unsafe impl<P> Send for Shared<P> {}
// SAFETY: as above.
unsafe impl<P> Sync for Shared<P> {}

impl<P: Copy> Shared<P> {
    pub(in crate::cpu) fn new(pointer: P) -> Self {
        Self(pointer)
    }

    pub(in crate::cpu) fn get(&self) -> P {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
