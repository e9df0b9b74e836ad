//! [`Gpu`]: the driver of a real device, through `cudarc`.
//!
//! All work goes to one stream, so it runs in the order of the calls. `cudarc` loads NVIDIA's library at run time and
//! panics if it is absent or lacks a function; [`ProbedDevice`] checks both first.

use super::failure::{failed, no_device};
use super::graph;
use super::interface::{Driver, Graph, Launch};
use super::kernels::KernelResources;
use super::modules::Modules;
use super::pool::Pool;
use super::probe::ProbedDevice;
use crate::arrays::{Error, Result};
use cudarc::driver::{CudaContext, CudaStream, result, sys};
use std::ffi::{c_int, c_void};
use std::sync::Arc;

/// A device with its stream and its loaded kernels.
#[derive(Debug)]
pub(in crate::cuda) struct Gpu {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// Whether the stream is this driver's own, on which nothing else runs.
    own_stream: bool,
    /// Where memory comes from, in stream order. On a caller's stream there is none: each thread has its own per-thread
    /// default stream, and a thread may free memory that another has used.
    pool: Option<Pool>,
    modules: Arc<Modules>,
    capability: (i32, i32),
    multiprocessors: u32,
    /// Bytes of the device.
    total_memory: usize,
    description: String,
}

impl Gpu {
    /// On a stream of its own.
    pub(in crate::cuda) fn new(ordinal: usize) -> Result<Self> {
        let found = ProbedDevice::new(ordinal)?;
        let context = CudaContext::new(found.ordinal).map_err(no_device)?;
        // SAFETY: tracking is for `CudaSlice`s, and none is ever made in this context object.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(no_device)?;
        Self::with(found, stream, true)
    }

    /// On the caller's stream, in the caller's context.
    pub(in crate::cuda) fn on(stream: Arc<CudaStream>) -> Result<Self> {
        let found = ProbedDevice::new(stream.context().ordinal())?;
        stream.context().bind_to_thread().map_err(no_device)?;
        Self::with(found, stream, false)
    }

    /// The stream's context must be current on the calling thread.
    fn with(found: ProbedDevice, stream: Arc<CudaStream>, own_stream: bool) -> Result<Self> {
        let (capability, context) = (found.capability, stream.context().clone());
        let count = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = context.attribute(count).map_err(no_device)?.unsigned_abs().max(1);
        let total_memory = found.total_memory()?;
        let modules = Modules::of(&context, capability)?;
        let has_pools = own_stream && context.has_async_alloc();
        let pool = if has_pools { Some(Pool::new(found.ordinal as c_int)?) } else { None };
        let description = format!("{}, kernels {}", found.description(), modules.description());
        Ok(Self {
            context,
            stream,
            own_stream,
            pool,
            modules,
            capability,
            multiprocessors,
            total_memory,
            description,
        })
    }

    /// Makes the context current on the calling thread.
    fn bind(&self, operation: &str) -> Result<()> {
        self.context.bind_to_thread().map_err(|error| failed(operation, error))
    }

    fn synchronize(&self, operation: &str) -> Result<()> {
        self.stream.synchronize().map_err(|error| failed(operation, error))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // kernels may still run, and the last driver in a context unloads them; nothing can report their errors any more
        let _ = match self.own_stream {
            true => self.stream.synchronize(),
            false => self.context.synchronize(), // other threads' default streams too
        };
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
        let too_much = Error::OutOfMemory { op: "alloc", elements: bytes, dtype: "u8" };
        if bytes > self.total_memory {
            return Err(too_much); // the driver has other errors for sizes that no device has
        }
        self.bind("an allocation")?;
        let allocated = match &self.pool {
            Some(pool) => pool.alloc(bytes, self.stream.cu_stream()),
            // SAFETY: the call neither reads nor writes memory of this process.
            None => unsafe { result::malloc_sync(bytes) },
        };
        allocated.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => too_much,
            _ => failed("an allocation", error),
        })
    }

    fn free(&self, address: u64) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: the address is from `alloc`, from the pool if there is one, and `Memory` frees it once. The
            // asynchronous call takes effect after the work on the stream; the other waits for the device.
            let freed = unsafe {
                match self.pool {
                    Some(_) => result::free_async(address, self.stream.cu_stream()),
                    None => result::free_sync(address),
                }
            };
            // after a failure of the device nothing can be freed, and the next call reports why
            let _ = freed;
        }
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.bind("a fill")?;
        // SAFETY: `Driver` requires that the `bytes` from `address` on lie within an allocation of this device.
        let filled = unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) };
        filled.map_err(|error| failed("a fill", error))?;
        // on a caller's stream another thread, with another default stream, may be the first to use the memory
        if self.own_stream { Ok(()) } else { self.synchronize("a fill") }
    }

    fn upload(&self, host: &[u8], address: u64) -> Result<()> {
        const WHAT: &str = "a copy to the device";
        if host.is_empty() {
            return Ok(());
        }
        self.bind(WHAT)?;
        // SAFETY: `Driver` requires that the allocation at `address` holds as many bytes as `host`, which is borrowed
        // until the copy is done.
        let copied = unsafe { result::memcpy_htod_async(address, host, self.stream.cu_stream()) };
        copied.map_err(|error| failed(WHAT, error))?;
        self.synchronize(WHAT)
    }

    fn download(&self, address: u64, host: &mut [u8]) -> Result<()> {
        const WHAT: &str = "a copy from the device";
        self.bind(WHAT)?;
        if !host.is_empty() {
            // SAFETY: `Driver` requires that the allocation at `address` holds as many bytes as `host`, which is
            // borrowed until the copy is done.
            let copied = unsafe { result::memcpy_dtoh_async(host, address, self.stream.cu_stream()) };
            copied.map_err(|error| failed(WHAT, error))?;
        }
        self.synchronize(WHAT)
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let Launch { kernel, grid, block, shared_bytes, args } = *launch;
        let function = self.modules.function(kernel)?;
        self.bind(kernel)?;
        let [grid, block] = [grid, block].map(|[x, y, z]| (x, y, z));
        let mut parameters = [args.as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: `self.modules` keeps the function's module loaded. Every kernel takes one struct by value, and `args`
        // is that struct (`cuda/args.h`, whose sizes tests compare); the driver copies it before this returns. The
        // addresses in it are covered by "Safety of a launch" at `Launch`.
        let launched = unsafe {
            let stream = self.stream.cu_stream();
            result::launch_kernel(function, grid, block, shared_bytes, stream, &mut parameters)
        };
        launched.map_err(|error| failed(kernel, error))
    }

    fn record(&self, launches: &[Launch<'_>]) -> Result<Box<dyn Graph>> {
        self.bind("the recording of a graph")?;
        let nodes = launches.iter().map(|launch| Ok((self.modules.function(launch.kernel)?, launch)));
        graph::record(&self.stream, nodes)
    }

    fn resources(&self, kernel: usize) -> Option<KernelResources> {
        self.modules.resources(kernel)
    }
}
