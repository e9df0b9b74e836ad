//! The contract of `rms_norm`.

use crate::arrays::{Element, Error, Memory, Result, Rows, Storage, expect_size};

/// `output = r / sqrt(mean(r²) + eps) · weight`, with `r = input + residual`, written back to the residual.
///
/// RMSNorm (Zhang and Sennrich, 2019) with the residual add of the official `rms_norm_fn` fused. Without a residual
/// `r` is the input; without a weight the factor is 1, as in Falcon-Mamba's norms of dt, B and C.
///
/// Order: sixteen strided partial sums of squares, `i mod 16`, ascending by fused multiply-adds from 2^-100, combined
/// by the tree 8-4-2-1; less 2^-96; divided by the number of columns; then `(r · (1 / sqrt(mean + eps))) · weight`.
pub struct RmsNorm<'a, B: Memory, T: Element, U: Element> {
    /// `[tokens, channels]`
    pub input: Rows<B::View<'a, T>>,
    /// `[tokens, channels]`: the residual stream, read and updated
    pub residual: Option<Rows<B::ViewMut<'a, f32>>>,
    /// `[channels]`
    pub weight: Option<B::View<'a, f32>>,
    /// Added to the mean square; finite and not negative.
    pub eps: f32,
    /// `[tokens, channels]`, written
    pub output: Rows<B::ViewMut<'a, U>>,
}

/// The sizes of a valid [`RmsNorm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RmsNormShape {
    /// Rows of every array.
    pub tokens: usize,
    /// Columns of every array.
    pub channels: usize,
}

impl<B: Memory, T: Element, U: Element> RmsNorm<'_, B, T, U> {
    /// Checks the arguments against each other.
    ///
    /// # Errors
    /// [`Error::Argument`] if a shape differs from the contract's, or `eps` is negative or not finite.
    pub fn validate(&self) -> Result<RmsNormShape> {
        const OP: &str = "rms_norm";
        let (tokens, channels) = (self.input.rows(), self.input.cols());
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return Err(Error::argument(OP, "eps", "a finite number of at least 0", self.eps));
        }
        if let Some(residual) = &self.residual {
            expect_size(OP, "residual", "rows of the input", tokens, residual.rows())?;
            expect_size(OP, "residual", "columns of the input", channels, residual.cols())?;
        }
        if let Some(weight) = &self.weight {
            expect_size(OP, "weight", "columns of the input", channels, weight.elements())?;
        }
        expect_size(OP, "output", "rows of the input", tokens, self.output.rows())?;
        expect_size(OP, "output", "columns of the input", channels, self.output.cols())?;
        Ok(RmsNormShape { tokens, channels })
    }
}
