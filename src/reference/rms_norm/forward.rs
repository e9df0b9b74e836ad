//! ```text
//! r = input + residual; output = r / sqrt(mean(r²) + eps) · weight; residual = r
//! ```
//!
//! RMSNorm (Zhang and Sennrich, 2019) with the residual add fused: `rms_norm_ref` of the official `layer_norm.py`, with
//! `prenorm`.

use crate::arrays::{Element, Result};
use crate::ops::RmsNorm;
use crate::reference::memory::Reference;

pub(in crate::reference) fn rms_norm<T: Element, U: Element>(
    mut args: RmsNorm<'_, Reference, T, U>,
) -> Result<()> {
    let shape = args.validate()?;
    if shape.channels == 0 {
        return Ok(()); // of any number of rows
    }
    for t in 0..shape.tokens {
        let mut r: Vec<f64> = args.input.row(t).iter().map(|x| x.to_f64()).collect(); // [channels]
        if let Some(residual) = &mut args.residual {
            for (r, stream) in r.iter_mut().zip(residual.row_mut(t)) {
                *r += f64::from(*stream);
                *stream = *r as f32;
            }
        }
        let mean = r.iter().map(|r| r * r).sum::<f64>() / shape.channels as f64;
        let scale = 1.0 / (mean + f64::from(args.eps)).sqrt();
        for (i, output) in args.output.row_mut(t).iter_mut().enumerate() {
            *output = U::from_f64(r[i] * scale * args.weight.map_or(1.0, |weight| weight[i].into()));
        }
    }
    Ok(())
}
