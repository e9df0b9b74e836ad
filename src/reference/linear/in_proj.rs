//! ```text
//! [outputs[0] | outputs[1] | ..] = input · weightᵀ + bias
//! ```
//!
//! The first line of the official `Mamba.forward`, `in_proj` and `chunk(2)`: figure 3 and section 3.4 of the Mamba paper.

use super::dot::dot;
use crate::arrays::{Element, Result};
use crate::ops::InProj;
use crate::reference::memory::Reference;

pub(in crate::reference) fn in_proj<T: Element, const N: usize>(
    mut args: InProj<'_, Reference, T, N>,
) -> Result<()> {
    let shape = args.validate()?;
    if args.outputs.iter().all(|output| output.cols() == 0) {
        return Ok(()); // of any number of rows
    }
    for t in 0..shape.tokens {
        let input = args.input.row(t); // [d_model]
        let mut j = 0; // row of the weight
        for output in &mut args.outputs {
            for value in output.row_mut(t) {
                *value = T::from_f64(dot(input, args.weight.row(j), args.bias.map(|bias| bias[j])));
                j += 1;
            }
        }
    }
    Ok(())
}
