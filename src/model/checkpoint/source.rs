//! [`Source`]: where a model's weights come from.
#![forbid(unsafe_code)]

use crate::arrays::WeightFormat;
use crate::backend::Backend;
use crate::model::error::ModelError;

/// Tensors by their names in a checkpoint: what [`Mamba::from_source`](crate::model::Mamba::from_source) loads.
///
/// The names are those of the published checkpoints, such as `backbone.layers.0.mixer.in_proj.weight`. An
/// implementation checks every shape and returns an error if it differs.
///
/// ```
/// use mamba_kernels::model::{Config, Mamba, ModelError, Source};
/// use mamba_kernels::{Backend, Cpu, Rows, WeightFormat};
///
/// /// Weights that are all equal, in f32.
/// struct Constant(f32);
///
/// impl Source for Constant {
///     fn matrix<B: Backend>(
///         &self,
///         backend: &B,
///         _names: &[&str],
///         [rows, cols]: [usize; 2],
///         format: Option<WeightFormat>,
///     ) -> Result<B::Weights, ModelError> {
///         let values = vec![self.0; rows * cols];
///         let weight = Rows::new(&values[..], rows, cols)?;
///         Ok(backend.pack_as(weight, format.unwrap_or(WeightFormat::F32))?)
///     }
///
///     fn widened(&self, _name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
///         Ok(vec![self.0; shape.iter().product()])
///     }
/// }
///
/// # fn main() -> Result<(), ModelError> {
/// let config = Config::from_json(r#"{ "d_model": 16, "n_layer": 2, "vocab_size": 40 }"#)?;
/// let model = Mamba::from_source(Cpu::new(), config, &Constant(0.01))?;
/// assert_eq!(model.new_state(3)?.layers(), 2);
/// # Ok(())
/// # }
/// ```
pub trait Source {
    /// The matrix of `shape`, `[rows, cols]`, under the first of `names` that exists, packed in `format`, or in its
    /// stored type if that is `None`.
    ///
    /// # Errors
    /// [`ModelError`] if the matrix is missing, or has another shape or a type that the crate does not compute with.
    fn matrix<B: Backend>(
        &self,
        backend: &B,
        names: &[&str],
        shape: [usize; 2],
        format: Option<WeightFormat>,
    ) -> Result<B::Weights, ModelError>;

    /// The values of the tensor `name` of this shape, converted to f32.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    fn widened(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError>;

    /// The values of the vector `name`, converted to f32 and uploaded.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    fn vector<B: Backend>(&self, backend: &B, name: &str, len: usize) -> Result<B::Buffer<f32>, ModelError> {
        Ok(backend.upload(&self.widened(name, &[len])?)?)
    }

    /// Whether there is a tensor of this name. Only asked for `lm_head.weight`, for the two names of the embedding,
    /// `backbone.embeddings.weight` and `backbone.embedding.weight`, and only if the configuration says that head and
    /// embedding are one matrix.
    ///
    /// The default is `false`: the embedding is then the head, whatever else is stored.
    fn contains(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// Whether two tensors of this shape have equal values. Only asked for tensors that [`contains`](Self::contains)
    /// has found.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    fn same_values(&self, names: [&str; 2], shape: &[usize]) -> Result<bool, ModelError> {
        Ok(equal(&self.widened(names[0], shape)?, &self.widened(names[1], shape)?))
    }
}

/// Whether the values are equal, or NaN of the same bits.
pub(super) fn equal(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || a.to_bits() == b.to_bits())
}
