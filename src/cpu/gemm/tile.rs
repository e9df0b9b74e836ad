//! The register tiles: some rows by some vectors of outputs, all `k`.

use crate::cpu::simd::{Lanes, Simd};

/// Numbers in the largest tile of any instruction set: 14 rows of 2 vectors, or 5 of 5.
pub(super) const MAX_TILE: usize = 28 * crate::cpu::simd::MAX_LANES;

/// Most rows of a [`wide`] tile, for a number of vectors: what fits in registers beside the weights.
#[inline(always)]
pub(super) const fn wide_rows<S: Simd>(nv: usize) -> usize {
    let rows = S::MR * S::NV / nv;
    if rows > MAX_WIDE_ROWS { MAX_WIDE_ROWS } else { rows }
}

/// More rows than this want more addresses than there are registers.
pub(super) const MAX_WIDE_ROWS: usize = 8;

/// How many `k` ahead weights are asked for: some 450 cycles, what the L3 cache takes.
const PREFETCH: usize = 16;

/// One tile of packed inputs: the sums of `mr` rows and `nv` vectors, stored to `out`.
///
/// `a` is `[k, mr]`, `b` is `[k, nv * LANES]`, `out` is `[mr, nv * LANES]` with a row stride.
///
/// # Safety
/// The CPU has the features of `S`; the pointers are valid for those shapes; `mr` is in `1..=S::MR` and `nv` in
/// `1..=S::NV`.
#[inline(always)]
pub(super) unsafe fn tall<S: Simd, W: Lanes>(
    (mr, nv): (usize, usize),
    k: usize,
    a: *const f32,
    b: *const W,
    out: *mut f32,
    stride: usize,
) {
    macro_rules! sizes {
        ($($m:literal),*) => {
            match (mr, nv) {
                $(
                    // SAFETY: the caller's promise is the same.
                    ($m, 1) => unsafe { tile::<S, W, $m, 1>(k, a, (1, $m), b, out, stride) },
                    // SAFETY: the caller's promise is the same.
                    ($m, 2) => unsafe { tile::<S, W, $m, 2>(k, a, (1, $m), b, out, stride) },
                )*
                _ => debug_assert!(false, "a tile of {mr} x {nv}"),
            }
        };
    }
    sizes!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
}

/// One tile of inputs as they are: `a` is `[mr, k]` with a row stride; else as [`tall`].
///
/// # Safety
/// As for [`tall`], but `nv` is in `1..=5` and `mr` in `1..=wide_rows(nv)`.
#[inline(always)]
pub(super) unsafe fn wide<S: Simd, W: Lanes>(
    (mr, nv): (usize, usize),
    k: usize,
    (a, a_stride): (*const f32, usize),
    b: *const W,
    out: *mut f32,
    stride: usize,
) {
    macro_rules! sizes {
        ($($m:literal x $n:literal),*) => {
            match (mr, nv) {
                // SAFETY: the caller's promise is the same.
                $(($m, $n) => unsafe { tile::<S, W, $m, $n>(k, a, (a_stride, 1), b, out, stride) },)*
                _ => debug_assert!(false, "a tile of {mr} x {nv}"),
            }
        };
    }
    sizes!(
        1 x 1, 2 x 1, 3 x 1, 4 x 1, 5 x 1, 6 x 1, 7 x 1, 8 x 1, 1 x 2, 2 x 2, 3 x 2, 4 x 2, 5 x 2, 6 x 2, 7 x 2,
        8 x 2, 1 x 3, 2 x 3, 3 x 3, 4 x 3, 5 x 3, 6 x 3, 7 x 3, 8 x 3, 1 x 4, 2 x 4, 3 x 4, 4 x 4, 5 x 4, 6 x 4,
        7 x 4, 1 x 5, 2 x 5, 3 x 5, 4 x 5, 5 x 5
    )
}

/// A tile of a size known to the compiler, so that the sums stay in registers. Input `(i, k)` is at
/// `a[i * row + k * step]`.
///
/// # Safety
/// As for [`tall`].
#[inline(always)]
unsafe fn tile<S: Simd, W: Lanes, const MR: usize, const NV: usize>(
    k: usize,
    mut a: *const f32,
    (row, step): (usize, usize),
    mut b: *const W,
    out: *mut f32,
    stride: usize,
) {
    // SAFETY: the caller's promise covers `k` steps of MR inputs and NV vectors of weights, and the stores.
    unsafe {
        let mut sums = [[S::splat(0.0); NV]; MR];
        for i in 0..MR {
            for j in 0..NV {
                // the stores at the end then find their lines
                S::prefetch(out.wrapping_add(i * stride + j * S::LANES));
            }
        }
        for _ in 0..k {
            let mut weights = [S::splat(0.0); NV];
            for j in 0..NV {
                S::prefetch(b.wrapping_add(PREFETCH * NV * S::LANES + j * S::LANES));
                weights[j] = W::load::<S>(b.add(j * S::LANES));
            }
            for i in 0..MR {
                let input = S::splat(*a.add(i * row));
                for j in 0..NV {
                    sums[i][j] = S::fma(input, weights[j], sums[i][j]);
                }
            }
            a = a.add(step);
            b = b.add(NV * S::LANES);
        }
        for i in 0..MR {
            for j in 0..NV {
                S::store(out.add(i * stride + j * S::LANES), sums[i][j]);
            }
        }
    }
}
