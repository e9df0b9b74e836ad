//! [`Source`]: where a model's weights come from.
#![forbid(unsafe_code)]

use super::ModelError;
use crate::arrays::WeightFormat;
use crate::backend::Backend;

/// Tensors by their names in a checkpoint. Every shape is checked.
pub trait Source {
    /// The matrix `[rows, cols]` under the first of `names` that exists, packed in a format or, without one, in its stored
    /// type.
    fn matrix<B: Backend>(
        &self,
        backend: &B,
        names: &[&str],
        shape: [usize; 2],
        format: Option<WeightFormat>,
    ) -> Result<B::Weights, ModelError>;

    /// The values of the tensor `name`, widened.
    fn widened(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError>;

    /// The values of the tensor `name`, widened and uploaded.
    fn vector<B: Backend>(&self, backend: &B, name: &str, len: usize) -> Result<B::Buffer<f32>, ModelError> {
        Ok(backend.upload(&self.widened(name, &[len])?)?)
    }
}
