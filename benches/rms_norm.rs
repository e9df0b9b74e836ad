//! `cargo bench --bench rms_norm [-- FILTER]`: with the residual add.

mod cases;

use cases::{Norm, Unit};

fn main() {
    let mut criterion = cases::criterion();
    for (m, d) in [(512, 768), (1, 768), (2048, 2560)] {
        cases::time(&mut criterion, &Norm { m, d }, Unit::Bytes);
    }
    criterion.final_summary();
}
