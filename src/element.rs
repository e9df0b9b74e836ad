//! Storage types: what an array holds. Arithmetic is always binary32 (and f64 in the oracle).

use bytemuck::Pod;
use half::{bf16, f16};
use std::fmt;

/// The type of an array's elements, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE-754 binary32.
    F32,
    /// IEEE-754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// Token ids.
    U32,
}

impl DType {
    /// The name as Rust, safetensors and this crate's benchmark ids write it, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::U32 => "u32",
        }
    }

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
    impl Sealed for u32 {}
}

/// What a backend can keep in a buffer: the [`Element`]s, and `u32` for token ids.
pub trait Scalar: Pod + Send + Sync + fmt::Debug + sealed::Sealed {
    /// The type as a value.
    const DTYPE: DType;
}

/// A floating-point storage type of activations and weights: `f32`, `f16` or `bf16`.
///
/// Widening is exact; narrowing rounds to nearest, ties to even.
pub trait Element: Scalar + crate::cpu::simd::Lanes {
    /// Widens, exactly.
    fn to_f32(self) -> f32;
    /// Rounds to nearest even.
    fn from_f32(value: f32) -> Self;
    /// Widens, exactly.
    fn to_f64(self) -> f64;
    /// Rounds to nearest even, once.
    fn from_f64(value: f64) -> Self;
}

impl Scalar for u32 {
    const DTYPE: DType = DType::U32;
}

impl Scalar for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

macro_rules! half_element {
    ($($t:ty => $dtype:ident),*) => {$(
        impl Scalar for $t {
            const DTYPE: DType = DType::$dtype;
        }
        impl Element for $t {
            #[inline(always)]
            fn to_f32(self) -> f32 {
                <$t>::to_f32(self)
            }
            #[inline(always)]
            fn from_f32(value: f32) -> Self {
                <$t>::from_f32(value)
            }
            fn to_f64(self) -> f64 {
                <$t>::to_f64(self)
            }
            fn from_f64(value: f64) -> Self {
                <$t>::from_f64(value)
            }
        }
    )*};
}

half_element!(f16 => F16, bf16 => BF16);
