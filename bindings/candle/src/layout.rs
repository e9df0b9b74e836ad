//! Layouts of tensors as [`Rows`], slices and batches.

use crate::error::{OrCandle, argument};
use candle_core::{Layout, Result, Tensor};
use mamba_kernels::{Batch, Rows, Storage};

fn describe(layout: &Layout) -> String {
    format!("shape {:?} with strides {:?}", layout.dims(), layout.stride())
}

/// Checks that a tensor has the dimensions `names`, of which the last is that of `like`: an op sees only the number of
/// elements of a contiguous array, which a transposed one has too.
pub(crate) fn expect_dims<const N: usize>(
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
    Err(argument(op, name, format_args!("[{}]", expected.join(", ")), format_args!("{found:?}")))
}

/// All elements of a contiguous tensor.
pub(crate) fn values<S: Storage>(
    op: &'static str,
    name: &'static str,
    data: S,
    layout: &Layout,
) -> Result<S> {
    match layout.contiguous_offsets() {
        Some((start, end)) => data.slice(start..end).or_candle(),
        None => Err(argument(op, name, "a contiguous tensor", describe(layout))),
    }
}

/// A tensor `[rows, cols]` or `[batch, rows, cols]` with contiguous, evenly spaced rows.
pub(crate) fn rows<S: Storage>(
    op: &'static str,
    name: &'static str,
    data: S,
    layout: &Layout,
) -> Result<Rows<S>> {
    let (rows, cols, stride, even) = match (layout.dims(), layout.stride()) {
        (&[rows, cols], &[stride, last]) => (rows, cols, stride, last == 1 || cols <= 1),
        (&[batch, rows, cols], &[outer, inner, last]) => {
            let even = batch <= 1 || rows <= 1 || outer == rows * inner;
            let stride = if rows <= 1 { outer } else { inner };
            (batch * rows, cols, stride, even && (last == 1 || cols <= 1))
        }
        _ => return Err(argument(op, name, "two or three dimensions", describe(layout))),
    };
    let stride = if rows <= 1 { cols } else { stride };
    if !even || stride < cols {
        return Err(argument(op, name, "contiguous rows, evenly spaced", describe(layout)));
    }
    Rows::strided(data, layout.start_offset(), rows, cols, stride).or_candle()
}

/// The dimensions of `input` with `cols` in the place of the last.
pub(crate) fn with_columns(input: &Tensor, cols: usize) -> Vec<usize> {
    let mut dims = input.dims().to_vec();
    dims.pop();
    dims.push(cols);
    dims
}

/// The caller's batch. Without one: a single sequence for `[tokens, channels]`, `batch` sequences for
/// `[batch, tokens, channels]`.
pub(crate) fn sequences(batch: Option<&Batch>, tensor: &Tensor) -> Result<Batch> {
    match (batch, tensor.dims()) {
        (Some(batch), _) => Ok(batch.clone()),
        (None, &[batch, tokens, _]) => Batch::from_lengths(&vec![tokens; batch]).or_candle(),
        (None, &[tokens, ..]) => Ok(Batch::single(tokens)),
        (None, []) => Ok(Batch::single(0)),
    }
}
