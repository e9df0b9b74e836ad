//! [`Scratch`]: the arrays between the ops of a forward call.
#![forbid(unsafe_code)]

use crate::arrays::checked_product;
use crate::backend::Backend;
use crate::model::config::Config;
use crate::model::error::ModelError;

/// Memory that a forward call needs and that the next one may use again.
///
/// It fits itself to any model and batch, and is kept at the largest size that was needed. One call at a time uses it:
/// each thread has its own. All calls with one scratch are on the same backend, and on a GPU on the same device.
pub struct Scratch<B: Backend> {
    chunk_tokens: usize,
    activations: Option<Activations<B>>,
    head: Option<Head<B>>,
    workspace: B::Workspace,
}

impl<B: Backend> Default for Scratch<B> {
    fn default() -> Self {
        Self::with_chunk_tokens(256)
    }
}

impl<B: Backend> Scratch<B> {
    /// A scratch for chunks of at most this many tokens; 0 counts as 1.
    ///
    /// A batch goes through all layers chunk by chunk, so that activation memory does not grow with its length. On an
    /// exact backend the size of the chunks changes no bit of the result.
    pub fn with_chunk_tokens(chunk_tokens: usize) -> Self {
        Self {
            chunk_tokens: chunk_tokens.max(1),
            activations: None,
            head: None,
            workspace: B::Workspace::default(),
        }
    }

    /// The most tokens that go through the layers at once. 256 by default.
    pub fn chunk_tokens(&self) -> usize {
        self.chunk_tokens
    }

    /// The activations for `rows` tokens and the head's arrays for `head_rows`, beside the workspace of the ops.
    pub(super) fn fit(
        &mut self,
        backend: &B,
        config: &Config,
        rows: usize,
        head_rows: usize,
    ) -> Result<Fitted<'_, B>, ModelError> {
        let sizes = [config.d_model, config.d_inner, config.projected()];
        let activations = match self.activations.take() {
            Some(fits) if fits.sizes == sizes && fits.rows >= rows => fits,
            _ => Activations::new(backend, sizes, rows)?,
        };
        let sizes = [config.d_model, config.vocab_size];
        let head = match self.head.take() {
            Some(fits) if fits.sizes == sizes && fits.rows >= head_rows => fits,
            _ => Head::new(backend, sizes, head_rows)?,
        };
        Ok(Fitted {
            activations: self.activations.insert(activations),
            head: self.head.insert(head),
            workspace: &mut self.workspace,
        })
    }
}

/// A scratch that has room for a call.
pub(super) struct Fitted<'a, B: Backend> {
    pub activations: &'a mut Activations<B>,
    pub head: &'a mut Head<B>,
    pub workspace: &'a mut B::Workspace,
}

/// The arrays of the blocks, with room for `rows` tokens.
pub(super) struct Activations<B: Backend> {
    sizes: [usize; 3],
    rows: usize,
    /// `[rows]`
    pub tokens: B::Buffer<u32>,
    /// `[rows, d_model]`: the residual stream
    pub residual: B::Buffer<f32>,
    /// `[rows, d_model]`
    pub normed: B::Buffer<f32>,
    /// `[rows, d_inner]`: first the input of the convolution, then the output of the scan
    pub x: B::Buffer<f32>,
    /// `[rows, d_inner]`
    pub z: B::Buffer<f32>,
    /// `[rows, d_inner]`
    pub u: B::Buffer<f32>,
    /// `[rows, d_inner]`
    pub delta: B::Buffer<f32>,
    /// `[rows, dt_rank + 2 * d_state]`: dt, B and C side by side
    pub projected: B::Buffer<f32>,
    /// The same after Falcon-Mamba's norms.
    pub projected_normed: B::Buffer<f32>,
}

impl<B: Backend> Activations<B> {
    fn new(backend: &B, sizes: [usize; 3], rows: usize) -> Result<Self, ModelError> {
        let [d_model, d_inner, projected] = sizes;
        let zeros = |cols| backend.zeros(checked_product("forward", "tokens", &[rows, cols])?);
        Ok(Self {
            sizes,
            rows,
            tokens: backend.zeros(rows)?,
            residual: zeros(d_model)?,
            normed: zeros(d_model)?,
            x: zeros(d_inner)?,
            z: zeros(d_inner)?,
            u: zeros(d_inner)?,
            delta: zeros(d_inner)?,
            projected: zeros(projected)?,
            projected_normed: zeros(projected)?,
        })
    }
}

/// The arrays of the head, with room for `rows` tokens.
pub(super) struct Head<B: Backend> {
    sizes: [usize; 2],
    rows: usize,
    /// `[rows, d_model]`
    pub normed: B::Buffer<f32>,
    /// `[rows, vocab_size]`
    pub logits: B::Buffer<f32>,
}

impl<B: Backend> Head<B> {
    fn new(backend: &B, sizes: [usize; 2], rows: usize) -> Result<Self, ModelError> {
        let [d_model, vocab] = sizes;
        let zeros = |cols| backend.zeros(checked_product("forward", "logits", &[rows, cols])?);
        Ok(Self { sizes, rows, normed: zeros(d_model)?, logits: zeros(vocab)? })
    }
}
