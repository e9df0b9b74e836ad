//! The element types that candle and mamba-kernels share.

use crate::error::argument;
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::CudaDType;
use candle_core::{Result, Tensor, WithDType};
#[cfg(feature = "cuda")]
use mamba_kernels::cuda::cudarc::driver::{DeviceRepr, ValidAsZeroBits};
use mamba_kernels::{DType, Element};

/// An element type of both crates.
#[cfg(not(feature = "cuda"))]
pub trait TensorElement: Element + WithDType {}

/// An element type of both crates, on a CUDA device too.
#[cfg(feature = "cuda")]
pub trait TensorElement: Element + WithDType + CudaDType + DeviceRepr + ValidAsZeroBits {}

impl TensorElement for f32 {}
impl TensorElement for mamba_kernels::f16 {}
impl TensorElement for mamba_kernels::bf16 {}

/// The element type of a tensor that an op takes.
pub(crate) fn element_type(op: &'static str, name: &'static str, tensor: &Tensor) -> Result<DType> {
    match tensor.dtype() {
        candle_core::DType::F32 => Ok(DType::F32),
        candle_core::DType::F16 => Ok(DType::F16),
        candle_core::DType::BF16 => Ok(DType::BF16),
        _ => Err(unsupported(op, name, tensor)),
    }
}

pub(crate) fn unsupported(op: &'static str, name: &'static str, tensor: &Tensor) -> candle_core::Error {
    argument(op, name, "f32, f16 or bf16", tensor.dtype().as_str())
}

/// Runs a body with `$T` standing for the element type of the tensor `$name`.
macro_rules! with_tensor_type {
    ($op:expr, $name:expr, $tensor:expr, $T:ident => $body:expr) => {
        mamba_kernels::with_element_type!(
            $crate::element::element_type($op, $name, $tensor)?,
            $T => $body,
            else => Err($crate::element::unsupported($op, $name, $tensor))
        )
    };
}
pub(crate) use with_tensor_type;
