//! Skipping tests whose backend or instruction set is missing: a visible line, or a failure.
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;

/// The variable that lists what must not be skipped: names separated by commas.
const REQUIRE: &str = "MAMBA_KERNELS_REQUIRE";

/// Prints a line once, past the capture of test output.
pub fn say(line: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(|error| error.into_inner()).insert(line.into()) {
        // an unwritable stderr is no reason to fail
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// Prints that a backend is skipped; fails if it is required.
pub fn skip<T>(name: &str, why: &str) -> Option<T> {
    let required = std::env::var(REQUIRE).unwrap_or_default();
    if required.split(',').any(|required| required.trim() == name) {
        panic!("{name} is required by {REQUIRE}, and {why}");
    }
    say(&format!("SKIPPED: all tests of {name}: {why}"));
    None
}

/// The variable that lists the CUDA backends to test, `cuda` and `cuda-executor`: both if it is unset.
#[cfg(feature = "cuda")]
const TARGETS: &str = "MAMBA_KERNELS_CUDA_TARGETS";

/// A CUDA backend; or `None`, and a line that says so.
#[cfg(feature = "cuda")]
pub fn cuda(name: &str, builder: mamba_kernels::cuda::CudaBuilder) -> Option<mamba_kernels::Cuda> {
    // a device's context lives as long as the process, not from one test to the next
    static FIRST: std::sync::OnceLock<mamba_kernels::Cuda> = std::sync::OnceLock::new();
    if std::env::var(TARGETS).is_ok_and(|targets| targets.split(',').all(|target| target.trim() != name)) {
        return skip(name, &format!("{TARGETS} does not name it"));
    }
    match builder.build() {
        Ok(cuda) => {
            if name == "cuda" {
                FIRST.get_or_init(|| cuda.clone());
            }
            Some(cuda)
        }
        Err(mamba_kernels::Error::Unavailable { reason, .. }) => skip(name, &reason),
        Err(error) => panic!("{name}: {error}"),
    }
}
