//! [`Vocabulary`]: the embedding and the head, which may be one matrix.
#![forbid(unsafe_code)]

use crate::arrays::WeightFormat;
use crate::backend::Backend;
use crate::model::checkpoint::Source;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::note::Note;

const EMBEDDING: [&str; 2] = ["backbone.embeddings.weight", "backbone.embedding.weight"];
const HEAD: &str = "lm_head.weight";

/// The two matrices of a model that have a row per token.
pub(super) struct Vocabulary<B: Backend> {
    pub embedding: B::Weights, // [vocab_size, d_model]
    head: Option<B::Weights>,  // [vocab_size, d_model]; `None` if it is the embedding
}

impl<B: Backend> Vocabulary<B> {
    /// Loads both. If the configuration ties them, either may be missing, and a stored head that differs from the
    /// embedding is used and noted.
    pub(super) fn load(
        backend: &B,
        config: &Config,
        source: &impl Source,
        format: Option<WeightFormat>,
        notes: &mut Vec<Note>,
    ) -> Result<Self, ModelError> {
        let shape = [config.vocab_size, config.d_model];
        let matrix = |names: &[&str]| source.matrix(backend, names, shape, format);
        if !config.tie_embeddings {
            return Ok(Self { embedding: matrix(&EMBEDDING)?, head: Some(matrix(&[HEAD])?) });
        }
        let stored = EMBEDDING.into_iter().find(|name| source.contains(name));
        match stored {
            None if source.contains(HEAD) => Ok(Self { embedding: matrix(&[HEAD])?, head: None }),
            Some(stored) if source.contains(HEAD) && !source.same_values([stored, HEAD], &shape)? => {
                notes.push(Note::OwnHead);
                Ok(Self { embedding: matrix(&[stored])?, head: Some(matrix(&[HEAD])?) })
            }
            _ => Ok(Self { embedding: matrix(&EMBEDDING)?, head: None }),
        }
    }

    /// The matrix `[vocab_size, d_model]` that makes logits.
    pub(super) fn head(&self) -> &B::Weights {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}
