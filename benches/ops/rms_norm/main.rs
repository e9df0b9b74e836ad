//! `cargo bench --bench rms_norm [-- FILTER]`: with the residual add.

#[path = "../../harness/mod.rs"]
mod harness;

use harness::{Norm, Unit};

fn main() {
    let mut criterion = harness::criterion();
    for (m, d) in [(512, 768), (1, 768), (2048, 2560)] {
        harness::time(&mut criterion, &Norm { m, d }, Unit::Bytes);
    }
    criterion.final_summary();
}
