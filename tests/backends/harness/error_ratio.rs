//! Comparison with the oracle within the derived bounds, and how close the errors come to them.

use crate::harness::arrays::{Check, Matrix, stored};
use crate::harness::error_analysis::{Approx, ulp};
use mamba_kernels::DType;
use proptest::test_runner::TestCaseError;
use std::collections::BTreeMap;

/// What f64 may lose, as a part of a bound: see [`crate::harness::error_analysis`].
pub const F64_PART: f64 = 1e-6;

/// A bound that no error comes nearer to than this is too wide to mean anything.
const SMALLEST_RATIO: f64 = 0.02;

/// The largest error over its bound, per array. Of f32 arrays only: in narrow ones the last rounding hides the rest.
#[derive(Debug, Default)]
pub struct ErrorRatio {
    largest: BTreeMap<&'static str, f64>,
    unbounded: usize,
    elements: usize,
}

impl ErrorRatio {
    /// Compares an array with the oracle's.
    pub fn compare(
        &mut self,
        name: &'static str,
        found: &Matrix,
        oracle: &Matrix,
        bounds: &[Approx],
    ) -> Check {
        assert_eq!((found.values.len(), oracle.values.len()), (bounds.len(), bounds.len()));
        for (i, bound) in bounds.iter().enumerate() {
            let pair = (f64::from(found.values[i]), f64::from(oracle.values[i]));
            if let Err(why) = self.element(name, pair, bound, found.dtype) {
                let (row, col) = (i / found.cols, i % found.cols);
                let (found, oracle) = pair;
                return Err(TestCaseError::fail(format!(
                    "{name}[{row}, {col}]: {why}: found {found:e}, oracle {oracle:e}, {bound:?}"
                )));
            }
        }
        Ok(())
    }

    fn element(
        &mut self,
        name: &'static str,
        (found, oracle): (f64, f64),
        bound: &Approx,
        dtype: DType,
    ) -> Result<(), String> {
        let Approx { value, error, .. } = *bound;
        self.elements += 1;
        if value.is_nan() || !error.is_finite() {
            self.unbounded += 1;
            return Ok(());
        }
        if found.is_infinite() || oracle.is_infinite() {
            let overflows = stored((value.abs() + error) as f32, dtype).is_infinite();
            let signs = [found, oracle, value].map(f64::is_sign_negative);
            let allowed = overflows && signs[0] == signs[1] && signs[1] == signs[2];
            return if allowed { Ok(()) } else { Err("infinite".into()) };
        }
        if (oracle - value).abs() > 0.5 * ulp(value, dtype) + (0.5 * ulp(value, dtype) + error) * F64_PART {
            return Err("the oracle is not the exact value rounded".into());
        }
        let (off, allowed) = ((found - oracle).abs(), bound.allowed(dtype, oracle));
        if off.is_nan() || off > allowed {
            return Err(format!("off by {off:e}, {allowed:e} allowed"));
        }
        if dtype == DType::F32 && error > 0.0 {
            let largest = self.largest.entry(name).or_default();
            *largest = largest.max((found - value).abs() / error);
        }
        Ok(())
    }

    /// Prints the largest ratios, and fails if one is so small that the bound means nothing.
    pub fn report(&self, op: &str, cases: &str) {
        for (name, ratio) in &self.largest {
            println!("{op} {name}, {cases}: largest error / bound {ratio:.3}");
        }
        println!("{op}, {cases}: {} elements, {} without a bound", self.elements, self.unbounded);
        assert!(self.unbounded * 100 <= self.elements, "{op}: too many elements without a bound");
        for (name, &ratio) in &self.largest {
            assert!(
                ratio >= SMALLEST_RATIO,
                "{op} {name}, {cases}: a bound that is too wide, {ratio} at most"
            );
        }
    }
}
