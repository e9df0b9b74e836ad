//! ```text
//! delta  = softplus(delta[t, c] + delta_bias[c])
//! h[n]   = exp(delta · a[n, c]) · h[n] + delta · u[t, c] · b[t, n]
//! output = (Σ_n c[t, n] · h[n] + d[c] · u[t, c]) · silu(z[t, c])
//! ```
//!
//! Equations 2a and 2b of the Mamba paper (Gu and Dao, 2023), `a` discretised by zero-order hold (its equation 4) and `b` by
//! Euler's rule: `selective_scan_ref` of the official `selective_scan_interface.py`.

use crate::arrays::{Element, Result};
use crate::ops::SelectiveScan;
use crate::reference::math;
use crate::reference::memory::Reference;

pub(in crate::reference) fn selective_scan<T: Element>(
    mut args: SelectiveScan<'_, Reference, T>,
) -> Result<()> {
    let shape = args.validate()?;
    let (channels, d_state) = (shape.channels, shape.d_state);
    for (rows, slot) in args.batch.sequences() {
        let Some(slot) = slot.index() else {
            rows.for_each(|t| args.output.row_mut(t).fill(T::from_f64(0.0)));
            continue;
        };
        let pool = slot * d_state * channels;
        let mut h = vec![0.0f64; d_state * channels]; // [d_state, channels]
        if let Some(state) = &args.state {
            h.iter_mut().zip(&state[pool..]).for_each(|(h, &s)| *h = s.into());
        }
        for t in rows {
            let (b, c) = (args.b.row(t), args.c.row(t)); // [n_groups * d_state]
            for i in 0..channels {
                let group = i / (channels / shape.n_groups) * d_state;
                let u = args.u.row(t)[i].to_f64();
                let mut delta = args.delta.row(t)[i].to_f64();
                delta += args.delta_bias.map_or(0.0, |bias| bias[i].into());
                if args.delta_softplus {
                    delta = math::softplus(delta);
                }
                let mut y = args.d.map_or(0.0, |d| f64::from(d[i])) * u;
                for n in 0..d_state {
                    let decay = (delta * f64::from(args.a[n * channels + i])).exp();
                    let h = &mut h[n * channels + i];
                    *h = decay * *h + delta * u * b[group + n].to_f64();
                    y += c[group + n].to_f64() * *h;
                }
                if let Some(z) = &args.z {
                    y *= math::silu(z.row(t)[i].to_f64());
                }
                args.output.row_mut(t)[i] = T::from_f64(y);
            }
        }
        if let Some(state) = &mut args.state {
            state[pool..].iter_mut().zip(&h).for_each(|(s, &h)| *s = h as f32);
        }
    }
    Ok(())
}
