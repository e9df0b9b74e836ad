//! The matrix products on tensors.

use crate::backend::{Buffer, TensorBackend, View, Weights, Workspace, packed};
use crate::custom_op::{Arrays, Call, TensorOp};
use crate::element::{TensorElement, with_tensor_type};
use crate::error::OrCandle;
use crate::layout::{values, with_columns};
use crate::locks::Reads;
use crate::storage::{DeviceStorage, on_host};
use candle_core::{Device, Module, Result, Tensor};
use mamba_kernels::ops::{Epilogue, InProj, Linear};
use mamba_kernels::{Backend, Cpu, Rows, WeightMatrix};
use std::fmt;
use std::sync::Arc;

/// A weight matrix, packed once, with a bias. Clones share it.
pub struct PackedLinear<O: TensorBackend = Cpu> {
    backend: O,
    weight: Arc<Weights<O>>,
    bias: Option<Arc<Buffer<O>>>,
}

impl<O: TensorBackend> Clone for PackedLinear<O> {
    fn clone(&self) -> Self {
        let Self { backend, weight, bias } = self;
        Self { backend: backend.clone(), weight: weight.clone(), bias: bias.clone() }
    }
}

impl<O: TensorBackend> fmt::Debug for PackedLinear<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, cols, bias) = (self.weight.rows(), self.weight.cols(), self.bias.is_some());
        let mut shown = f.debug_struct("PackedLinear");
        shown.field("out_features", &rows).field("in_features", &cols).field("bias", &bias);
        shown.finish_non_exhaustive()
    }
}

impl<O: TensorBackend> PackedLinear<O> {
    /// Packs `weight`, `[out_features, in_features]` in f32, f16 or bf16, which keeps its type. The bias is
    /// `[out_features]` of f32. Both may be on any device: they are copied,
    /// so later changes of a `Var` have no effect.
    ///
    /// # Errors
    /// For another shape, type or layout.
    pub fn new(backend: &O, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        const OP: &str = "PackedLinear";
        let weight = &weight.detach().to_device(&Device::Cpu)?;
        let weight = packed(OP, backend.backend(), weight, None)?;
        let bias = bias.map(|bias| bias.detach().to_device(&Device::Cpu)).transpose()?;
        let bias = bias.map(|bias| {
            let (storage, layout) = bias.storage_and_layout();
            let data = on_host::<f32>(OP, "bias", DeviceStorage::from(&*storage))?;
            backend.backend().upload(values(OP, "bias", data, layout)?).or_candle()
        });
        let bias = bias.transpose()?.map(Arc::new);
        Ok(Self { backend: backend.clone(), weight: Arc::new(weight), bias })
    }

    /// `epilogue(input · weightᵀ + bias)`, in the type of the input. [`Epilogue::Residual`] adds to zeros, as
    /// [`Epilogue::Store`] does.
    ///
    /// # Errors
    /// As [`Linear::validate`] says; for an unsupported layout, type or device; and
    /// `BackwardNotSupported` for a tensor that records operations.
    pub fn forward_with(&self, input: &Tensor, epilogue: Epilogue) -> Result<Tensor> {
        with_tensor_type!("linear", "input", input, T => {
            let call = self.call("linear", input, [with_columns(input, self.weight.rows())]);
            let [output] = call.run::<O, T>(&self.backend, &Product { linear: self, epilogue })?;
            Ok(output)
        })
    }

    /// `in_proj`: the two halves of `input · weightᵀ + bias`, each a contiguous tensor of its own. The weight is
    /// `[2 * d_inner, d_model]`.
    ///
    /// # Errors
    /// As [`InProj::validate`] says, and as [`PackedLinear::forward_with`].
    pub fn in_proj(&self, input: &Tensor) -> Result<(Tensor, Tensor)> {
        let half = with_columns(input, self.weight.rows() / 2);
        with_tensor_type!("in_proj", "input", input, T => {
            let call = self.call("in_proj", input, [half.clone(), half]);
            let [x, z] = call.run::<O, T>(&self.backend, &SplitProduct { linear: self })?;
            Ok((x, z))
        })
    }

    fn call<'a, const N: usize>(
        &self,
        op: &'static str,
        input: &'a Tensor,
        outputs: [Vec<usize>; N],
    ) -> Call<'a, N> {
        Call { op, input: ("input", input), target: None, read: &[], outputs }
    }

    fn bias(&self) -> Option<View<'_, O, f32>> {
        self.bias.as_ref().map(|bias| self.backend.backend().view(bias))
    }
}

struct Product<'a, O: TensorBackend> {
    linear: &'a PackedLinear<O>,
    epilogue: Epilogue,
}

impl<O: TensorBackend, T: TensorElement> TensorOp<O, T, 1> for Product<'_, O> {
    fn run<'x>(
        &'x self,
        Arrays { input, outputs: [output], .. }: Arrays<'x, O, T, 1>,
        _: &Reads<'x, O>,
        workspace: &mut Workspace<O>,
    ) -> Result<()> {
        let Self { linear, epilogue } = self;
        let args = Linear::<O::Backend, T, T> {
            input,
            weight: &*linear.weight,
            bias: linear.bias(),
            epilogue: *epilogue,
            output: Rows::new(output, input.rows(), linear.weight.rows()).or_candle()?,
        };
        linear.backend.backend().linear(args, workspace).or_candle()
    }
}

struct SplitProduct<'a, O: TensorBackend> {
    linear: &'a PackedLinear<O>,
}

impl<O: TensorBackend, T: TensorElement> TensorOp<O, T, 2> for SplitProduct<'_, O> {
    fn run<'x>(
        &'x self,
        Arrays { input, outputs: [x, z], .. }: Arrays<'x, O, T, 2>,
        _: &Reads<'x, O>,
        workspace: &mut Workspace<O>,
    ) -> Result<()> {
        let Self { linear } = self;
        let (tokens, d_inner) = (input.rows(), linear.weight.rows() / 2);
        let args = InProj::<O::Backend, T, 2> {
            input,
            weight: &*linear.weight,
            bias: linear.bias(),
            outputs: [Rows::new(x, tokens, d_inner).or_candle()?, Rows::new(z, tokens, d_inner).or_candle()?],
        };
        linear.backend.backend().in_proj(args, workspace).or_candle()
    }
}

impl<O: TensorBackend> Module for PackedLinear<O> {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        self.forward_with(input, Epilogue::Store)
    }
}
