//! Element types by number.

use kernels::{DType, Error, Result};

/// f32: `float`.
pub const MAMBA_DTYPE_F32: u32 = 0;
/// f16: IEEE-754 half precision.
pub const MAMBA_DTYPE_F16: u32 = 1;
/// bf16: the upper half of an f32.
pub const MAMBA_DTYPE_BF16: u32 = 2;

/// The element type with a number of `MAMBA_DTYPE_*`.
pub(crate) fn element_type(op: &'static str, name: &'static str, dtype: u32) -> Result<DType> {
    match dtype {
        MAMBA_DTYPE_F32 => Ok(DType::F32),
        MAMBA_DTYPE_F16 => Ok(DType::F16),
        MAMBA_DTYPE_BF16 => Ok(DType::BF16),
        other => Err(unknown(op, name, other)),
    }
}

pub(crate) fn unknown(op: &'static str, name: &'static str, dtype: u32) -> Error {
    Error::argument(op, name, "one of MAMBA_DTYPE_*", dtype)
}

/// Runs a body with `$T` standing for the element type of the argument `$name`.
macro_rules! with_dtype {
    ($op:expr, $name:expr, $dtype:expr, $T:ident => $body:expr) => {
        kernels::with_element_type!(
            $crate::dtype::element_type($op, $name, $dtype)?,
            $T => $body,
            else => Err($crate::dtype::unknown($op, $name, $dtype))
        )
    };
}
pub(crate) use with_dtype;
