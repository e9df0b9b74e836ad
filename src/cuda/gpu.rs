//! [`Gpu`]: the driver of a real device, through `cudarc`.
//!
//! All work goes to one stream, so that its order is that of the calls. `cudarc` loads NVIDIA's library at run time and
//! panics where it is absent or lacks a function; [`Gpu::new`] asks for both first.

use super::driver::{Driver, Graph, Launch};
use super::library;
use super::modules::Modules;
use crate::arrays::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaStream, sys};
use std::ffi::{c_int, c_void};
use std::sync::Arc;

/// The oldest driver, as `cuDriverGetVersion` counts: every function that is called here is in it.
const OLDEST_DRIVER: c_int = 12000;

/// The oldest compute capability that the kernels are compiled for.
const OLDEST_DEVICE: (i32, i32) = (7, 5);

/// A device with its stream and its loaded kernels.
#[derive(Debug)]
pub(super) struct Gpu {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// Whether the stream is this driver's own, on which no one else works.
    own_stream: bool,
    modules: Modules,
    capability: (i32, i32),
    multiprocessors: u32,
    description: String,
}

/// What a call of the driver was for, and what it said.
pub(super) fn failed(operation: &str, error: DriverError) -> Error {
    Error::Device { operation: operation.into(), reason: reason(error) }
}

pub(super) fn reason(error: DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{text} ({name})"),
        _ => format!("error {} of the driver", error.0 as u32),
    }
}

fn unavailable(reason: String) -> Error {
    Error::Unavailable { backend: "cuda".into(), reason }
}

/// `12040` as `12.4`.
fn version(number: c_int) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// Checks the library and its version, before anything else of it is called.
fn expect_driver() -> Result<c_int> {
    if !library::is_present(library::DRIVER) {
        let name = library::DRIVER[0];
        return Err(unavailable(format!("there is no NVIDIA driver: {name} is not to be found")));
    }
    let mut found = 0;
    // SAFETY: the library is there, every version of it has this function, and the number is written to `found`.
    let answer = unsafe { sys::cuDriverGetVersion(&mut found) }.result();
    answer.map_err(|error| unavailable(format!("NVIDIA's driver does not start: {}", reason(error))))?;
    if found < OLDEST_DRIVER {
        let (found, oldest) = (version(found), version(OLDEST_DRIVER));
        let reason = format!(
            "the driver is for CUDA {found}, and {oldest} or later is needed: update NVIDIA's driver"
        );
        return Err(unavailable(reason));
    }
    Ok(found)
}

/// A device that can be used, before anything of it is.
#[derive(Debug)]
pub(super) struct Found {
    ordinal: usize,
    name: String,
    capability: (i32, i32),
    driver: c_int,
}

impl Found {
    /// Asks the driver for a device, and nothing of the device.
    pub(super) fn new(ordinal: usize) -> Result<Self> {
        use sys::CUdevice_attribute as Attribute;
        let driver = expect_driver()?;
        result::init().map_err(no_device)?;
        let count = CudaContext::device_count().map_err(no_device)?;
        if ordinal as u64 >= count.unsigned_abs().into() {
            return Err(unavailable(format!("there is no CUDA device {ordinal}: the driver has {count}")));
        }
        let device = result::device::get(ordinal as c_int).map_err(no_device)?;
        let name = result::device::get_name(device).map_err(no_device)?;
        let attribute = |attribute| {
            // SAFETY: the device is one that the driver has named.
            unsafe { result::device::get_attribute(device, attribute) }.map_err(no_device)
        };
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        if (major, minor) < OLDEST_DEVICE {
            let (oldest, least) = OLDEST_DEVICE;
            let reason = format!("{name} has compute capability {major}.{minor}, {oldest}.{least} is needed");
            return Err(unavailable(reason));
        }
        Ok(Self { ordinal, name, capability: (major, minor), driver })
    }

    /// One line about it.
    pub(super) fn description(&self) -> String {
        let Self { name, capability: (major, minor), driver, .. } = self;
        format!("{name}, compute capability {major}.{minor}, driver for CUDA {}", version(*driver))
    }
}

fn no_device(error: DriverError) -> Error {
    unavailable(format!("no CUDA device can be used: {}", reason(error)))
}

impl Gpu {
    /// On a stream of its own.
    pub(super) fn new(ordinal: usize) -> Result<Self> {
        let found = Found::new(ordinal)?;
        let context = CudaContext::new(found.ordinal).map_err(no_device)?;
        // SAFETY: no `CudaSlice` is ever made in this context object, so that there is nothing to track.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(no_device)?;
        Self::with(found, stream, true)
    }

    /// On a stream of the caller's, in the caller's context.
    pub(super) fn on(stream: Arc<CudaStream>) -> Result<Self> {
        let found = Found::new(stream.context().ordinal())?;
        stream.context().bind_to_thread().map_err(no_device)?;
        Self::with(found, stream, false)
    }

    /// The stream's context is the calling thread's.
    fn with(found: Found, stream: Arc<CudaStream>, own_stream: bool) -> Result<Self> {
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
        const WHAT: &str = "the recording of a graph";
        self.bind(WHAT)?;
        for launch in launches {
            // loading a module is not allowed while launches are captured
            self.modules.function(launch.kernel, launch.shared_bytes)?;
        }
        let stream = Scratch::new().map_err(|error| failed(WHAT, error))?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is new and this function's own. The capture ends before it goes.
        let captured = unsafe {
            result::stream::begin_capture(stream.0, mode).map_err(|error| failed(WHAT, error))?;
            let launched = launches.iter().try_for_each(|launch| self.launch_on(stream.0, launch));
            let captured = result::stream::end_capture(stream.0);
            launched.and(captured.map_err(|error| failed(WHAT, error)))?
        };
        // SAFETY: the graph is what was captured; what is made of it does not need it any more.
        let made = unsafe {
            let made = result::graph::instantiate(captured, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(captured);
            made
        };
        let executable = made.map_err(|error| failed(WHAT, error))?;
        Ok(Box::new(Recorded { executable, stream: self.stream.clone(), context: self.context.clone() }))
    }
}

/// A stream that launches are captured on, and that nothing runs on. `CudaContext::new_stream` would change how a
/// caller's context synchronises.
struct Scratch(sys::CUstream);

impl Scratch {
    /// In the context of the calling thread.
    fn new() -> std::result::Result<Self, DriverError> {
        Ok(Self(result::stream::create(result::stream::StreamKind::NonBlocking)?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: it was made by `new`, and goes in the call that made it, in the same context.
        let _ = unsafe { result::stream::destroy(self.0) };
    }
}

/// A graph of the device.
#[derive(Debug)]
struct Recorded {
    executable: sys::CUgraphExec,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

// SAFETY: the driver allows a graph to be launched and destroyed from any thread.
unsafe impl Send for Recorded {}
// SAFETY: a launch is the only use of a shared graph, and the driver allows it from any thread; the launches are one
// after the other on the stream.
unsafe impl Sync for Recorded {}

impl Graph for Recorded {
    fn replay(&self) -> Result<()> {
        const WHAT: &str = "the replay of a graph";
        self.context.bind_to_thread().map_err(|error| failed(WHAT, error))?;
        // SAFETY: both are valid until they are dropped. Who replays vouches for the addresses in the launches.
        let launched = unsafe { result::graph::launch(self.executable, self.stream.cu_stream()) };
        launched.map_err(|error| failed(WHAT, error))
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: nothing uses it any more; the driver keeps what a launch in flight needs.
            let destroyed = unsafe { result::graph::exec_destroy(self.executable) };
            // a failed device has nothing to destroy
            let _ = destroyed;
        }
    }
}
