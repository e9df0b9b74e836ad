//! [`Cuda`], and [`CudaBuilder`], which chooses what it runs on and which inexact kernels it may use.

use crate::arrays::{Error, Result};
use crate::cuda::driver::gpu::Gpu;
use crate::cuda::driver::interface::Driver;
use crate::cuda::driver::kernels::{KERNELS, KernelResources};
use crate::cuda::memory::device::Device;
use std::sync::Arc;

/// The CUDA backend on one device. Clones share it, and its memory.
#[derive(Debug, Clone)]
pub struct Cuda {
    pub(super) device: Arc<Device>,
    pub(super) name: &'static str,
    pub(super) tensor_cores: bool,
    pub(super) parallel_scan: bool,
    pub(super) linear_kernel: Option<LinearKernel>,
}

/// A kernel of the exact matrix product. All give the same bits; which is the fastest depends on the sizes and the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinearKernel {
    /// `mk_linear_few_rows_*`: eight rows a block, the weights streamed.
    FewRows,
    /// `mk_linear_exact_64`: tiles of 64 x 64.
    Exact64,
    /// `mk_linear_exact_128`: tiles of 128 x 128.
    Exact128,
}

impl LinearKernel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::FewRows, Self::Exact64, Self::Exact128];
}

/// A kernel, and what a backend knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelUse {
    /// Its symbol in `cuda/`.
    pub name: &'static str,
    /// How often it was launched, or recorded as part of a step. Replays are not counted.
    pub launches: u64,
    /// What it needs; `None` on the executor.
    pub resources: Option<KernelResources>,
}

/// What runs the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Gpu(usize),
    Executor { checked: bool },
}

/// Chooses what a [`Cuda`] runs on, and which inexact kernels it may use.
#[derive(Debug, Clone, Copy)]
pub struct CudaBuilder {
    pub(super) target: Target,
    tensor_cores: bool,
    parallel_scan: bool,
    linear_kernel: Option<LinearKernel>,
}

impl Default for CudaBuilder {
    fn default() -> Self {
        Self { target: Target::Gpu(0), tensor_cores: false, parallel_scan: false, linear_kernel: None }
    }
}

impl CudaBuilder {
    /// The device of this number, instead of the first.
    pub fn device(mut self, ordinal: usize) -> Self {
        self.target = Target::Gpu(ordinal);
        self
    }

    /// No GPU: the kernels run on the CPU, thread by thread, and each memory access is checked. Slow; for tests.
    pub fn executor(mut self) -> Self {
        self.target = Target::Executor { checked: true };
        self
    }

    /// [`executor`](Self::executor) without the checks.
    pub fn unchecked_executor(mut self) -> Self {
        self.target = Target::Executor { checked: false };
        self
    }

    /// Matrix products with f16 and bf16 weights run on tensor cores, for more than 8 rows: inexact. The inputs are
    /// rounded to the type of the weight, and the sums, in f32, are in the hardware's order.
    pub fn tensor_cores(mut self) -> Self {
        self.tensor_cores = true;
        self
    }

    /// Scans of long sequences run in chunks, in parallel, which are then combined: inexact, since the state at the
    /// start of a chunk is computed in another order.
    pub fn parallel_scan(mut self) -> Self {
        self.parallel_scan = true;
        self
    }

    /// Every matrix product uses this kernel, whatever its size, and none runs on tensor cores: for tests and tuning.
    pub fn linear_kernel(mut self, kernel: LinearKernel) -> Self {
        self.linear_kernel = Some(kernel);
        self
    }

    /// Makes the backend.
    ///
    /// # Errors
    /// [`Error::Unavailable`] says what is missing: the driver, a device, a newer one of either, or the executor.
    pub fn build(self) -> Result<Cuda> {
        match self.target {
            Target::Gpu(ordinal) => self.over("cuda", Box::new(Gpu::new(ordinal)?)),
            Target::Executor { checked } => self.over("cuda-executor", executor(checked)?),
        }
    }

    pub(super) fn over(self, name: &'static str, driver: Box<dyn Driver>) -> Result<Cuda> {
        let Self { tensor_cores, parallel_scan, linear_kernel, .. } = self;
        if tensor_cores && !driver.has_tensor_cores() {
            let reason = "the tensor cores in use need compute capability 8.0 or later";
            return Err(Error::Unavailable { backend: name.into(), reason: reason.into() });
        }
        Ok(Cuda { device: Device::new(driver), name, tensor_cores, parallel_scan, linear_kernel })
    }
}

#[cfg(mamba_executor)]
fn executor(checked: bool) -> Result<Box<dyn Driver>> {
    use crate::cuda::driver::executor::device::{Check, Executor};
    Ok(Box::new(Executor::new(if checked { Check::Checked } else { Check::Optimised })?))
}

#[cfg(not(mamba_executor))]
fn executor(_: bool) -> Result<Box<dyn Driver>> {
    let reason = "this build has none: it needs Linux, and GCC or Clang with C++17 when the crate is built";
    Err(Error::Unavailable { backend: "cuda-executor".into(), reason: reason.into() })
}

impl Cuda {
    /// The first device, exact.
    ///
    /// # Errors
    /// As [`CudaBuilder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Chooses the device and the inexact kernels.
    pub fn builder() -> CudaBuilder {
        CudaBuilder::default()
    }

    /// One line that names the device.
    pub fn description(&self) -> String {
        self.device.driver.description()
    }

    /// Whether products with f16 and bf16 weights may use tensor cores on this device: compute capability 8.0.
    pub fn has_tensor_cores(&self) -> bool {
        self.device.driver.has_tensor_cores()
    }

    /// All kernels: how often this backend and its clones have launched each, and what each needs.
    pub fn kernels(&self) -> Vec<KernelUse> {
        let device = &self.device;
        let kernel_use = |(i, name)| KernelUse {
            name,
            launches: device.launches_of(i),
            resources: device.driver.resources(i),
        };
        KERNELS.iter().copied().enumerate().map(kernel_use).collect()
    }
}
