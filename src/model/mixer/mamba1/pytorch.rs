//! Mamba-1's states in the layouts that PyTorch caches them in.
#![forbid(unsafe_code)]

use super::arrays::{CONV, SSM};
use crate::backend::Backend;
use crate::model::error::ModelError;
use crate::model::state::State;
use crate::ops::layout;

impl<B: Backend> State<B> {
    /// The convolution states of a layer as PyTorch caches them, `[slots, d_inner, d_conv]`. The oldest of the
    /// `d_conv` inputs, which is never used again, is zero.
    ///
    /// # Errors
    /// [`ModelError::Argument`] if there is no such layer.
    pub fn conv_state(&self, backend: &B, layer: usize) -> Result<Vec<f32>, ModelError> {
        let (pool, values) = self.read_pool("State::conv_state", backend, layer, CONV)?;
        Ok(layout::conv_state_to_pytorch(&values, self.slots(), pool.channels, pool.rows + 1)?)
    }

    /// The SSM states of a layer as PyTorch caches them, `[slots, d_inner, d_state]`.
    ///
    /// # Errors
    /// [`ModelError::Argument`] if there is no such layer.
    pub fn ssm_state(&self, backend: &B, layer: usize) -> Result<Vec<f32>, ModelError> {
        let (pool, values) = self.read_pool("State::ssm_state", backend, layer, SSM)?;
        Ok(layout::ssm_state_to_pytorch(&values, self.slots(), pool.channels, pool.rows)?)
    }

    /// Replaces the states of a layer, given in the layouts of [`State::conv_state`] and [`State::ssm_state`].
    ///
    /// # Errors
    /// [`ModelError::Argument`] if there is no such layer, [`ModelError::Kernel`] if a length differs.
    pub fn set_layer(
        &mut self,
        backend: &B,
        layer: usize,
        conv: &[f32],
        ssm: &[f32],
    ) -> Result<(), ModelError> {
        const CALL: &str = "State::set_layer";
        let slots = self.slots();
        let (pool, _) = self.pool(CALL, layer, CONV)?;
        let conv = layout::conv_state_from_pytorch(conv, slots, pool.channels, pool.rows + 1)?;
        let (pool, _) = self.pool(CALL, layer, SSM)?;
        let ssm = layout::ssm_state_from_pytorch(ssm, slots, pool.channels, pool.rows)?;
        self.write_pool(backend, layer, CONV, &conv)?;
        self.write_pool(backend, layer, SSM, &ssm)
    }
}
