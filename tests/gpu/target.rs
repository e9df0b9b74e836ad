//! The device that the check runs on, and its sizes: those of real models, or for a dry run what the executor can do.

use crate::harness::arrays::Device;
use mamba_kernels::cuda::CudaBuilder;
use mamba_kernels::{Cuda, DType};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The sizes of a model's layers.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub d_model: usize,
    pub d_inner: usize,
    pub dt_rank: usize,
    pub layers: usize,
    pub vocab: usize,
}

pub const D_STATE: usize = 16;
pub const D_CONV: usize = 4;

const SMALL: Shape =
    Shape { name: "130m", d_model: 768, d_inner: 1536, dt_rank: 48, layers: 24, vocab: 50280 };
const LARGE: Shape =
    Shape { name: "2.8b", d_model: 2560, d_inner: 5120, dt_rank: 160, layers: 64, vocab: 50280 };
/// Sizes for the executor. 288 channels are a whole warp of the wide convolution and a part of one.
const TINY: Shape = Shape { name: "tiny", d_model: 48, d_inner: 288, dt_rank: 3, layers: 2, vocab: 160 };

/// A device, and the launches on all of its backends.
pub struct Target {
    /// Small sizes.
    pub small: bool,
    launches: Mutex<BTreeMap<&'static str, u64>>,
}

impl Target {
    pub fn new(small: bool) -> Self {
        Self { small, launches: Mutex::default() }
    }

    /// The models whose layers are checked and timed.
    pub fn models(&self) -> &'static [Shape] {
        if self.small { &[TINY] } else { &[SMALL, LARGE] }
    }

    /// What a GPU can do, or the executor.
    pub fn pick<T>(&self, gpu: T, executor: T) -> T {
        if self.small { executor } else { gpu }
    }

    /// A backend.
    pub fn cuda(&self, choose: impl Fn(CudaBuilder) -> CudaBuilder) -> Cuda {
        choose(Cuda::builder()).build().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs `check` on a backend, whose launches then count.
    pub fn with<R>(
        &self,
        choose: impl Fn(CudaBuilder) -> CudaBuilder,
        check: impl FnOnce(&Device<Cuda>) -> R,
    ) -> R {
        let device = Device::new(self.cuda(choose));
        let result = check(&device);
        self.count(&device.backend);
        result
    }

    /// Adds the launches of a backend.
    pub fn count(&self, cuda: &Cuda) {
        let mut launches = self.launches.lock().unwrap_or_else(PoisonError::into_inner);
        for kernel in cuda.kernels() {
            *launches.entry(kernel.name).or_default() += kernel.launches;
        }
    }

    /// The kernels that no check has launched.
    pub fn never_launched(&self) -> Vec<&'static str> {
        let launches = self.launches.lock().unwrap_or_else(PoisonError::into_inner);
        launches.iter().filter(|(_, launches)| **launches == 0).map(|(name, _)| *name).collect()
    }
}

/// The types of activations and weights that are checked.
pub const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
