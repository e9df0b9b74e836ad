//! [`Call`]: runs an op of mamba-kernels on the storages of its tensors.

use crate::backend::{StorageAccess, View, ViewMut, Workspace};
use crate::element::TensorElement;
use crate::error::argument;
use crate::layout::values;
use crate::locks::{LockPlan, Locked, Reads};
use crate::storage::DeviceStorageMut;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CudaStorage, InplaceOp1, Layout, MetalStorage, Result, Shape, Tensor};
use mamba_kernels::Rows;
use std::cell::Cell;

/// The tensors of an op with `N` outputs, all of the element type of `input`.
pub(crate) struct Call<'a, const N: usize> {
    pub op: &'static str,
    pub input: (&'static str, &'a Tensor),
    /// A contiguous tensor of f32 that is updated in place. It shares storage with none that is read.
    pub target: Option<(&'static str, &'a Tensor)>,
    /// What the op reads besides `input`.
    pub read: &'a [Option<&'a Tensor>],
    /// The dimensions of each output.
    pub outputs: [Vec<usize>; N],
}

/// The arrays of a [`Call`].
pub(crate) struct Arrays<'a, O: StorageAccess, T: TensorElement, const N: usize> {
    pub input: Rows<View<'a, O, T>>,
    pub target: Option<ViewMut<'a, O, f32>>,
    pub outputs: [ViewMut<'a, O, T>; N],
}

/// What a [`Call`] runs once its storages are locked.
pub(crate) trait TensorOp<O: StorageAccess, T: TensorElement, const N: usize> {
    /// Runs the op on its arrays; the other tensors are read by name.
    fn run<'x>(
        &'x self,
        arrays: Arrays<'x, O, T, N>,
        reads: &Reads<'x, O>,
        workspace: &mut Workspace<O>,
    ) -> Result<()>;
}

/// Outputs before they become tensors, with their dimensions.
type Outputs<O, T, const N: usize> = [(<O as StorageAccess>::Output<T>, Shape); N];

impl<'a, const N: usize> Call<'a, N> {
    /// Runs the op and returns its outputs.
    pub fn run<O: StorageAccess, T: TensorElement>(
        &self,
        backend: &O,
        op: &impl TensorOp<O, T, N>,
    ) -> Result<[Tensor; N]> {
        let plan = &self.plan()?;
        let mut outputs = self.allocate::<O, T>(backend)?;
        let before = &plan.lock_before()[..];
        match self.target {
            None => self.compute(backend, Locked { plan, guards: [before, &[]] }, None, &mut outputs, op)?,
            Some((_, target)) => {
                // candle calls the body once, but by a shared reference
                let unused = Cell::new(Some(&mut outputs));
                let body = |target: DeviceStorageMut<'_>| {
                    let outputs =
                        unused.take().ok_or_else(|| argument(self.op, "output", "one call", "two"))?;
                    let locked = Locked { plan, guards: [before, &plan.lock_after()] };
                    self.compute(backend, locked, Some(target), outputs, op)
                };
                target.inplace_op1(&Update { op: self.op, body })?;
            }
        }
        Ok(outputs.map(|(output, shape)| {
            Tensor::from_storage(backend.storage_of(output), shape, BackpropOp::none(), false)
        }))
    }

    fn plan(&self) -> Result<LockPlan<'a>> {
        let target = self.target.map(|(_, target)| target);
        let read: Vec<&Tensor> = self.read.iter().flatten().copied().chain([self.input.1]).collect();
        if read.iter().copied().chain(target).any(Tensor::track_op) {
            return Err(candle_core::Error::BackwardNotSupported { op: self.op }.bt());
        }
        let plan = LockPlan::new(&read, target);
        match self.target {
            Some((name, _)) if plan.target_is_read => {
                let found = "the storage of a tensor that the op reads";
                Err(argument(self.op, name, "storage of its own", found))
            }
            _ => Ok(plan),
        }
    }

    fn allocate<O: StorageAccess, T: TensorElement>(&self, backend: &O) -> Result<Outputs<O, T, N>> {
        try_map(self.outputs.each_ref(), |dims| {
            let len = dims.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim)).ok_or_else(|| {
                let found = format_args!("the product of {dims:?}").to_string();
                argument(self.op, self.input.0, "a size that fits in memory", found)
            })?;
            Ok((backend.output::<T>(len)?, Shape::from(&dims[..])))
        })
    }

    fn compute<'r, O: StorageAccess, T: TensorElement>(
        &self,
        backend: &'r O,
        locked: Locked<'r>,
        target: Option<DeviceStorageMut<'r>>,
        outputs: &'r mut Outputs<O, T, N>,
        op: &'r impl TensorOp<O, T, N>,
    ) -> Result<()> {
        let (name, input) = self.input;
        let reads = Reads::new(self.op, backend, locked);
        let input = reads.rows(name, input)?;
        let target = match (self.target, target) {
            (Some((name, tensor)), Some(storage)) => {
                let (view, in_use) = backend.view_mut(self.op, name, storage)?;
                Some((values(self.op, name, view, tensor.layout())?, in_use))
            }
            _ => None,
        };
        let outputs = try_map(outputs.each_mut(), |(output, _)| backend.output_view(output))?;
        // the guards outlive the call
        let (target, _target_in_use) = target.unzip();
        let mut in_use = Vec::with_capacity(N);
        let outputs = outputs.map(|(view, guard)| {
            in_use.push(guard);
            view
        });
        backend.with_workspace(|workspace| op.run(Arrays { input, target, outputs }, &reads, workspace))
    }
}

/// The array of the results of `f`, or one of its errors.
fn try_map<T, U, const N: usize>(array: [T; N], mut f: impl FnMut(T) -> Result<U>) -> Result<[U; N]> {
    let mut error = None;
    let mapped = array.map(|item| f(item).map_err(|e| error = Some(e)).ok());
    match error {
        Some(error) => Err(error),
        None => Ok(mapped.map(|item| item.expect("no call has failed"))),
    }
}

/// A custom op that updates one tensor in place.
struct Update<F> {
    op: &'static str,
    body: F,
}

impl<F: Fn(DeviceStorageMut<'_>) -> Result<()>> InplaceOp1 for Update<F> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        (self.body)(DeviceStorageMut::Cpu(storage))
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
        (self.body)(DeviceStorageMut::Cuda(storage))
    }

    fn metal_fwd(&self, storage: &mut MetalStorage, _: &Layout) -> Result<()> {
        (self.body)(DeviceStorageMut::Metal(storage))
    }
}
