//! Weights as f16 numbers, multiplied exactly: widened, then one fused multiply-add per product.

use super::format::{Format, InputForm, Step};
use crate::arrays::{Element, packed};
use crate::cpu::linear::microkernel::tile;
use crate::cpu::linear::tile::TileJob;
use crate::cpu::machine::isa::Supported;
use crate::cpu::simd::dispatch::kernel;
use crate::cpu::simd::{LoadStore, Simd};
use half::f16;

/// [`WeightFormat::F16`](crate::WeightFormat::F16).
pub(in crate::cpu::linear) struct F16;

impl Format for F16 {
    const COLUMNS: usize = 1;
    const BYTES: usize = size_of::<f16>();
    const INPUT: InputForm = InputForm::F32;

    fn pack<W: Element>(weights: &[W], unit: &mut [u8]) {
        unit.copy_from_slice(bytemuck::bytes_of(&packed::<W, f16>(weights[0])));
    }

    fn read(unit: &[u8], target: &mut [f32]) {
        target[0] = Element::to_f32(bytemuck::pod_read_unaligned::<f16>(unit));
    }

    fn tile(isa: Supported) -> unsafe fn(&TileJob<'_>) {
        tile_f16(isa)
    }
}

impl<S: Simd> Step<S> for F16 {
    const BYTES: usize = <Self as Format>::BYTES;

    #[inline(always)]
    unsafe fn load(units: *const u8) -> S::F {
        // SAFETY: a unit is one f16 (1); condition 2.
        unsafe { <f16>::load::<S>(units.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply(input: S::F, weights: S::F, sum: S::F) -> S::F {
        // SAFETY: condition 1.
        unsafe { S::fma(input, weights, sum) }
    }
}

kernel! {
    /// A register tile over f16 weights.
    fn tile_f16(TileJob<'_>) = tile_body;
}

/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn tile_body<S: Simd>(job: &TileJob<'_>) {
    // SAFETY: the conditions are the same; the weights of this format's jobs are units of it.
    unsafe { tile::<S, F16>(job) }
}
