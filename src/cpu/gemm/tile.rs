//! The register tile: `MR` rows by `NV` vectors of outputs, all `k`.

use crate::cpu::simd::{Lanes, Simd};

/// The widest and tallest tile of any instruction set.
pub(super) const MAX_MR: usize = 14;
pub(super) const MAX_NV: usize = 2;

/// One tile: the sums of `mr` rows and `nv` vectors, stored to `out`.
///
/// `a` is `[k, mr]`, `b` is `[k, nv * LANES]`, `out` is `[mr, nv * LANES]` with a row stride.
///
/// # Safety
/// The CPU has the features of `S`; the pointers are valid for those shapes; `mr` is in `1..=S::MR` and `nv` in
/// `1..=S::NV`.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, W: Lanes>(
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
                    ($m, 1) => unsafe { sized::<S, W, $m, 1>(k, a, b, out, stride) },
                    // SAFETY: the caller's promise is the same.
                    ($m, 2) => unsafe { sized::<S, W, $m, 2>(k, a, b, out, stride) },
                )*
                _ => debug_assert!(false, "a tile of {mr} x {nv}"),
            }
        };
    }
    sizes!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
}

/// A tile of a size known to the compiler, so that the sums stay in registers.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn sized<S: Simd, W: Lanes, const MR: usize, const NV: usize>(
    k: usize,
    mut a: *const f32,
    mut b: *const W,
    out: *mut f32,
    stride: usize,
) {
    // SAFETY: the caller's promise covers `k` steps of MR inputs and NV vectors of weights, and the stores.
    unsafe {
        let mut sums = [[S::splat(0.0); NV]; MR];
        for _ in 0..k {
            let mut weights = [S::splat(0.0); NV];
            for j in 0..NV {
                weights[j] = W::load::<S>(b.add(j * S::LANES));
            }
            for i in 0..MR {
                let input = S::splat(*a.add(i));
                for j in 0..NV {
                    sums[i][j] = S::fma(input, weights[j], sums[i][j]);
                }
            }
            a = a.add(MR);
            b = b.add(NV * S::LANES);
        }
        for i in 0..MR {
            for j in 0..NV {
                S::store(out.add(i * stride + j * S::LANES), sums[i][j]);
            }
        }
    }
}
