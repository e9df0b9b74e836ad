//! A `VarBuilder` as the source of a model's weights.

use crate::backend::packed;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use mamba_kernels::model::{ModelError, Source};
use mamba_kernels::{Backend, WeightFormat};

/// The weights of a `VarBuilder` positioned at `backbone`.
pub(crate) struct Variables<'a> {
    backbone: VarBuilder<'a>,
    /// Where the head is: beside `backbone`.
    outside: VarBuilder<'a>,
}

impl<'a> Variables<'a> {
    pub fn new(backbone: VarBuilder<'a>) -> Self {
        let outside = match backbone.prefix().rsplit_once('.') {
            Some((parent, _)) => backbone.set_prefix(parent),
            None => backbone.root(),
        };
        Self { backbone, outside }
    }

    /// The place of the first of some tensors that exists, else of the last, and its name there.
    fn find<'n>(&self, names: &[&'n str]) -> (&VarBuilder<'a>, &'n str) {
        let mut places = names.iter().map(|&name| match name.strip_prefix("backbone.") {
            Some(name) => (&self.backbone, name),
            None => (&self.outside, name),
        });
        let found = places.clone().find(|(place, name)| place.contains_tensor(name));
        // candle uses the older of the embedding's two names
        found.or(places.next_back()).unwrap_or((&self.backbone, ""))
    }

    /// The first of some tensors that exists, converted to a type.
    fn tensor(&self, names: &[&str], shape: &[usize], dtype: DType) -> Result<Tensor, ModelError> {
        let (place, name) = self.find(names);
        let found = place.get_with_hints_dtype(shape, name, Default::default(), dtype);
        let found = found.and_then(|tensor| tensor.detach().to_device(&Device::Cpu)?.contiguous());
        found.map_err(|error| failed(name, error))
    }
}

fn failed(name: &str, error: candle_core::Error) -> ModelError {
    ModelError::Tensor { name: name.into(), source: Box::new(error) }
}

impl Source for Variables<'_> {
    fn matrix<B: Backend>(
        &self,
        backend: &B,
        names: &[&str],
        shape: [usize; 2],
        format: Option<WeightFormat>,
    ) -> Result<B::Weights, ModelError> {
        let tensor = self.tensor(names, &shape, self.backbone.dtype())?;
        packed("pack", backend, &tensor, format).map_err(|error| failed(self.find(names).1, error))
    }

    fn contains(&self, name: &str) -> bool {
        let (place, name) = self.find(&[name]);
        place.contains_tensor(name)
    }

    fn widened(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensor(&[name], shape, DType::F32)?;
        tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).map_err(|error| failed(name, error))
    }
}
