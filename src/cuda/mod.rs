//! The CUDA backend: kernels of `cuda/`, on a GPU through its driver, or on the CPU by an executor that checks them.
//!
//! The exact forms give the bits of [`Cpu`](crate::Cpu). Faster forms, which do not, are chosen by name:
//! [`CudaBuilder::tensor_cores`] and [`CudaBuilder::parallel_scan`].

#[cfg(all(test, mamba_executor))]
mod argmax_tests;
mod args;
mod causal_conv1d;
mod compile;
pub(crate) mod driver;
mod embedding;
#[cfg(mamba_executor)]
mod executor;
mod foreign;
#[cfg(all(test, mamba_executor))]
mod foreign_tests;
mod gpu;
mod in_proj;
mod library;
mod linear;
mod memory;
mod modules;
mod rms_norm;
mod selective_scan;
#[cfg(all(test, mamba_executor))]
mod traffic_tests;
mod weights;
mod workspace;

/// The version of cudarc whose streams are taken.
pub use cudarc;
pub use memory::{Buffer, View, ViewMut};
pub use weights::Weights;
pub use workspace::Workspace;

use crate::arrays::{Element, Error, Memory, Result, Rows, Scalar, WeightFormat};
use crate::backend::Backend;
use crate::ops::{CausalConv1d, Embedding, InProj, Linear, RmsNorm, SelectiveScan};
use driver::Driver;
use memory::Device;
use std::sync::Arc;

/// The CUDA backend on one device. Clones share it, and its memory.
#[derive(Debug, Clone)]
pub struct Cuda {
    device: Arc<Device>,
    name: &'static str,
    tensor_cores: bool,
    parallel_scan: bool,
}

/// What the first device is, or why there is none. No kernel is loaded for it.
pub(crate) fn probe() -> Result<String> {
    Ok(gpu::Found::new(0)?.description())
}

/// What runs the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Gpu(usize),
    Executor { checked: bool },
}

/// Chooses what a [`Cuda`] runs on, and which faster forms it may use.
#[derive(Debug, Clone, Copy)]
pub struct CudaBuilder {
    target: Target,
    tensor_cores: bool,
    parallel_scan: bool,
}

impl Default for CudaBuilder {
    fn default() -> Self {
        Self { target: Target::Gpu(0), tensor_cores: false, parallel_scan: false }
    }
}

impl CudaBuilder {
    /// The device of this number, instead of the first.
    pub fn device(mut self, ordinal: usize) -> Self {
        self.target = Target::Gpu(ordinal);
        self
    }

    /// No GPU: the kernels run on the CPU, thread by thread, and each access of memory is checked. Slow; for tests.
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
    /// rounded to the type of the weight, and the order of the sums is the hardware's; they are in binary32.
    pub fn tensor_cores(mut self) -> Self {
        self.tensor_cores = true;
        self
    }

    /// Scans of long sequences run in pieces side by side, which are then combined: inexact, since the state at the
    /// start of a piece is computed in another order.
    pub fn parallel_scan(mut self) -> Self {
        self.parallel_scan = true;
        self
    }

    /// Makes the backend.
    ///
    /// # Errors
    /// [`Error::Unavailable`] says what is missing: the driver, a device, a newer one of either, or the executor.
    pub fn build(self) -> Result<Cuda> {
        match self.target {
            Target::Gpu(ordinal) => self.over("cuda", Box::new(gpu::Gpu::new(ordinal)?)),
            Target::Executor { checked } => self.over("cuda-executor", executor(checked)?),
        }
    }

    fn over(self, name: &'static str, driver: Box<dyn Driver>) -> Result<Cuda> {
        let Self { tensor_cores, parallel_scan, .. } = self;
        if tensor_cores && !driver.has_tensor_cores() {
            let reason =
                "tensor cores were asked for; compute capability 8.0 or later has those that are used";
            return Err(Error::Unavailable { backend: name.into(), reason: reason.into() });
        }
        Ok(Cuda { device: Device::new(driver), name, tensor_cores, parallel_scan })
    }
}

#[cfg(mamba_executor)]
fn executor(checked: bool) -> Result<Box<dyn Driver>> {
    use executor::{Check, Executor};
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

    /// Chooses the device and the forms of the kernels.
    pub fn builder() -> CudaBuilder {
        CudaBuilder::default()
    }

    /// One line that names the device.
    pub fn description(&self) -> String {
        self.device.driver.description()
    }
}

impl Memory for Cuda {
    type View<'a, T: Scalar> = View<'a, T>;
    type ViewMut<'a, T: Scalar> = ViewMut<'a, T>;
    type Buffer<T: Scalar> = Buffer<T>;
    type Weights = Weights;
}

impl Backend for Cuda {
    type Workspace = Workspace;

    fn name(&self) -> &'static str {
        self.name
    }

    fn zeros<T: Scalar>(&self, len: usize) -> Result<Buffer<T>> {
        Buffer::zeros(&self.device, len)
    }

    fn upload<T: Scalar>(&self, host: &[T]) -> Result<Buffer<T>> {
        Buffer::upload(&self.device, host)
    }

    fn write<T: Scalar>(&self, host: &[T], target: ViewMut<'_, T>) -> Result<()> {
        memory::write(&self.device, host, &target)
    }

    fn read<T: Scalar>(&self, source: View<'_, T>, host: &mut [T]) -> Result<()> {
        memory::read(&self.device, &source, host)
    }

    fn view<'a, T: Scalar>(&self, buffer: &'a Buffer<T>) -> View<'a, T> {
        buffer.view()
    }

    fn view_mut<'a, T: Scalar>(&self, buffer: &'a mut Buffer<T>) -> ViewMut<'a, T> {
        buffer.view_mut()
    }

    fn pack_as<W: Element>(&self, weight: Rows<&[W]>, format: WeightFormat) -> Result<Weights> {
        Weights::new(&self.device, weight, format)
    }

    fn step<E: From<Error>>(
        &self,
        workspace: &mut Workspace,
        ops: impl FnOnce(&mut Workspace) -> Result<(), E>,
    ) -> Result<(), E> {
        workspace.step(&self.device, ops)
    }

    fn in_proj<T: Element, const N: usize>(
        &self,
        args: InProj<'_, Self, T, N>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        in_proj::in_proj(self, args, workspace)
    }

    fn linear<T: Element, U: Element>(
        &self,
        args: Linear<'_, Self, T, U>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        linear::linear(self, args, workspace)
    }

    fn causal_conv1d<T: Element>(
        &self,
        args: CausalConv1d<'_, Self, T>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        causal_conv1d::causal_conv1d(self, args, workspace)
    }

    fn selective_scan<T: Element>(
        &self,
        args: SelectiveScan<'_, Self, T>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        selective_scan::selective_scan(self, args, workspace)
    }

    fn rms_norm<T: Element, U: Element>(
        &self,
        args: RmsNorm<'_, Self, T, U>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        rms_norm::rms_norm(self, args, workspace)
    }

    fn embedding<U: Element>(&self, args: Embedding<'_, Self, U>, workspace: &mut Workspace) -> Result<()> {
        embedding::embedding(self, args, workspace)
    }
}
