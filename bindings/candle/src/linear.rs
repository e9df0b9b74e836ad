//! The matrix products on tensors.

use super::arrays::{Number, by_dtype, values};
use super::call::{Arrays, Call};
use super::device::{Held, OnStorage, TensorBackend, on_host, packed};
use crate::arrays::Rows;
use crate::backend::{Backend, WeightMatrix};
use crate::cpu::Cpu;
use crate::ops::{Epilogue, InProj, Linear};
use candle_core::{Device, Module, Result, Tensor};
use std::fmt;
use std::sync::Arc;

type Weights<O> = <<O as OnStorage>::Backend as Backend>::Weights;
type Buffer<O> = <<O as OnStorage>::Backend as Backend>::Buffer<f32>;

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
    /// `[out_features]` of f32. Both may be on any device: they are copied.
    ///
    /// # Errors
    /// For another shape, type or layout. A `Var` is packed as it is now: later changes of it are not seen.
    pub fn new(backend: &O, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        const OP: &str = "PackedLinear";
        let weight = &weight.detach().to_device(&Device::Cpu)?;
        let weight = packed(OP, backend.backend(), weight)?;
        let bias = bias.map(|bias| bias.detach().to_device(&Device::Cpu)).transpose()?;
        let bias = bias.map(|bias| {
            let (storage, layout) = bias.storage_and_layout();
            let data = on_host::<f32>(OP, "bias", Held::from(&*storage))?;
            Ok::<_, candle_core::Error>(backend.backend().upload(values(OP, "bias", data, layout)?)?)
        });
        let bias = bias.transpose()?.map(Arc::new);
        Ok(Self { backend: backend.clone(), weight: Arc::new(weight), bias })
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
        let features = self.weight.rows();
        let mut shape = input.dims().to_vec();
        shape.pop();
        shape.push(features);
        let call = Call { op: "linear", input: ("input", input), target: None, read: &[], shape };
        call.run::<O, T, _>(&self.backend, self, |Arrays { input, output, .. }, _, with, workspace| {
            let backend = with.backend.backend();
            let args = Linear::<O::Backend, T, T> {
                input,
                weight: &*with.weight,
                bias: with.bias.as_ref().map(|bias| backend.view(bias)),
                epilogue,
                output: Rows::new(output, input.rows(), features)?,
            };
            Ok(backend.linear(args, workspace)?)
        })
    }

    /// `in_proj`: the two halves of `input · weightᵀ + bias`, each of its own and contiguous. The weight is
    /// `[2 * d_inner, d_model]`.
    ///
    /// # Errors
    /// As [`InProj::validate`] says, and as [`PackedLinear::forward_with`].
    pub fn in_proj(&self, input: &Tensor) -> Result<(Tensor, Tensor)> {
        let both = by_dtype!("in_proj", "input", input, T => self.both::<T>(input))?;
        Ok((both.get(0)?, both.get(1)?))
    }

    /// x, then z.
    fn both<T: Number>(&self, input: &Tensor) -> Result<Tensor> {
        let d_inner = self.weight.rows() / 2;
        let mut shape = input.dims().to_vec();
        shape.pop();
        shape.push(d_inner);
        shape.insert(0, 2);
        let call = Call { op: "in_proj", input: ("input", input), target: None, read: &[], shape };
        call.run::<O, T, _>(&self.backend, self, |Arrays { input, output, .. }, _, with, workspace| {
            let backend = with.backend.backend();
            let (x, z) = with.backend.halves(output)?;
            let args = InProj::<O::Backend, T> {
                input,
                weight: &*with.weight,
                bias: with.bias.as_ref().map(|bias| backend.view(bias)),
                x: Rows::new(x, input.rows(), d_inner)?,
                z: Rows::new(z, input.rows(), d_inner)?,
            };
            Ok(backend.in_proj(args, workspace)?)
        })
    }
}

impl<O: TensorBackend> Module for PackedLinear<O> {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        self.forward_with(input, Epilogue::Store)
    }
}
