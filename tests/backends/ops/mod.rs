//! A folder per op: its cases, the error analysis of its arithmetic, and the arguments that it must refuse.

pub mod causal_conv1d;
mod embedding;
pub mod linear;
mod rms_norm;
pub mod selective_scan;

pub use causal_conv1d::CausalConv1d;
pub use embedding::Embedding;
pub use linear::{InProj, Linear};
pub use rms_norm::RmsNorm;
pub use selective_scan::SelectiveScan;

/// The table of ops: `kind group: Case;`, and the properties of that op alone. `suite!` makes the tests of one backend.
macro_rules! for_each_op {
    ($suite:ident $make:ident($name:literal)) => {
        suite! { $suite $make($name):
            rowwise linear: Linear;
            rowwise in_proj: InProj, equals_two_linears;
            rowwise rms_norm: RmsNorm;
            rowwise embedding: Embedding;
            sequential causal_conv1d: CausalConv1d;
            sequential selective_scan: SelectiveScan;
        }
        mod golden {
            properties! { $make($name): golden::causal_conv1d, golden::selective_scan, golden::rms_norm }
        }
    };
}
