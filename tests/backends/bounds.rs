//! How far the contract's binary32 arithmetic may be from exact arithmetic: derived, per element, from the data.
//!
//! This is a running error analysis. An [`Approx`] is a number of the contract's computation: its value in exact
//! arithmetic (in f64, whose own error is 2^-29 of a rounding here), and a bound on the error of the binary32 number
//! that stands for it. Each operation carries the bounds of its operands over and adds its own rounding, at most half
//! a unit in the last place of the largest number that the result may be. So a bound for an op is the op itself, in
//! the contract's order, over [`Approx`]. Each carries the binary32 number itself as well, computed one operation at a
//! time, so that the same functions give the contract's bits. [`linear`], [`causal_conv1d`], [`selective_scan`] and
//! [`rms_norm`] are that; nothing in them is tuned.

use crate::arrays::{Matrix, stored};
use crate::causal_conv1d::CausalConv1d;
use crate::linear::Linear;
use crate::rms_norm::RmsNorm;
use crate::selective_scan::SelectiveScan;
use mamba_kernels::cpu::{Elementary, Isa};
use mamba_kernels::ops::{Activation, Epilogue};
use mamba_kernels::reference::math;
use mamba_kernels::{Cpu, DType};
use std::sync::OnceLock;

/// For what f64 itself loses: its roundings are 2^-29 of binary32's.
const F64: f64 = 1.0 + 1e-6;

/// What computes the elementary functions in binary32.
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

/// Zero of the same sign where it is subnormal.
fn flushed(value: f32) -> f32 {
    if value.is_subnormal() { 0.0f32.copysign(value) } else { value }
}

/// A number of the contract's computation: in exact arithmetic, in binary32, and a bound on the difference.
#[derive(Clone, Copy, Debug)]
pub struct Approx {
    pub value: f64,
    pub error: f64,
    pub binary32: f32,
}

impl Approx {
    pub const ZERO: Approx = Approx { value: 0.0, error: 0.0, binary32: 0.0 };

    pub fn exact(value: f32) -> Self {
        Self { value: value.into(), error: 0.0, binary32: value }
    }

    /// A number rounded to bf16, zero where it is subnormal.
    fn bf16_factor(value: f32) -> Self {
        let binary32 = stored(flushed(value), DType::BF16);
        Self { value: value.into(), error: (f64::from(binary32) - f64::from(value)).abs(), binary32 }
    }

    /// Zero where it is subnormal.
    fn flushed(self) -> Self {
        let smallest = f32::MIN_POSITIVE;
        let binary32 = flushed(self.binary32);
        let lost = if self.value.abs() - self.error < smallest.into() { smallest.into() } else { 0.0 };
        Self { error: self.error + lost, binary32, ..self }
    }

    /// The rounded result of an operation that gives `value` within `error` before it is rounded.
    fn rounded(value: f64, error: f64, binary32: f32) -> Self {
        let error = error + 0.5 * ulp(value.abs() + error, DType::F32) * F64;
        Self { value, error, binary32 }
    }

    fn add(self, other: Self) -> Self {
        let sum = self.binary32 + other.binary32;
        Self::rounded(self.value + other.value, self.error + other.error, sum)
    }

    fn mul(self, other: Self) -> Self {
        let error = self.product_error(other);
        Self::rounded(self.value * other.value, error, self.binary32 * other.binary32)
    }

    /// `self * other + sum`, rounded once.
    fn fma(self, other: Self, sum: Self) -> Self {
        let error = self.product_error(other) + sum.error;
        let binary32 = self.binary32.mul_add(other.binary32, sum.binary32);
        Self::rounded(self.value * other.value + sum.value, error, binary32)
    }

    fn product_error(self, other: Self) -> f64 {
        self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error
    }

    /// `self / n` for an exact `n`.
    fn div_exact(self, n: usize) -> Self {
        Self::rounded(self.value / n as f64, self.error / n as f64, self.binary32 / n as f32)
    }

    /// Either end of what the operand may be; it is not negative.
    fn sqrt(self) -> Self {
        let root = self.value.sqrt();
        let below = root - (self.value - self.error).max(0.0).sqrt();
        let above = (self.value + self.error).sqrt() - root;
        Self::rounded(root, below.max(above), self.binary32.sqrt())
    }

    /// `1 / self` is steepest at the end nearer to 0, and unbounded where that is past 0.
    fn recip(self) -> Self {
        let nearest = self.value - self.error;
        let error = if nearest > 0.0 { 1.0 / nearest - 1.0 / self.value } else { f64::INFINITY };
        Self::rounded(1.0 / self.value, error, 1.0 / self.binary32)
    }

    /// An elementary function whose result moves by at most `moved` as the operand moves by its error. Its bound is
    /// in units of the correctly rounded result, which may be the next power of two.
    fn elementary(self, function: Elementary, value: f64, moved: f64) -> Self {
        let magnitude = (value.abs() + moved).max(function.smallest()) * (1.0 + 2f64.powi(-24));
        let error = moved + function.max_ulp() * ulp(magnitude, DType::F32) * F64;
        let mut binary32 = [self.binary32];
        portable().elementary(function, &mut binary32);
        Self { value, error, binary32: binary32[0] }
    }

    /// `2^(x + e) - 2^x = 2^x (2^e - 1)`, the larger of the two sides.
    fn exp2(self) -> Self {
        let value = self.value.exp2();
        let moved = value * (self.error * std::f64::consts::LN_2).exp_m1();
        self.elementary(Elementary::Exp2, value, moved)
    }

    /// The slope is the sigmoid, which grows.
    fn softplus(self) -> Self {
        let moved = self.error * math::sigmoid(self.value + self.error);
        self.elementary(Elementary::Softplus, math::softplus(self.value), moved)
    }

    /// The slope is `s (1 + x (1 - s))`, s being the sigmoid; the slope of the slope is at most 1/2.
    fn silu(self) -> Self {
        let s = math::sigmoid(self.value);
        let slope = (s * (1.0 + self.value * (1.0 - s))).abs() + 0.5 * self.error;
        self.elementary(Elementary::Silu, math::silu(self.value), self.error * slope)
    }

    /// How far a stored result of the contract's arithmetic may be from the oracle's stored result.
    ///
    /// The oracle rounds the exact value to the storage type; by how much is known. The contract's binary32 number is
    /// rounded to the storage type once more where that is narrower.
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

/// `sum = fma(input[k], weight[k], sum)` from 0; the bias; the epilogue.
pub fn linear(case: &Linear) -> Vec<Approx> {
    linear_by(case, |input, weight| {
        input
            .iter()
            .zip(weight)
            .fold(Approx::ZERO, |sum, (&x, &w)| Approx::exact(x).fma(Approx::exact(w), sum))
    })
}

/// [`linear`] of factors rounded to bf16, the second of each pair first, with no subnormal sum.
pub fn linear_bf16_dot(case: &Linear) -> Vec<Approx> {
    linear_by(case, |input, weight| {
        let mut sum = Approx::ZERO;
        for (input, weight) in input.chunks(2).zip(weight.chunks(2)) {
            if input.len() == 1 {
                // the zero after an odd number: it makes +0 of -0
                sum = Approx::ZERO.fma(Approx::ZERO, sum);
            }
            for (&x, &w) in input.iter().zip(weight).rev() {
                sum = Approx::bf16_factor(x).fma(Approx::bf16_factor(w), sum).flushed();
            }
        }
        sum
    })
}

/// [`linear`] on tensor cores: inputs are rounded to the type of the weight; products are exact; sums are in binary32,
/// in an unknown order, and may be cut off where others are rounded. So each of the additions, one per product and one
/// per group of 16, is off by at most 2^-23 of the sum of the products' sizes. There are no bits to state.
#[cfg(feature = "cuda")]
pub fn linear_on_tensor_cores(case: &Linear) -> Vec<Approx> {
    linear_by(case, |input, weight| {
        let (mut value, mut moved, mut size) = (0.0, 0.0, 0.0);
        for (&x, &w) in input.iter().zip(weight) {
            let (rounded, x, w) = (f64::from(stored(x, case.weight.dtype)), f64::from(x), f64::from(w));
            value += x * w;
            moved += ((rounded - x) * w).abs();
            size += (rounded * w).abs();
        }
        let additions = input.len() + input.len().div_ceil(16);
        let error = (moved + additions as f64 * 2f64.powi(-23) * size) * F64;
        Approx { value, error, binary32: f32::NAN }
    })
}

/// `sum` of each row of inputs and of weights; the bias; the epilogue.
fn linear_by(case: &Linear, sum: impl Fn(&[f32], &[f32]) -> Approx) -> Vec<Approx> {
    let mut out = Vec::new();
    for t in 0..case.input.rows {
        for n in 0..case.weight.rows {
            let mut sum = sum(case.input.row(t), case.weight.row(n));
            if let Some(bias) = &case.bias {
                sum = sum.add(Approx::exact(bias.values[n]));
            }
            out.push(match case.epilogue {
                Epilogue::Softplus => sum.softplus(),
                Epilogue::Residual => sum.add(Approx::exact(case.output.at(t, n))),
                _ => sum,
            });
        }
    }
    out
}

/// The oldest tap first, from the bias or 0; then SiLU. The state holds inputs: copies.
pub fn causal_conv1d(case: &CausalConv1d) -> Vec<Vec<Approx>> {
    let (channels, d_conv) = (case.input.cols, case.weight.rows);
    let mut output = vec![Approx::ZERO; case.input.rows * channels];
    let mut state = case.state.clone();
    for (rows, slot) in case.sequences.iter() {
        let Some(slot) = slot.index() else { continue };
        // the state followed by the inputs, [d_conv - 1 + rows, channels]
        let mut inputs = match &case.state {
            Some(state) => state.row(slot).to_vec(),
            None => vec![0.0; (d_conv - 1) * channels],
        };
        rows.clone().for_each(|t| inputs.extend(case.input.row(t)));
        for (i, t) in rows.clone().enumerate() {
            for c in 0..channels {
                let mut sum = case.bias.as_ref().map_or(Approx::ZERO, |bias| Approx::exact(bias.values[c]));
                for j in 0..d_conv {
                    let x = inputs[(i + j) * channels + c];
                    sum = Approx::exact(case.weight.at(j, c)).fma(Approx::exact(x), sum);
                }
                let silu = case.activation == Activation::Silu;
                output[t * channels + c] = if silu { sum.silu() } else { sum };
            }
        }
        if let Some(state) = &mut state {
            state.row_mut(slot).copy_from_slice(&inputs[rows.len() * channels..]);
        }
    }
    let state = state.map(|state| state.values.into_iter().map(Approx::exact).collect());
    [output].into_iter().chain(state).collect()
}

/// The formulas of the contract, with `exp` as `exp2(delta · (a · log2 e))`: the constant is rounded, and so are both
/// products, so that the error of the exponent grows with its size.
pub fn selective_scan(case: &SelectiveScan) -> Vec<Vec<Approx>> {
    selective_scan_in_chunks(case, usize::MAX)
}

/// [`selective_scan`] of each sequence in chunks of `length` tokens. All but the first and the last are first scanned
/// from zeros, for the state that the next one starts from: `fma(exp2(Σ delta · (a · log2 e)), before, from zeros)`.
pub fn selective_scan_in_chunks(case: &SelectiveScan, length: usize) -> Vec<Vec<Approx>> {
    let (channels, d_state) = (case.u.cols, case.a.rows);
    let mut output = vec![Approx::ZERO; case.u.rows * channels];
    let pool = case.state.as_ref().map(|state| &state.values);
    let mut state: Option<Vec<Approx>> =
        pool.map(|values| values.iter().map(|&value| Approx::exact(value)).collect());
    for (rows, slot) in case.sequences.iter() {
        let Some(slot) = slot.index() else { continue };
        let zeros = vec![Approx::ZERO; d_state * channels];
        let mut none = zeros.clone();
        let h = match &mut state {
            Some(state) => &mut state[slot * d_state * channels..][..d_state * channels],
            None => &mut none[..],
        };
        for start in rows.clone().step_by(length) {
            let chunk = start..rows.end.min(start.saturating_add(length));
            let before = h.to_vec();
            scan_rows(case, chunk.clone(), h, &mut output);
            if start > rows.start && chunk.end < rows.end {
                let mut local = zeros.clone();
                let sums = scan_rows(case, chunk, &mut local, &mut vec![Approx::ZERO; output.len()]);
                for (i, (h, before)) in h.iter_mut().zip(before).enumerate() {
                    let decay = sums[i % channels].mul(rate(case, i / channels, i % channels)).exp2();
                    *h = decay.fma(before, local[i]);
                }
            }
        }
    }
    [output].into_iter().chain(state).collect()
}

/// `a · log2 e`
fn rate(case: &SelectiveScan, n: usize, channel: usize) -> Approx {
    let rounded = f64::from(std::f32::consts::LOG2_E);
    let log2_e = Approx {
        value: std::f64::consts::LOG2_E,
        error: (rounded - std::f64::consts::LOG2_E).abs(),
        binary32: std::f32::consts::LOG2_E,
    };
    Approx::exact(case.a.at(n, channel)).mul(log2_e)
}

/// Some rows of a sequence, token by token from the states `h` on. Gives the sum of delta per channel.
fn scan_rows(
    case: &SelectiveScan,
    rows: std::ops::Range<usize>,
    h: &mut [Approx],
    output: &mut [Approx],
) -> Vec<Approx> {
    let (channels, d_state) = (case.u.cols, case.a.rows);
    let vector = |vector: &Option<Matrix>, i: usize| vector.as_ref().map(|v| Approx::exact(v.values[i]));
    let mut delta_sums = vec![Approx::ZERO; channels];
    for t in rows {
        for i in 0..channels {
            let group = i / (channels / case.n_groups) * d_state;
            let u = Approx::exact(case.u.at(t, i));
            let mut delta = Approx::exact(case.delta.at(t, i));
            if let Some(bias) = vector(&case.delta_bias, i) {
                delta = delta.add(bias);
            }
            if case.delta_softplus {
                delta = delta.softplus();
            }
            delta_sums[i] = delta_sums[i].add(delta);
            let delta_u = delta.mul(u);
            let mut sums = [Approx::ZERO; 4];
            for n in 0..d_state {
                let b = Approx::exact(case.b.at(t, group + n));
                let c = Approx::exact(case.c.at(t, group + n));
                let decay = delta.mul(rate(case, n, i)).exp2();
                let h = &mut h[n * channels + i];
                *h = decay.fma(*h, delta_u.mul(b));
                sums[n % 4] = c.fma(*h, sums[n % 4]);
            }
            let mut y = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
            if let Some(d) = vector(&case.d, i) {
                y = u.fma(d, y);
            }
            if let Some(z) = &case.z {
                y = y.mul(Approx::exact(z.at(t, i)).silu());
            }
            output[t * channels + i] = y;
        }
    }
    delta_sums
}

/// Sixteen partial sums of squares and their tree; `1 / sqrt(mean + eps)`; two products. About
/// `(channels / 16 + 10) · 2^-24` of the result.
pub fn rms_norm(case: &RmsNorm) -> Vec<Vec<Approx>> {
    let channels = case.input.cols;
    let (mut output, mut stream) = (Vec::new(), Vec::new());
    for t in 0..case.input.rows {
        let mut r: Vec<Approx> = case.input.row(t).iter().map(|&x| Approx::exact(x)).collect();
        if let Some(residual) = &case.residual {
            r.iter_mut().zip(residual.row(t)).for_each(|(r, &stream)| *r = r.add(Approx::exact(stream)));
        }
        let mut sums = [Approx::ZERO; 16];
        for (i, &r) in r.iter().enumerate() {
            sums[i % 16] = r.fma(r, sums[i % 16]);
        }
        for width in [8, 4, 2, 1] {
            for j in 0..width {
                sums[j] = sums[j].add(sums[j + width]);
            }
        }
        let scale = sums[0].div_exact(channels).add(Approx::exact(case.eps)).sqrt().recip();
        for (i, &r) in r.iter().enumerate() {
            let y = r.mul(scale);
            let weight = case.weight.as_ref().map(|weight| Approx::exact(weight.values[i]));
            output.push(weight.map_or(y, |weight| y.mul(weight)));
        }
        stream.extend(r);
    }
    [output].into_iter().chain(case.residual.as_ref().map(|_| stream)).collect()
}
