//! The micro-kernel: one register tile over all steps of `k`.

use super::epilogue::finish;
use super::formats::format::Step;
use super::tile::{MAX_TILE, TileJob, assert_tiles_fit, max_rows};
use crate::cpu::simd::Simd;
use std::mem::MaybeUninit;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Prefetch distance of weights, in steps: about 450 cycles, the latency of an L3 cache.
const PREFETCH: usize = 16;

/// Prefetch distance for a tile of one or two rows, which reads weights as fast as memory delivers them, in bytes.
const PREFETCH_STREAM: usize = 6 << 10;

/// Steps that are unrolled.
const UNROLL: usize = 4;

/// Computes and stores a tile over weights in the format of `F`.
///
/// # Safety
/// 1. `input` points to `rows` rows of `steps` numbers, `input_stride` apart; `weights` to `steps * vectors * S::LANES` units
///    of `F`.
/// 2. `vectors` is at least 1, and `rows` from 1 to `max_rows` of it: [`tile_of`] panics otherwise.
/// 3. `direct` is null, or points to `rows` rows of `vectors * S::LANES` numbers, `direct_stride` apart, that nobody else
///    accesses meanwhile.
/// 4. If `direct` is null, the conditions 2 and 3 of [`finish`] hold for this tile.
/// 5. The CPU has the target features of `S` and `F`.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, F: Step<S>>(job: &TileJob<'_>) {
    const { assert_tiles_fit::<S>() };
    debug_assert!(job.rows > 0 && job.vectors > 0 && !job.weights.is_null());
    let mut sums = [MaybeUninit::<f32>::uninit(); MAX_TILE];
    let direct = !job.direct.is_null();
    let (out, stride) = if direct {
        (job.direct, job.direct_stride)
    } else {
        (sums.as_mut_ptr().cast(), job.vectors * S::LANES)
    };
    // SAFETY: conditions 1, 2 and 5 are the same. `out` has room for the tile: by 3, or because a tile of any size has at
    // most MAX_TILE sums, as asserted above. It then holds `rows * width` sums for `finish`; 4 and 5.
    unsafe {
        tile_of_any_size::<S, F>(job, out, stride);
        if !direct {
            finish::<S>(job.finish, out, (job.row, job.column), (job.rows, job.vectors * S::LANES));
        }
    }
}

/// Computes a tile of any size and stores its sums.
///
/// # Safety
/// As for [`tile`], and `out` has room for `rows` rows of `vectors * S::LANES` sums, `stride` apart.
#[inline(always)]
unsafe fn tile_of_any_size<S: Simd, F: Step<S>>(job: &TileJob<'_>, out: *mut f32, stride: usize) {
    macro_rules! sizes {
        ($($rows:literal x $vectors:literal),*) => {
            match (job.rows, job.vectors) {
                // a size that the registers have no room for is no instance
                $(($rows, $vectors) if $rows <= max_rows(S::REGISTERS, $vectors) => {
                    // SAFETY: the conditions are the same.
                    unsafe { tile_of::<S, F, $rows, $vectors>(job, out, stride) }
                })*
                (rows, vectors) => unreachable!("a tile of {rows} x {vectors}"),
            }
        };
    }
    sizes!(
        1 x 1, 2 x 1, 3 x 1, 4 x 1, 5 x 1, 6 x 1, 7 x 1, 8 x 1, 1 x 2, 2 x 2, 3 x 2, 4 x 2, 5 x 2, 6 x 2, 7 x 2,
        8 x 2, 1 x 3, 2 x 3, 3 x 3, 4 x 3, 5 x 3, 6 x 3, 7 x 3, 8 x 3, 1 x 4, 2 x 4, 3 x 4, 4 x 4, 5 x 4, 6 x 4,
        1 x 5, 2 x 5, 3 x 5, 4 x 5, 5 x 5
    )
}

/// A tile of a size that the compiler knows, so its sums stay in registers.
///
/// # Safety
/// As for [`tile_of_any_size`], for this size.
#[inline(always)]
unsafe fn tile_of<S: Simd, F: Step<S>, const ROWS: usize, const VECTORS: usize>(
    job: &TileJob<'_>,
    out: *mut f32,
    stride: usize,
) {
    let (mut input, mut weights, steps, input_stride) = (job.input, job.weights, job.steps, job.input_stride);
    debug_assert_eq!((job.rows, job.vectors), (ROWS, VECTORS));
    // SAFETY: `steps` steps read as many inputs per row and units per output (1), and the stores are within `out`; a
    // prefetch may be of any address.
    unsafe {
        let mut sums = [[S::splat(F::FIRST); VECTORS]; ROWS];
        for i in 0..ROWS {
            for j in 0..VECTORS {
                // the stores at the end then hit the cache
                S::prefetch(out.wrapping_add(i * stride + j * S::LANES));
            }
        }
        for _ in 0..steps / UNROLL {
            for _ in 0..UNROLL {
                step::<S, F, ROWS, VECTORS>(input, input_stride, weights, &mut sums);
                input = input.add(1);
                weights = weights.add(VECTORS * S::LANES * F::BYTES);
            }
        }
        for _ in 0..steps % UNROLL {
            step::<S, F, ROWS, VECTORS>(input, input_stride, weights, &mut sums);
            input = input.add(1);
            weights = weights.add(VECTORS * S::LANES * F::BYTES);
        }
        for i in 0..ROWS {
            for j in 0..VECTORS {
                if F::FIRST != 0.0 {
                    sums[i][j] = S::sub(sums[i][j], S::splat(F::FIRST));
                }
                S::store(out.add(i * stride + j * S::LANES), sums[i][j]);
            }
        }
    }
}

/// One step of `k`: an input of each row with a row of weights.
///
/// # Safety
/// 1. An input lies at `input` and at each of `ROWS - 1` strides from it, and `VECTORS * S::LANES` units at `weights`.
/// 2. The CPU has the target features of `S` and `F`.
#[inline(always)]
unsafe fn step<S: Simd, F: Step<S>, const ROWS: usize, const VECTORS: usize>(
    input: *const f32,
    input_stride: usize,
    weights: *const u8,
    sums: &mut [[S::F; VECTORS]; ROWS],
) {
    let vector = S::LANES * F::BYTES;
    let ahead = if ROWS <= 2 { PREFETCH_STREAM / (VECTORS * vector) } else { PREFETCH };
    // SAFETY: conditions 1 and 2; a prefetch may be of any address.
    unsafe {
        let mut row = [S::splat(0.0); VECTORS];
        for j in 0..VECTORS {
            if (j * vector).is_multiple_of(LINE) {
                S::prefetch(weights.wrapping_add((ahead * VECTORS + j) * vector));
            }
            row[j] = F::load(weights.add(j * vector));
        }
        for i in 0..ROWS {
            let input = S::splat(*input.add(i * input_stride));
            for j in 0..VECTORS {
                sums[i][j] = F::multiply(input, row[j], sums[i][j]);
            }
        }
    }
}
