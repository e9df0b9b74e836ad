//! `cargo bench --bench causal_conv1d [-- FILTER]`: with SiLU, from memory and from the L2 cache.

#[path = "../../harness/mod.rs"]
mod harness;

use harness::{Conv, Unit};
use mamba_kernels::DType::{BF16, F32};

fn main() {
    let mut criterion = harness::criterion();
    for (sizes, dtype, turns) in [
        ([1, 2048, 1536, 4], F32, 8),
        ([1, 2048, 1536, 4], BF16, 16),
        ([1, 64, 256, 4], F32, 1),
        ([64, 1, 1536, 4], F32, 1),
    ] {
        harness::time(&mut criterion, &Conv::new(sizes, dtype, turns), Unit::Bytes);
    }
    criterion.final_summary();
}
