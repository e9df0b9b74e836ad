//! [`Scratch`]: the arrays between the ops of a forward call.
#![forbid(unsafe_code)]

use crate::arrays::checked_product;
use crate::backend::Backend;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::mixer::chosen::scratch_arrays;
use crate::model::mixer::declared::ScratchArray;

/// Memory that forward calls reuse.
///
/// It grows to fit any model and batch and does not shrink. Each thread has its own. All calls with one scratch are on
/// the same backend, and on a GPU on the same device.
pub struct Scratch<B: Backend> {
    segment_tokens: usize,
    activations: Option<Activations<B>>,
    head: Option<Head<B>>,
    workspace: B::Workspace,
}

impl<B: Backend> Default for Scratch<B> {
    fn default() -> Self {
        Self::with_segment_tokens(B::SEGMENT_TOKENS)
    }
}

impl<B: Backend> Scratch<B> {
    /// A scratch for segments of at most this many tokens; 0 counts as 1.
    ///
    /// A batch is cut into segments, and each goes through all layers before the next: activation memory does not grow
    /// with the length of the batch. On an exact backend the size of the segments changes no bit of the result.
    pub fn with_segment_tokens(segment_tokens: usize) -> Self {
        Self {
            segment_tokens: segment_tokens.max(1),
            activations: None,
            head: None,
            workspace: B::Workspace::default(),
        }
    }

    /// The most tokens that go through the layers at once: [`Backend::SEGMENT_TOKENS`] by default.
    pub fn segment_tokens(&self) -> usize {
        self.segment_tokens
    }

    /// The activations for `rows` tokens, the head's arrays for `head_rows`, and the workspace of the ops.
    pub(super) fn fit(
        &mut self,
        backend: &B,
        config: &Config,
        rows: usize,
        head_rows: usize,
    ) -> Result<Fitted<'_, B>, ModelError> {
        let declared = scratch_arrays(config);
        let activations = match self.activations.take() {
            Some(fits) if fits.fits(config.d_model, &declared, rows) => fits,
            _ => Activations::new(backend, config.d_model, &declared, rows)?,
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

/// The arrays of the layers, with room for `rows` tokens.
pub(super) struct Activations<B: Backend> {
    d_model: usize,
    declared: Vec<ScratchArray>,
    rows: usize,
    /// `[rows]`
    pub tokens: B::Buffer<u32>,
    /// `[rows, d_model]`: the residual stream
    pub residual: B::Buffer<f32>,
    /// `[rows, d_model]`
    pub normed: B::Buffer<f32>,
    /// The arrays that the mixer declares.
    pub mixer: Vec<B::Buffer<f32>>,
}

impl<B: Backend> Activations<B> {
    fn new(backend: &B, d_model: usize, declared: &[ScratchArray], rows: usize) -> Result<Self, ModelError> {
        let zeros = |columns| {
            let len = checked_product("forward", "tokens", &[rows, columns])?;
            Ok::<_, ModelError>(backend.zeros(len)?)
        };
        Ok(Self {
            d_model,
            declared: declared.to_vec(),
            rows,
            tokens: backend.zeros(rows)?,
            residual: zeros(d_model)?,
            normed: zeros(d_model)?,
            mixer: declared.iter().map(|array| zeros(array.columns)).collect::<Result<_, _>>()?,
        })
    }

    fn fits(&self, d_model: usize, declared: &[ScratchArray], rows: usize) -> bool {
        self.d_model == d_model && self.declared == declared && self.rows >= rows
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
