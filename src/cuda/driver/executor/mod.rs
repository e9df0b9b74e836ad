//! The CUDA kernels on the CPU.

pub(crate) mod device;
pub(crate) mod host;
#[cfg(test)]
mod tests;
