//! [`Memory`]: the types in which a backend holds arrays and weights.
#![forbid(unsafe_code)]

use super::element::Scalar;
use super::format::WeightFormat;
use super::rows::Storage;

/// A weight matrix in the form that a backend packed it into.
pub trait WeightMatrix: Send + Sync {
    /// Output features: the rows of `[rows, cols]`, PyTorch's `Linear.weight`.
    fn rows(&self) -> usize;
    /// Input features.
    fn cols(&self) -> usize;
    /// How the weights are stored, and with it how their products are computed.
    fn format(&self) -> WeightFormat;
}

/// The types of a backend's memory: what the argument structs of [`ops`](crate::ops) are made of.
pub trait Memory: Sized + Send + Sync + 'static {
    /// Borrowed memory that is read.
    type View<'a, T: Scalar>: Copy + Storage;
    /// Borrowed memory that is written.
    type ViewMut<'a, T: Scalar>: Storage;
    /// Memory that the backend owns.
    type Buffer<T: Scalar>: Send + Sync;
    /// A packed weight matrix.
    type Weights: WeightMatrix;
}
