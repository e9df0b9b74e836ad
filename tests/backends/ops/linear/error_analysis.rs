//! The running error analysis of the products, over [`Approx`].

use super::Linear;
#[cfg(feature = "cuda")]
use crate::harness::arrays::stored;
use crate::harness::error_analysis::Approx;
use mamba_kernels::ops::Epilogue;

/// `sum = fma(input[k], weight[k], sum)` from 2^-100, which is subtracted; the bias; the epilogue.
pub fn linear(case: &Linear) -> Vec<Approx> {
    linear_by(case, |input, weight| {
        let sum = input
            .iter()
            .zip(weight)
            .fold(Approx::first(1.0), |sum, (&x, &w)| Approx::input(x).fma(Approx::weight(w), sum));
        sum.add(Approx::first(-1.0))
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

/// [`linear`] on tensor cores: inputs are rounded to the type of the weight; products are exact; sums are in f32,
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
        let error = (moved + additions as f64 * 2f64.powi(-23) * size) * crate::harness::error_analysis::F64;
        Approx { value, error, computed: f32::NAN }
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
