//! How far the contract's f32 arithmetic may be from exact arithmetic: derived, per element, from the data.
//!
//! This is a running error analysis. An [`Approx`] is a number of the contract's computation: its value in exact
//! arithmetic (in f64, whose own error is 2^-29 of a rounding here), and a bound on the error of the f32 number
//! that stands for it. Each operation carries the bounds of its operands over and adds its own rounding, at most half
//! a unit in the last place of the largest number that the result may be. So a bound for an op is the op itself, in
//! the contract's order, over [`Approx`]. Each carries the f32 number itself as well, computed one operation at a
//! time, so the same functions give the contract's bits. The `error_analysis` of each op is that; nothing in them is tuned.

use crate::harness::arrays::stored;
use mamba_kernels::cpu::{Elementary, Isa};
use mamba_kernels::reference::math;
use mamba_kernels::{Cpu, DType};
use std::sync::OnceLock;

/// For what f64 itself loses: its roundings are 2^-29 of f32's.
pub const F64: f64 = 1.0 + 1e-6;

/// What computes the elementary functions in f32.
pub fn portable() -> &'static Cpu {
    static PORTABLE: OnceLock<Cpu> = OnceLock::new();
    PORTABLE.get_or_init(|| Cpu::builder().isa(Isa::Portable).threads(1).build().unwrap())
}

/// The distance of the numbers of a type at a magnitude.
pub fn ulp(magnitude: f64, dtype: DType) -> f64 {
    let (digits, smallest) = match dtype {
        DType::F16 => (11, -14),
        DType::BF16 => (8, -126),
        _ => (24, -126),
    };
    let exponent = (magnitude.abs().to_bits() >> 52) as i32 - 1023; // floor(log2), below -126 for 0
    f64::from(exponent.max(smallest) - digits + 1).exp2()
}

/// Zero of the same sign if it is subnormal.
fn flushed(value: f32) -> f32 {
    if value.is_subnormal() { 0.0f32.copysign(value) } else { value }
}

/// A number of the contract's computation: in exact arithmetic, in f32, and a bound on the difference.
#[derive(Clone, Copy, Debug)]
pub struct Approx {
    pub value: f64,
    pub error: f64,
    pub computed: f32,
}

impl Approx {
    pub const ZERO: Approx = Approx { value: 0.0, error: 0.0, computed: 0.0 };

    pub fn exact(value: f32) -> Self {
        Self { value: value.into(), error: 0.0, computed: value }
    }

    /// A weight, which every backend packs as zero if it is subnormal.
    pub fn weight(value: f32) -> Self {
        Self::exact(flushed(value))
    }

    /// An input: zero if it is subnormal.
    pub fn input(value: f32) -> Self {
        let computed = flushed(value);
        Self { value: value.into(), error: (f64::from(computed) - f64::from(value)).abs(), computed }
    }

    /// What a sum of products starts from, and what is subtracted from it at the end, times `count`: 2^-100.
    pub fn first(count: f32) -> Self {
        Self::exact(count * 2f32.powi(-100))
    }

    /// 0 below 2^-100, if `flush` says so of the numbers of the computation.
    pub fn quiet(self, flush: bool) -> Self {
        if !flush {
            return self;
        }
        let computed = if self.computed.abs() < 2f32.powi(-100) { 0.0 } else { self.computed };
        Self { error: self.error + 2f64.powi(-100), computed, ..self }
    }

    /// A number rounded to bf16; zero if it is subnormal.
    pub fn bf16_factor(value: f32) -> Self {
        let computed = stored(flushed(value), DType::BF16);
        Self { value: value.into(), error: (f64::from(computed) - f64::from(value)).abs(), computed }
    }

    /// Zero if it is subnormal.
    pub fn flushed(self) -> Self {
        let smallest = f32::MIN_POSITIVE;
        let computed = flushed(self.computed);
        let lost = if self.value.abs() - self.error < smallest.into() { smallest.into() } else { 0.0 };
        Self { error: self.error + lost, computed, ..self }
    }

    /// The rounded result of an operation that gives `value` within `error` before it is rounded.
    pub fn rounded(value: f64, error: f64, computed: f32) -> Self {
        let error = error + 0.5 * ulp(value.abs() + error, DType::F32) * F64;
        Self { value, error, computed }
    }

    pub fn add(self, other: Self) -> Self {
        let sum = self.computed + other.computed;
        Self::rounded(self.value + other.value, self.error + other.error, sum)
    }

    pub fn mul(self, other: Self) -> Self {
        let error = self.product_error(other);
        Self::rounded(self.value * other.value, error, self.computed * other.computed)
    }

    /// `self * other + sum`, rounded once.
    pub fn fma(self, other: Self, sum: Self) -> Self {
        let error = self.product_error(other) + sum.error;
        let computed = self.computed.mul_add(other.computed, sum.computed);
        Self::rounded(self.value * other.value + sum.value, error, computed)
    }

    pub fn product_error(self, other: Self) -> f64 {
        self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error
    }

    /// `self / n` for an exact `n`.
    pub fn div_exact(self, n: usize) -> Self {
        Self::rounded(self.value / n as f64, self.error / n as f64, self.computed / n as f32)
    }

    /// Either end of what the operand may be; it is not negative.
    pub fn sqrt(self) -> Self {
        let root = self.value.sqrt();
        let below = root - (self.value - self.error).max(0.0).sqrt();
        let above = (self.value + self.error).sqrt() - root;
        Self::rounded(root, below.max(above), self.computed.sqrt())
    }

    /// `1 / self` is steepest at the end nearer to 0, and unbounded if that is past 0.
    pub fn recip(self) -> Self {
        let nearest = self.value - self.error;
        let error = if nearest > 0.0 { 1.0 / nearest - 1.0 / self.value } else { f64::INFINITY };
        Self::rounded(1.0 / self.value, error, 1.0 / self.computed)
    }

    /// An elementary function whose result moves by at most `moved` as the operand moves by its error. Its bound is
    /// in units of the correctly rounded result, which may be the next power of two.
    pub fn elementary(self, function: Elementary, value: f64, moved: f64) -> Self {
        let magnitude = (value.abs() + moved).max(function.smallest()) * (1.0 + 2f64.powi(-24));
        let lost = if value.abs() - moved < function.smallest() { function.smallest() } else { 0.0 };
        let error = moved + lost + function.max_ulp() * ulp(magnitude, DType::F32) * F64;
        let mut computed = [self.computed];
        portable().elementary(function, &mut computed);
        Self { value, error, computed: computed[0] }
    }

    /// `2^(x + e) - 2^x = 2^x (2^e - 1)`, the larger of the two sides.
    pub fn exp2(self) -> Self {
        let value = self.value.exp2();
        let moved = value * (self.error * std::f64::consts::LN_2).exp_m1();
        self.elementary(Elementary::Exp2, value, moved)
    }

    /// The slope is the sigmoid, which grows.
    pub fn softplus(self) -> Self {
        let moved = self.error * math::sigmoid(self.value + self.error);
        self.elementary(Elementary::Softplus, math::softplus(self.value), moved)
    }

    /// The slope is `s (1 + x (1 - s))`, s being the sigmoid; the slope of the slope is at most 1/2.
    pub fn silu(self) -> Self {
        let s = math::sigmoid(self.value);
        let slope = (s * (1.0 + self.value * (1.0 - s))).abs() + 0.5 * self.error;
        self.elementary(Elementary::Silu, math::silu(self.value), self.error * slope)
    }

    /// How far a stored result of the contract's arithmetic may be from the oracle's stored result.
    ///
    /// The oracle rounds the exact value to the storage type; by how much is known. The contract's f32 number is
    /// rounded to the storage type once more if that is narrower.
    pub fn allowed(self, dtype: DType, oracle: f64) -> f64 {
        if self.error == 0.0 {
            return 0.0; // a copy: both round the same number
        }
        let narrowing = match dtype {
            DType::F32 => 0.0,
            _ => 0.5 * ulp(self.value.abs() + self.error, dtype),
        };
        self.error * F64 + narrowing + (oracle - self.value).abs()
    }
}
