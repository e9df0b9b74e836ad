//! [`PackedWeights`]: a weight matrix packed once into panels of output features.

use super::formats::format::{Format, MAX_COLUMNS};
use super::formats::with_format;
use super::tile::width;
use crate::arrays::{Element, Error, Result, Rows, WeightFormat, WeightMatrix, checked_product};
use crate::cpu::machine::cpu::Cpu;
use crate::cpu::machine::isa::Isa;
use crate::cpu::machine::weight_arena::PackedBytes;
use crate::cpu::simd::dispatch::lanes;
use std::sync::Arc;

/// Up to this many output features, a matrix has few and wide panels, so its inputs are read fewer times.
const FEW_ROWS: usize = 256;

/// A weight matrix `[rows, cols]` as the CPU keeps it.
///
/// The output features (rows) are cut into panels; a panel is `[steps, width]` units of the weight format, so one vector
/// load gives the weights of neighbouring outputs at one step of `k`. All panels except the last are `panel` wide; the last
/// is as wide as whole vectors need, and its columns beyond the last row are zero.
#[derive(Debug, Clone)]
pub struct PackedWeights {
    data: Arc<PackedBytes>,
    pub(super) format: WeightFormat,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// The instruction set whose register tile the panels suit.
    pub(super) isa: Isa,
    pub(super) lanes: usize,
    pub(super) panel: usize,
}

impl PackedWeights {
    /// Packs a matrix for the register tile of the CPU's instruction set.
    pub(in crate::cpu) fn new<W: Element>(
        cpu: &Cpu,
        weight: Rows<&[W]>,
        format: WeightFormat,
    ) -> Result<Self> {
        const OP: &str = "pack";
        let (rows, cols) = (weight.rows(), weight.cols());
        let (isa, lanes) = (cpu.isa(), lanes(cpu.isa));
        let padded = rows.checked_next_multiple_of(lanes);
        let padded = padded.ok_or_else(|| Error::argument(OP, "weight", "fewer rows", rows))?;
        let (vectors, width) = (rows.div_ceil(lanes).max(1), width(isa));
        let panel = if vectors * lanes <= FEW_ROWS {
            // as few panels as possible, of about the same width
            vectors.div_ceil(vectors.div_ceil(width.most)) * lanes
        } else {
            width.vectors * lanes
        };
        let (steps, unit) = with_format!(format, F => (cols.div_ceil(F::COLUMNS), F::BYTES));
        let units = checked_product(OP, "weight", &[padded, steps])?;
        let bytes = checked_product(OP, "weight", &[units, unit])?;
        let no_memory = |_| Error::OutOfMemory { op: OP, elements: units, dtype: format.name() };
        let mut data = cpu.arena.zeros(OP, bytes).map_err(no_memory)?;
        let (filled, out) = (if cols == 0 { 0 } else { rows }, data.as_mut_slice());
        for first in (0..filled).step_by(panel) {
            let width = panel.min(padded - first);
            let target = &mut out[first * steps * unit..][..width * steps * unit];
            with_format!(format, F => pack_panel::<F, W>(&weight, first, width, target));
        }
        Ok(Self { data: Arc::new(data), format, rows, cols, isa, lanes, panel })
    }

    /// Steps of `k`: columns, or groups of columns.
    pub(super) fn steps(&self) -> usize {
        with_format!(self.format, F => self.cols.div_ceil(F::COLUMNS))
    }

    /// The address of panel `index`.
    pub(super) fn panel_start(&self, index: usize) -> *const u8 {
        let unit = with_format!(self.format, F => F::BYTES);
        self.data.as_slice()[index * self.panel * self.steps() * unit..].as_ptr()
    }

    /// The number of panels.
    pub(super) fn panels(&self) -> usize {
        self.rows.div_ceil(self.panel)
    }

    /// The width of panel `index`, in outputs.
    pub(super) fn width(&self, index: usize) -> usize {
        self.panel.min(self.rows.next_multiple_of(self.lanes) - index * self.panel)
    }

    /// Row `row` of the matrix, rounded to `U`.
    pub(in crate::cpu) fn read_row<U: Element>(&self, row: usize, target: &mut [U]) {
        with_format!(self.format, F => self.read_row_as::<F, U>(row, target));
    }

    fn read_row_as<F: Format, U: Element>(&self, row: usize, target: &mut [U]) {
        let (panel, j) = (row / self.panel, row % self.panel);
        let width = self.width(panel);
        let start = panel * self.panel * self.steps();
        const { assert!(F::COLUMNS <= MAX_COLUMNS) };
        let mut weights = [0.0f32; MAX_COLUMNS];
        for (step, target) in target.chunks_mut(F::COLUMNS).enumerate() {
            let unit = &self.data.as_slice()[(start + step * width + j) * F::BYTES..][..F::BYTES];
            let weights = &mut weights[..target.len()];
            F::read(unit, weights);
            target.iter_mut().zip(weights).for_each(|(target, weight)| *target = U::from_f32(*weight));
        }
    }
}

/// Packs the rows from `first` on into a panel.
fn pack_panel<F: Format, W: Element>(weight: &Rows<&[W]>, first: usize, width: usize, panel: &mut [u8]) {
    for j in 0..width.min(weight.rows() - first) {
        for (step, weights) in weight.row(first + j).chunks(F::COLUMNS).enumerate() {
            F::pack(weights, &mut panel[(step * width + j) * F::BYTES..][..F::BYTES]);
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

    fn format(&self) -> WeightFormat {
        self.format
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_columns() {
        let cpu = Cpu::builder().threads(1).build().unwrap();
        let empty: &[f32] = &[];
        let rows = |rows| PackedWeights::new(&cpu, Rows::new(empty, rows, 0).unwrap(), WeightFormat::F32);
        assert!(rows(usize::MAX).is_err());
        assert_eq!(rows(1 << 60).unwrap().rows(), 1 << 60);
    }
}
