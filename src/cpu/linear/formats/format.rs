//! [`Format`]: what a weight format defines.

use crate::arrays::Element;
use crate::cpu::linear::tile::TileJob;
use crate::cpu::machine::isa::Supported;
use crate::cpu::math::FIRST;
use crate::cpu::simd::Simd;

/// The form that a product's inputs take before the micro-kernel reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cpu::linear) enum InputForm {
    /// f32, as they are or widened, without subnormal numbers: those are zero.
    F32,
    /// Pairs of bf16 numbers, rounded, subnormals flushed to zero; a zero after an odd number of columns.
    Bf16Pairs,
}

/// The most columns in a unit of any format.
pub(in crate::cpu::linear) const MAX_COLUMNS: usize = 32;

/// A weight format of the CPU: how the weights of one output are packed and read back, and its micro-kernel.
///
/// A panel is `[steps, width]`: at each step of `k`, the units of `width` neighbouring outputs. A unit holds
/// [`COLUMNS`](Self::COLUMNS) weights of one output in [`BYTES`](Self::BYTES) bytes.
pub(in crate::cpu::linear) trait Format {
    /// Columns of the matrix in a unit: those that one step of the micro-kernel takes.
    const COLUMNS: usize;
    /// Bytes of a unit.
    const BYTES: usize;
    /// The form of the inputs.
    const INPUT: InputForm;

    /// Packs up to [`COLUMNS`](Self::COLUMNS) weights into a unit of zeros.
    fn pack<W: Element>(weights: &[W], unit: &mut [u8]);

    /// The weights of a unit: as many as `target` has.
    fn read(unit: &[u8], target: &mut [f32]);

    /// The micro-kernel.
    fn tile(isa: Supported) -> unsafe fn(&TileJob<'_>);
}

/// One step of `k` of a format's micro-kernel on the vectors of `S`.
pub(in crate::cpu::linear) trait Step<S: Simd> {
    /// Bytes of a unit.
    const BYTES: usize;
    /// What a sum starts from, and what is subtracted from it at the end.
    const FIRST: f32 = FIRST;

    /// The units of `S::LANES` neighbouring outputs.
    ///
    /// # Safety
    /// 1. `S::LANES` units lie at `units`.
    /// 2. The CPU has the target features of `S` and of the implementation.
    unsafe fn load(units: *const u8) -> S::F;

    /// `sum` with the products of an input and the weights added.
    ///
    /// # Safety
    /// 1. The CPU has the target features of `S` and of the implementation.
    unsafe fn multiply(input: S::F, weights: S::F, sum: S::F) -> S::F;
}
