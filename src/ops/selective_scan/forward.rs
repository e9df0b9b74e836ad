//! The contract of `selective_scan`.

use crate::arrays::{Batch, Element, Error, Memory, Result, Rows, Storage, checked_product, expect_size};
use crate::ops::checks::{expect_pool, expect_tokens};

/// The selective scan (S6) with everything around it that can be fused.
///
/// Per sequence, token `t`, channel `c` of group `g = c / (channels / n_groups)` and state `n`:
///
/// ```text
/// delta  = softplus(delta[t, c] + delta_bias[c])               (each part optional)
/// h[n]   = exp(delta · a[n, c]) · h[n] + delta · u[t, c] · b[t, g, n]
/// y      = Σ_n c[t, g, n] · h[n] + d[c] · u[t, c]              (d optional)
/// output = y · silu(z[t, c])                                   (z optional)
/// ```
///
/// These are equations 2a and 2b of the Mamba paper, with `a` discretised by zero-order hold (its equation 4) and `b`
/// by Euler's rule, as in the official code: `selective_scan_fn` and `selective_state_update` in one. `exp` is computed
/// as `exp2(delta · (a · log2 e))`.
///
/// Order: time ascending per channel and state; `h = fma(decay, h, (delta · u) · b)`, with a decay of at least 2^-126
/// and zero for a subnormal `u`, `b` or `c`; where `delta · u` is below 2^-100 in magnitude it is 0, and so is a state that
/// then is below 2^-100; four partial sums over the states, `n mod 4`, each ascending from +0.0 by fused multiply-adds, combined as `(s0 + s1) + (s2 + s3)`; then
/// `fma(u, d, y)`; then the gate.
pub struct SelectiveScan<'a, B: Memory, T: Element> {
    /// `[tokens, channels]`
    pub u: Rows<B::View<'a, T>>,
    /// `[tokens, channels]`
    pub delta: Rows<B::View<'a, T>>,
    /// `[d_state, channels]`, `-exp(A_log)` transposed: the transpose of PyTorch's `[channels, d_state]`
    pub a: B::View<'a, f32>,
    /// `[tokens, n_groups * d_state]`
    pub b: Rows<B::View<'a, T>>,
    /// `[tokens, n_groups * d_state]`
    pub c: Rows<B::View<'a, T>>,
    /// Channels `g * channels / n_groups ..` share row parts `g` of `b` and `c`. 1 in Mamba.
    pub n_groups: usize,
    /// `[channels]`
    pub d: Option<B::View<'a, f32>>,
    /// `[tokens, channels]`
    pub z: Option<Rows<B::View<'a, T>>>,
    /// `[channels]`
    pub delta_bias: Option<B::View<'a, f32>>,
    /// Whether softplus is applied to `delta`, after the bias.
    pub delta_softplus: bool,
    /// Where each sequence lies in the rows and in the state pool.
    pub batch: &'a Batch,
    /// `[slots, d_state, channels]`, read and updated. A new sequence starts with zeros.
    pub state: Option<B::ViewMut<'a, f32>>,
    /// `[tokens, channels]`, written
    pub output: Rows<B::ViewMut<'a, T>>,
}

/// The sizes of a valid [`SelectiveScan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelectiveScanShape {
    /// Rows of every array of tokens.
    pub tokens: usize,
    /// `d_inner` in Mamba.
    pub channels: usize,
    /// States per channel.
    pub d_state: usize,
    /// Groups that share `b` and `c`.
    pub n_groups: usize,
}

impl<B: Memory, T: Element> SelectiveScan<'_, B, T> {
    /// Checks the arguments against each other.
    ///
    /// # Errors
    /// [`Error::Argument`] if a shape differs from the contract's, the groups do not divide the channels, or the
    /// state pool lacks a slot of the batch.
    pub fn validate(&self) -> Result<SelectiveScanShape> {
        const OP: &str = "selective_scan";
        let (tokens, channels, n_groups) = (self.u.rows(), self.u.cols(), self.n_groups);
        if channels == 0 {
            return Err(Error::argument(OP, "u", "at least one channel", 0));
        }
        if n_groups == 0 || !channels.is_multiple_of(n_groups) {
            let expected = format_args!("a divisor of the {channels} channels").to_string();
            return Err(Error::argument(OP, "n_groups", expected, n_groups));
        }
        let states = self.a.elements();
        if states == 0 || !states.is_multiple_of(channels) {
            let expected = format_args!("d_state x {channels} elements, d_state at least 1").to_string();
            return Err(Error::argument(OP, "a", expected, states));
        }
        let d_state = states / channels;
        let grouped = checked_product(OP, "b", &[n_groups, d_state])?;
        let rows_of = |name, rows: &Rows<B::View<'_, T>>, what, cols| {
            expect_size(OP, name, "rows of u", tokens, rows.rows())?;
            expect_size(OP, name, what, cols, rows.cols())
        };
        rows_of("delta", &self.delta, "channels", channels)?;
        rows_of("b", &self.b, "n_groups * d_state columns", grouped)?;
        rows_of("c", &self.c, "n_groups * d_state columns", grouped)?;
        if let Some(z) = &self.z {
            rows_of("z", z, "channels", channels)?;
        }
        if let Some(d) = &self.d {
            expect_size(OP, "d", "channels", channels, d.elements())?;
        }
        if let Some(bias) = &self.delta_bias {
            expect_size(OP, "delta_bias", "channels", channels, bias.elements())?;
        }
        expect_tokens(OP, self.batch, tokens)?;
        if let Some(state) = &self.state {
            expect_pool(OP, self.batch, d_state, channels, state.elements())?;
        }
        expect_size(OP, "output", "rows of u", tokens, self.output.rows())?;
        expect_size(OP, "output", "channels", channels, self.output.cols())?;
        checked_product(OP, "u", &[tokens, channels])?;
        Ok(SelectiveScanShape { tokens, channels, d_state, n_groups })
    }
}
