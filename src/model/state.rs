//! [`State`]: the recurrent state of any number of sequences, as a value.
#![forbid(unsafe_code)]

use super::{Config, ModelError};
use crate::arrays::{Storage, checked_product};
use crate::backend::Backend;
use crate::ops::layout;

/// The pools of one layer.
pub(super) struct LayerState<B: Backend> {
    /// `[slots, d_conv - 1, d_inner]`
    pub conv: B::Buffer<f32>,
    /// `[slots, d_state, d_inner]`
    pub ssm: B::Buffer<f32>,
}

/// The recurrent state of a model: per layer the last inputs of the convolution and the state of the scan, in slots.
///
/// A [`Batch`](crate::Batch) says which slot each of its sequences uses. The size of a slot does not depend on how
/// many tokens it has seen. A state is a value: it may be cloned, saved, and its slots copied, so that a prefix is
/// computed once and continued many times. Methods that touch memory take the backend that the state was made on.
pub struct State<B: Backend> {
    pub(super) sizes: Sizes,
    pub(super) layers: Vec<LayerState<B>>,
}

/// The sizes of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub slots: usize,
    pub d_inner: usize,
    pub d_state: usize,
    pub d_conv: usize,
}

impl Sizes {
    pub fn new(config: &Config, slots: usize) -> Self {
        let Config { d_inner, d_state, d_conv, .. } = *config;
        Self { slots, d_inner, d_state, d_conv }
    }

    /// Elements of one slot in the pools of a layer: conv and ssm.
    fn slot(&self) -> [usize; 2] {
        [(self.d_conv - 1) * self.d_inner, self.d_state * self.d_inner]
    }
}

impl<B: Backend> State<B> {
    /// A state for models of this configuration, with `slots` slots, each at the start of a sequence.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] where there is no memory for it, [`ModelError::Config`] where a size is zero or too
    /// large.
    pub fn new(backend: &B, config: &Config, slots: usize) -> Result<Self, ModelError> {
        config.validate()?;
        let sizes = Sizes::new(config, slots);
        let zeros = |slot| backend.zeros(checked_product("State::new", "slots", &[slots, slot])?);
        let [conv, ssm] = sizes.slot();
        let layers = (0..config.n_layer)
            .map(|_| Ok(LayerState { conv: zeros(conv)?, ssm: zeros(ssm)? }))
            .collect::<Result<_, ModelError>>()?;
        Ok(Self { sizes, layers })
    }

    /// How many sequences it has room for.
    pub fn slots(&self) -> usize {
        self.sizes.slots
    }

    /// How many layers it has.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    pub(super) fn layers_mut(&mut self) -> impl Iterator<Item = &mut LayerState<B>> {
        self.layers.iter_mut()
    }

    /// A copy of every slot.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] where there is no memory for it.
    pub fn try_clone(&self, backend: &B) -> Result<Self, ModelError> {
        let copy = |buffer| Ok::<_, ModelError>(backend.upload(&read(backend, buffer)?)?);
        let layers = self.layers.iter().map(|layer| {
            Ok::<_, ModelError>(LayerState { conv: copy(&layer.conv)?, ssm: copy(&layer.ssm)? })
        });
        Ok(Self { sizes: self.sizes, layers: layers.collect::<Result<_, _>>()? })
    }

    /// Puts a slot at the start of a sequence.
    ///
    /// # Errors
    /// [`ModelError::Argument`] where there is no such slot.
    pub fn reset(&mut self, backend: &B, slot: usize) -> Result<(), ModelError> {
        self.expect_slot("State::reset", "slot", slot)?;
        let zeros = self.sizes.slot().map(|len| vec![0.0; len]);
        (0..self.layers.len()).try_for_each(|layer| self.write_slot(backend, layer, slot, &zeros))
    }

    /// Copies the slot `from` over the slot `to`.
    ///
    /// # Errors
    /// [`ModelError::Argument`] where there is no such slot.
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
    /// [`ModelError::Argument`] where there is no such slot, or the other state is of a model with other sizes.
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
        let slots = self.sizes.slots;
        if (Sizes { slots, ..source.sizes }, source.layers()) != (self.sizes, self.layers()) {
            return Err(ModelError::argument(CALL, "source", self.describe(), source.describe()));
        }
        for layer in 0..self.layers.len() {
            let values = source.read_slot(backend, layer, from)?;
            self.write_slot(backend, layer, to, &values)?;
        }
        Ok(())
    }

    /// The convolution states of a layer as PyTorch caches them, `[slots, d_inner, d_conv]`. The oldest of the
    /// `d_conv` inputs, which is never used again, is zero.
    ///
    /// # Errors
    /// [`ModelError::Argument`] where there is no such layer.
    pub fn conv_state(&self, backend: &B, layer: usize) -> Result<Vec<f32>, ModelError> {
        let values = read(backend, &self.expect_layer("State::conv_state", layer)?.conv)?;
        Ok(layout::conv_state_to_pytorch(&values, self.sizes.slots, self.sizes.d_inner, self.sizes.d_conv)?)
    }

    /// The SSM states of a layer as PyTorch caches them, `[slots, d_inner, d_state]`.
    ///
    /// # Errors
    /// [`ModelError::Argument`] where there is no such layer.
    pub fn ssm_state(&self, backend: &B, layer: usize) -> Result<Vec<f32>, ModelError> {
        let values = read(backend, &self.expect_layer("State::ssm_state", layer)?.ssm)?;
        Ok(layout::ssm_state_to_pytorch(&values, self.sizes.slots, self.sizes.d_inner, self.sizes.d_state)?)
    }

    /// Takes over the states of a layer in the layouts that [`State::conv_state`] and [`State::ssm_state`] give.
    ///
    /// # Errors
    /// [`ModelError::Argument`] where there is no such layer, [`ModelError::Kernel`] where a length differs.
    pub fn set_layer(
        &mut self,
        backend: &B,
        layer: usize,
        conv: &[f32],
        ssm: &[f32],
    ) -> Result<(), ModelError> {
        self.expect_layer("State::set_layer", layer)?;
        let Sizes { slots, d_inner, d_state, d_conv } = self.sizes;
        let conv = layout::conv_state_from_pytorch(conv, slots, d_inner, d_conv)?;
        let ssm = layout::ssm_state_from_pytorch(ssm, slots, d_inner, d_state)?;
        let layer = &mut self.layers[layer];
        backend.write(&conv, backend.view_mut(&mut layer.conv))?;
        Ok(backend.write(&ssm, backend.view_mut(&mut layer.ssm))?)
    }

    /// Checks that the state is of models with this configuration.
    pub(super) fn expect_model(&self, config: &Config) -> Result<(), ModelError> {
        if (Sizes::new(config, self.sizes.slots), config.n_layer) == (self.sizes, self.layers()) {
            return Ok(());
        }
        let Config { n_layer, d_inner, d_state, d_conv, .. } = config;
        let expected = format!("{n_layer} layers of d_inner {d_inner}, d_state {d_state}, d_conv {d_conv}");
        Err(ModelError::argument("forward", "state", expected, self.describe()))
    }

    fn describe(&self) -> String {
        let Sizes { d_inner, d_state, d_conv, .. } = self.sizes;
        format!("{} layers of d_inner {d_inner}, d_state {d_state}, d_conv {d_conv}", self.layers.len())
    }

    fn expect_slot(&self, call: &'static str, argument: &'static str, slot: usize) -> Result<(), ModelError> {
        match slot < self.sizes.slots {
            true => Ok(()),
            false => {
                let expected = format!("a slot below {}", self.sizes.slots);
                Err(ModelError::argument(call, argument, expected, slot.to_string()))
            }
        }
    }

    fn expect_layer(&self, call: &'static str, layer: usize) -> Result<&LayerState<B>, ModelError> {
        self.layers.get(layer).ok_or_else(|| {
            let expected = format!("a layer below {}", self.layers.len());
            ModelError::argument(call, "layer", expected, layer.to_string())
        })
    }

    /// One slot of a layer: conv and ssm.
    fn read_slot(&self, backend: &B, layer: usize, slot: usize) -> Result<[Vec<f32>; 2], ModelError> {
        let [conv, ssm] = self.sizes.slot();
        let mut values = [vec![0.0; conv], vec![0.0; ssm]];
        let layer = &self.layers[layer];
        for (buffer, values) in [&layer.conv, &layer.ssm].into_iter().zip(&mut values) {
            let (start, end) = (slot * values.len(), (slot + 1) * values.len());
            backend.read(backend.view(buffer).slice(start..end)?, values)?;
        }
        Ok(values)
    }

    fn write_slot(
        &mut self,
        backend: &B,
        layer: usize,
        slot: usize,
        values: &[Vec<f32>; 2],
    ) -> Result<(), ModelError> {
        let layer = &mut self.layers[layer];
        for (buffer, values) in [&mut layer.conv, &mut layer.ssm].into_iter().zip(values) {
            let (start, end) = (slot * values.len(), (slot + 1) * values.len());
            backend.write(values, backend.view_mut(buffer).slice(start..end)?)?;
        }
        Ok(())
    }
}

/// A whole buffer, on the host.
pub(super) fn read<B: Backend>(backend: &B, buffer: &B::Buffer<f32>) -> Result<Vec<f32>, ModelError> {
    let view = backend.view(buffer);
    let mut host = crate::arrays::host::zeros("read", view.elements())?;
    backend.read(view, &mut host)?;
    Ok(host)
}
