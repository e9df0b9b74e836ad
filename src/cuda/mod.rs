//! The CUDA backend: the kernels of `cuda/`, on a GPU through its driver, or on the CPU by an executor that checks
//! them.
//!
//! The exact kernels give the bits of [`Cpu`](crate::Cpu). Faster ones, which do not, are chosen by name:
//! [`CudaBuilder::tensor_cores`] and [`CudaBuilder::parallel_scan`].

mod args;
mod backend;
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

pub use builder::{Cuda, CudaBuilder};
/// The version of cudarc whose streams are taken.
pub use cudarc;
pub(crate) use driver::probe::probe;
pub use memory::buffer::Buffer;
pub use memory::view::{View, ViewMut};
pub use weights::Weights;
pub use workspace::scratch::Workspace;
