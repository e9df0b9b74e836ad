//! [`Mamba::forward`]: a batch through all layers, one segment after the other.
#![forbid(unsafe_code)]

use crate::arrays::{Batch, Rows, Storage, checked_product};
use crate::backend::Backend;
use crate::model::error::ModelError;
use crate::model::mamba::Mamba;
use crate::model::scratch::{Fitted, Scratch};
use crate::model::segments::{cut, live};
use crate::model::state::State;
use crate::ops::{Embedding, Epilogue, Linear, RmsNorm};
use std::ops::Range;

const CALL: &str = "forward";

/// Which rows of logits a forward call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Logits {
    /// None: the call only updates the state.
    None,
    /// One row per sequence of the batch, that of its last token. The row of an empty sequence or of padding is
    /// zeros. The head runs once, over these rows only.
    #[default]
    Last,
    /// One row per token of the batch. The rows of padding are zeros.
    All,
}

/// A place in the model whose values an [`Observer`] sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The residual stream before layer i; with i the number of layers, after the last one.
    Residual(usize),
    /// The residual stream after the final norm. Seen with [`Logits::All`] only.
    Normed,
}

/// Called per segment with a stage, the batch's row that the segment starts at, and the values
/// `[tokens of the segment, d_model]`. The values in the rows of padding have no meaning.
pub type Observer<'a> = &'a mut dyn FnMut(Stage, usize, &[f32]);

/// What one forward call computes: see [`Mamba::run`].
#[allow(missing_debug_implementations)] // a closure has none
pub struct Forward<'a> {
    /// The tokens of the sequences, one sequence after the other. Those of padding must be in the vocabulary too.
    pub tokens: &'a [u32],
    /// Where the sequences start, and the state slot of each.
    pub batch: &'a Batch,
    /// Which rows of logits are returned.
    pub logits: Logits,
    /// Sees the hidden states on the way.
    pub observer: Option<Observer<'a>>,
}

impl<B: Backend> Mamba<B> {
    /// Runs the tokens of a batch through the model, updates the state of each sequence, and returns the logits
    /// `[rows, vocab_size]` that `logits` selects: [`Mamba::run`] without an observer.
    ///
    /// # Errors
    /// As [`Mamba::run`].
    pub fn forward(
        &self,
        tokens: &[u32],
        batch: &Batch,
        state: &mut State<B>,
        logits: Logits,
        scratch: &mut Scratch<B>,
    ) -> Result<Vec<f32>, ModelError> {
        self.run(Forward { tokens, batch, logits, observer: None }, state, scratch)
    }

    /// Runs a call in segments of [`Scratch::segment_tokens`], updates the state of each sequence, and returns the
    /// logits `[rows, vocab_size]`.
    ///
    /// # Errors
    /// [`ModelError::Argument`] if the number of tokens is not the batch's, a token is not in the vocabulary, or the
    /// state is of another model or lacks a slot; nothing has been computed then. [`ModelError::Kernel`] if memory
    /// runs out; part of the state may have advanced then.
    pub fn run(
        &self,
        call: Forward<'_>,
        state: &mut State<B>,
        scratch: &mut Scratch<B>,
    ) -> Result<Vec<f32>, ModelError> {
        let Forward { tokens, batch, logits, observer: mut observe } = call;
        self.check(tokens, batch, state)?;
        let vocab = self.config.vocab_size;
        let lasts: Vec<usize> = match logits {
            Logits::Last => live(batch).map(|(_, rows)| rows.end - 1).collect(),
            _ => Vec::new(),
        };
        let rows = match logits {
            Logits::None => 0,
            Logits::Last => batch.len(),
            Logits::All => batch.tokens(),
        };
        let mut out = crate::arrays::host::zeros(CALL, checked_product(CALL, "logits", &[rows, vocab])?)?;
        if tokens.is_empty() {
            return Ok(out);
        }
        let segment_rows = scratch.segment_tokens().min(tokens.len());
        let head_rows = if logits == Logits::All { segment_rows } else { lasts.len() };
        let mut fitted = scratch.fit(&self.backend, &self.config, segment_rows, head_rows)?;
        let one_each = batch.sequences().all(|(rows, _)| rows.len() <= 1);
        let is_step = one_each && batch.tokens() <= segment_rows;
        if is_step && observe.is_none() && logits != Logits::All {
            self.step(tokens, batch, &lasts, state, &mut fitted)?;
            return self.last_logits(batch, &mut fitted, lasts.len(), out);
        }

        let mut done = 0; // rows of `head.normed` that are filled, with Logits::Last
        for start in (0..tokens.len()).step_by(segment_rows) {
            let segment = start..tokens.len().min(start + segment_rows);
            self.write_tokens(&tokens[segment.clone()], &mut fitted)?;
            self.blocks(batch, &segment, state, &mut fitted, &mut observe)?;
            match logits {
                Logits::None => {}
                Logits::Last => {
                    let here = lasts[done..].iter().take_while(|&&row| row < segment.end).count();
                    self.norm_rows(&mut fitted, &lasts[done..done + here], start, done)?;
                    done += here;
                }
                Logits::All => {
                    self.norm_f(&mut fitted, 0..segment.len(), 0)?;
                    self.show(&mut observe, Stage::Normed, &segment, &fitted.head.normed)?;
                    let target = &mut out[segment.start * vocab..segment.end * vocab];
                    self.lm_head(&mut fitted, segment.len())?;
                    self.read_logits(&fitted, target)?;
                }
            }
        }
        if logits == Logits::All {
            let padding = batch.sequences().filter(|(_, slot)| slot.index().is_none());
            padding.for_each(|(rows, _)| out[rows.start * vocab..rows.end * vocab].fill(0.0));
            return Ok(out);
        }
        self.lm_head(&mut fitted, done)?;
        self.last_logits(batch, &mut fitted, done, out)
    }

    /// At most one token of each sequence, as one step of the backend. Logits are computed for the rows `lasts`.
    fn step(
        &self,
        tokens: &[u32],
        batch: &Batch,
        lasts: &[usize],
        state: &mut State<B>,
        fitted: &mut Fitted<'_, B>,
    ) -> Result<(), ModelError> {
        self.write_tokens(tokens, fitted)?;
        let Fitted { activations, head, workspace } = fitted;
        self.backend.step(workspace, |workspace| {
            let mut fitted = Fitted { activations, head, workspace };
            self.blocks(batch, &(0..tokens.len()), state, &mut fitted, &mut None)?;
            self.norm_rows(&mut fitted, lasts, 0, 0)?;
            self.lm_head(&mut fitted, lasts.len())
        })
    }

    /// The first `done` rows of logits of the head, in the rows of `out` of the sequences that they belong to.
    fn last_logits(
        &self,
        batch: &Batch,
        fitted: &mut Fitted<'_, B>,
        done: usize,
        mut out: Vec<f32>,
    ) -> Result<Vec<f32>, ModelError> {
        let vocab = self.config.vocab_size;
        if done * vocab == out.len() {
            self.read_logits(fitted, &mut out)?;
        } else if done > 0 {
            let mut compact = crate::arrays::host::zeros(CALL, done * vocab)?;
            self.read_logits(fitted, &mut compact)?;
            for (row, (sequence, _)) in compact.chunks_exact(vocab).zip(live(batch)) {
                out[sequence * vocab..][..vocab].copy_from_slice(row);
            }
        }
        Ok(out)
    }

    /// Checks the arguments of a call before anything is computed.
    fn check(&self, tokens: &[u32], batch: &Batch, state: &State<B>) -> Result<(), ModelError> {
        if tokens.len() != batch.tokens() {
            let expected = format!("the {} tokens of the batch", batch.tokens());
            return Err(ModelError::argument(CALL, "tokens", expected, tokens.len().to_string()));
        }
        let vocab = self.config.vocab_size;
        if let Some(i) = tokens.iter().position(|&token| token as usize >= vocab) {
            let expected = format!("tokens below the vocabulary of {vocab}");
            return Err(ModelError::argument(CALL, "tokens", expected, format!("{} at {i}", tokens[i])));
        }
        state.expect_model(&self.config)?;
        if batch.slots_needed() > state.slots() {
            let expected = format!("at least {} slots", batch.slots_needed());
            return Err(ModelError::argument(CALL, "state", expected, format!("{} slots", state.slots())));
        }
        Ok(())
    }

    /// The tokens of a segment, to the backend.
    fn write_tokens(&self, tokens: &[u32], fitted: &mut Fitted<'_, B>) -> Result<(), ModelError> {
        let target = self.backend.view_mut(&mut fitted.activations.tokens);
        Ok(self.backend.write(tokens, target.slice(0..tokens.len())?)?)
    }

    /// The embedding and the blocks of one segment, whose tokens have been written.
    fn blocks(
        &self,
        batch: &Batch,
        segment: &Range<usize>,
        state: &mut State<B>,
        fitted: &mut Fitted<'_, B>,
        observe: &mut Option<Observer<'_>>,
    ) -> Result<(), ModelError> {
        let (backend, rows) = (&self.backend, segment.len());
        let Fitted { activations: arrays, workspace, .. } = fitted;
        let batch = cut(batch, segment)?;
        let embedding = Embedding::<B, f32> {
            tokens: backend.view(&arrays.tokens).slice(0..rows)?,
            weight: &self.vocabulary.embedding,
            output: Rows::new(backend.view_mut(&mut arrays.residual), rows, self.config.d_model)?,
        };
        backend.embedding(embedding, workspace)?;
        for (i, (block, state)) in self.blocks.iter().zip(state.layers_mut()).enumerate() {
            self.show(observe, Stage::Residual(i), segment, &arrays.residual)?;
            block.forward(backend, &self.config, &batch, state, arrays, workspace)?;
        }
        self.show(observe, Stage::Residual(self.blocks.len()), segment, &arrays.residual)
    }

    /// Shows an array `[tokens of the segment, d_model]` to the observer, if there is one.
    fn show(
        &self,
        observe: &mut Option<Observer<'_>>,
        stage: Stage,
        segment: &Range<usize>,
        array: &B::Buffer<f32>,
    ) -> Result<(), ModelError> {
        if let Some(observe) = observe {
            let mut host = crate::arrays::host::zeros(CALL, segment.len() * self.config.d_model)?;
            self.backend.read(self.backend.view(array).slice(0..host.len())?, &mut host)?;
            observe(stage, segment.start, &host);
        }
        Ok(())
    }

    /// The final norm of these rows of the batch, ascending, in the segment that starts at `start`, to the head's rows
    /// from `target`. Adjacent rows share a call, as in a decode step.
    fn norm_rows(
        &self,
        fitted: &mut Fitted<'_, B>,
        rows: &[usize],
        start: usize,
        mut target: usize,
    ) -> Result<(), ModelError> {
        for run in rows.chunk_by(|row, next| row + 1 == *next) {
            let first = run[0] - start;
            self.norm_f(fitted, first..first + run.len(), target)?;
            target += run.len();
        }
        Ok(())
    }

    /// The final norm of `rows` of the residual stream, to the head's rows from `target`.
    fn norm_f(
        &self,
        fitted: &mut Fitted<'_, B>,
        rows: Range<usize>,
        target: usize,
    ) -> Result<(), ModelError> {
        let (backend, d_model, count) = (&self.backend, self.config.d_model, rows.len());
        let Fitted { activations, head, workspace } = fitted;
        let residual = backend.view(&activations.residual);
        let normed = backend.view_mut(&mut head.normed);
        let norm = RmsNorm::<B, f32, f32> {
            input: Rows::strided(residual, rows.start * d_model, count, d_model, d_model)?,
            residual: None,
            weight: Some(backend.view(&self.norm_f)),
            eps: self.config.norm_eps,
            output: Rows::strided(normed, target * d_model, count, d_model, d_model)?,
        };
        Ok(backend.rms_norm(norm, workspace)?)
    }

    /// The head over the first `rows` normed rows.
    fn lm_head(&self, fitted: &mut Fitted<'_, B>, rows: usize) -> Result<(), ModelError> {
        let (backend, vocab) = (&self.backend, self.config.vocab_size);
        let Fitted { head, workspace, .. } = fitted;
        let linear = Linear::<B, f32, f32> {
            input: Rows::new(backend.view(&head.normed), rows, self.config.d_model)?,
            weight: self.vocabulary.head(),
            bias: None,
            epilogue: Epilogue::Store,
            output: Rows::new(backend.view_mut(&mut head.logits), rows, vocab)?,
        };
        Ok(backend.linear(linear, workspace)?)
    }

    /// The first logits of the head, to the host.
    fn read_logits(&self, fitted: &Fitted<'_, B>, out: &mut [f32]) -> Result<(), ModelError> {
        let logits = self.backend.view(&fitted.head.logits).slice(0..out.len())?;
        Ok(self.backend.read(logits, out)?)
    }
}
