//! In which process a team has its threads: a child of `fork` has the memory of its parent, and only the thread that
//! forked.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many forks lie between the process that loaded this crate and this one.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// A number that differs from that of every process from which this one was forked, as far as [`watch_forks`] had been
/// called there.
#[inline(always)]
pub(super) fn generation() -> usize {
    FORKS.load(Ordering::Relaxed)
}

/// Counts forks from now on. Where there is no `fork`, it does nothing.
pub(super) fn watch_forks() {
    #[cfg(unix)]
    {
        use std::sync::atomic::AtomicBool;
        unsafe extern "C" {
            fn pthread_atfork(
                prepare: Option<unsafe extern "C" fn()>,
                parent: Option<unsafe extern "C" fn()>,
                child: Option<unsafe extern "C" fn()>,
            ) -> std::ffi::c_int;
        }
        unsafe extern "C" fn child() {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        // a child inherits this and the handler; two threads here at once register it twice, which does no harm
        static WATCHED: AtomicBool = AtomicBool::new(false);
        if !WATCHED.load(Ordering::Acquire) {
            // SAFETY: POSIX declares the function so; the handler does nothing but add to an atomic number, which a
            // child may do. It fails only without memory: then a child is taken for its parent.
            unsafe { pthread_atfork(None, None, Some(child)) };
            WATCHED.store(true, Ordering::Release);
        }
    }
}
