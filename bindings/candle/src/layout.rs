//! Layouts of tensors as [`Rows`] and slices.

use crate::arrays::Element;
use crate::arrays::Error;
use crate::arrays::{Rows, Storage};
use candle_core::{Layout, Result, Tensor, WithDType};

/// A storage type that both crates know.
#[cfg(not(feature = "candle-cuda"))]
pub trait Number: Element + WithDType {}

/// A storage type that both crates know, on a CUDA device too.
#[cfg(feature = "candle-cuda")]
pub trait Number: Element + WithDType + super::cuda::OnCuda {}

impl Number for f32 {}
impl Number for half::f16 {}
impl Number for half::bf16 {}

/// Compiles a body for each storage type and runs that of a tensor.
macro_rules! by_dtype {
    ($op:expr, $name:expr, $tensor:expr, $t:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F16 => {
                type $t = half::f16;
                $body
            }
            candle_core::DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            other => {
                let found = other.as_str();
                Err(crate::arrays::Error::argument($op, $name, "f32, f16 or bf16", found).into())
            }
        }
    };
}
pub(super) use by_dtype;

/// Refuses a tensor for whose gradient someone will ask.
pub(super) fn untracked(op: &'static str, tensor: &Tensor) -> Result<()> {
    match tensor.track_op() {
        true => Err(candle_core::Error::BackwardNotSupported { op }.bt()),
        false => Ok(()),
    }
}

fn describe(layout: &Layout) -> String {
    format!("shape {:?} with strides {:?}", layout.dims(), layout.stride())
}

/// Refuses a tensor of other dimensions than `names`, or whose last is not that of `like`: the same numbers in another order
/// have the right number of elements.
pub(super) fn expect_dims<const N: usize>(
    op: &'static str,
    name: &'static str,
    tensor: &Tensor,
    names: [&str; N],
    like: &Tensor,
) -> Result<()> {
    let (found, last) = (tensor.dims(), like.dims().last());
    if found.len() == N && found.last() == last {
        return Ok(());
    }
    let mut expected = names.map(String::from);
    if let (Some(name), Some(last)) = (expected.last_mut(), last) {
        *name = last.to_string();
    }
    Err(Error::argument(op, name, format!("[{}]", expected.join(", ")), format!("{found:?}")).into())
}

/// All elements of a contiguous tensor.
pub(super) fn values<S: Storage>(
    op: &'static str,
    name: &'static str,
    data: S,
    layout: &Layout,
) -> crate::Result<S> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| Error::argument(op, name, "a contiguous tensor", describe(layout)))?;
    data.slice(start..end)
}

/// A tensor `[rows, cols]` or `[batch, rows, cols]` with contiguous, evenly spaced rows.
pub(super) fn rows<S: Storage>(
    op: &'static str,
    name: &'static str,
    data: S,
    layout: &Layout,
) -> crate::Result<Rows<S>> {
    let (rows, cols, stride, even) = match (layout.dims(), layout.stride()) {
        (&[rows, cols], &[stride, last]) => (rows, cols, stride, last == 1 || cols <= 1),
        (&[batch, rows, cols], &[outer, inner, last]) => {
            let even = batch <= 1 || rows <= 1 || outer == rows * inner;
            let stride = if rows <= 1 { outer } else { inner };
            (batch * rows, cols, stride, even && (last == 1 || cols <= 1))
        }
        _ => return Err(Error::argument(op, name, "two or three dimensions", describe(layout))),
    };
    let stride = if rows <= 1 { cols } else { stride };
    if !even || stride < cols {
        return Err(Error::argument(op, name, "contiguous rows, evenly spaced", describe(layout)));
    }
    Rows::strided(data, layout.start_offset(), rows, cols, stride)
}

/// The sequences of a tensor: one for `[tokens, channels]`, `batch` of them for `[batch, tokens, channels]`.
pub(super) fn sequences(tensor: &Tensor) -> crate::Result<crate::Batch> {
    match *tensor.dims() {
        [batch, tokens, _] => crate::Batch::from_lengths(&vec![tokens; batch]),
        [tokens, ..] => Ok(crate::Batch::single(tokens)),
        [] => Ok(crate::Batch::single(0)),
    }
}
