//! The state pools and scratch arrays of Mamba-1.
#![forbid(unsafe_code)]

use crate::backend::Backend;
use crate::model::config::Config;
use crate::model::mixer::declared::{ScratchArray, StatePool};

/// The position of a pool in [`state_pools`].
pub(super) const CONV: usize = 0;
/// The position of a pool in [`state_pools`].
pub(super) const SSM: usize = 1;

/// The last inputs of the convolution, `[slots, d_conv - 1, d_inner]`, and the state of the scan,
/// `[slots, d_state, d_inner]`.
pub(in crate::model) fn state_pools(config: &Config) -> [StatePool; 2] {
    let Config { d_inner, d_state, d_conv, .. } = *config;
    [
        StatePool { name: "conv", rows: d_conv - 1, channels: d_inner },
        StatePool { name: "ssm", rows: d_state, channels: d_inner },
    ]
}

/// The activations between the ops, in the order of [`Activations`].
pub(in crate::model) fn scratch_arrays(config: &Config) -> [ScratchArray; 6] {
    let (d_inner, projected) = (config.d_inner, config.projected());
    [
        ScratchArray { name: "x", columns: d_inner },
        ScratchArray { name: "z", columns: d_inner },
        ScratchArray { name: "u", columns: d_inner },
        ScratchArray { name: "delta", columns: d_inner },
        ScratchArray { name: "projected", columns: projected },
        ScratchArray { name: "projected_normed", columns: projected },
    ]
}

/// The scratch arrays by name, each borrowed on its own.
pub(super) struct Activations<'a, B: Backend> {
    /// `[tokens, d_inner]`: first the input of the convolution, then the output of the scan
    pub x: &'a mut B::Buffer<f32>,
    /// `[tokens, d_inner]`: the gate
    pub z: &'a mut B::Buffer<f32>,
    /// `[tokens, d_inner]`: the input of the scan
    pub u: &'a mut B::Buffer<f32>,
    /// `[tokens, d_inner]`: the step sizes, before bias and softplus
    pub delta: &'a mut B::Buffer<f32>,
    /// `[tokens, dt_rank + 2 * d_state]`: dt, B and C next to each other
    pub projected: &'a mut B::Buffer<f32>,
    /// The same after Falcon-Mamba's norms.
    pub projected_normed: &'a mut B::Buffer<f32>,
}

impl<'a, B: Backend> Activations<'a, B> {
    /// Panics if `arrays` are not those that [`scratch_arrays`] declares.
    pub(super) fn of(arrays: &'a mut [B::Buffer<f32>]) -> Self {
        let [x, z, u, delta, projected, projected_normed] = arrays else {
            unreachable!("the scratch holds the arrays that the mixer declares")
        };
        Self { x, z, u, delta, projected, projected_normed }
    }
}
