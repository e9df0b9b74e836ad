//! The contract of `causal_conv1d`.

use crate::arrays::{Batch, Element, Error, Memory, Result, Rows, Storage, checked_product, expect_size};
use crate::ops::checks::{expect_pool, expect_tokens};

/// What is applied to each output of the convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `silu(x) = x * sigmoid(x)`.
    Silu,
}

/// `output[t, c] = activation(bias[c] + Σ_j weight[j, c] · input[t - d_conv + 1 + j, c])`, per sequence.
///
/// A depthwise causal convolution of any width of at least 1. Inputs before the start of a sequence come from its
/// state, or are zeros without a state. It is `causal_conv1d_fn` and `causal_conv1d_update` of the official
/// causal-conv1d in one, channels last.
///
/// Order: from the bias, or +0.0, one fused multiply-add per tap, the oldest first; then the activation.
pub struct CausalConv1d<'a, B: Memory, T: Element> {
    /// `[tokens, channels]`
    pub input: Rows<B::View<'a, T>>,
    /// `[d_conv, channels]`, the oldest tap first: the transpose of PyTorch's `[channels, 1, d_conv]`, which
    /// [`layout::conv_weight_from_pytorch`](crate::ops::layout::conv_weight_from_pytorch) makes
    pub weight: B::View<'a, f32>,
    /// `[channels]`
    pub bias: Option<B::View<'a, f32>>,
    /// Applied to each output.
    pub activation: Activation,
    /// Where each sequence lies in the rows and in the state pool.
    pub batch: &'a Batch,
    /// `[slots, d_conv - 1, channels]`: the last inputs of each sequence, the oldest first; read and updated. A new
    /// sequence starts with zeros.
    pub state: Option<B::ViewMut<'a, f32>>,
    /// `[tokens, channels]`, written
    pub output: Rows<B::ViewMut<'a, T>>,
}

/// The sizes of a valid [`CausalConv1d`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CausalConv1dShape {
    /// Rows of the input and of the output.
    pub tokens: usize,
    /// Columns of the input, the weight, the state and the output.
    pub channels: usize,
    /// The width.
    pub d_conv: usize,
}

impl<B: Memory, T: Element> CausalConv1d<'_, B, T> {
    /// Checks the arguments against each other.
    ///
    /// # Errors
    /// [`Error::Argument`] if a shape differs from the contract's, or the state pool lacks a slot of the batch.
    pub fn validate(&self) -> Result<CausalConv1dShape> {
        const OP: &str = "causal_conv1d";
        let (tokens, channels) = (self.input.rows(), self.input.cols());
        if channels == 0 {
            return Err(Error::argument(OP, "input", "at least one channel", 0));
        }
        let taps = self.weight.elements();
        if taps == 0 || !taps.is_multiple_of(channels) {
            let expected = format_args!("d_conv x {channels} elements, d_conv at least 1").to_string();
            return Err(Error::argument(OP, "weight", expected, taps));
        }
        let d_conv = taps / channels;
        if let Some(bias) = &self.bias {
            expect_size(OP, "bias", "channels", channels, bias.elements())?;
        }
        expect_tokens(OP, self.batch, tokens)?;
        if let Some(state) = &self.state {
            expect_pool(OP, self.batch, d_conv - 1, channels, state.elements())?;
        }
        expect_size(OP, "output", "rows of the input", tokens, self.output.rows())?;
        expect_size(OP, "output", "channels", channels, self.output.cols())?;
        checked_product(OP, "input", &[tokens, channels])?;
        Ok(CausalConv1dShape { tokens, channels, d_conv })
    }
}
