//! `cargo bench --bench linear [-- FILTER]`: the other products of the model, `m` tokens, `k` to `n` features.

#[path = "../../harness/mod.rs"]
mod harness;

use harness::{Product, Unit};
use mamba_kernels::DType::{BF16, F16, F32};

fn main() {
    let mut criterion = harness::criterion();
    for (role, sizes, dtype, unit) in [
        ("out_proj", [512, 1536, 768], F32, Unit::Flops),
        ("x_proj", [512, 1536, 80], F32, Unit::Flops),
        ("dt_proj", [512, 48, 1536], F32, Unit::Flops),
        ("lm_head", [64, 768, 50280], F32, Unit::Flops),
        ("out_proj", [1, 1536, 768], F32, Unit::BytesRead),
        ("lm_head", [1, 768, 50280], F32, Unit::BytesRead),
        ("lm_head", [1, 768, 50280], BF16, Unit::BytesRead),
        ("lm_head", [1, 768, 50280], F16, Unit::BytesRead),
    ] {
        harness::time(&mut criterion, &Product::new(role, sizes, dtype), unit);
    }
    criterion.final_summary();
}
