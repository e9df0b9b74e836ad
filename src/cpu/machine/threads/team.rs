//! [`Team`]: the protocol by which the caller of a parallel region and the workers start, run and end it, and by which
//! workers sleep, wake up and stop.

use super::sync::{
    AtomicBool, AtomicUsize, Mutex, Ordering, SPINS, Thread, UnsafeCell, park, spin_loop, yield_now,
};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

/// Set in [`Team::joined`] while a region takes workers.
const OPEN: usize = 1 << (usize::BITS - 1);
/// In [`Team::joined`], one worker that takes part now, and one that has joined since the region was opened.
const PRESENT: usize = 1;
const JOINED: usize = 1 << (usize::BITS / 2);

type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// What the caller of a region and the workers share.
pub(super) struct Team {
    /// Raised at the start of a region: what an idle worker watches.
    epoch: AtomicUsize,
    /// [`OPEN`], and of the workers how many take part in the region and how many have joined it.
    joined: AtomicUsize,
    /// The next task that nobody has taken.
    next: AtomicUsize,
    /// Written while the region is closed and nobody takes part.
    job: UnsafeCell<Job>,
    /// Whether a task of a worker has panicked, and with what. Only then is the mutex touched.
    panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
    /// By worker, whether it sleeps or is about to.
    asleep: Box<[AtomicBool]>,
    threads: OnceLock<Vec<Thread>>,
}

/// What a region is for.
#[derive(Clone, Copy)]
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
            if spins < SPINS { spin_loop() } else { yield_now() }
        }
    }
}

fn nothing(_: usize, _: usize) {}

impl Team {
    pub fn new(workers: usize) -> Self {
        let idle: &Task<'static> = &nothing;
        Self {
            epoch: AtomicUsize::new(0),
            joined: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(Job { task: idle, tasks: 0, workers: 0 }),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
            asleep: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            threads: OnceLock::new(),
        }
    }

    /// Runs a region with at most `workers` workers, this thread among them. The caller holds the lock of regions.
    pub fn run(&self, tasks: usize, workers: usize, task: &Task<'_>) {
        // SAFETY: only the lifetime changes. `Region` ends this call only when no worker can use the task any more.
        let task: *const Task<'static> = unsafe { std::mem::transmute::<*const Task<'_>, _>(task) };
        // SAFETY: the region before is closed and empty, and this thread holds the lock: nobody reads it now.
        self.job.with_mut(|job| unsafe { *job = Job { task, tasks, workers } });
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
        // the workers have left the region, so what they stored is seen
        if !self.panicked.load(Ordering::Relaxed) {
            return None;
        }
        self.panicked.store(false, Ordering::Relaxed);
        self.panic.lock().map_or(None, |mut panic| panic.take())
    }

    #[cold]
    fn keep_panic(&self, panic: Box<dyn Any + Send>) {
        if let Ok(mut first) = self.panic.lock() {
            first.get_or_insert(panic);
        }
        self.panicked.store(true, Ordering::Relaxed);
    }

    /// The threads of the workers, by whom they are woken. They are set once, before the first region.
    pub fn set_threads(&self, threads: Vec<Thread>) {
        let _ = self.threads.set(threads);
    }

    /// Ends the workers.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.announce(usize::MAX);
    }

    /// Announces something new to the workers, and wakes some if fewer than `wanted` are awake: to wake one takes as
    /// long as a small task.
    fn announce(&self, wanted: usize) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let awake = self.asleep.iter().filter(|asleep| !asleep.load(Ordering::Acquire)).count();
        let mut missing = wanted.saturating_sub(awake);
        for (asleep, thread) in self.asleep.iter().zip(self.threads.get().into_iter().flatten()) {
            if missing == 0 {
                return;
            }
            if asleep.swap(false, Ordering::AcqRel) {
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
        let Job { task, tasks, workers } = self.job.with(|job| unsafe { *job });
        // SAFETY: the same.
        let Some(task) = (unsafe { task.as_ref() }) else { return };
        if worker >= workers {
            return;
        }
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= tasks {
                return;
            }
            task(worker, index);
        }
    }

    /// The life of a worker.
    pub fn work(&self, worker: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait(worker, seen);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let Some(number) = self.join() else {
                continue; // all tasks were done before this worker woke up
            };
            // SAFETY: this worker has joined the open region.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { self.take_tasks(number) }));
            if let Err(panic) = result {
                self.keep_panic(panic);
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
            spin_loop();
        }
        let asleep = &self.asleep[worker - 1];
        loop {
            asleep.swap(true, Ordering::AcqRel);
            // Of this addition and that of `announce` one comes first and the other sees what was before it: either this
            // one sees the new epoch, or `announce` sees the flag and unparks.
            let epoch = self.epoch.fetch_add(0, Ordering::AcqRel);
            if epoch != seen {
                asleep.swap(false, Ordering::AcqRel);
                return epoch;
            }
            park();
        }
    }
}
