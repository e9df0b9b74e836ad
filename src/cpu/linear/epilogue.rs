//! What happens to the sums of a product: bias, epilogue, and the place of each output.

use crate::arrays::{DType, Element};
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::math;
use crate::cpu::simd::{LoadStore, MAX_LANES, Simd, load, store};
use crate::ops::Epilogue;
use crate::with_element_type;
use std::ops::Range;
use std::ptr::NonNull;

/// One output of a product: its rows, and the columns of the product that it takes.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub rows: RowPtr,
    pub columns: Range<usize>,
}

/// What becomes of the sums of a product.
pub(super) struct Finish<'a> {
    pub bias: Option<NonNull<f32>>,
    pub epilogue: Epilogue,
    /// The storage type of all outputs.
    pub dtype: DType,
    /// The outputs, side by side: together they take all columns.
    pub outputs: &'a [Output],
}

impl Finish<'_> {
    /// The columns of the product.
    pub fn columns(&self) -> usize {
        self.outputs.last().map_or(0, |output| output.columns.end)
    }

    /// The output that takes all of these columns, if the sums may be stored there as they are.
    pub fn direct(&self, columns: Range<usize>) -> Option<&Output> {
        if self.bias.is_some() || self.epilogue != Epilogue::Store || self.dtype != DType::F32 {
            return None;
        }
        self.outputs.iter().find(|output| takes(output, &columns))
    }
}

/// Whether an output takes all of these columns.
#[inline(always)]
fn takes(output: &Output, columns: &Range<usize>) -> bool {
    output.columns.start <= columns.start && columns.end <= output.columns.end
}

/// Adds the bias, applies the epilogue and stores a tile of sums `[rows, width]` whose first is at `(row, column)`.
///
/// # Safety
/// 1. `sums` points to `rows * width` numbers, and `width` is a multiple of the vectors of `S`.
/// 2. The outputs have type `finish.dtype`, take all columns of the product side by side, and have the rows
///    `row..row + rows`. The bias has as many numbers as the product has columns.
/// 3. Nobody else accesses these rows and columns of the outputs meanwhile.
/// 4. The CPU has the target features of `S`.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(
    finish: &Finish<'_>,
    sums: *const f32,
    (row, column): (usize, usize),
    (rows, width): (usize, usize),
) {
    debug_assert!(width.is_multiple_of(S::LANES));
    // SAFETY: the type is that of the outputs (2); the other conditions are the same.
    unsafe {
        with_element_type!(finish.dtype,
            U => finish_as::<S, U>(finish, sums, (row, column), (rows, width)),
            else => unreachable!())
    }
}

/// # Safety
/// As for [`finish`], with `U` for `finish.dtype`.
#[inline(always)]
unsafe fn finish_as<S: Simd, U: Element + LoadStore>(
    finish: &Finish<'_>,
    sums: *const f32,
    (row, column): (usize, usize),
    (rows, width): (usize, usize),
) {
    let Finish { bias, epilogue, outputs, .. } = finish;
    let end = finish.columns();
    for j in (0..width).step_by(S::LANES) {
        let column = column + j;
        if column >= end {
            return; // padding of the last panel
        }
        let count = S::LANES.min(end - column);
        let whole = outputs.iter().find(|output| takes(output, &(column..column + count)));
        // SAFETY: the sums have `rows` rows of `width` numbers (1); the bias has the columns (2); `whole` has these columns,
        // and its rows (2), which are this call's alone (3).
        unsafe {
            let bias = bias.map(|bias| load::<S, f32>(bias.as_ptr().add(column), count));
            for i in 0..rows {
                let mut sum = S::load(sums.add(i * width + j));
                if let Some(bias) = bias {
                    sum = S::add(sum, bias);
                }
                if *epilogue == Epilogue::Softplus {
                    [sum] = math::softplus::<S, 1>([sum]);
                }
                match whole {
                    Some(output) => {
                        let target = output.rows.at::<U>(row + i, column - output.columns.start);
                        if *epilogue == Epilogue::Residual {
                            sum = S::add(sum, load::<S, U>(target, count));
                        }
                        store::<S, U>(target, sum, count);
                    }
                    None => scatter::<S, U>(outputs, row + i, column, sum, count),
                }
            }
        }
    }
}

/// Stores a vector whose columns belong to several outputs, element by element. Only `in_proj` has several, and no
/// epilogue.
///
/// # Safety
/// As for [`finish`], for the columns `column..column + count` of one row.
#[inline(always)]
unsafe fn scatter<S: Simd, U: Element>(
    outputs: &[Output],
    row: usize,
    column: usize,
    sums: S::F,
    count: usize,
) {
    let mut lanes = [0.0f32; MAX_LANES];
    // SAFETY: `lanes` holds a vector; each element is stored to the output that takes its column (2, 3).
    unsafe {
        S::store(lanes.as_mut_ptr(), sums);
        for (column, &value) in (column..).zip(&lanes[..count]) {
            if let Some(output) = outputs.iter().find(|output| output.columns.contains(&column)) {
                *output.rows.at::<U>(row, column - output.columns.start) = U::from_f32(value);
            }
        }
    }
}
