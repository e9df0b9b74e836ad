//! Weights as pairs of bf16 numbers, multiplied by bf16 dot products: inexact, with the bits that
//! [`WeightFormat::Bf16Pairs`](crate::WeightFormat::Bf16Pairs) states.

use super::format::{Format, InputForm, Step};
use crate::arrays::{Element, flush};
use crate::cpu::linear::microkernel::tile;
use crate::cpu::linear::tile::TileJob;
use crate::cpu::machine::isa::Supported;
use crate::cpu::simd::dispatch::kernel;
use crate::cpu::simd::{Bf16Dot, Simd};
use half::bf16;
use std::marker::PhantomData;

/// [`WeightFormat::Bf16Pairs`](crate::WeightFormat::Bf16Pairs). A unit is a pair, the even column in the lower half.
pub(in crate::cpu::linear) struct Bf16Pairs;

/// `value` as a factor of a dot product: rounded to bf16, zero if it is subnormal.
fn factor(value: f32) -> bf16 {
    bf16::from_f32(flush(value))
}

impl Format for Bf16Pairs {
    const COLUMNS: usize = 2;
    const BYTES: usize = 4;
    const INPUT: InputForm = InputForm::Bf16Pairs;

    fn pack<W: Element>(weights: &[W], unit: &mut [u8]) {
        let bits = |weight: &W| u32::from(factor(weight.to_f32()).to_bits());
        let pair = weights.iter().rev().fold(0, |pair, weight| pair << 16 | bits(weight));
        unit.copy_from_slice(&pair.to_ne_bytes());
    }

    fn read(unit: &[u8], target: &mut [f32]) {
        let pair = bytemuck::pod_read_unaligned::<u32>(unit);
        let weights = [pair as u16, (pair >> 16) as u16].map(|bits| bf16::from_bits(bits).to_f32());
        target.iter_mut().zip(weights).for_each(|(target, weight)| *target = weight);
    }

    fn tile(isa: Supported) -> unsafe fn(&TileJob<'_>) {
        tile_bf16_pairs(isa)
    }
}

/// The steps with an implementation of the dot product.
struct PairSteps<D>(PhantomData<D>);

impl<S: Simd, D: Bf16Dot<S>> Step<S> for PairSteps<D> {
    const BYTES: usize = Bf16Pairs::BYTES;
    const FIRST: f32 = 0.0;

    #[inline(always)]
    unsafe fn load(units: *const u8) -> S::F {
        // SAFETY: a unit has the size of an f32 (1), and loads of f32 keep any bits; condition 2.
        unsafe { S::load(units.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply(input: S::F, weights: S::F, sum: S::F) -> S::F {
        // SAFETY: condition 1.
        unsafe { D::dot(input, weights, sum) }
    }
}

kernel! {
    /// A register tile over pairs of bf16 weights.
    fn tile_bf16_pairs(TileJob<'_>) = tile_body with Bf16Dot;
}

/// # Safety
/// As for [`tile`], and the CPU has the target features of `D`.
#[inline(always)]
unsafe fn tile_body<S: Simd, D: Bf16Dot<S>>(job: &TileJob<'_>) {
    // SAFETY: the conditions are the same; inputs and weights of this format's jobs are pairs.
    unsafe { tile::<S, PairSteps<D>>(job) }
}
