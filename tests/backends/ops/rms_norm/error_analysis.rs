//! The running error analysis of `rms_norm`, over [`Approx`].

use super::RmsNorm;
use crate::harness::error_analysis::Approx;

/// Sixteen partial sums of squares from 2^-100 and their tree, less what they started from; `1 / sqrt(mean + eps)`; two products. About
/// `(channels / 16 + 10) · 2^-24` of the result.
pub fn rms_norm(case: &RmsNorm) -> Vec<Vec<Approx>> {
    let channels = case.input.cols;
    let (mut output, mut stream) = (Vec::new(), Vec::new());
    for t in 0..case.input.rows {
        let mut r: Vec<Approx> = case.input.row(t).iter().map(|&x| Approx::exact(x)).collect();
        if let Some(residual) = &case.residual {
            r.iter_mut().zip(residual.row(t)).for_each(|(r, &stream)| *r = r.add(Approx::exact(stream)));
        }
        let mut sums = [Approx::first(1.0); 16];
        for (i, &r) in r.iter().enumerate() {
            sums[i % 16] = r.fma(r, sums[i % 16]);
        }
        for width in [8, 4, 2, 1] {
            for j in 0..width {
                sums[j] = sums[j].add(sums[j + width]);
            }
        }
        let sum = sums[0].add(Approx::first(-16.0));
        let scale = sum.div_exact(channels).add(Approx::exact(case.eps)).sqrt().recip();
        for (i, &r) in r.iter().enumerate() {
            let y = r.mul(scale);
            let weight = case.weight.as_ref().map(|weight| Approx::exact(weight.values[i]));
            output.push(weight.map_or(y, |weight| y.mul(weight)));
        }
        stream.extend(r);
    }
    [output].into_iter().chain(case.residual.as_ref().map(|_| stream)).collect()
}
