//! `cargo bench --bench in_proj [-- FILTER]`: the widening product of a block, `m` tokens.

#[path = "../../harness/mod.rs"]
mod harness;

use harness::{Product, Unit};
use mamba_kernels::DType::{BF16, F16, F32};

fn main() {
    let mut criterion = harness::criterion();
    let shape_130m = |m| [m, 768, 3072];
    for (sizes, dtype, unit) in [
        (shape_130m(2048), F32, Unit::Flops),
        (shape_130m(512), F32, Unit::Flops),
        (shape_130m(512), BF16, Unit::Flops),
        (shape_130m(64), F32, Unit::Flops),
        (shape_130m(8), F32, Unit::Flops),
        (shape_130m(1), F32, Unit::BytesRead),
        // the shape of the 2.8b model: beyond the caches
        ([1, 2560, 10240], F32, Unit::BytesRead),
        ([1, 2560, 10240], BF16, Unit::BytesRead),
        ([1, 2560, 10240], F16, Unit::BytesRead),
    ] {
        harness::time(&mut criterion, &Product::new("in_proj", sizes, dtype), unit);
    }
    let fast = Product::new("in_proj", shape_130m(512), F32).bf16_dot();
    harness::time(&mut criterion, &fast, Unit::Flops);
    criterion.final_summary();
}
