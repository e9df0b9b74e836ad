//! The matrix product behind `in_proj` and `linear`.
//!
//! ```text
//! for each output (t, n): sum = +0.0; for k in 0..K: sum = fma(input[t, k], weight[n, k], sum)
//! then sum + bias[n], then the epilogue
//! ```
//!
//! What the fast version does differently, and why the bits stay the same:
//! 1. A register tile of rows by vectors holds many outputs at once. Each lane is one output with its own `k` loop.
//! 2. Weights are packed into panels, so that a vector load gives neighbouring outputs. Order of memory only.
//! 3. Inputs are read where they are, a few rows at a time: packing them costs more than it saves. f16 and bf16 inputs
//!    are widened first, exactly.
//! 4. Blocks of rows and of panels are visited in the order that suits the caches and the threads. Outputs are
//!    independent of each other.
//! 5. The epilogue works on the tile before it leaves the L1 cache. In `in_proj` a tile knows which of the two outputs
//!    its columns belong to.

mod driver;
pub(crate) mod microkernel;
pub(crate) mod packing;

pub use packing::PackedWeights;

use crate::arrays::Element;
use crate::arrays::Result;
use crate::arrays::Rows;
use crate::cpu::{Cpu, Workspace};
use crate::ops::{Epilogue, InProj, Linear};
use driver::{Gemm, Inputs, Outputs};

pub(super) fn in_proj<T: Element>(
    cpu: &Cpu,
    args: InProj<'_, Cpu, T>,
    workspace: &mut Workspace,
) -> Result<()> {
    let shape = args.validate()?;
    let (x_stride, z_stride) = (args.x.stride(), args.z.stride());
    let outputs = Outputs {
        first: args.x.start_mut(),
        first_stride: x_stride,
        second: args.z.start_mut(),
        second_stride: z_stride,
        split: shape.d_inner,
        columns: 2 * shape.d_inner,
    };
    let gemm = Gemm { weight: args.weight, bias: args.bias, epilogue: Epilogue::Store, outputs };
    gemm.run(cpu, "in_proj", args.input, workspace)
}

pub(super) fn linear<T: Element, U: Element>(
    cpu: &Cpu,
    args: Linear<'_, Cpu, T, U>,
    workspace: &mut Workspace,
) -> Result<()> {
    let shape = args.validate()?;
    let stride = args.output.stride();
    let first = args.output.start_mut();
    let outputs = Outputs {
        first,
        first_stride: stride,
        second: first,
        second_stride: stride,
        split: shape.out_features,
        columns: shape.out_features,
    };
    let gemm = Gemm { weight: args.weight, bias: args.bias, epilogue: args.epilogue, outputs };
    gemm.run(cpu, "linear", args.input, workspace)
}

impl<T: Element> Inputs<T> {
    fn new(rows: Rows<&[T]>) -> Self {
        Self { start: rows.start(), stride: rows.stride() }
    }
}
