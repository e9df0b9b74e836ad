//! The CUDA backend: the same kernels on a GPU, and on the CPU by an executor that checks them.

pub(crate) mod driver;
