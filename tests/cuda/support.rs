//! The backends that the tests run on.

use mamba_kernels::Cuda;
use mamba_kernels::cuda::CudaBuilder;
use std::io::Write;

/// The executor with checks, and a device where there is one; with a line on standard error for what there is not, or a
/// failure where `MAMBA_KERNELS_REQUIRE` names it.
pub fn backends(choose: impl Fn(CudaBuilder) -> CudaBuilder) -> Vec<Cuda> {
    let targets = [("cuda", Cuda::builder()), ("cuda-executor", Cuda::builder().executor())];
    targets.into_iter().filter_map(|(name, builder)| built(name, choose(builder))).collect()
}

fn built(name: &str, builder: CudaBuilder) -> Option<Cuda> {
    match builder.build() {
        Ok(cuda) => Some(cuda),
        Err(error) => {
            let required = std::env::var("MAMBA_KERNELS_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|required| required.trim() == name), "{error}");
            static SAID: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
            let mut said = SAID.lock().unwrap_or_else(|error| error.into_inner());
            if !said.iter().any(|said| said == name) {
                said.push(name.into());
                // an unwritable stderr is no reason to fail
                let _ = writeln!(std::io::stderr(), "SKIPPED: all tests of {name}: {error}");
            }
            None
        }
    }
}
