//! Errors of mamba-kernels as candle's.

use candle_core::Error;
use mamba_kernels::model::ModelError;

/// An error of mamba-kernels as candle's, with the same text.
///
/// [`Unavailable`](mamba_kernels::Error::Unavailable) becomes candle's `Cuda`, every other one its `Wrapped`.
pub fn candle_error(error: mamba_kernels::Error) -> Error {
    match error {
        mamba_kernels::Error::Unavailable { .. } => Error::Cuda(Box::new(error)).bt(),
        error => Error::wrap(error),
    }
}

/// A result of mamba-kernels as one of candle. `From` cannot say it: both error types are of other crates.
pub(crate) trait OrCandle<T> {
    fn or_candle(self) -> candle_core::Result<T>;
}

impl<T> OrCandle<T> for mamba_kernels::Result<T> {
    fn or_candle(self) -> candle_core::Result<T> {
        self.map_err(candle_error)
    }
}

impl<T> OrCandle<T> for Result<T, ModelError> {
    fn or_candle(self) -> candle_core::Result<T> {
        self.map_err(Error::wrap)
    }
}

/// The error for an argument that an op does not take.
pub(crate) fn argument(
    op: &'static str,
    argument: &'static str,
    expected: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> Error {
    candle_error(mamba_kernels::Error::argument(op, argument, expected, found))
}
