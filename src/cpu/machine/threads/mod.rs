//! The threads of a [`Cpu`](crate::Cpu): a small team of its own, started at the first parallel call.
//!
//! A decode step has about a hundred short parallel regions, so the cost of starting and ending one matters. A general
//! pool pays for queues and for waking threads; here an idle worker spins for a few tens of microseconds before it
//! sleeps, and a region starts with one store and ends with one counter. `benches/machine/fork_join.rs` compares the two.

mod process;
mod sync;
mod team;
#[cfg(test)]
mod tests;

use crate::arrays::FloatMode;
use process::{generation, watch_forks};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::JoinHandle;
use team::Team;

/// Tasks per thread: they are claimed one by one, so a CPU that is slower, or taken by another program for a while,
/// does fewer of them.
pub(in crate::cpu) const TASKS_PER_THREAD: usize = 4;

/// A fixed number of threads. Which thread runs a task changes no result.
///
/// After a `fork`, a child starts a team of its own at its first parallel region, and forgets that of its parent.
#[derive(Debug)]
pub(in crate::cpu) struct Threads {
    asked: usize,
    /// How many there are in fact: more than the CPUs would only wait for each other.
    team: usize,
    /// Null, or a box: the team of this process, or of one from which it was forked.
    workers: AtomicPtr<Workers>,
    /// The process that has started a team or is about to: its generation and 1.
    claimed: AtomicUsize,
}

/// A team of up to so many is as asked for, however few CPUs there are: three threads find faults that two do not.
const SMALL_TEAM: usize = 3;

impl Threads {
    pub(in crate::cpu) fn new(asked: usize) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
        let team = if asked <= SMALL_TEAM { asked } else { asked.min(cpus) };
        Self { asked, team, workers: AtomicPtr::default(), claimed: AtomicUsize::new(0) }
    }

    /// The number of threads that was asked for.
    pub(in crate::cpu) fn asked(&self) -> usize {
        self.asked
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
        if tasks > 1
            && self.team > 1
            && let Some(workers) = self.workers()
        {
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

    /// The team of this process; `None` while another thread starts it.
    fn workers(&self) -> Option<&Workers> {
        // SAFETY: null, or a box that `start` has leaked, which is freed only with `self`.
        let workers = unsafe { self.workers.load(Ordering::Acquire).as_ref() };
        workers.filter(|workers| workers.generation == generation()).or_else(|| self.start())
    }

    #[cold]
    fn start(&self) -> Option<&Workers> {
        watch_forks();
        let this = generation() + 1;
        let claimed = self.claimed.load(Ordering::Relaxed);
        let claim = || self.claimed.compare_exchange(claimed, this, Ordering::Relaxed, Ordering::Relaxed);
        if claimed == this || claim().is_err() {
            return None;
        }
        let workers = Box::into_raw(Box::new(Workers::start(self.team - 1)));
        // the team of a parent stays in memory: whatever state it was in, nothing of it is used any more
        self.workers.store(workers, Ordering::Release);
        // SAFETY: it is a box that is freed only with `self`.
        Some(unsafe { &*workers })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let workers = *self.workers.get_mut();
        // SAFETY: null, or a box that `start` has leaked.
        if unsafe { workers.as_ref() }.is_some_and(|workers| workers.generation == generation()) {
            // SAFETY: as above; nobody has a reference any more.
            drop(unsafe { Box::from_raw(workers) });
        }
        // else the threads are those of another process
    }
}

#[derive(Debug)]
struct Workers {
    team: Arc<Team>,
    /// Held by the thread whose region runs.
    region: Mutex<()>,
    handles: Vec<JoinHandle<()>>,
    /// Of the process that has the threads.
    generation: usize,
}

impl Workers {
    /// Starts `count` workers, or as many as the system grants.
    fn start(count: usize) -> Self {
        let team = Arc::new(Team::new(count));
        let spawn = |worker: usize| {
            let team = Arc::clone(&team);
            let builder = std::thread::Builder::new().name(format!("mamba-kernels-{worker}"));
            let life = move || {
                // a thread starts with the mode of the one that starts it
                FloatMode::standard().keep();
                team.work(worker);
            };
            builder.spawn(life).ok()
        };
        let handles: Vec<_> = (1..=count).map_while(spawn).collect();
        team.set_threads(handles.iter().map(|handle| handle.thread().clone()).collect());
        Self { team, region: Mutex::new(()), handles, generation: generation() }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.team.stop();
        for handle in self.handles.drain(..) {
            // a worker catches the panics of its tasks
            let _ = handle.join();
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
