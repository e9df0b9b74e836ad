//! The contract of `linear`.

use crate::arrays::{Element, Memory, Result, Rows, Storage, WeightMatrix, expect_size};

/// What happens to a sum, with its bias added, on its way to the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Epilogue {
    /// It is stored: `x_proj`, `lm_head`.
    #[default]
    Store,
    /// `softplus(sum)` is stored: `dt_proj`, if the scan does not apply it.
    Softplus,
    /// `sum + output` is stored, the output being the residual stream: `out_proj`.
    Residual,
}

/// `output = epilogue(input · weightᵀ + bias)`, PyTorch's `Linear`.
///
/// `x_proj`, `dt_proj`, `out_proj` and `lm_head` of the block. The output may have another storage type than the
/// input: logits and a residual stream in f32 with activations in bf16.
///
/// Order: per output, `k` ascending from 2^-100, one fused multiply-add each, with zero for a subnormal input; less
/// 2^-100; then the bias; then the epilogue.
pub struct Linear<'a, B: Memory, T: Element, U: Element> {
    /// `[tokens, in_features]`
    pub input: Rows<B::View<'a, T>>,
    /// `[out_features, in_features]`
    pub weight: &'a B::Weights,
    /// `[out_features]`
    pub bias: Option<B::View<'a, f32>>,
    /// What is stored.
    pub epilogue: Epilogue,
    /// `[tokens, out_features]`, written; read too by [`Epilogue::Residual`]
    pub output: Rows<B::ViewMut<'a, U>>,
}

/// The sizes of a valid [`Linear`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinearShape {
    /// Rows of the input and of the output.
    pub tokens: usize,
    /// Columns of the input and of the weight.
    pub in_features: usize,
    /// Columns of the output, rows of the weight.
    pub out_features: usize,
}

impl<B: Memory, T: Element, U: Element> Linear<'_, B, T, U> {
    /// Checks the arguments against each other.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if a shape differs from the contract's.
    pub fn validate(&self) -> Result<LinearShape> {
        const OP: &str = "linear";
        let tokens = self.input.rows();
        let (out_features, in_features) = (self.weight.rows(), self.weight.cols());
        expect_size(OP, "input", "the columns of the weight", in_features, self.input.cols())?;
        if let Some(bias) = &self.bias {
            expect_size(OP, "bias", "the rows of the weight", out_features, bias.elements())?;
        }
        expect_size(OP, "output", "rows of the input", tokens, self.output.rows())?;
        expect_size(OP, "output", "rows of the weight", out_features, self.output.cols())?;
        Ok(LinearShape { tokens, in_features, out_features })
    }
}
