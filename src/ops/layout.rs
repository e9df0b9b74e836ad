//! Conversions between this crate's layouts and PyTorch's.
//!
//! This crate keeps channels last, so vector lanes and warps run over channels; PyTorch's modules and caches
//! keep them first. Each function checks the length of its input.

use crate::arrays::{Error, FloatMode, Result, checked_product, expect_size};

/// `[rows, cols]` to `[cols, rows]`, for each of the matrices that `values` holds one after the other.
fn transposed(op: &'static str, values: &[f32], count: usize, rows: usize, cols: usize) -> Result<Vec<f32>> {
    let elements = checked_product(op, "values", &[count, rows, cols])?;
    expect_size(op, "values", "elements", elements, values.len())?;
    let mut out = Vec::with_capacity(elements);
    if elements == 0 {
        return Ok(out); // however large the other sizes are
    }
    for matrix in 0..count {
        for col in 0..cols {
            out.extend((0..rows).map(|row| values[(matrix * rows + row) * cols + col]));
        }
    }
    Ok(out)
}

/// The weight of a depthwise `Conv1d`, `[channels, 1, d_conv]`, to `[d_conv, channels]`.
///
/// # Errors
/// [`Error::Argument`] if the length is not `channels * d_conv`.
pub fn conv_weight_from_pytorch(values: &[f32], channels: usize, d_conv: usize) -> Result<Vec<f32>> {
    transposed("conv_weight_from_pytorch", values, 1, channels, d_conv)
}

/// `A_log`, `[channels, d_state]`, to `a = -exp(A_log)`, `[d_state, channels]`.
///
/// The exponential is computed here in f64 by a fixed sequence of operations and rounded once, so every machine
/// gets the same bits whatever its C library.
///
/// # Errors
/// [`Error::Argument`] if the length is not `channels * d_state`.
pub fn a_from_a_log(values: &[f32], channels: usize, d_state: usize) -> Result<Vec<f32>> {
    let _mode = FloatMode::standard();
    let mut a = transposed("a_from_a_log", values, 1, channels, d_state)?;
    for value in &mut a {
        *value = -(exp_f64(f64::from(*value)) as f32);
    }
    Ok(a)
}

/// SSM states as PyTorch caches them, `[slots, channels, d_state]`, to `[slots, d_state, channels]`.
///
/// # Errors
/// [`Error::Argument`] if the length is not `slots * channels * d_state`.
pub fn ssm_state_from_pytorch(
    values: &[f32],
    slots: usize,
    channels: usize,
    d_state: usize,
) -> Result<Vec<f32>> {
    transposed("ssm_state_from_pytorch", values, slots, channels, d_state)
}

/// SSM states of this crate, `[slots, d_state, channels]`, to `[slots, channels, d_state]`.
///
/// # Errors
/// [`Error::Argument`] if the length is not `slots * channels * d_state`.
pub fn ssm_state_to_pytorch(
    values: &[f32],
    slots: usize,
    channels: usize,
    d_state: usize,
) -> Result<Vec<f32>> {
    transposed("ssm_state_to_pytorch", values, slots, d_state, channels)
}

/// Conv states as PyTorch caches them, `[slots, channels, d_conv]`, to `[slots, d_conv - 1, channels]`.
///
/// PyTorch's caches hold the last `d_conv` inputs; the oldest is never used again and is left out here.
///
/// # Errors
/// [`Error::Argument`] if the length is not `slots * channels * d_conv`, or `d_conv` is 0.
pub fn conv_state_from_pytorch(
    values: &[f32],
    slots: usize,
    channels: usize,
    d_conv: usize,
) -> Result<Vec<f32>> {
    const OP: &str = "conv_state_from_pytorch";
    expect_conv(OP, d_conv)?;
    let all = transposed(OP, values, slots, channels, d_conv)?; // [slots, d_conv, channels]
    if all.is_empty() {
        return Ok(all);
    }
    Ok(all.chunks_exact(d_conv * channels).flat_map(|slot| &slot[channels..]).copied().collect())
}

/// Conv states of this crate, `[slots, d_conv - 1, channels]`, to `[slots, channels, d_conv]`.
///
/// The oldest of the `d_conv` inputs is not known any more and never used: it is zero.
///
/// # Errors
/// [`Error::Argument`] if the length is not `slots * (d_conv - 1) * channels`, or `d_conv`
/// is 0. [`Error::OutOfMemory`]: with a `d_conv` of 1 no length limits the other sizes.
pub fn conv_state_to_pytorch(
    values: &[f32],
    slots: usize,
    channels: usize,
    d_conv: usize,
) -> Result<Vec<f32>> {
    const OP: &str = "conv_state_to_pytorch";
    expect_conv(OP, d_conv)?;
    let known = transposed(OP, values, slots, d_conv - 1, channels)?; // [slots, channels, d_conv - 1]
    let mut out = crate::arrays::host::zeros(OP, checked_product(OP, "values", &[slots, channels, d_conv])?)?;
    for (row, target) in out.chunks_exact_mut(d_conv).enumerate() {
        target[1..].copy_from_slice(&known[row * (d_conv - 1)..][..d_conv - 1]);
    }
    Ok(out)
}

/// `e^x` by range reduction to `|r| <= ln 2 / 2` and the Taylor series, whose first omitted term is below 2^-57.
fn exp_f64(x: f64) -> f64 {
    const TERMS: i32 = 14;
    let x = x.clamp(-200.0, 200.0); // beyond the range of f32 on both sides; a NaN stays a NaN
    let n = (x * std::f64::consts::LOG2_E).round_ties_even();
    let r = x - n * std::f64::consts::LN_2;
    let series = (1..=TERMS).rev().fold(1.0, |sum, k| 1.0 + sum * r / f64::from(k));
    let power = if n.is_nan() { 0 } else { (1023 + n as i64) as u64 };
    series * f64::from_bits(power << 52)
}

fn expect_conv(op: &'static str, d_conv: usize) -> Result<()> {
    match d_conv {
        0 => Err(Error::argument(op, "d_conv", "at least 1", 0)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conv_state_there_and_back() {
        // one slot, two channels, d_conv 3: the columns are the inputs at t - 2, t - 1 and t
        let pytorch = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
        let ours = conv_state_from_pytorch(&pytorch, 1, 2, 3).unwrap();
        assert_eq!(ours, [2.0, 20.0, 3.0, 30.0]);
        let back = conv_state_to_pytorch(&ours, 1, 2, 3).unwrap();
        assert_eq!(back, [0.0, 2.0, 3.0, 0.0, 20.0, 30.0]);
        assert!(conv_state_from_pytorch(&pytorch, 1, 2, 0).is_err());
        assert!(conv_state_from_pytorch(&pytorch, 1, 2, 4).is_err());
        assert_eq!(conv_state_to_pytorch(&[], 2, 3, 1).unwrap(), [0.0; 6]);
    }

    #[test]
    fn ssm_state_there_and_back() {
        let pytorch: Vec<f32> = (0..12).map(|i| i as f32).collect(); // [2, 3, 2]
        let ours = ssm_state_from_pytorch(&pytorch, 2, 3, 2).unwrap();
        assert_eq!(ours[..6], [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(ssm_state_to_pytorch(&ours, 2, 3, 2).unwrap(), pytorch);
        assert!(ssm_state_from_pytorch(&pytorch, 2, 3, usize::MAX).is_err());
    }

    #[test]
    fn nothing_of_any_size_is_nothing() {
        const HUGE: usize = 1 << 32;
        assert!(conv_weight_from_pytorch(&[], 0, usize::MAX).unwrap().is_empty());
        assert!(conv_state_from_pytorch(&[], 0, HUGE, HUGE).unwrap().is_empty());
        assert!(ssm_state_to_pytorch(&[], usize::MAX, 0, 1).unwrap().is_empty());
        let error = conv_state_to_pytorch(&[], 1 << 62, 1, 1).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    }

    #[test]
    fn exp_f64_is_close_to_the_library() {
        for i in -1000..=1000 {
            let x = f64::from(i) * 0.1;
            assert!((exp_f64(x) / x.exp() - 1.0).abs() < 1e-14, "{x}");
        }
        assert!(exp_f64(f64::NAN).is_nan());
        assert_eq!(exp_f64(f64::INFINITY) as f32, f32::INFINITY);
        assert_eq!(exp_f64(f64::NEG_INFINITY) as f32, 0.0);
    }

    #[test]
    fn a_is_minus_exp_of_a_log() {
        let a = a_from_a_log(&[0.0, 2.0f32.ln(), 0.0, 3.0f32.ln()], 2, 2).unwrap();
        assert_eq!((a[0], a[1]), (-1.0, -1.0));
        assert!((a[2] + 2.0).abs() < 1e-6 && (a[3] + 3.0).abs() < 1e-6);
    }
}
