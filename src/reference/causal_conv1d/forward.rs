//! ```text
//! y[t, c] = activation(bias[c] + Σ_j weight[j, c] · x[t - d_conv + 1 + j, c])
//! ```
//!
//! A depthwise causal convolution per sequence, with the inputs before its start from the state. It is `causal_conv1d_fn`
//! and `causal_conv1d_update` of the official causal-conv1d, whose reference is `causal_conv1d_ref` (`F.conv1d` with
//! `padding = d_conv - 1` and `groups = channels`, cut to the length of the input).

use crate::arrays::{Element, Result};
use crate::ops::{Activation, CausalConv1d};
use crate::reference::math;
use crate::reference::memory::Reference;

pub(in crate::reference) fn causal_conv1d<T: Element>(
    mut args: CausalConv1d<'_, Reference, T>,
) -> Result<()> {
    let shape = args.validate()?;
    let (channels, d_conv) = (shape.channels, shape.d_conv);
    let mut no_state = vec![0.0; (d_conv - 1) * channels];
    for (rows, slot) in args.batch.sequences() {
        let Some(slot) = slot.index() else {
            rows.for_each(|t| args.output.row_mut(t).fill(T::from_f64(0.0)));
            continue;
        };
        let state = match &mut args.state {
            Some(pool) => &mut pool[slot * (d_conv - 1) * channels..][..(d_conv - 1) * channels],
            None => {
                no_state.fill(0.0);
                &mut no_state
            }
        }; // [d_conv - 1, channels]
        for t in rows {
            for c in 0..channels {
                let newest = args.input.row(t)[c];
                let mut sum = args.bias.map_or(0.0, |bias| f64::from(bias[c]));
                for j in 0..d_conv - 1 {
                    sum += f64::from(args.weight[j * channels + c]) * f64::from(state[j * channels + c]);
                }
                sum += f64::from(args.weight[(d_conv - 1) * channels + c]) * newest.to_f64();
                args.output.row_mut(t)[c] = T::from_f64(match args.activation {
                    Activation::Identity => sum,
                    Activation::Silu => math::silu(sum),
                });
            }
            if d_conv > 1 {
                state.copy_within(channels.., 0);
                let newest = &mut state[(d_conv - 2) * channels..];
                newest.iter_mut().zip(args.input.row(t)).for_each(|(s, x)| *s = x.to_f32());
            }
        }
    }
    Ok(())
}
