//! The weight formats of packed matrices, a file each, and the one table of them.

mod bf16;
mod bf16_pairs;
mod f16;
mod f32;
pub(super) mod format;

pub(super) use bf16::Bf16;
pub(super) use bf16_pairs::Bf16Pairs;
pub(super) use f16::F16;
pub(super) use f32::F32;

/// Runs a body with `$F` standing for the type of a [`WeightFormat`](crate::WeightFormat): the one table of formats.
macro_rules! with_format {
    ($format:expr, $F:ident => $body:expr) => {
        match $format {
            $crate::arrays::WeightFormat::F32 => {
                type $F = $crate::cpu::linear::formats::F32;
                $body
            }
            $crate::arrays::WeightFormat::F16 => {
                type $F = $crate::cpu::linear::formats::F16;
                $body
            }
            $crate::arrays::WeightFormat::Bf16 => {
                type $F = $crate::cpu::linear::formats::Bf16;
                $body
            }
            $crate::arrays::WeightFormat::Bf16Pairs => {
                type $F = $crate::cpu::linear::formats::Bf16Pairs;
                $body
            }
        }
    };
}
pub(super) use with_format;
