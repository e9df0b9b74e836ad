//! The contract of `in_proj`.

use crate::arrays::{Element, Error, Memory, Result, Rows, Storage, WeightMatrix, expect_size};

/// `[outputs[0] | outputs[1] | ..] = input · weightᵀ + bias`: one matrix product that feeds the branches of a block.
///
/// The rows of the weight are the channels of the outputs, one output after the other. Each output is written to its
/// own place, so nobody splits or copies a `[tokens, features]` array. In Mamba the outputs are `[x, z]`, `d_inner`
/// columns each: `in_proj` and `chunk(2)` of the official `Mamba.forward`, section 3.4 of the Mamba paper.
///
/// Order: per output, `k` ascending from 2^-100, one fused multiply-add each, with zero for a subnormal input; less
/// 2^-100; then the bias.
pub struct InProj<'a, B: Memory, T: Element, const N: usize> {
    /// `[tokens, d_model]`
    pub input: Rows<B::View<'a, T>>,
    /// `[features, d_model]`, with as many features as the outputs have columns
    pub weight: &'a B::Weights,
    /// `[features]`
    pub bias: Option<B::View<'a, f32>>,
    /// `[tokens, columns]` each, written
    pub outputs: [Rows<B::ViewMut<'a, T>>; N],
}

/// The sizes of a valid [`InProj`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InProjShape {
    /// Rows of the input and of every output.
    pub tokens: usize,
    /// Columns of the input.
    pub d_model: usize,
    /// Rows of the weight: columns of all outputs.
    pub features: usize,
}

impl<B: Memory, T: Element, const N: usize> InProj<'_, B, T, N> {
    /// Checks the arguments against each other.
    ///
    /// # Errors
    /// [`Error::Argument`] if a shape differs from the contract's.
    pub fn validate(&self) -> Result<InProjShape> {
        const OP: &str = "in_proj";
        let (tokens, d_model, features) = (self.input.rows(), self.weight.cols(), self.weight.rows());
        expect_size(OP, "input", "the columns of the weight", d_model, self.input.cols())?;
        if let Some(bias) = &self.bias {
            expect_size(OP, "bias", "the rows of the weight", features, bias.elements())?;
        }
        let mut columns = 0usize;
        for output in &self.outputs {
            expect_size(OP, "outputs", "rows of the input", tokens, output.rows())?;
            columns = columns.checked_add(output.cols()).ok_or_else(|| {
                Error::argument(
                    OP,
                    "outputs",
                    "columns that fit in memory",
                    format_args!("{}", output.cols()),
                )
            })?;
        }
        expect_size(OP, "outputs", "as many columns as the weight has rows", features, columns)?;
        Ok(InProjShape { tokens, d_model, features })
    }
}
