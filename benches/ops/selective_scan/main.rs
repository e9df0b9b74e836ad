//! `cargo bench --bench selective_scan [-- FILTER]`: with softplus, bias, D and gate; `Gelem/s` are exponentials.

#[path = "../../harness/mod.rs"]
mod harness;

use harness::{Scan, Unit};
use mamba_kernels::DType::{BF16, F32};

fn main() {
    let mut criterion = harness::criterion();
    for (sizes, dtype) in [
        ([1, 2048, 1536, 16], F32),
        ([1, 2048, 1536, 16], BF16),
        ([1, 64, 256, 16], F32),
        ([1, 64, 256, 64], F32),
        ([64, 1, 1536, 16], F32),
    ] {
        harness::time(&mut criterion, &Scan::new(sizes, dtype), Unit::Exps);
    }
    criterion.final_summary();
}
