//! The matrix products on tensors.

use super::arrays::{Forward, Number, Operand, by_dtype, rows, untracked, with_workspace};
use crate::backend::{Backend, WeightMatrix};
use crate::cpu::{Cpu, PackedWeights};
use crate::host::zeros;
use crate::ops::{Epilogue, InProj, Linear};
use crate::rows::Rows;
use candle_core::{Module, Result, Shape, Tensor, WithDType};
use std::sync::Arc;

/// A weight matrix, packed once, with a bias. Clones share it.
#[derive(Debug, Clone)]
pub struct PackedLinear {
    cpu: Cpu,
    weight: Arc<PackedWeights>,
    bias: Option<Arc<[f32]>>,
}

impl PackedLinear {
    /// Packs `weight`, `[out_features, in_features]` in f32, f16 or bf16, which keeps its type. The bias is
    /// `[out_features]` of f32.
    ///
    /// # Errors
    /// For another shape, type, layout or device. A `Var` is packed as it is now: later changes of it are not seen.
    pub fn new(cpu: &Cpu, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        const OP: &str = "PackedLinear";
        let weight = &weight.detach();
        let weight = by_dtype!(OP, "weight", weight, T => {
            Ok::<_, candle_core::Error>(cpu.pack(Operand::new(OP, "weight", weight)?.rows::<T>()?)?)
        })?;
        let bias = match bias {
            None => None,
            Some(bias) => Some(Operand::new(OP, "bias", &bias.detach())?.values()?.into()),
        };
        Ok(Self { cpu: cpu.clone(), weight: Arc::new(weight), bias })
    }

    /// `epilogue(input · weightᵀ + bias)`, in the type of the input. [`Epilogue::Residual`] adds to zeros: it is
    /// [`Epilogue::Store`].
    ///
    /// # Errors
    /// As [`Linear::validate`] says; for a layout, type or device that the module does not take; and
    /// `BackwardNotSupported` for a tensor that records operations.
    pub fn forward_with(&self, input: &Tensor, epilogue: Epilogue) -> Result<Tensor> {
        by_dtype!("linear", "input", input, T => self.linear::<T>(input, epilogue))
    }

    fn linear<T: Number>(&self, input: &Tensor, epilogue: Epilogue) -> Result<Tensor> {
        const OP: &str = "linear";
        untracked(OP, input)?;
        let features = self.weight.rows();
        let body = |storage: &_, layout: &candle_core::Layout| {
            let input = rows::<T>(OP, "input", storage, layout)?;
            let mut output = zeros::<T>(OP, input.rows() * features)?;
            let args = Linear::<Cpu, T, T> {
                input,
                weight: &self.weight,
                bias: self.bias.as_deref(),
                epilogue,
                output: Rows::new(&mut output[..], input.rows(), features)?,
            };
            with_workspace(|workspace| self.cpu.linear(args, workspace))?;
            let mut dims = layout.dims().to_vec();
            dims.pop();
            dims.push(features);
            Ok((T::to_cpu_storage_owned(output), Shape::from(dims)))
        };
        input.apply_op1_no_bwd(&Forward { op: OP, body })
    }

    /// `in_proj`: the two halves of `input · weightᵀ + bias`, each of its own and contiguous. The weight is
    /// `[2 * d_inner, d_model]`.
    ///
    /// # Errors
    /// As [`InProj::validate`] says, and as [`PackedLinear::forward_with`].
    pub fn in_proj(&self, input: &Tensor) -> Result<(Tensor, Tensor)> {
        const OP: &str = "in_proj";
        untracked(OP, input)?;
        let d_inner = self.weight.rows() / 2;
        let both = by_dtype!(OP, "input", input, T => {
            let body = |storage: &_, layout: &candle_core::Layout| {
                let input = rows::<T>(OP, "input", storage, layout)?;
                let half = input.rows() * d_inner;
                let mut output = zeros::<T>(OP, 2 * half)?; // x, then z
                let (x, z) = output.split_at_mut(half);
                let args = InProj::<Cpu, T> {
                    input,
                    weight: &self.weight,
                    bias: self.bias.as_deref(),
                    x: Rows::new(x, input.rows(), d_inner)?,
                    z: Rows::new(z, input.rows(), d_inner)?,
                };
                with_workspace(|workspace| self.cpu.in_proj(args, workspace))?;
                let mut dims = layout.dims().to_vec();
                dims.pop();
                dims.push(d_inner);
                dims.insert(0, 2);
                Ok((T::to_cpu_storage_owned(output), Shape::from(dims)))
            };
            input.apply_op1_no_bwd(&Forward { op: OP, body })
        })?;
        Ok((both.get(0)?, both.get(1)?))
    }
}

impl Module for PackedLinear {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        self.forward_with(input, Epilogue::Store)
    }
}
