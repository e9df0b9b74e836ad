//! [`Generation`]: the tokens that continue a prompt, one at a time.
#![forbid(unsafe_code)]

use super::sampler::{Sampler, Sampling};
use crate::arrays::Batch;
use crate::backend::Backend;
use crate::model::error::ModelError;
use crate::model::forward::Logits;
use crate::model::mamba::Mamba;
use crate::model::scratch::Scratch;
use crate::model::state::State;

/// How far a [`Generation`] goes and how it chooses.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// The most tokens that are yielded.
    pub max_tokens: usize,
    /// Tokens that end the text. They are not yielded. [`Mamba::eos_token_ids`] are the usual ones.
    pub stop_tokens: Vec<u32>,
    /// Chooses the tokens. Those that it has seen before count for the repetition penalty as the prompt's do.
    pub sampler: Sampler,
}

impl GenerateOptions {
    /// At most 256 tokens, ended by [`Mamba::eos_token_ids`], and sampled as the model's `generation_config.json` says:
    /// with the values of `otherwise` for what the file does not say.
    ///
    /// # Errors
    /// [`ModelError::Argument`] if a parameter of `otherwise` is outside its range.
    pub fn of_model<B: Backend>(model: &Mamba<B>, otherwise: Sampling) -> Result<Self, ModelError> {
        let sampler = Sampler::new(model.generation_config().sampling(otherwise))?;
        Ok(Self { stop_tokens: model.eos_token_ids().to_vec(), sampler, ..Self::default() })
    }
}

impl Default for GenerateOptions {
    /// At most 256 tokens from the model's own distribution, and no stop token.
    fn default() -> Self {
        Self { max_tokens: 256, stop_tokens: Vec::new(), sampler: Sampler::default() }
    }
}

/// The tokens that continue a prompt, as an iterator.
///
/// The prompt is read by [`prefill`](Self::prefill), or else by the first call of `next`. An error ends the iterator.
/// The sequence is in slot 0 of its state.
///
/// ```no_run
/// use mamba_kernels::Cpu;
/// use mamba_kernels::model::{GenerateOptions, Generation, Mamba, Sampling};
///
/// # fn main() -> Result<(), mamba_kernels::model::ModelError> {
/// let model = Mamba::load(Cpu::new(), "path/to/model".as_ref())?;
/// let options = GenerateOptions::of_model(&model, Sampling::default())?;
/// let options = GenerateOptions { max_tokens: 20, ..options };
/// for token in Generation::new(&model, &[72, 105], options)? {
///     println!("{}", token?);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Generation<'a, B: Backend> {
    model: &'a Mamba<B>,
    state: State<B>,
    scratch: Scratch<B>,
    options: GenerateOptions,
    /// One token in slot 0.
    step: Batch,
    /// What the state has not read yet: first the prompt, later the last token yielded.
    unread: Vec<u32>,
    /// The logits after everything that was read.
    logits: Vec<f32>,
    /// How many tokens may still be yielded.
    left: usize,
    failed: bool,
}

impl<'a, B: Backend> Generation<'a, B> {
    /// A generation that starts from the zero state.
    ///
    /// # Errors
    /// As [`with_state`](Self::with_state), and [`ModelError::Kernel`] if there is not enough memory for a state.
    pub fn new(model: &'a Mamba<B>, prompt: &[u32], options: GenerateOptions) -> Result<Self, ModelError> {
        let state = model.new_state(1)?;
        Self::with_state(model, state, prompt, options)
    }

    /// A generation that starts from what slot 0 of `state` has read, for example a prefix of many prompts.
    ///
    /// # Errors
    /// [`ModelError::Argument`] if the prompt is empty or has a token outside the vocabulary.
    pub fn with_state(
        model: &'a Mamba<B>,
        state: State<B>,
        prompt: &[u32],
        mut options: GenerateOptions,
    ) -> Result<Self, ModelError> {
        const CALL: &str = "Generation::with_state";
        let vocab = model.config().vocab_size;
        if prompt.is_empty() {
            return Err(ModelError::argument(CALL, "prompt", "at least one token", "none"));
        }
        if let Some(token) = prompt.iter().find(|&&token| token as usize >= vocab) {
            let expected = format!("tokens below the vocabulary's {vocab}");
            return Err(ModelError::argument(CALL, "prompt", expected, token.to_string()));
        }
        prompt.iter().for_each(|&token| options.sampler.observe(token));
        Ok(Self {
            model,
            state,
            scratch: Scratch::default(),
            left: options.max_tokens,
            options,
            step: Batch::single(1),
            unread: prompt.to_vec(),
            logits: Vec::new(),
            failed: false,
        })
    }

    /// Reads the prompt in segments of [`Scratch::segment_tokens`]. After each segment `progress` is given the number
    /// of tokens read so far and the total. Does nothing if the prompt has been read.
    ///
    /// # Errors
    /// Those of [`Mamba::forward`].
    pub fn prefill(&mut self, progress: impl FnMut(usize, usize)) -> Result<(), ModelError> {
        if self.logits.is_empty() { self.read(Logits::Last, progress) } else { Ok(()) }
    }

    /// The state of the sequence. It has read all of the prompt and of the tokens yielded so far.
    ///
    /// # Errors
    /// Those of [`Mamba::forward`], and [`ModelError::Argument`] after an earlier error, which leaves no state.
    pub fn into_state(mut self) -> Result<State<B>, ModelError> {
        if self.failed {
            let found = "one that has failed";
            return Err(ModelError::argument(
                "Generation::into_state",
                "self",
                "an intact generation",
                found,
            ));
        }
        self.read(Logits::None, |_, _| ())?;
        Ok(self.state)
    }

    /// Reads what is unread, with these logits of its last token.
    fn read(&mut self, logits: Logits, mut progress: impl FnMut(usize, usize)) -> Result<(), ModelError> {
        let total = self.unread.len();
        let mut done = 0;
        for segment in self.unread.chunks(self.scratch.segment_tokens()) {
            let batch = if segment.len() == 1 { self.step.clone() } else { Batch::single(segment.len()) };
            done += segment.len();
            let logits = if done == total { logits } else { Logits::None };
            let result = self.model.forward(segment, &batch, &mut self.state, logits, &mut self.scratch);
            self.logits = result.inspect_err(|_| self.failed = true)?;
            progress(done, total);
        }
        self.unread.clear();
        Ok(())
    }

    fn next_token(&mut self) -> Result<Option<u32>, ModelError> {
        if !self.unread.is_empty() {
            self.read(Logits::Last, |_, _| ())?;
        }
        let token = self.options.sampler.sample(&self.logits)?;
        if self.options.stop_tokens.contains(&token) {
            self.left = 0;
            return Ok(None);
        }
        self.options.sampler.observe(token);
        self.unread.push(token);
        self.left -= 1;
        Ok(Some(token))
    }
}

impl<B: Backend> Iterator for Generation<'_, B> {
    type Item = Result<u32, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.left == 0 {
            return None;
        }
        let result = self.next_token();
        self.failed |= result.is_err();
        result.transpose()
    }
}

impl<B: Backend> std::iter::FusedIterator for Generation<'_, B> {}
