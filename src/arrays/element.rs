//! Storage types: what an array holds. Arithmetic is always in f32 (in f64 in the reference).
#![forbid(unsafe_code)]

use bytemuck::Pod;
use half::{bf16, f16};
use std::fmt;

/// The type of an array's elements, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE-754 single precision.
    F32,
    /// IEEE-754 half precision.
    F16,
    /// bfloat16: the upper half of an f32.
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
pub trait Element: Scalar {
    /// Widens, exactly.
    fn to_f32(self) -> f32;
    /// Rounds to nearest even.
    fn from_f32(value: f32) -> Self;
    /// Widens, exactly.
    fn to_f64(self) -> f64;
    /// Rounds to nearest even, once.
    fn from_f64(value: f64) -> Self;
    /// Keeps a number of the same type as it is; converts any other by way of f32.
    #[inline]
    fn convert<T: Element>(value: T) -> Self {
        if T::DTYPE == Self::DTYPE { bytemuck::cast(value) } else { Self::from_f32(value.to_f32()) }
    }
}

/// Zero, of the same sign, for what is subnormal.
#[inline]
pub(crate) fn flush(value: f32) -> f32 {
    if value.to_bits() & 0x7f80_0000 == 0 { 0.0f32.copysign(value) } else { value }
}

/// A weight as every backend packs it: rounded to `S`; zero, of the same sign, if it is subnormal as an f32.
#[inline]
pub(crate) fn packed<W: Element, S: Element>(weight: W) -> S {
    let weight = S::convert(weight);
    let widened = weight.to_f32();
    if widened.is_subnormal() { S::from_f32(flush(widened)) } else { weight }
}

/// Runs a body with `$T` standing for the element type of a [`DType`](crate::DType).
///
/// The body is compiled once for each of `f32`, `f16` and `bf16`. A `DType` that is no [`Element`] runs `else`, which
/// has the type of the body.
///
/// ```
/// use mamba_kernels::{DType, with_element_type};
///
/// fn bytes(dtype: DType, len: usize) -> Option<usize> {
///     with_element_type!(dtype, T => len.checked_mul(size_of::<T>()), else => None)
/// }
///
/// assert_eq!(bytes(DType::BF16, 3), Some(6));
/// assert_eq!(bytes(DType::F32, 3), Some(12));
/// assert_eq!(bytes(DType::U32, 3), None);
/// ```
#[macro_export]
macro_rules! with_element_type {
    ($dtype:expr, $T:ident => $body:expr, else => $other:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F16 => {
                type $T = $crate::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $T = $crate::bf16;
                $body
            }
            _ => $other,
        }
    };
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

/// `value` rounded to an f32 by round-to-odd: toward zero, with the last bit set if that is not exact.
///
/// The set bit stands for everything that was cut off, so a second rounding to a type of at most 22 significant bits
/// gives the same as one rounding of `value`. The conversions of `half` round twice, or drop bits that decide a tie.
fn round_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) == value || value.is_nan() {
        return nearest;
    }
    let away = f64::from(nearest).abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(away)) | 1)
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
                <$t>::from_f32(round_to_odd(value))
            }
        }
    )*};
}

half_element!(f16 => F16, bf16 => BF16);

#[cfg(test)]
mod tests {
    use super::*;

    /// Just above and below the middle of two numbers, at every exponent.
    fn around_ties<T: Element>(digits: i32, exponents: std::ops::Range<i32>) {
        for exponent in exponents {
            let ulp = f64::from(exponent - digits + 1).exp2();
            for steps in [0.0, 1.0, 2.0, 3.0] {
                let low = f64::from(exponent).exp2() + steps * ulp;
                let even = if steps % 2.0 == 0.0 { low } else { low + ulp };
                let middle = low + ulp / 2.0;
                for sign in [1.0, -1.0] {
                    let nearest = |value: f64| T::from_f64(sign * value).to_f64() * sign;
                    assert_eq!(nearest(middle * (1.0 + f64::EPSILON)), low + ulp);
                    assert_eq!(nearest(middle), even);
                    assert_eq!(nearest(middle * (1.0 - f64::EPSILON)), low);
                }
            }
        }
    }

    #[test]
    fn from_f64_rounds_once() {
        around_ties::<f16>(11, -14..15);
        around_ties::<bf16>(8, -126..127);
        for (value, expected) in [(1e300, f64::INFINITY), (-1e300, f64::NEG_INFINITY), (-1e-300, -0.0)] {
            assert_eq!(<f16 as Element>::from_f64(value).to_f64(), expected);
            assert_eq!(<bf16 as Element>::from_f64(value).to_f64(), expected);
            assert_eq!(<bf16 as Element>::from_f64(value).to_f64().is_sign_negative(), value < 0.0);
        }
        assert!(<f16 as Element>::from_f64(f64::NAN).is_nan());
        // a subnormal of f16: 1.5 units, and just below
        assert_eq!(<f16 as Element>::from_f64(1.5 * 2f64.powi(-24)).to_bits(), 2);
        assert_eq!(<f16 as Element>::from_f64(1.499_999_999_9 * 2f64.powi(-24)).to_bits(), 1);
    }
}
