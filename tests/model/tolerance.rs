//! How far a model may be from the golden data in f64, and why.
//!
//! Every value is the end of a path of roundings. With R roundings on it, each of at most 2^-24 of what it rounds and
//! of no preferred sign, the errors add up to about √R · 2^-24 of the largest value of the array. `MARGIN` covers what
//! this leaves out: the largest of a thousand elements lies some three deviations out, and a layer may amplify the
//! error of its input a little (the norms divide by a length, softplus and exp have a slope).
//!
//! Two counts of R, per block:
//! - the reference computes in f64 and rounds what it stores: norm, x, u, dt|B|C, delta, y and the residual, 7;
//! - a backend that computes in f32 rounds at each step of each sum as well: d_model in the norm and again in
//!   in_proj, d_conv, d_inner in x_proj, dt_rank, d_state and the length of the sequence in the scan, d_inner in
//!   out_proj; and up to 3 times in each of silu (twice), softplus and exp.
//!
//! The f32 column was measured with the reference's loops in f32, each product fused with its sum.
//! Largest errors over all folders, in units of 2^-24 of the largest value, against the allowed error:
//!
//! | array | reference | allowed | f32 | allowed |
//! |---|---|---|---|---|
//! | hidden states | 9.0 | 15.0 | 10.5 | 68.4 |
//! | normed | 6.9 | 15.5 | 28.3 | 91.8 |
//! | logits | 4.6 | 19.2 | 25.5 | 93.6 |
//! | conv states | 1.6 | 12.0 | 6.5 | 77.8 |
//! | SSM states | 7.7 | 14.4 | 12.6 | 67.6 |

use mamba_kernels::model::Config;

const MARGIN: f64 = 4.0;

/// The number of roundings on the path to an array, in the backend `name`.
pub struct Roundings<'a> {
    pub name: &'static str,
    pub config: &'a Config,
    pub length: usize,
}

impl Roundings<'_> {
    /// What the parts of a block round, in order: norm, in_proj, conv, x_proj, dt_proj, scan, out_proj.
    fn parts(&self) -> [usize; 7] {
        let Config { d_model, d_inner, d_state, d_conv, dt_rank, .. } = *self.config;
        match self.name {
            "reference" => [1; 7],
            _ => [d_model, d_model, d_conv + 3, d_inner, dt_rank + 3, self.length + d_state + 6, d_inner],
        }
    }

    /// The residual stream before block `layer`. The embedding is exact.
    pub fn hidden(&self, layer: usize) -> usize {
        layer * self.parts().iter().sum::<usize>()
    }

    /// The conv state of a layer: inputs of the convolution.
    pub fn conv_state(&self, layer: usize) -> usize {
        self.hidden(layer) + self.parts()[..2].iter().sum::<usize>()
    }

    /// The SSM state of a layer.
    pub fn ssm_state(&self, layer: usize) -> usize {
        self.hidden(layer) + self.parts()[..6].iter().sum::<usize>()
    }

    /// After the final norm.
    pub fn normed(&self) -> usize {
        self.hidden(self.config.n_layer) + self.parts()[0]
    }

    /// After the head, whose sums are as long as in_proj's.
    pub fn logits(&self) -> usize {
        self.normed() + self.parts()[1]
    }
}

/// Compares an array with its f64 values and fails if one is off by more than `roundings` allow.
pub fn assert_close(what: &str, roundings: usize, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let unit = 2f64.powi(-24) * expected.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    let allowed = MARGIN * (roundings as f64).sqrt();
    let mut worst = 0.0f64;
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(
            error <= allowed * unit,
            "{what}[{i}]: found {found}, expected {expected}: off by {:.1} units, {allowed:.1} allowed",
            error / unit
        );
        worst = worst.max(if error == 0.0 { 0.0 } else { error / unit });
    }
    println!("{what}: off by {worst:.1} units of 2^-24, {allowed:.1} allowed");
}
