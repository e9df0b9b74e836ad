//! ```text
//! output = epilogue(input · weightᵀ + bias)
//! ```
//!
//! PyTorch's `F.linear`; the epilogues are `F.softplus` and the add of a residual stream.

use super::dot::dot;
use crate::arrays::{Element, Result};
use crate::ops::{Epilogue, Linear};
use crate::reference::math;
use crate::reference::memory::Reference;

pub(in crate::reference) fn linear<T: Element, U: Element>(
    mut args: Linear<'_, Reference, T, U>,
) -> Result<()> {
    let shape = args.validate()?;
    if shape.out_features == 0 {
        return Ok(()); // of any number of rows
    }
    for t in 0..shape.tokens {
        let input = args.input.row(t); // [in_features]
        for (j, output) in args.output.row_mut(t).iter_mut().enumerate() {
            let sum = dot(input, args.weight.row(j), args.bias.map(|bias| bias[j]));
            *output = U::from_f64(match args.epilogue {
                Epilogue::Store => sum,
                Epilogue::Softplus => math::softplus(sum),
                Epilogue::Residual => sum + output.to_f64(),
            });
        }
    }
    Ok(())
}
