//! Which backends this machine has.
#![forbid(unsafe_code)]

#[cfg(feature = "cuda")]
use crate::arrays::Error;
use crate::cpu::Cpu;

/// One row of [`list`]: a backend and whether this machine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Availability {
    /// The name, as [`Backend::name`](crate::Backend::name) gives it.
    pub name: &'static str,
    /// `Ok` with what it runs on, or `Err` with why it is not available.
    pub status: std::result::Result<String, String>,
}

/// The GPU, or why the backend is not available.
fn cuda() -> std::result::Result<String, String> {
    #[cfg(feature = "cuda")]
    return crate::cuda::probe().map_err(|error| match error {
        Error::Unavailable { reason, .. } => reason,
        error => error.to_string(),
    });
    #[cfg(not(feature = "cuda"))]
    Err("this build has no CUDA backend: the feature `cuda` is off".into())
}

/// Every backend that this crate knows, the fastest first, with what it runs on here or why it is not available.
pub fn list() -> Vec<Availability> {
    let cpu = Cpu::builder().build();
    vec![
        Availability { name: "cuda", status: cuda() },
        Availability {
            name: "cpu",
            status: cpu.map(|cpu| cpu.description()).map_err(|error| error.to_string()),
        },
        Availability { name: "reference", status: Ok("plain loops in f64, one thread".into()) },
    ]
}

/// The name of the fastest backend that this machine has: `cpu` if there is no GPU. If `MAMBA_KERNELS_ISA` names an
/// instruction set that this CPU lacks, [`CpuBuilder::build`](crate::cpu::CpuBuilder::build) returns the error.
pub fn best() -> &'static str {
    list()
        .iter()
        .find(|backend| backend.status.is_ok() || backend.name == "cpu")
        .map_or("cpu", |found| found.name)
}
