//! [`Weights`]: a matrix on the device in the layout of `cuda/args.h`: row by row in its own type, each row padded with
//! -0.0 to a multiple of 32 bytes.
#![forbid(unsafe_code)]

use crate::arrays::{DType, Element, Error, Result, Rows, checked_product};
use crate::backend::WeightMatrix;
use crate::cuda::memory::device::{Device, Memory};
use std::sync::Arc;

/// Bytes that the size of a row is a multiple of.
const ROW_BYTES: usize = 32;

/// Bytes that are brought into the layout and copied at a time.
const PIECE: usize = 1 << 22;

/// A weight matrix of [`Cuda`](crate::Cuda).
#[derive(Debug)]
pub struct Weights {
    memory: Memory,
    rows: usize,
    cols: usize,
    stride: usize,
    dtype: DType,
}

impl Weights {
    pub(super) fn new<W: Element>(device: &Arc<Device>, weight: Rows<&[W]>) -> Result<Self> {
        let (rows, cols) = (weight.rows(), weight.cols());
        let stride = cols.checked_next_multiple_of(ROW_BYTES / size_of::<W>());
        let stride = stride.ok_or_else(|| {
            Error::argument("pack", "weight", "a row that fits in memory with its padding", cols)
        })?;
        let elements = checked_product("pack", "weight", &[rows, stride])?;
        let memory = Memory::of::<W>(device, "pack", elements)?;
        if elements == 0 {
            return Ok(Self { memory, rows, cols, stride, dtype: W::DTYPE }); // however large the other size is
        }
        let mut piece = Vec::new();
        let rows_of_piece = (PIECE / (stride * size_of::<W>()).max(1)).max(1);
        for first in (0..rows).step_by(rows_of_piece) {
            piece.clear();
            for row in first..rows.min(first + rows_of_piece) {
                piece.extend_from_slice(weight.row(row));
                piece.resize(piece.len() + stride - cols, W::from_f32(-0.0));
            }
            let address = memory.address() + (first * stride * size_of::<W>()) as u64;
            device.driver.upload(bytemuck::cast_slice(&piece), address)?;
        }
        Ok(Self { memory, rows, cols, stride, dtype: W::DTYPE })
    }

    /// The address, if the weights are of this device.
    pub(super) fn address(&self, device: &Device, op: &'static str) -> Result<u64> {
        device.expect(op, "weight", self.memory.device().id())?;
        Ok(self.memory.address())
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }
}

impl WeightMatrix for Weights {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn dtype(&self) -> DType {
        self.dtype
    }
}
