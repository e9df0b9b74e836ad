//! Storage of tensors as [`Rows`] and slices, and the custom ops that run over it.

use crate::cpu::Workspace;
use crate::element::Element;
use crate::error::Error;
use crate::rows::Rows;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Device, InplaceOp1, Layout, MetalStorage};
use candle_core::{Result, Shape, Storage, StorageRef, Tensor, WithDType};
use std::cell::RefCell;

/// A storage type that both crates know.
pub(super) trait Number: Element + WithDType {}

impl Number for f32 {}
impl Number for half::f16 {}
impl Number for half::bf16 {}

/// Compiles a body for each storage type and runs that of a tensor.
macro_rules! by_dtype {
    ($op:expr, $name:expr, $tensor:expr, $t:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F16 => {
                type $t = half::f16;
                $body
            }
            candle_core::DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            other => {
                let found = other.as_str();
                Err(crate::error::Error::argument($op, $name, "f32, f16 or bf16", found).into())
            }
        }
    };
}
pub(super) use by_dtype;

/// Runs an op with this thread's scratch memory.
pub(super) fn with_workspace(op: impl FnOnce(&mut Workspace) -> crate::Result<()>) -> Result<()> {
    thread_local!(static WORKSPACE: RefCell<Workspace> = RefCell::default());
    Ok(WORKSPACE.with_borrow_mut(op)?)
}

fn cpu_only(op: &'static str, backend: &str) -> candle_core::Error {
    let reason = format!("{op} under candle runs on the CPU so far; move the tensor with `to_device`");
    Error::Unavailable { backend: backend.into(), reason }.into()
}

/// A custom op that makes a new tensor from one that is read.
pub(super) struct Forward<F> {
    pub op: &'static str,
    pub body: F,
}

impl<F: Fn(&CpuStorage, &Layout) -> Result<(CpuStorage, Shape)>> CustomOp1 for Forward<F> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        (self.body)(storage, layout)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        Err(cpu_only(self.op, "cuda"))
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        Err(cpu_only(self.op, "metal"))
    }
}

/// A custom op that reads and writes one tensor of f32 in place.
struct Update<F> {
    op: &'static str,
    argument: &'static str,
    body: RefCell<Option<F>>,
}

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Update<F> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let range = contiguous(self.op, self.argument, layout)?;
        let CpuStorage::F32(data) = storage else {
            return Err(Error::argument(self.op, self.argument, "f32", "another type").into());
        };
        match self.body.take() {
            Some(body) => body(&mut data[range]),
            None => Ok(()),
        }
    }

    fn cuda_fwd(&self, _: &mut CudaStorage, _: &Layout) -> Result<()> {
        Err(cpu_only(self.op, "cuda"))
    }

    fn metal_fwd(&self, _: &mut MetalStorage, _: &Layout) -> Result<()> {
        Err(cpu_only(self.op, "metal"))
    }
}

/// Runs `body` over the elements of `target`, which it may change. `read` are the tensors that it reads: none may share
/// the storage of `target`.
pub(super) fn update(
    op: &'static str,
    name: &'static str,
    target: &Tensor,
    read: &[Option<&Tensor>],
    body: impl FnOnce(&mut [f32]) -> Result<()>,
) -> Result<()> {
    untracked(op, target)?;
    // the address says which storage it is; both locks are given back at once
    let address = |tensor: &Tensor| std::ptr::from_ref::<Storage>(&tensor.storage_and_layout().0);
    let target_address = address(target);
    if read.iter().flatten().any(|tensor| address(tensor) == target_address) {
        let found = "the storage of a tensor that the op reads";
        return Err(Error::argument(op, name, "storage of its own", found).into());
    }
    target.inplace_op1(&Update { op, argument: name, body: RefCell::new(Some(body)) })
}

/// Runs an op that makes a tensor like `input`: as a custom op of `input`, or in place over `target`, of which it is told
/// the name, where it updates one. `read` are the tensors that are read besides.
pub(super) fn like<T: Number>(
    op: &'static str,
    (name, input): (&'static str, &Tensor),
    target: Option<(&'static str, &Tensor)>,
    read: &[Option<&Tensor>],
    run: impl Fn(Rows<&[T]>, Option<&mut [f32]>) -> Result<Vec<T>>,
) -> Result<Tensor> {
    let Some((target_name, target)) = target else {
        untracked(op, input)?;
        return input.apply_op1_no_bwd(&Forward {
            op,
            body: |storage: &_, layout: &Layout| {
                let output = run(rows(op, name, storage, layout)?, None)?;
                Ok((T::to_cpu_storage_owned(output), layout.shape().clone()))
            },
        });
    };
    let mut output = Vec::new();
    let read = [&[Some(input)][..], read].concat();
    update(op, target_name, target, &read, |target| {
        output = run(Operand::new(op, name, input)?.rows()?, Some(target))?;
        Ok(())
    })?;
    Tensor::from_vec(output, input.shape(), &Device::Cpu)
}

/// A tensor that is read, with its storage locked.
pub(super) struct Operand<'a> {
    op: &'static str,
    name: &'static str,
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Operand<'a> {
    pub fn new(op: &'static str, name: &'static str, tensor: &'a Tensor) -> Result<Self> {
        untracked(op, tensor)?;
        let (storage, layout) = tensor.storage_and_layout();
        Ok(Self { op, name, storage, layout })
    }

    fn cpu(&self) -> Result<&CpuStorage> {
        match &*self.storage {
            Storage::Cpu(storage) => Ok(storage),
            Storage::Cuda(_) => Err(cpu_only(self.op, "cuda")),
            Storage::Metal(_) => Err(cpu_only(self.op, "metal")),
        }
    }

    /// A matrix, or matrices one after the other.
    pub fn rows<T: Number>(&self) -> Result<Rows<&[T]>> {
        rows(self.op, self.name, self.cpu()?, self.layout)
    }

    /// All elements of a contiguous tensor of f32.
    pub fn values(&self) -> Result<&[f32]> {
        let data = elements::<f32>(self.op, self.name, self.cpu()?)?;
        Ok(&data[contiguous(self.op, self.name, self.layout)?])
    }
}

/// An [`Operand`] where there is a tensor.
pub(super) fn optional<'a>(
    op: &'static str,
    name: &'static str,
    tensor: Option<&'a Tensor>,
) -> Result<Option<Operand<'a>>> {
    tensor.map(|tensor| Operand::new(op, name, tensor)).transpose()
}

/// Refuses a tensor for whose gradient someone will ask.
pub(super) fn untracked(op: &'static str, tensor: &Tensor) -> Result<()> {
    match tensor.track_op() {
        true => Err(candle_core::Error::BackwardNotSupported { op }.bt()),
        false => Ok(()),
    }
}

fn elements<'a, T: Number>(op: &'static str, name: &'static str, storage: &'a CpuStorage) -> Result<&'a [T]> {
    let expected = <T as WithDType>::DTYPE.as_str();
    storage.as_slice::<T>().map_err(|_| Error::argument(op, name, expected, "another type").into())
}

fn contiguous(
    op: &'static str,
    name: &'static str,
    layout: &Layout,
) -> crate::Result<std::ops::Range<usize>> {
    let range = layout.contiguous_offsets().map(|(start, end)| start..end);
    range.ok_or_else(|| Error::argument(op, name, "a contiguous tensor", describe(layout)))
}

fn describe(layout: &Layout) -> String {
    format!("shape {:?} with strides {:?}", layout.dims(), layout.stride())
}

/// A tensor `[rows, cols]` or `[batch, rows, cols]` with contiguous, evenly spaced rows.
pub(super) fn rows<'a, T: Number>(
    op: &'static str,
    name: &'static str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<Rows<&'a [T]>> {
    let data = elements::<T>(op, name, storage)?;
    let (rows, cols, stride, even) = match (layout.dims(), layout.stride()) {
        (&[rows, cols], &[stride, last]) => (rows, cols, stride, last == 1 || cols <= 1),
        (&[batch, rows, cols], &[outer, inner, last]) => {
            let even = batch <= 1 || rows <= 1 || outer == rows * inner;
            let stride = if rows <= 1 { outer } else { inner };
            (batch * rows, cols, stride, even && (last == 1 || cols <= 1))
        }
        _ => return Err(Error::argument(op, name, "two or three dimensions", describe(layout)).into()),
    };
    let stride = if rows <= 1 { cols } else { stride };
    if !even || stride < cols {
        return Err(Error::argument(op, name, "contiguous rows, evenly spaced", describe(layout)).into());
    }
    Ok(Rows::strided(data, layout.start_offset(), rows, cols, stride)?)
}

/// The sequences of a tensor: one for `[tokens, channels]`, `batch` of them for `[batch, tokens, channels]`.
pub(super) fn sequences(tensor: &Tensor) -> crate::Result<crate::Batch> {
    match *tensor.dims() {
        [batch, tokens, _] => crate::Batch::from_lengths(&vec![tokens; batch]),
        [tokens, ..] => Ok(crate::Batch::single(tokens)),
        [] => Ok(crate::Batch::single(0)),
    }
}
