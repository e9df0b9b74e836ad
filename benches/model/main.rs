//! `cargo bench --bench model [-- FILTER]`: prefill and decode of the 130m shape; `Gelem/s` are GFLOP/s, `GB/s` are
//! bytes of weights.

#[path = "../harness/mod.rs"]
mod harness;

use harness::Unit;
use harness::model::{Forward, SHAPE_130M, Weights};
use mamba_kernels::DType::{BF16, F32};

fn main() {
    let mut criterion = harness::criterion();
    for dtype in [F32, BF16] {
        let weights = Weights::new(SHAPE_130M, dtype);
        harness::time(&mut criterion, &Forward::new(&weights, [1, 512]), Unit::Flops);
        harness::time(&mut criterion, &Forward::new(&weights, [1, 1]), Unit::BytesRead);
        harness::time(&mut criterion, &Forward::new(&weights, [8, 1]), Unit::BytesRead);
    }
    criterion.final_summary();
}
