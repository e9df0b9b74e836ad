//! [`Weights`]: a matrix on the device in the layout of `cuda/args.h`: row by row in its own type, each row padded with
//! -0.0 to a multiple of 32 bytes.
#![forbid(unsafe_code)]

use crate::arrays::{
    DType, Element, Error, Result, Rows, WeightFormat, WeightMatrix, checked_product, packed,
};
use crate::cuda::memory::device::{Device, Memory};
use crate::with_element_type;
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
    /// Packs a matrix in a format that keeps each weight as a number of its own.
    pub(super) fn new<W: Element>(
        device: &Arc<Device>,
        weight: Rows<&[W]>,
        format: WeightFormat,
    ) -> Result<Self> {
        let no_format = || Error::argument("pack", "format", "f32, f16 or bf16", format);
        let dtype = format.dtype().ok_or_else(no_format)?;
        with_element_type!(dtype, S => Self::with_type::<W, S>(device, weight), else => Err(no_format()))
    }

    fn with_type<W: Element, S: Element>(device: &Arc<Device>, weight: Rows<&[W]>) -> Result<Self> {
        let (rows, cols) = (weight.rows(), weight.cols());
        let stride = cols.checked_next_multiple_of(ROW_BYTES / size_of::<S>());
        let stride = stride.ok_or_else(|| {
            Error::argument("pack", "weight", "a row that fits in memory with its padding", cols)
        })?;
        let elements = checked_product("pack", "weight", &[rows, stride])?;
        let memory = Memory::of::<S>(device, "pack", elements)?;
        if elements == 0 {
            return Ok(Self { memory, rows, cols, stride, dtype: S::DTYPE }); // however large the other size is
        }
        let mut piece = Vec::new();
        let rows_of_piece = (PIECE / (stride * size_of::<S>()).max(1)).max(1);
        for first in (0..rows).step_by(rows_of_piece) {
            piece.clear();
            for row in first..rows.min(first + rows_of_piece) {
                piece.extend(weight.row(row).iter().map(|&weight| packed::<W, S>(weight)));
                piece.resize(piece.len() + stride - cols, S::from_f32(-0.0));
            }
            let address = memory.address() + (first * stride * size_of::<S>()) as u64;
            device.driver.upload(bytemuck::cast_slice(&piece), address)?;
        }
        Ok(Self { memory, rows, cols, stride, dtype: S::DTYPE })
    }

    /// The address, if the weights are of this device.
    pub(super) fn address(&self, device: &Device, op: &'static str) -> Result<u64> {
        device.expect(op, "weight", self.memory.device().id())?;
        Ok(self.memory.address())
    }

    /// The type of the stored numbers.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
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

    fn format(&self) -> WeightFormat {
        // `dtype` comes from a format of single numbers, so this gives that format back
        WeightFormat::of(self.dtype).unwrap_or(WeightFormat::F32)
    }
}
