//! The backends that the suite runs on, and what happens if the hardware for one is missing.

use crate::harness::arrays::Device;
use crate::properties::inexact::inexact;
use crate::skip::skip;
#[cfg(feature = "cuda")]
use crate::skip::{self, say};
use mamba_kernels::cpu::Isa;
use mamba_kernels::{Cpu, Reference};
#[cfg(feature = "cuda")]
use mamba_kernels::{
    Cuda,
    cuda::{CudaBuilder, LinearKernel},
};

/// The CPU backend on an instruction set, with 1, 2 and 3 threads; or `None`, and a line that says so.
pub fn cpu(name: &str) -> Option<Vec<Device<Cpu>>> {
    let isa = match Isa::from_name(name) {
        None => return skip(name, "this build has no such instruction set"),
        Some(isa) if !isa.is_available() => return skip(name, "this CPU lacks it"),
        Some(isa) => isa,
    };
    let device = |threads| Device::new(Cpu::builder().isa(isa).threads(threads).build().unwrap());
    Some((1..=3).map(device).collect())
}

/// The same in the inexact modes of its ops, and once more without the levels of the instruction set.
pub fn cpu_inexact(name: &str) -> Option<Vec<Device<Cpu>>> {
    let devices = cpu(name)?;
    let isa = devices[0].backend.isa();
    let builder = |threads| Cpu::builder().isa(isa).threads(threads);
    let with_levels = (1..=devices.len()).map(|threads| inexact(builder(threads)));
    Some(with_levels.chain([inexact(builder(2).without_levels())]).collect())
}

/// The oracle.
pub fn reference(_: &str) -> Option<Vec<Device<Reference>>> {
    Some(vec![Device::new(Reference)])
}

/// The CUDA backend: `cuda` is a GPU; `cuda-executor` runs the same kernels and launches on the CPU, first without
/// and then with the checks of every access.
#[cfg(feature = "cuda")]
pub fn cuda(name: &str) -> Option<Vec<Device<Cuda>>> {
    let builders = match name {
        "cuda-executor" => vec![Cuda::builder().unchecked_executor(), Cuda::builder().executor()],
        _ => vec![Cuda::builder()],
    };
    built(name, builders)
}

/// The same with the inexact forms. The executor checks them always: asynchronous copies are where a race hides.
#[cfg(feature = "cuda")]
pub fn cuda_inexact(name: &str) -> Option<Vec<Device<Cuda>>> {
    let choose = |builder: CudaBuilder| builder.tensor_cores().parallel_scan();
    match name {
        "cuda-executor" => built(name, vec![choose(Cuda::builder().executor())]),
        _ => built(name, vec![choose(Cuda::builder())]),
    }
}

/// The exact forms of the matrix product, each for all sizes. The executor checks them.
#[cfg(feature = "cuda")]
pub fn cuda_forms(name: &str) -> Option<Vec<Device<Cuda>>> {
    let builder = match name {
        "cuda-executor" => Cuda::builder().executor(),
        _ => Cuda::builder(),
    };
    built(name, LinearKernel::ALL.map(|kernel| builder.linear_kernel(kernel)).into())
}

/// The backends, and a line that says what they run on; or `None`, and a line that says why they do not.
#[cfg(feature = "cuda")]
fn built(name: &str, builders: Vec<CudaBuilder>) -> Option<Vec<Device<Cuda>>> {
    let backends =
        builders.into_iter().map(|builder| skip::cuda(name, builder)).collect::<Option<Vec<_>>>()?;
    for backend in &backends {
        say(&format!("RUNNING: {name} on {}", backend.description()));
    }
    Some(backends.into_iter().map(Device::new).collect())
}
