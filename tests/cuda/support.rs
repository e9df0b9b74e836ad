//! The backends that the tests run on.

use crate::skip;
use mamba_kernels::Cuda;
use mamba_kernels::cuda::CudaBuilder;

/// The executor with checks, and a device if one exists. What is missing prints a line on standard error, or fails the
/// test if `MAMBA_KERNELS_REQUIRE` names it.
pub fn backends(choose: impl Fn(CudaBuilder) -> CudaBuilder) -> Vec<Cuda> {
    let targets = [("cuda", Cuda::builder()), ("cuda-executor", Cuda::builder().executor())];
    targets.into_iter().filter_map(|(name, builder)| skip::cuda(name, choose(builder))).collect()
}
