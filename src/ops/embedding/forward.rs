//! The contract of `embedding`.

use crate::arrays::{Element, Error, Memory, Result, Rows, Storage, WeightMatrix, expect_size};

/// `output[t] = weight[tokens[t]]`: PyTorch's `Embedding`.
///
/// The table is a packed weight, so a model whose head is tied to its embedding keeps one copy of both. Widening
/// is exact; an output of a narrower type is rounded to nearest even.
pub struct Embedding<'a, B: Memory, U: Element> {
    /// `[tokens]`, each below the rows of the weight
    pub tokens: B::View<'a, u32>,
    /// `[vocab, d_model]`
    pub weight: &'a B::Weights,
    /// `[tokens, d_model]`, written
    pub output: Rows<B::ViewMut<'a, U>>,
}

/// The sizes of a valid [`Embedding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddingShape {
    /// Rows of the output.
    pub tokens: usize,
    /// Rows of the weight.
    pub vocab: usize,
    /// Columns of the weight and of the output.
    pub d_model: usize,
}

impl<B: Memory, U: Element> Embedding<'_, B, U> {
    /// Checks the shapes. The values of the tokens may lie on a device: a backend checks them.
    ///
    /// # Errors
    /// [`Error::Argument`] if a shape differs from the contract's.
    pub fn validate(&self) -> Result<EmbeddingShape> {
        const OP: &str = "embedding";
        let (tokens, vocab, d_model) = (self.tokens.elements(), self.weight.rows(), self.weight.cols());
        expect_size(OP, "output", "the number of tokens", tokens, self.output.rows())?;
        expect_size(OP, "output", "columns of the weight", d_model, self.output.cols())?;
        Ok(EmbeddingShape { tokens, vocab, d_model })
    }

    /// Checks the values of tokens in the host's memory.
    pub(crate) fn expect_in_vocab(tokens: &[u32], vocab: usize) -> Result<()> {
        match tokens.iter().position(|&token| token as usize >= vocab) {
            None => Ok(()),
            Some(i) => {
                let expected = format_args!("tokens below the vocabulary of {vocab}").to_string();
                Err(Error::argument("embedding", "tokens", expected, format_args!("{} at {i}", tokens[i])))
            }
        }
    }
}
