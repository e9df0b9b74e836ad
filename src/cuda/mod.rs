//! The CUDA backend: the kernels of `cuda/`, on a GPU through its driver, or on the CPU by an executor that checks
//! them.
//!
//! The exact kernels give the bits of [`Cpu`](crate::Cpu). Faster ones, which do not, are chosen by name:
//! [`CudaBuilder::tensor_cores`] and [`CudaBuilder::parallel_scan`].

mod argmax;
mod args;
mod builder;
mod caller_stream;
mod causal_conv1d;
mod driver;
mod embedding;
mod linear;
mod memory;
mod rms_norm;
mod selective_scan;
#[cfg(all(test, mamba_executor))]
mod tests;
mod weights;
mod workspace;

pub use builder::{Cuda, CudaBuilder, KernelUse, LinearKernel};
/// The version of cudarc whose streams are taken.
pub use cudarc;
pub use driver::kernels::KernelResources;
pub(crate) use driver::probe::probe;
pub use memory::buffer::Buffer;
pub use memory::view::{View, ViewMut};
pub use weights::Weights;
pub use workspace::scratch::Workspace;

use crate::arrays::{Element, Error, FloatMode, Memory, Result, Rows, Scalar, WeightFormat};
use crate::backend::Backend;
use crate::ops::{CausalConv1d, Embedding, InProj, Linear, RmsNorm, SelectiveScan};

impl Memory for Cuda {
    type View<'a, T: Scalar> = View<'a, T>;
    type ViewMut<'a, T: Scalar> = ViewMut<'a, T>;
    type Buffer<T: Scalar> = Buffer<T>;
    type Weights = Weights;
}

impl Backend for Cuda {
    type Workspace = Workspace;

    /// A multiprocessor takes tiles of 128 tokens: a narrow product of 256 tokens would leave most of them idle.
    const SEGMENT_TOKENS: usize = 2048;

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
        memory::buffer::write(&self.device, host, &target)
    }

    fn read<T: Scalar>(&self, source: View<'_, T>, host: &mut [T]) -> Result<()> {
        memory::buffer::read(&self.device, &source, host)
    }

    fn view<'a, T: Scalar>(&self, buffer: &'a Buffer<T>) -> View<'a, T> {
        buffer.view()
    }

    fn view_mut<'a, T: Scalar>(&self, buffer: &'a mut Buffer<T>) -> ViewMut<'a, T> {
        buffer.view_mut()
    }

    fn pack_as<W: Element>(&self, weight: Rows<&[W]>, format: WeightFormat) -> Result<Weights> {
        let _mode = FloatMode::standard();
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
        linear::in_proj::in_proj(self, args, workspace)
    }

    fn linear<T: Element, U: Element>(
        &self,
        args: Linear<'_, Self, T, U>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        linear::forward::linear(self, args, workspace)
    }

    fn causal_conv1d<T: Element>(
        &self,
        args: CausalConv1d<'_, Self, T>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        causal_conv1d::forward::causal_conv1d(self, args, workspace)
    }

    fn selective_scan<T: Element>(
        &self,
        args: SelectiveScan<'_, Self, T>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        selective_scan::forward::selective_scan(self, args, workspace)
    }

    fn rms_norm<T: Element, U: Element>(
        &self,
        args: RmsNorm<'_, Self, T, U>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        rms_norm::forward::rms_norm(self, args, workspace)
    }

    fn embedding<U: Element>(&self, args: Embedding<'_, Self, U>, workspace: &mut Workspace) -> Result<()> {
        embedding::forward::embedding(self, args, workspace)
    }
}
