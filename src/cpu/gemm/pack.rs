//! Weights packed once into panels of output features.

use crate::backend::WeightMatrix;
use crate::cpu::isa::Supported;
use crate::element::{DType, Element, Scalar};
use crate::error::{Error, Result, checked_product};
use crate::rows::Rows;
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use std::marker::PhantomData;

/// One cache line: the alignment of packed data.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A vector that starts at a cache line and is zero at first.
#[derive(Debug, Clone)]
pub(crate) struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    element: PhantomData<T>,
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), len: 0, element: PhantomData }
    }
}

impl<T: Scalar> Aligned<T> {
    pub(crate) fn zeros(op: &'static str, len: usize) -> Result<Self> {
        let mut aligned = Self::default();
        aligned.grow(op, len)?;
        Ok(aligned)
    }

    /// Makes it at least `len` long; what it held is lost where it grows.
    pub(crate) fn grow(&mut self, op: &'static str, len: usize) -> Result<()> {
        if len > self.len {
            let lines = checked_product(op, "elements", &[len, size_of::<T>()])?.div_ceil(size_of::<Line>());
            self.lines.clear();
            self.len = 0; // until there is memory
            self.lines.try_reserve_exact(lines).map_err(|_| Error::OutOfMemory {
                op,
                elements: len,
                dtype: T::DTYPE.name(),
            })?;
            self.lines.resize(lines, Line::zeroed());
            self.len = len;
        }
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// Up to so many output features, a matrix has few and wide panels, so that its inputs are read few times.
const FEW_ROWS: usize = 256;

/// A weight matrix `[rows, cols]` as the CPU keeps it.
///
/// The output features (rows) are cut into panels; a panel is `[cols, width]`, so that one vector load gives the
/// weights of neighbouring outputs at one `k`. All panels but the last are `panel` wide; the last is as wide as whole
/// vectors need, and what it has beyond the last row is zero. The storage type stays what it was.
#[derive(Debug, Clone)]
pub struct PackedWeights {
    pub(super) data: Data,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) isa: Supported,
    pub(super) panel: usize,
    lanes: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    F32(Aligned<f32>),
    F16(Aligned<f16>),
    BF16(Aligned<bf16>),
}

/// A storage type of packed weights.
pub(crate) trait Packable: Element {
    fn wrap(data: Aligned<Self>) -> Data;
}

macro_rules! packable {
    ($($t:ty => $variant:ident),*) => {$(
        impl Packable for $t {
            fn wrap(data: Aligned<Self>) -> Data {
                Data::$variant(data)
            }
        }
    )*};
}

packable!(f32 => F32, f16 => F16, bf16 => BF16);

impl PackedWeights {
    /// Packs `weight` for the register tile of an instruction set.
    pub(crate) fn new<W: Packable>(weight: Rows<&[W]>, isa: Supported) -> Result<Self> {
        let (rows, cols) = (weight.rows(), weight.cols());
        let tile = isa.tile();
        let lanes = tile.lanes;
        let padded = rows.checked_next_multiple_of(lanes);
        let padded = padded.ok_or_else(|| Error::argument("pack", "weight", "fewer rows", rows))?;
        let vectors = rows.div_ceil(lanes).max(1);
        let panel = match vectors * lanes <= FEW_ROWS {
            // as few panels as there can be, of about the same width
            true => vectors.div_ceil(vectors.div_ceil(tile.most_vectors)) * lanes,
            false => tile.vectors * lanes,
        };
        let mut data = Aligned::zeros("pack", checked_product("pack", "weight", &[padded, cols])?)?;
        let out: &mut [W] = data.as_mut_slice();
        let filled = if cols == 0 { 0 } else { rows };
        for first in (0..filled).step_by(panel) {
            let width = panel.min(padded - first);
            let target = &mut out[first * cols..][..width * cols]; // [cols, width]
            for j in 0..width.min(rows - first) {
                for (k, &value) in weight.row(first + j).iter().enumerate() {
                    target[k * width + j] = value;
                }
            }
        }
        Ok(Self { data: W::wrap(data), rows, cols, isa, panel, lanes })
    }

    /// The number of panels.
    pub(super) fn panels(&self) -> usize {
        self.rows.div_ceil(self.panel)
    }

    /// The width of panel `index`, in elements.
    pub(super) fn width(&self, index: usize) -> usize {
        self.panel.min(self.rows.next_multiple_of(self.lanes) - index * self.panel)
    }

    /// Row `row` of the matrix, element by element.
    pub(crate) fn copy_row<U: Element>(&self, row: usize, target: &mut [U]) {
        match &self.data {
            Data::F32(data) => self.copy_row_of(data.as_slice(), row, target),
            Data::F16(data) => self.copy_row_of(data.as_slice(), row, target),
            Data::BF16(data) => self.copy_row_of(data.as_slice(), row, target),
        }
    }

    fn copy_row_of<W: Element, U: Element>(&self, data: &[W], row: usize, target: &mut [U]) {
        if self.cols == 0 {
            return; // there is no data to point into
        }
        let (panel, j) = (row / self.panel, row % self.panel);
        let width = self.width(panel);
        let column = &data[panel * self.panel * self.cols + j..];
        target.iter_mut().zip(column.iter().step_by(width)).for_each(|(t, w)| *t = U::from_f32(w.to_f32()));
    }
}

impl WeightMatrix for PackedWeights {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn dtype(&self) -> DType {
        match &self.data {
            Data::F32(_) => DType::F32,
            Data::F16(_) => DType::F16,
            Data::BF16(_) => DType::BF16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_cannot_be_had_leaves_a_usable_array() {
        let mut array = Aligned::<f32>::zeros("test", 8).unwrap();
        assert!(matches!(array.grow("test", isize::MAX as usize / 4), Err(Error::OutOfMemory { .. })));
        assert!(array.as_slice().is_empty());
        array.grow("test", 4).unwrap();
        assert_eq!(array.as_mut_slice(), [0.0; 4]);
    }

    #[test]
    fn rows_without_columns() {
        let isa = Supported::best();
        let empty: &[f32] = &[];
        let rows = |rows| PackedWeights::new(Rows::new(empty, rows, 0).unwrap(), isa);
        assert!(rows(usize::MAX).is_err());
        assert_eq!(rows(1 << 60).unwrap().rows(), 1 << 60);
    }
}
