//! Weights packed once into panels of output features.

use crate::arrays::Rows;
use crate::arrays::{DType, Element};
use crate::arrays::{Error, Result, checked_product};
use crate::backend::WeightMatrix;
use crate::cpu::inexact::Products;
use crate::cpu::machine::isa::Supported;
use crate::cpu::machine::weight_arena::{Array, Pages};
use half::{bf16, f16};
use std::sync::Arc;

/// Up to so many output features, a matrix has few and wide panels, so that its inputs are read few times.
const FEW_ROWS: usize = 256;

/// A weight matrix `[rows, cols]` as the CPU keeps it.
///
/// The output features (rows) are cut into panels; a panel is `[cols, width]`, so that one vector load gives the
/// weights of neighbouring outputs at one `k`. All panels but the last are `panel` wide; the last is as wide as whole
/// vectors need, and what it has beyond the last row is zero. The storage type stays what it was.
///
/// For [`Products::Bf16Dot`] all weights are rounded to bf16 and lie in pairs: the panel is `[cols / 2, width]` of two
/// numbers each, with a zero after an odd number of columns.
#[derive(Debug, Clone)]
pub struct PackedWeights {
    pub(super) data: Data,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) isa: Supported,
    pub(super) products: Products,
    pub(super) panel: usize,
    lanes: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    F32(Arc<Array<f32>>),
    F16(Arc<Array<f16>>),
    BF16(Arc<Array<bf16>>),
    /// The number of the even column in the lower half.
    Bf16Pairs(Arc<Array<u32>>),
}

/// Which of [`Data`]'s forms weights are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    F32,
    F16,
    BF16,
    Bf16Pairs,
}

/// `value` as a factor of [`Products::Bf16Dot`].
fn bf16_factor(value: f32) -> bf16 {
    bf16::from_f32(if value.is_subnormal() { 0.0f32.copysign(value) } else { value })
}

/// A storage type of packed weights.
pub(crate) trait Packable: Element {
    fn wrap(data: Array<Self>) -> Data;
}

macro_rules! packable {
    ($($t:ty => $variant:ident),*) => {$(
        impl Packable for $t {
            fn wrap(data: Array<Self>) -> Data {
                Data::$variant(Arc::new(data))
            }
        }
    )*};
}

packable!(f32 => F32, f16 => F16, bf16 => BF16);

impl PackedWeights {
    /// Packs `weight` for the register tile of an instruction set.
    pub(crate) fn new<W: Packable>(
        weight: Rows<&[W]>,
        isa: Supported,
        products: Products,
        pages: &Pages,
    ) -> Result<Self> {
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
        let shape = (rows, cols, padded, panel);
        let data = match products {
            Products::Exact => {
                let mut data =
                    pages.zeros::<W>("pack", checked_product("pack", "weight", &[padded, cols])?)?;
                fill(&weight, shape, 1, data.as_mut_slice(), |value, _, target| *target = value);
                W::wrap(data)
            }
            Products::Bf16Dot => {
                let len = checked_product("pack", "weight", &[padded, cols.div_ceil(2)])?;
                let mut data = pages.zeros::<u32>("pack", len)?;
                fill(&weight, shape, 2, data.as_mut_slice(), |value, place, target| {
                    *target |= u32::from(bf16_factor(value.to_f32()).to_bits()) << (16 * place);
                });
                Data::Bf16Pairs(Arc::new(data))
            }
        };
        Ok(Self { data, rows, cols, isa, products, panel, lanes })
    }

    /// Steps of the product's inner loop: columns, or pairs of them.
    pub(super) fn steps(&self) -> usize {
        match self.products {
            Products::Exact => self.cols,
            Products::Bf16Dot => self.cols.div_ceil(2),
        }
    }

    /// The form of the data, and where panel `index` starts in it.
    pub(super) fn panel_start(&self, index: usize) -> (Form, *const u8) {
        let at = index * self.panel * self.steps();
        match &self.data {
            Data::F32(data) => (Form::F32, data.as_slice()[at..].as_ptr().cast()),
            Data::F16(data) => (Form::F16, data.as_slice()[at..].as_ptr().cast()),
            Data::BF16(data) => (Form::BF16, data.as_slice()[at..].as_ptr().cast()),
            Data::Bf16Pairs(data) => (Form::Bf16Pairs, data.as_slice()[at..].as_ptr().cast()),
        }
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
            Data::Bf16Pairs(data) => {
                let pairs = self.packed_row(data.as_slice(), row);
                for (target, &pair) in target.chunks_mut(2).zip(pairs) {
                    let numbers = [pair as u16, (pair >> 16) as u16].map(bf16::from_bits);
                    target.iter_mut().zip(numbers).for_each(|(t, w)| *t = U::from_f32(w.to_f32()));
                }
            }
        }
    }

    fn copy_row_of<W: Element, U: Element>(&self, data: &[W], row: usize, target: &mut [U]) {
        let packed = self.packed_row(data, row);
        target.iter_mut().zip(packed).for_each(|(t, w)| *t = U::from_f32(w.to_f32()));
    }

    /// Row `row` of the matrix, step by step.
    fn packed_row<'a, P>(&self, data: &'a [P], row: usize) -> impl Iterator<Item = &'a P> {
        let (panel, j) = (row / self.panel, row % self.panel);
        // without columns there is no data to point into
        let column = data.get(panel * self.panel * self.steps() + j..).unwrap_or_default();
        column.iter().step_by(self.width(panel)).take(self.steps())
    }
}

/// Goes through `weight`, `[rows, cols]` in panels, and gives `put` each number, its place in its step of `group` columns,
/// and the step's place in `out`.
fn fill<W: Element, P>(
    weight: &Rows<&[W]>,
    (rows, cols, padded, panel): (usize, usize, usize, usize),
    group: usize,
    out: &mut [P],
    put: impl Fn(W, usize, &mut P),
) {
    let steps = cols.div_ceil(group);
    let filled = if cols == 0 { 0 } else { rows };
    for first in (0..filled).step_by(panel) {
        let width = panel.min(padded - first);
        let target = &mut out[first * steps..][..width * steps]; // [steps, width]
        for j in 0..width.min(rows - first) {
            for (k, &value) in weight.row(first + j).iter().enumerate() {
                put(value, k % group, &mut target[k / group * width + j]);
            }
        }
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
            Data::BF16(_) | Data::Bf16Pairs(_) => DType::BF16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_columns() {
        let isa = Supported::best();
        let empty: &[f32] = &[];
        let rows = |rows| {
            PackedWeights::new(Rows::new(empty, rows, 0).unwrap(), isa, Products::Exact, &Pages::default())
        };
        assert!(rows(usize::MAX).is_err());
        assert_eq!(rows(1 << 60).unwrap().rows(), 1 << 60);
    }
}
