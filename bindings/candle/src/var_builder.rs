//! A `VarBuilder` as the source of a model's weights.

use crate::backend::packed;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use mamba_kernels::model::{ModelError, Source};
use mamba_kernels::{Backend, WeightFormat};

/// The weights of a `VarBuilder` positioned at `backbone`.
pub(crate) struct Variables<'a>(pub VarBuilder<'a>);

impl Variables<'_> {
    /// The name of a tensor in the `VarBuilder`: its root is `backbone`, and candle uses the older of the embedding's two
    /// names.
    fn find(&self, names: &[&str]) -> String {
        let names = || names.iter().map(|name| name.strip_prefix("backbone.").unwrap_or(name));
        let found = names().find(|name| self.0.contains_tensor(name));
        found.or(names().next_back()).unwrap_or_default().into()
    }

    fn tensor(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor, ModelError> {
        let found = self.0.get_with_hints_dtype(shape, name, Default::default(), dtype);
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
        let name = self.find(names);
        let tensor = self.tensor(&name, &shape, self.0.dtype())?;
        packed("pack", backend, &tensor, format).map_err(|error| failed(&name, error))
    }

    fn widened(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let name = self.find(&[name]);
        let tensor = self.tensor(&name, shape, DType::F32)?;
        tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).map_err(|error| failed(&name, error))
    }
}
