//! [`Gpu`]: the driver of a real device, through `cudarc`.
//!
//! All work goes to one stream, so that its order is that of the calls. `cudarc` loads NVIDIA's library at run time and
//! panics where it is absent or lacks a function; [`Gpu::new`] asks for both first.

use super::failure::{failed, no_device};
use super::graph::capture;
use super::interface::{Driver, Graph, Launch};
use super::modules::Modules;
use super::probe::ProbedDevice;
use crate::arrays::{Error, Result};
use cudarc::driver::{CudaContext, CudaStream, result, sys};
use std::ffi::c_void;
use std::sync::Arc;

/// A device with its stream and its loaded kernels.
#[derive(Debug)]
pub(in crate::cuda) struct Gpu {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// Whether the stream is this driver's own, on which no one else works.
    own_stream: bool,
    modules: Modules,
    capability: (i32, i32),
    multiprocessors: u32,
    description: String,
}

impl Gpu {
    /// On a stream of its own.
    pub(in crate::cuda) fn new(ordinal: usize) -> Result<Self> {
        let found = ProbedDevice::new(ordinal)?;
        let context = CudaContext::new(found.ordinal).map_err(no_device)?;
        // SAFETY: no `CudaSlice` is ever made in this context object, so that there is nothing to track.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(no_device)?;
        Self::with(found, stream, true)
    }

    /// On a stream of the caller's, in the caller's context.
    pub(in crate::cuda) fn on(stream: Arc<CudaStream>) -> Result<Self> {
        let found = ProbedDevice::new(stream.context().ordinal())?;
        stream.context().bind_to_thread().map_err(no_device)?;
        Self::with(found, stream, false)
    }

    /// The stream's context is the calling thread's.
    fn with(found: ProbedDevice, stream: Arc<CudaStream>, own_stream: bool) -> Result<Self> {
        let (capability, context) = (found.capability, stream.context().clone());
        let count = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = context.attribute(count).map_err(no_device)?.unsigned_abs().max(1);
        let modules = Modules::load(capability)?;
        let description = format!("{}, kernels {}", found.description(), modules.origin());
        Ok(Self { context, stream, own_stream, modules, capability, multiprocessors, description })
    }

    /// Whether memory is given out and back in the order of the stream. On a caller's stream it is not: of the
    /// per-thread default stream every thread has its own, and memory may be given back by another than used it.
    fn allocates_in_order(&self) -> bool {
        self.own_stream && self.context.has_async_alloc()
    }

    /// Makes the context the calling thread's.
    fn bind(&self, operation: &str) -> Result<()> {
        self.context.bind_to_thread().map_err(|error| failed(operation, error))
    }

    /// Puts a kernel on a stream.
    fn launch_on(&self, stream: sys::CUstream, launch: &Launch<'_>) -> Result<()> {
        let Launch { kernel, grid, block, shared_bytes, args } = *launch;
        let function = self.modules.function(kernel, shared_bytes)?;
        let [grid, block] = [grid, block].map(|[x, y, z]| (x, y, z));
        let mut parameters = [args.as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: the function is of a loaded module; it takes one struct by value, which the driver copies from
        // `args` before this returns. Whoever made the launch vouches for the addresses in it.
        let launched =
            unsafe { result::launch_kernel(function, grid, block, shared_bytes, stream, &mut parameters) };
        launched.map_err(|error| failed(kernel, error))
    }

    fn synchronize(&self, operation: &str) -> Result<()> {
        self.stream.synchronize().map_err(|error| failed(operation, error))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // kernels may still run, and their module goes now; an error of theirs has no one to go to
        let _ = match self.own_stream {
            true => self.stream.synchronize(),
            false => self.context.synchronize(), // other threads' default streams too
        };
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: the context is bound, all work is done, and graphs keep what they need alive.
            unsafe { self.modules.unload() }
        }
    }
}

impl Driver for Gpu {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    fn has_tensor_cores(&self) -> bool {
        self.capability >= (8, 0)
    }

    fn alloc(&self, bytes: usize) -> Result<u64> {
        self.bind("an allocation")?;
        // SAFETY: in order only where the stream is this driver's only one, on which all uses are.
        let allocated = unsafe {
            match self.allocates_in_order() {
                true => result::malloc_async(self.stream.cu_stream(), bytes),
                false => result::malloc_sync(bytes),
            }
        };
        allocated.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                Error::OutOfMemory { op: "alloc", elements: bytes, dtype: "u8" }
            }
            _ => failed("an allocation", error),
        })
    }

    fn free(&self, address: u64) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: the memory is of `alloc`, and its owner gives it up. The asynchronous form waits in the stream
            // for what uses it; the other waits for the device.
            let freed = unsafe {
                match self.allocates_in_order() {
                    true => result::free_async(address, self.stream.cu_stream()),
                    false => result::free_sync(address),
                }
            };
            // a failed device has no memory to give back, and its next call says why
            let _ = freed;
        }
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.bind("a fill")?;
        // SAFETY: the caller vouches for the memory.
        let filled = unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) };
        filled.map_err(|error| failed("a fill", error))?;
        // on a caller's stream another thread may be the first to use it
        if self.own_stream { Ok(()) } else { self.synchronize("a fill") }
    }

    fn upload(&self, host: &[u8], address: u64) -> Result<()> {
        const WHAT: &str = "a copy to the device";
        if host.is_empty() {
            return Ok(());
        }
        self.bind(WHAT)?;
        // SAFETY: the caller vouches for the memory of the device; the host's is borrowed until the copy is done.
        let copied = unsafe { result::memcpy_htod_async(address, host, self.stream.cu_stream()) };
        copied.map_err(|error| failed(WHAT, error))?;
        self.synchronize(WHAT)
    }

    fn download(&self, address: u64, host: &mut [u8]) -> Result<()> {
        const WHAT: &str = "a copy from the device";
        self.bind(WHAT)?;
        if !host.is_empty() {
            // SAFETY: as for `upload`.
            let copied = unsafe { result::memcpy_dtoh_async(host, address, self.stream.cu_stream()) };
            copied.map_err(|error| failed(WHAT, error))?;
        }
        self.synchronize(WHAT)
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.bind(launch.kernel)?;
        self.launch_on(self.stream.cu_stream(), launch)
    }

    fn record(&self, launches: &[Launch<'_>]) -> Result<Box<dyn Graph>> {
        self.bind("the recording of a graph")?;
        for launch in launches {
            // loading a module is not allowed while launches are captured
            self.modules.function(launch.kernel, launch.shared_bytes)?;
        }
        capture(&self.stream, |stream| launches.iter().try_for_each(|launch| self.launch_on(stream, launch)))
    }
}
