//! [`Driver`]: the interface of whatever runs the kernels, a GPU or the executor on the CPU.
#![forbid(unsafe_code)]

use super::kernels::KernelResources;
use crate::arrays::Result;
use std::fmt::Debug;

/// One launch of a kernel: its symbol, its geometry, and its one argument struct as bytes.
///
/// # Safety of a launch
/// Code that makes a launch must make sure that:
/// 1. `args` is the struct that `cuda/args.h` names for the kernel, with grid, block and shared memory as stated there;
/// 2. every address in it is of memory that the driver has allocated, or that the caller of `Cuda::view_at` has, and
///    the array that the struct describes lies within;
/// 3. that memory stays allocated until the kernel is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Launch<'a> {
    /// The symbol, as in `cuda/args.h`.
    pub kernel: &'static str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Dynamic shared memory per block.
    pub shared_bytes: u32,
    /// A struct of `cuda/args.h`.
    pub args: &'a [u8],
}

/// A [`Launch`] that owns its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecordedLaunch {
    kernel: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    args: Vec<u8>,
}

impl RecordedLaunch {
    pub fn new(launch: &Launch<'_>) -> Self {
        let Launch { kernel, grid, block, shared_bytes, args } = *launch;
        Self { kernel, grid, block, shared_bytes, args: args.to_vec() }
    }

    pub fn launch(&self) -> Launch<'_> {
        let Self { kernel, grid, block, shared_bytes, ref args } = *self;
        Launch { kernel, grid, block, shared_bytes, args }
    }
}

/// Runs kernels in order, over memory of its own. An address is a number that the host never dereferences.
///
/// All work runs in the order of the calls: a call sees what the calls before it have written. Where a function takes
/// an address and a size, that range must lie within one allocation of this driver.
pub(crate) trait Driver: Send + Sync + Debug {
    /// One line that names what it runs on.
    fn description(&self) -> String;

    /// How many multiprocessors share the blocks of a launch: which tile of a product is best depends on it.
    fn multiprocessors(&self) -> u32;

    /// Whether there are tensor cores that take f16 and bf16, and asynchronous copies: compute capability 8.0.
    fn has_tensor_cores(&self) -> bool;

    /// The address of new memory of at least one byte, a multiple of 256.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    fn alloc(&self, bytes: usize) -> Result<u64>;

    /// Frees memory of [`Driver::alloc`], once the work on it is done. Called once per allocation.
    fn free(&self, address: u64);

    /// Fills memory with zeros.
    fn zero(&self, address: u64, bytes: usize) -> Result<()>;

    /// Copies from the host. The host's memory may change once this returns.
    fn upload(&self, host: &[u8], address: u64) -> Result<()>;

    /// Copies to the host, once all work before it is done.
    fn download(&self, address: u64, host: &mut [u8]) -> Result<()>;

    /// Runs a kernel. Its errors may show in a later call, as a device reports them.
    fn launch(&self, launch: &Launch<'_>) -> Result<()>;

    /// Records launches, without running them, as one piece of work that can be run many times.
    fn record(&self, launches: &[Launch<'_>]) -> Result<Box<dyn Graph>>;

    /// What a loaded kernel needs, by its place in [`KERNELS`](super::kernels::KERNELS), if this driver knows.
    fn resources(&self, _kernel: usize) -> Option<KernelResources> {
        None
    }
}

/// Recorded launches.
pub(crate) trait Graph: Send + Sync + Debug {
    /// Runs all of them, in their order, as part of the order of the driver that they were recorded by.
    fn replay(&self) -> Result<()>;
}
