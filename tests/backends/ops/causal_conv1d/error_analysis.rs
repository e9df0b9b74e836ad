//! The running error analysis of `causal_conv1d`, over [`Approx`].

use super::CausalConv1d;
use crate::harness::error_analysis::Approx;
use mamba_kernels::ops::Activation;

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
