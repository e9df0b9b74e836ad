//! `mamba logits`: the logits of given tokens, to a file.

use crate::model_args::{ModelArgs, ModelSource, Task, Usage};
use anyhow::Context;
use clap::Args;
use mamba_kernels::model::{Logits, Scratch};
use mamba_kernels::{Backend, Batch};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::path::PathBuf;

/// Write the logits of given tokens to a file
///
/// The file holds one f32 tensor, `logits`, of the shape [tokens, vocabulary].
#[derive(Args)]
pub struct LogitsToFile {
    /// Token ids with commas between them
    #[arg(long, value_name = "IDS", required = true, value_delimiter = ',', allow_hyphen_values = true)]
    tokens: Vec<u32>,
    /// Feed the tokens in pieces of these lengths, the state carried on. On the cpu backend it changes no bit
    /// of the result
    #[arg(long, value_name = "LENGTHS", value_delimiter = ',', allow_hyphen_values = true)]
    split: Vec<usize>,
    /// The safetensors file to write
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    out: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
}

impl LogitsToFile {
    pub fn run(mut self) -> anyhow::Result<()> {
        let count = self.tokens.len();
        if self.split.is_empty() {
            self.split = vec![count];
        }
        let sum = self.split.iter().try_fold(0usize, |sum, &length| sum.checked_add(length));
        if sum != Some(count) {
            let sum = sum.map_or("more than 64 bits hold".into(), |sum| sum.to_string());
            return Err(Usage(format!("--split adds up to {sum}, but there are {count} tokens")).into());
        }
        if self.split.contains(&0) {
            return Err(Usage("--split has a piece of length 0".into()).into());
        }
        let Self { model, tokens, split, out } = self;
        let task = WriteLogits { model: model.source(), tokens, split, out };
        model.run(task)
    }
}

struct WriteLogits {
    model: ModelSource,
    tokens: Vec<u32>,
    split: Vec<usize>,
    out: PathBuf,
}

impl Task for WriteLogits {
    fn run<B: Backend>(self, backend: B) -> anyhow::Result<()> {
        let model = self.model.load(backend)?;
        let mut state = model.new_state(1)?;
        let mut scratch = Scratch::default();
        let mut bytes = Vec::new();
        let mut rest = self.tokens.as_slice();
        for length in self.split {
            let (piece, later) = rest.split_at(length);
            rest = later;
            let batch = Batch::single(length);
            let logits = model.forward(piece, &batch, &mut state, Logits::All, &mut scratch)?;
            bytes.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
        }
        let shape = vec![self.tokens.len(), model.config().vocab_size];
        let tensor = TensorView::new(Dtype::F32, shape, &bytes)?;
        let file = safetensors::serialize([("logits", tensor)], None)?;
        std::fs::write(&self.out, file).with_context(|| format!("cannot write {}", self.out.display()))
    }
}
