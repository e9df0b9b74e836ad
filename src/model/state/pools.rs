//! [`State`]: the recurrent state of any number of sequences, as a value.
#![forbid(unsafe_code)]

use crate::arrays::{Storage, checked_product};
use crate::backend::Backend;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::mixer::chosen::state_pools;
use crate::model::mixer::declared::StatePool;

/// The recurrent state of a model: per layer the pools that its mixer declares, each divided into slots. For Mamba-1
/// those are the last inputs of the convolution and the state of the scan.
///
/// A [`Batch`](crate::Batch) says which slot each of its sequences uses. The size of a slot does not depend on how
/// many tokens it has seen. A state is a value: it can be cloned and saved, and its slots copied, so a prefix is
/// computed once and continued many times. Methods that touch memory take the backend that the state was made on.
pub struct State<B: Backend> {
    pub(super) slots: usize,
    /// What the mixer declares.
    pub(super) pools: Vec<StatePool>,
    /// Per layer the buffers of the pools, in the order of `pools`.
    pub(super) layers: Vec<Vec<B::Buffer<f32>>>,
}

impl<B: Backend> State<B> {
    /// A state for models of this configuration, with `slots` slots, each at the start of a sequence.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] if there is not enough memory, [`ModelError::Config`] if a size is zero or too large.
    pub fn new(backend: &B, config: &Config, slots: usize) -> Result<Self, ModelError> {
        config.validate()?;
        let pools = state_pools(config);
        let zeros = |pool: &StatePool| {
            let len = checked_product("State::new", "slots", &[slots, pool.slot_len()])?;
            Ok::<_, ModelError>(backend.zeros(len)?)
        };
        let layers = (0..config.n_layer).map(|_| pools.iter().map(zeros).collect());
        Ok(Self { slots, pools: pools.to_vec(), layers: layers.collect::<Result<_, _>>()? })
    }

    /// How many sequences it has room for.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// How many layers it has.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Per layer the buffers of its pools.
    pub(in crate::model) fn layers_mut(&mut self) -> impl Iterator<Item = &mut [B::Buffer<f32>]> {
        self.layers.iter_mut().map(Vec::as_mut_slice)
    }

    /// A copy of every slot.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] if there is not enough memory.
    pub fn try_clone(&self, backend: &B) -> Result<Self, ModelError> {
        let copy = |buffer| Ok::<_, ModelError>(backend.upload(&read(backend, buffer)?)?);
        let layers = self.layers.iter().map(|layer| layer.iter().map(copy).collect());
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self { slots: self.slots, pools: self.pools.clone(), layers })
    }

    /// Puts a slot at the start of a sequence.
    ///
    /// # Errors
    /// [`ModelError::Argument`] if there is no such slot.
    pub fn reset(&mut self, backend: &B, slot: usize) -> Result<(), ModelError> {
        self.expect_slot("State::reset", "slot", slot)?;
        let zeros: Vec<_> = self.pools.iter().map(|pool| vec![0.0; pool.slot_len()]).collect();
        (0..self.layers.len()).try_for_each(|layer| self.write_slot(backend, layer, slot, &zeros))
    }

    /// Copies the slot `from` over the slot `to`.
    ///
    /// # Errors
    /// [`ModelError::Argument`] if there is no such slot.
    pub fn copy_slot(&mut self, backend: &B, from: usize, to: usize) -> Result<(), ModelError> {
        self.expect_slot("State::copy_slot", "from", from)?;
        self.expect_slot("State::copy_slot", "to", to)?;
        for layer in 0..self.layers.len() {
            let values = self.read_slot(backend, layer, from)?;
            self.write_slot(backend, layer, to, &values)?;
        }
        Ok(())
    }

    /// Copies the slot `from` of another state of the same model over the slot `to` of this one.
    ///
    /// # Errors
    /// [`ModelError::Argument`] if there is no such slot, or the other state is of a model with other sizes.
    pub fn copy_slot_from(
        &mut self,
        backend: &B,
        source: &State<B>,
        from: usize,
        to: usize,
    ) -> Result<(), ModelError> {
        const CALL: &str = "State::copy_slot_from";
        source.expect_slot(CALL, "from", from)?;
        self.expect_slot(CALL, "to", to)?;
        if (&source.pools, source.layers()) != (&self.pools, self.layers()) {
            return Err(ModelError::argument(CALL, "source", self.describe(), source.describe()));
        }
        for layer in 0..self.layers.len() {
            let values = source.read_slot(backend, layer, from)?;
            self.write_slot(backend, layer, to, &values)?;
        }
        Ok(())
    }

    /// Checks that the state is of models with this configuration.
    pub(in crate::model) fn expect_model(&self, config: &Config) -> Result<(), ModelError> {
        let pools = state_pools(config);
        if pools[..] == self.pools[..] && config.n_layer == self.layers() {
            return Ok(());
        }
        let expected = describe(config.n_layer, &pools);
        Err(ModelError::argument("forward", "state", expected, self.describe()))
    }

    fn describe(&self) -> String {
        describe(self.layers(), &self.pools)
    }

    /// A pool of a layer, by its position in the mixer's list.
    pub(in crate::model) fn pool(
        &self,
        call: &'static str,
        layer: usize,
        pool: usize,
    ) -> Result<(StatePool, &B::Buffer<f32>), ModelError> {
        let buffers = self.layers.get(layer).ok_or_else(|| {
            let expected = format!("a layer below {}", self.layers.len());
            ModelError::argument(call, "layer", expected, layer.to_string())
        })?;
        Ok((self.pools[pool], &buffers[pool]))
    }

    /// A pool of a layer, and its values.
    pub(in crate::model) fn read_pool(
        &self,
        call: &'static str,
        backend: &B,
        layer: usize,
        pool: usize,
    ) -> Result<(StatePool, Vec<f32>), ModelError> {
        let (pool, buffer) = self.pool(call, layer, pool)?;
        Ok((pool, read(backend, buffer)?))
    }

    /// Replaces the values of a pool.
    pub(in crate::model) fn write_pool(
        &mut self,
        backend: &B,
        layer: usize,
        pool: usize,
        values: &[f32],
    ) -> Result<(), ModelError> {
        Ok(backend.write(values, backend.view_mut(&mut self.layers[layer][pool]))?)
    }

    fn expect_slot(&self, call: &'static str, argument: &'static str, slot: usize) -> Result<(), ModelError> {
        match slot < self.slots {
            true => Ok(()),
            false => {
                let expected = format!("a slot below {}", self.slots);
                Err(ModelError::argument(call, argument, expected, slot.to_string()))
            }
        }
    }

    /// One slot of a layer, pool by pool.
    fn read_slot(&self, backend: &B, layer: usize, slot: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        let pools = self.pools.iter().zip(&self.layers[layer]);
        let values = pools.map(|(pool, buffer)| {
            let len = pool.slot_len();
            let mut values = vec![0.0; len];
            backend.read(backend.view(buffer).slice(slot * len..(slot + 1) * len)?, &mut values)?;
            Ok(values)
        });
        values.collect()
    }

    fn write_slot(
        &mut self,
        backend: &B,
        layer: usize,
        slot: usize,
        values: &[Vec<f32>],
    ) -> Result<(), ModelError> {
        for (buffer, values) in self.layers[layer].iter_mut().zip(values) {
            let (start, end) = (slot * values.len(), (slot + 1) * values.len());
            backend.write(values, backend.view_mut(buffer).slice(start..end)?)?;
        }
        Ok(())
    }
}

/// The sizes of a state in words, for errors.
fn describe(layers: usize, pools: &[StatePool]) -> String {
    let pools = pools.iter().map(|pool| format!("{} [{}, {}]", pool.name, pool.rows, pool.channels));
    format!("{layers} layers of {}", pools.collect::<Vec<_>>().join(", "))
}

/// A whole buffer, on the host.
pub(in crate::model) fn read<B: Backend>(
    backend: &B,
    buffer: &B::Buffer<f32>,
) -> Result<Vec<f32>, ModelError> {
    let view = backend.view(buffer);
    let mut host = crate::arrays::host::zeros("read", view.elements())?;
    backend.read(view, &mut host)?;
    Ok(host)
}
