//! The contract of `in_proj`.

use crate::arrays::Element;
use crate::arrays::{Error, Result, expect_size};
use crate::arrays::{Rows, Storage};
use crate::backend::{Backend, WeightMatrix};

/// `[x | z] = input · weightᵀ + bias`: one matrix product that feeds the two branches of a Mamba block.
///
/// Row `j` of the weight makes channel `j` of `x` where `j < d_inner`, else channel `j - d_inner` of `z`. The two
/// halves are written to two places, so that no one ever splits a `[tokens, 2 * d_inner]` array. It is `in_proj` and
/// `chunk(2)` of the official `Mamba.forward`, and section 3.4 of the Mamba paper.
///
/// Order: per output, `k` ascending from +0.0, one fused multiply-add each; then the bias.
pub struct InProj<'a, B: Backend, T: Element> {
    /// `[tokens, d_model]`
    pub input: Rows<B::View<'a, T>>,
    /// `[2 * d_inner, d_model]`
    pub weight: &'a B::Weights,
    /// `[2 * d_inner]`
    pub bias: Option<B::View<'a, f32>>,
    /// `[tokens, d_inner]`, written
    pub x: Rows<B::ViewMut<'a, T>>,
    /// `[tokens, d_inner]`, written
    pub z: Rows<B::ViewMut<'a, T>>,
}

/// The sizes of a valid [`InProj`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InProjShape {
    /// Rows of the input and of both outputs.
    pub tokens: usize,
    /// Columns of the input.
    pub d_model: usize,
    /// Columns of each output.
    pub d_inner: usize,
}

impl<B: Backend, T: Element> InProj<'_, B, T> {
    /// Checks the arguments against each other.
    ///
    /// # Errors
    /// [`Error::Argument`] where a shape differs from the contract's.
    pub fn validate(&self) -> Result<InProjShape> {
        const OP: &str = "in_proj";
        let (tokens, d_model) = (self.input.rows(), self.weight.cols());
        let features = self.weight.rows();
        if !features.is_multiple_of(2) {
            return Err(Error::argument(OP, "weight", "an even number of rows, 2 * d_inner", features));
        }
        let d_inner = features / 2;
        expect_size(OP, "input", "the columns of the weight", d_model, self.input.cols())?;
        if let Some(bias) = &self.bias {
            expect_size(OP, "bias", "2 * d_inner", features, bias.elements())?;
        }
        for (name, output) in [("x", &self.x), ("z", &self.z)] {
            expect_size(OP, name, "rows of the input", tokens, output.rows())?;
            expect_size(OP, name, "d_inner columns", d_inner, output.cols())?;
        }
        Ok(InProjShape { tokens, d_model, d_inner })
    }
}
