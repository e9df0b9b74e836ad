//! The matrix products.

use crate::arrays::{Array, tensor, with_array_type, with_workspace};
use burn_tensor::Tensor;
use mamba_kernels::cpu::PackedWeights;
use mamba_kernels::ops::{Epilogue, InProj, Linear};
use mamba_kernels::{Backend, Cpu, Result, Rows, WeightMatrix};
use std::sync::Arc;

/// A weight matrix, packed once, with a bias. Clones share it.
#[derive(Debug, Clone)]
pub struct PackedLinear {
    cpu: Cpu,
    weight: Arc<PackedWeights>,
    bias: Option<Arc<[f32]>>,
}

impl PackedLinear {
    /// Packs `weight`, `[out_features, in_features]` in f32, f16 or bf16, which keeps its type. burn's `Linear` holds
    /// the transpose. The bias is `[out_features]` of f32.
    ///
    /// # Errors
    /// For another shape, type, layout or backend, and under autodiff.
    pub fn new(cpu: &Cpu, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Result<Self> {
        const OP: &str = "PackedLinear";
        let weight = Array::new(OP, "weight", weight)?;
        let weight = with_array_type!(weight, T => cpu.pack(weight.rows::<T>()?))?;
        let bias = Array::optional(OP, "bias", bias)?;
        let bias = bias.map(|bias| Ok(bias.values()?.into())).transpose()?;
        Ok(Self { cpu: cpu.clone(), weight: Arc::new(weight), bias })
    }

    /// `input · weightᵀ + bias`, in the type of the input.
    ///
    /// # Errors
    /// As [`Linear::validate`] says, and for an unsupported backend, layout or type.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Result<Tensor<D>> {
        let input = Array::new("linear", "input", input)?;
        let features = self.weight.rows();
        let mut dims = input.dims();
        dims[D - 1] = features;
        with_array_type!(input, T => {
            let rows = input.rows::<T>()?;
            let mut output = self.cpu.zeros::<T>(rows.rows() * features)?;
            let args = Linear::<Cpu, T, T> {
                input: rows,
                weight: &self.weight,
                bias: self.bias.as_deref(),
                epilogue: Epilogue::Store,
                output: Rows::new(&mut output[..], rows.rows(), features)?,
            };
            with_workspace(|workspace| self.cpu.linear(args, workspace))?;
            Ok(tensor(output, dims))
        })
    }

    /// `in_proj`: the two halves of `input · weightᵀ + bias`, each a tensor of its own. The weight is
    /// `[2 * d_inner, d_model]`.
    ///
    /// # Errors
    /// As [`InProj::validate`] says, and as [`PackedLinear::forward`].
    pub fn in_proj<const D: usize>(&self, input: Tensor<D>) -> Result<(Tensor<D>, Tensor<D>)> {
        let input = Array::new("in_proj", "input", input)?;
        let d_inner = self.weight.rows() / 2;
        let mut dims = input.dims();
        dims[D - 1] = d_inner;
        with_array_type!(input, T => {
            let rows = input.rows::<T>()?;
            let mut x = self.cpu.zeros::<T>(rows.rows() * d_inner)?;
            let mut z = self.cpu.zeros::<T>(rows.rows() * d_inner)?;
            let args = InProj::<Cpu, T, 2> {
                input: rows,
                weight: &self.weight,
                bias: self.bias.as_deref(),
                outputs: [
                    Rows::new(&mut x[..], rows.rows(), d_inner)?,
                    Rows::new(&mut z[..], rows.rows(), d_inner)?,
                ],
            };
            with_workspace(|workspace| self.cpu.in_proj(args, workspace))?;
            Ok((tensor(x, dims.clone()), tensor(z, dims)))
        })
    }
}
