//! The register tile: some rows by some vectors of outputs, all `k`.

use super::packing::Form;
use crate::cpu::simd::{Lanes, MAX_LANES, Simd};

/// Numbers in the largest tile of any instruction set.
pub(super) const MAX_TILE: usize = MAX_ROWS * 3 * MAX_LANES + MAX_LANES;

/// More rows than this want more addresses than there are registers.
pub(super) const MAX_ROWS: usize = 8;

/// Bytes of a cache line.
const LINE: usize = 64;

/// How many `k` ahead weights are asked for: some 450 cycles, what the L3 cache takes.
const PREFETCH: usize = 16;

/// The same for a tile of one or two rows, which goes through the weights as fast as memory gives them, in bytes.
const PREFETCH_STREAM: usize = 6 << 10;

/// Steps of `k` that are written out.
const UNROLL: usize = 4;

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
    /// `[k, vectors * LANES]` in `form`.
    pub(super) b: *const u8,
    pub(super) form: Form,
    /// `[rows, vectors * LANES]`, and its row stride.
    pub(super) out: (*mut f32, usize),
}

impl TileCall {
    /// The form of the weights, and with it that of the inputs.
    pub fn form(&self) -> Form {
        self.form
    }
}

/// What is done with an input, a vector of weights and their sums.
///
/// # Safety
/// As for [`Simd`]; an implementation may ask for more features of the CPU.
pub trait Multiply<S: Simd> {
    /// The sums with the products added.
    unsafe fn step(input: S::F, weight: S::F, sum: S::F) -> S::F;
}

/// One fused multiply-add: the exact products.
struct Fused;

impl<S: Simd> Multiply<S> for Fused {
    #[inline(always)]
    unsafe fn step(input: S::F, weight: S::F, sum: S::F) -> S::F {
        // SAFETY: the caller's promise is the same.
        unsafe { S::fma(input, weight, sum) }
    }
}

/// What `vdpbf16ps` does to two pairs of bf16 numbers, none of them subnormal.
struct EmulatedDot;

impl<S: Simd> Multiply<S> for EmulatedDot {
    #[inline(always)]
    unsafe fn step(input: S::F, weight: S::F, sum: S::F) -> S::F {
        // SAFETY: the caller's promise is the same.
        unsafe {
            let sum = S::flush(S::fma(S::upper_bf16(input), S::upper_bf16(weight), sum));
            S::flush(S::fma(S::lower_bf16(input), S::lower_bf16(weight), sum))
        }
    }
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
        match call.form {
            Form::F32 => dispatch::<S, f32, Fused>(call),
            Form::F16 => dispatch::<S, half::f16, Fused>(call),
            Form::BF16 => dispatch::<S, half::bf16, Fused>(call),
            Form::Bf16Pairs => run_pairs::<S, EmulatedDot>(call),
        }
    }
}

/// Runs a tile whose inputs and weights are pairs of bf16 numbers, in the bits of f32.
///
/// # Safety
/// As for [`run`], and what `M` asks for besides.
#[inline(always)]
pub unsafe fn run_pairs<S: Simd, M: Multiply<S>>(call: TileCall) {
    // SAFETY: the caller's promise is the same; loads, stores and broadcasts of f32 keep any bits.
    unsafe { dispatch::<S, f32, M>(call) }
}

/// # Safety
/// As for [`run`].
#[inline(always)]
unsafe fn dispatch<S: Simd, W: Lanes, M: Multiply<S>>(call: TileCall) {
    let TileCall { rows, vectors, k, a, b, out, .. } = call;
    macro_rules! sizes {
        ($($m:literal x $n:literal),*) => {
            match (rows, vectors) {
                // SAFETY: the caller's promise is the same.
                $(($m, $n) => unsafe { sized::<S, W, M, $m, $n>(k, a, b.cast(), out) },)*
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
unsafe fn sized<S: Simd, W: Lanes, M: Multiply<S>, const MR: usize, const NV: usize>(
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
        let ahead = if MR <= 2 { PREFETCH_STREAM / (NV * S::LANES * size_of::<W>()) } else { PREFETCH };
        // written out, so that the loop's own instructions do not count
        macro_rules! step {
            () => {
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
                        sums[i][j] = M::step(input, weights[j], sums[i][j]);
                    }
                }
                a = a.add(1);
                b = b.add(NV * S::LANES);
            };
        }
        for _ in 0..k / UNROLL {
            step!();
            step!();
            step!();
            step!();
        }
        for _ in 0..k % UNROLL {
            step!();
        }
        for i in 0..MR {
            for j in 0..NV {
                S::store(out.add(i * stride + j * S::LANES), sums[i][j]);
            }
        }
    }
}
