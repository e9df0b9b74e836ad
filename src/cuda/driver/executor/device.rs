//! [`Executor`]: the CUDA kernels on the CPU, each CUDA thread a fiber, each memory access checked.
//!
//! The kernels are the same `.cu` files, compiled for the host by `build.rs` with what is in
//! `cuda/executor/`.

use super::host::*;
use crate::arrays::{Error, Result};
use crate::cuda::driver::interface::{Driver, Graph, Launch, RecordedLaunch};
use std::ffi::{CStr, c_int, c_void};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which build of the kernels runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Each access is checked, and in this crate's own tests counted; a faulty launch fails with a report.
    Checked,
    /// Optimised and unchecked: a wrong address is as bad as in any C++.
    Optimised,
}

/// The counts of one launch, and its kernel.
#[cfg(test)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaunchCounters {
    /// The kernel's symbol.
    pub(crate) kernel: String,
    /// The counts.
    pub(crate) totals: Totals,
}

/// A device that runs kernels on the calling thread, one launch at a time.
#[derive(Clone)]
pub(crate) struct Executor {
    shared: Arc<Mutex<Device>>,
    check: Check,
}

struct Device {
    raw: NonNull<RawDevice>,
    /// Of the launches since they were last taken, if they are counted.
    #[cfg(test)]
    counters: Option<Vec<LaunchCounters>>,
}

// SAFETY: the C++ object is tied to no thread while no launch runs; a launch begins and ends within one call.
unsafe impl Send for Device {}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `mamba_executor_new`, and nothing uses it after this.
        unsafe { mamba_executor_delete(self.raw.as_ptr()) }
    }
}

/// What all arrays of a device may have together.
const MEMORY_LIMIT: u64 = 16 << 30;

impl Executor {
    pub(crate) fn new(check: Check) -> Result<Self> {
        let checked = check == Check::Checked;
        let counting = checked && cfg!(test);
        // SAFETY: no arguments to get wrong.
        let raw = unsafe { mamba_executor_new(checked.into(), counting.into(), MEMORY_LIMIT) };
        let raw =
            NonNull::new(raw).ok_or(Error::OutOfMemory { op: "executor", elements: 1, dtype: "device" })?;
        let device = Device {
            raw,
            #[cfg(test)]
            counters: counting.then(Vec::new),
        };
        Ok(Self { shared: Arc::new(Mutex::new(device)), check })
    }

    /// The counters of the launches since the last call, in order. Only [`Check::Checked`] counts.
    #[cfg(test)]
    pub(crate) fn take_counters(&self) -> Vec<LaunchCounters> {
        self.lock().counters.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The size of a kernel's argument struct by its compiled source, or -1 if no such kernel exists.
    #[cfg(test)]
    pub(crate) fn args_size(kernel: &str) -> i64 {
        // SAFETY: the name is as long as is said.
        unsafe { mamba_executor_args_size(kernel.as_ptr().cast(), kernel.len(), 1) }
    }

    fn lock(&self) -> MutexGuard<'_, Device> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device {
    /// The error of a call that returned `status`.
    fn check(&self, operation: &str, status: c_int) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the device lives, and its message is a string that ends with a zero byte.
        let message = unsafe { CStr::from_ptr(mamba_executor_message(self.raw.as_ptr())) };
        // SAFETY: the device lives.
        let found_at = unsafe { mamba_executor_found_at(self.raw.as_ptr()) };
        let mut reason = message.to_string_lossy().into_owned();
        if let Some(line) = source_line(found_at) {
            reason.push_str(&format!(", at {line}"));
        }
        Err(Error::Device { operation: operation.into(), reason })
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Result<()> {
        let Launch { kernel, grid, block, shared_bytes, args } = *launch;
        // The kernel reads its argument struct in place, so it must be aligned.
        let mut aligned = vec![0u64; args.len().div_ceil(size_of::<u64>())];
        bytemuck::cast_slice_mut(&mut aligned)[..args.len()].copy_from_slice(args);
        // SAFETY: 1. the device lives. 2. Name, grid, block and arguments are borrowed for the call and have the
        // lengths that are passed. 3. The addresses in the arguments are covered by "Safety of a launch" at `Launch`;
        // the checked build verifies each access.
        let status = unsafe {
            mamba_executor_launch(
                self.raw.as_ptr(),
                kernel.as_ptr().cast(),
                kernel.len(),
                grid.as_ptr(),
                block.as_ptr(),
                shared_bytes,
                aligned.as_ptr().cast(),
                args.len(),
            )
        };
        self.check(kernel, status)?;
        #[cfg(test)]
        if let Some(counters) = &mut self.counters {
            let mut totals = Totals::default();
            // SAFETY: the device lives, and `totals` has the layout that the function fills.
            unsafe { mamba_executor_totals(self.raw.as_ptr(), &mut totals) };
            counters.push(LaunchCounters { kernel: kernel.into(), totals });
        }
        Ok(())
    }
}

/// The line of the kernel's source that the instruction before `address` belongs to.
fn source_line(address: *const c_void) -> Option<String> {
    if address.is_null() {
        return None;
    }
    let mut line = None;
    backtrace::resolve(address.cast_mut().wrapping_byte_sub(1), |symbol| {
        let file = symbol.filename().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
        let is_kernel = file.as_ref().is_some_and(|name| name.ends_with(".cu") || name.ends_with(".cuh"));
        if let (None, true, Some(file), Some(number)) = (&line, is_kernel, file, symbol.lineno()) {
            line = Some(format!("{file}:{number}"));
        }
    });
    line
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("check", &self.check).finish_non_exhaustive()
    }
}

impl Driver for Executor {
    fn description(&self) -> String {
        match self.check {
            Check::Checked => "executor of CUDA kernels on the CPU, every access checked".into(),
            Check::Optimised => "executor of CUDA kernels on the CPU, without checks".into(),
        }
    }

    fn multiprocessors(&self) -> u32 {
        4
    }

    fn has_tensor_cores(&self) -> bool {
        true
    }

    fn alloc(&self, bytes: usize) -> Result<u64> {
        let device = self.lock();
        // SAFETY: the device lives; any size is allowed.
        match unsafe { mamba_executor_alloc(device.raw.as_ptr(), bytes) } {
            0 => Err(Error::OutOfMemory { op: "alloc", elements: bytes, dtype: "u8" }),
            address => Ok(address),
        }
    }

    fn free(&self, address: u64) {
        let device = self.lock();
        // SAFETY: the device lives, and refuses an address that it has not given out.
        let status = unsafe { mamba_executor_free(device.raw.as_ptr(), address) };
        debug_assert_eq!(status, 0, "freed an address that is not of this device");
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        let device = self.lock();
        // SAFETY: the device lives, and refuses a range that is not within one of its arrays.
        device.check("zero", unsafe { mamba_executor_zero(device.raw.as_ptr(), address, bytes) })
    }

    fn upload(&self, host: &[u8], address: u64) -> Result<()> {
        let device = self.lock();
        // SAFETY: as for `zero`; `host` is as long as is said.
        let status =
            unsafe { mamba_executor_upload(device.raw.as_ptr(), address, host.as_ptr().cast(), host.len()) };
        device.check("upload", status)
    }

    fn download(&self, address: u64, host: &mut [u8]) -> Result<()> {
        let device = self.lock();
        // SAFETY: as for `upload`.
        let status = unsafe {
            mamba_executor_download(device.raw.as_ptr(), address, host.as_mut_ptr().cast(), host.len())
        };
        device.check("download", status)
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.lock().launch(launch)
    }

    fn record(&self, launches: &[Launch<'_>]) -> Result<Box<dyn Graph>> {
        let launches = launches.iter().map(RecordedLaunch::new).collect();
        Ok(Box::new(Recording { executor: self.clone(), launches }))
    }
}

/// Launches that run anew at each replay.
#[derive(Debug)]
struct Recording {
    executor: Executor,
    launches: Vec<RecordedLaunch>,
}

impl Graph for Recording {
    fn replay(&self) -> Result<()> {
        let mut device = self.executor.lock();
        self.launches.iter().try_for_each(|recorded| device.launch(&recorded.launch()))
    }
}
