//! The register tile: its sizes on each instruction set, and the job of its micro-kernel.

use super::epilogue::Finish;
use crate::cpu::machine::isa::Isa;
use crate::cpu::simd::{MAX_LANES, Simd};

/// Most rows of a tile. Above 8 rows, the row pointers spill.
pub(super) const MAX_ROWS: usize = 8;

/// Most vectors in a row of a tile.
pub(super) const MAX_VECTORS: usize = 5;

/// Numbers in the largest tile of any instruction set.
pub(super) const MAX_TILE: usize = 25 * MAX_LANES;

/// The width of a panel of packed weights, in vectors: the width of a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Width {
    /// For matrices with many outputs: what the tile with the most multiply-adds per load has.
    pub vectors: usize,
    /// The most, for matrices with few outputs, whose inputs are then read fewer times.
    pub most: usize,
}

/// The widths on an instruction set. They follow from its registers: a tile of `n` vectors has
/// `(registers - 1 - n) / n` rows, next to `n` vectors of weights and one input.
pub(super) const fn width(isa: Isa) -> Width {
    match isa {
        Isa::Avx512 => Width { vectors: 3, most: 5 },
        Isa::Avx2 | Isa::Neon => Width { vectors: 3, most: 3 },
        Isa::Portable => Width { vectors: 2, most: 2 },
    }
}

/// Most rows of a tile of `vectors` vectors: what fits in registers next to a row of weights and an input.
pub(super) const fn max_rows(registers: usize, vectors: usize) -> usize {
    let rows = (registers - 1 - vectors) / vectors;
    if rows > MAX_ROWS { MAX_ROWS } else { rows }
}

/// Fails to compile if a tile of `S` has more numbers than [`MAX_TILE`].
pub(super) const fn assert_tiles_fit<S: Simd>() {
    let mut vectors = 1;
    while vectors <= MAX_VECTORS {
        assert!(max_rows(S::REGISTERS, vectors) * vectors * S::LANES <= MAX_TILE);
        vectors += 1;
    }
}

/// One register tile: the sums of `rows` rows and `vectors` vectors of outputs over all `steps`, finished and stored.
pub(super) struct TileJob<'a> {
    pub rows: usize,
    pub vectors: usize,
    pub steps: usize,
    /// `[rows, steps]`, in the form that the weight format takes.
    pub input: *const f32,
    pub input_stride: usize,
    /// `[steps, vectors * LANES]` units of the weight format.
    pub weights: *const u8,
    /// Where to store the sums as they are, and the row stride. Null if they have to be finished first.
    pub direct: *mut f32,
    pub direct_stride: usize,
    /// The row and the column of the product that the tile starts at, and what becomes of its sums.
    pub row: usize,
    pub column: usize,
    pub finish: &'a Finish<'a>,
}
