//! Weights as bf16 numbers, multiplied exactly: widened, then one fused multiply-add per product.

use super::format::{Format, InputForm, Step};
use crate::arrays::{Element, packed};
use crate::cpu::linear::microkernel::tile;
use crate::cpu::linear::tile::TileJob;
use crate::cpu::machine::isa::Supported;
use crate::cpu::simd::dispatch::kernel;
use crate::cpu::simd::{LoadStore, Simd};
use half::bf16;

/// [`WeightFormat::Bf16`](crate::WeightFormat::Bf16).
pub(in crate::cpu::linear) struct Bf16;

impl Format for Bf16 {
    const COLUMNS: usize = 1;
    const BYTES: usize = size_of::<bf16>();
    const INPUT: InputForm = InputForm::F32;

    fn pack<W: Element>(weights: &[W], unit: &mut [u8]) {
        unit.copy_from_slice(bytemuck::bytes_of(&packed::<W, bf16>(weights[0])));
    }

    fn read(unit: &[u8], target: &mut [f32]) {
        target[0] = Element::to_f32(bytemuck::pod_read_unaligned::<bf16>(unit));
    }

    fn tile(isa: Supported) -> unsafe fn(&TileJob<'_>) {
        tile_bf16(isa)
    }
}

impl<S: Simd> Step<S> for Bf16 {
    const BYTES: usize = <Self as Format>::BYTES;

    #[inline(always)]
    unsafe fn load(units: *const u8) -> S::F {
        // SAFETY: a unit is one bf16 (1); condition 2.
        unsafe { <bf16>::load::<S>(units.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply(input: S::F, weights: S::F, sum: S::F) -> S::F {
        // SAFETY: condition 1.
        unsafe { S::fma(input, weights, sum) }
    }
}

kernel! {
    /// A register tile over bf16 weights.
    fn tile_bf16(TileJob<'_>) = tile_body;
}

/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn tile_body<S: Simd>(job: &TileJob<'_>) {
    // SAFETY: the conditions are the same; the weights of this format's jobs are units of it.
    unsafe { tile::<S, Bf16>(job) }
}
