//! The register tile: some rows by some vectors of outputs, all `k`.

use crate::cpu::simd::{Lanes, MAX_LANES, Simd};
use crate::element::DType;

/// Numbers in the largest tile of any instruction set.
pub(super) const MAX_TILE: usize = MAX_ROWS * 3 * MAX_LANES + MAX_LANES;

/// More rows than this want more addresses than there are registers.
pub(super) const MAX_ROWS: usize = 8;

/// Bytes of a cache line.
const LINE: usize = 64;

/// How many `k` ahead weights are asked for: some 450 cycles, what the L3 cache takes.
const PREFETCH: usize = 16;

/// The same for a tile of one or two rows, which goes through the weights as fast as memory gives them.
const PREFETCH_STREAM: usize = 64;

/// Most rows of a tile of `nv` vectors: what fits in registers beside a row of weights and an input.
#[inline(always)]
pub(super) const fn max_rows<S: Simd>(nv: usize) -> usize {
    let rows = (S::REGISTERS - 1 - nv) / nv;
    if rows > MAX_ROWS { MAX_ROWS } else { rows }
}

/// One tile: the sums of `rows` rows and `vectors` vectors of outputs, stored to `out`.
#[derive(Clone, Copy)]
pub struct TileCall {
    pub(super) rows: usize,
    pub(super) vectors: usize,
    pub(super) k: usize,
    /// `[rows, k]`, and its row stride.
    pub(super) a: (*const f32, usize),
    /// `[k, vectors * LANES]` of `weights`.
    pub(super) b: *const u8,
    pub(super) weights: DType,
    /// `[rows, vectors * LANES]`, and its row stride.
    pub(super) out: (*mut f32, usize),
}

/// Runs a tile. Each vector type has one function that this is compiled into: [`Simd::tile`].
///
/// # Safety
/// The CPU has the features of `S`; the pointers are valid for their shapes; `vectors` is in `1..=5` and `rows` in
/// `1..=max_rows(vectors)`.
#[inline(always)]
pub unsafe fn run<S: Simd>(call: TileCall) {
    // SAFETY: the caller's promise is the same; `b` points to numbers of the type that is named.
    unsafe {
        match call.weights {
            DType::F16 => dispatch::<S, half::f16>(call),
            DType::BF16 => dispatch::<S, half::bf16>(call),
            _ => dispatch::<S, f32>(call),
        }
    }
}

/// # Safety
/// As for [`run`].
#[inline(always)]
unsafe fn dispatch<S: Simd, W: Lanes>(call: TileCall) {
    let TileCall { rows, vectors, k, a, b, out, .. } = call;
    macro_rules! sizes {
        ($($m:literal x $n:literal),*) => {
            match (rows, vectors) {
                // SAFETY: the caller's promise is the same.
                $(($m, $n) => unsafe { sized::<S, W, $m, $n>(k, a, b.cast(), out) },)*
                _ => debug_assert!(false, "a tile of {rows} x {vectors}"),
            }
        };
    }
    sizes!(
        1 x 1, 2 x 1, 3 x 1, 4 x 1, 5 x 1, 6 x 1, 7 x 1, 8 x 1, 1 x 2, 2 x 2, 3 x 2, 4 x 2, 5 x 2, 6 x 2, 7 x 2,
        8 x 2, 1 x 3, 2 x 3, 3 x 3, 4 x 3, 5 x 3, 6 x 3, 7 x 3, 8 x 3, 1 x 4, 2 x 4, 3 x 4, 4 x 4, 5 x 4, 6 x 4,
        1 x 5, 2 x 5, 3 x 5, 4 x 5, 5 x 5
    )
}

/// A tile of a size known to the compiler, so that the sums stay in registers.
///
/// # Safety
/// As for [`run`].
#[inline(always)]
unsafe fn sized<S: Simd, W: Lanes, const MR: usize, const NV: usize>(
    k: usize,
    (mut a, a_stride): (*const f32, usize),
    mut b: *const W,
    (out, stride): (*mut f32, usize),
) {
    // SAFETY: the caller's promise covers `k` steps of MR inputs and NV vectors of weights, and the stores; a prefetch
    // may be of any address.
    unsafe {
        let mut sums = [[S::splat(0.0); NV]; MR];
        for i in 0..MR {
            for j in 0..NV {
                // the stores at the end then find their lines
                S::prefetch(out.wrapping_add(i * stride + j * S::LANES));
            }
        }
        let ahead = if MR <= 2 { PREFETCH_STREAM } else { PREFETCH };
        for _ in 0..k {
            let mut weights = [S::splat(0.0); NV];
            for j in 0..NV {
                if (j * S::LANES * size_of::<W>()).is_multiple_of(LINE) {
                    S::prefetch(b.wrapping_add((ahead * NV + j) * S::LANES));
                }
                weights[j] = W::load::<S>(b.add(j * S::LANES));
            }
            for i in 0..MR {
                let input = S::splat(*a.add(i * a_stride));
                for j in 0..NV {
                    sums[i][j] = S::fma(input, weights[j], sums[i][j]);
                }
            }
            a = a.add(1);
            b = b.add(NV * S::LANES);
        }
        for i in 0..MR {
            for j in 0..NV {
                S::store(out.add(i * stride + j * S::LANES), sums[i][j]);
            }
        }
    }
}
