//! [`Call`]: an op on the storage of several tensors, each locked once, as a custom op of candle.

use super::arrays::{Number, rows, untracked, values};
use super::device::{Held, HeldMut, OnStorage, View, ViewMut};
use crate::arrays::Rows;
use crate::arrays::{Error, checked_product};
use crate::backend::Backend;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, InplaceOp1, Layout, MetalStorage};
use candle_core::{Result, Shape, Storage, StorageRef, Tensor, TensorId};
use std::cell::{Cell, RefCell};

/// The tensors of an op. Its output has the type of `input`.
pub(super) struct Call<'a> {
    pub op: &'static str,
    pub input: (&'static str, &'a Tensor),
    /// Of f32 and contiguous, updated in place. It shares storage with none that is read.
    pub target: Option<(&'static str, &'a Tensor)>,
    /// What is read besides.
    pub read: &'a [Option<&'a Tensor>],
    /// The shape of the output.
    pub shape: Vec<usize>,
}

/// The arrays of a [`Call`].
pub(super) struct Arrays<'a, O: OnStorage, T: Number> {
    pub input: Rows<View<'a, O, T>>,
    pub target: Option<ViewMut<'a, O, f32>>,
    pub output: ViewMut<'a, O, T>,
}

type Guard<'a> = (usize, StorageRef<'a>);

/// The storages that are read, and which tensor has which.
///
/// A lock that a thread holds for reading must not be taken by it again: where another thread waits to write, the second
/// turn waits for that one, which waits for the first. And threads that take several locks must take them in one order,
/// which is candle's: that of the addresses. So each storage is locked once, those below the one that candle itself
/// locks for the op before it, the others after.
pub(super) struct Reads<'a, O: OnStorage> {
    op: &'static str,
    ops: &'a O,
    locked: Locked<'a>,
    uses: RefCell<Vec<O::Use<'a>>>,
}

/// Tensors, where their storage is, and the storages.
#[derive(Clone, Copy)]
struct Locked<'a> {
    places: &'a [(TensorId, usize)],
    /// Locked by candle.
    own: Option<(usize, Held<'a>)>,
    guards: [&'a [Guard<'a>]; 2],
}

impl<'a, O: OnStorage> Reads<'a, O> {
    fn view<T: Number>(&self, name: &'static str, tensor: &Tensor) -> Result<View<'a, O, T>> {
        let missing = || Error::argument(self.op, name, "a tensor that was locked", "another");
        let (_, place) = *self.locked.places.iter().find(|(id, _)| *id == tensor.id()).ok_or_else(missing)?;
        let storage = match self.locked.own {
            Some((own, held)) if own == place => held,
            _ => {
                let mut guards = self.locked.guards.into_iter().flatten();
                let (_, guard) = guards.find(|(address, _)| *address == place).ok_or_else(missing)?;
                Held::from(&**guard)
            }
        };
        let (view, in_use) = self.ops.view(self.op, name, storage)?;
        self.uses.borrow_mut().push(in_use);
        Ok(view)
    }

    /// A matrix, or matrices one after the other.
    pub fn rows<T: Number>(&self, name: &'static str, tensor: &Tensor) -> Result<Rows<View<'a, O, T>>> {
        Ok(rows(self.op, name, self.view(name, tensor)?, tensor.layout())?)
    }

    /// All elements of a contiguous tensor of f32.
    pub fn values(&self, name: &'static str, tensor: &Tensor) -> Result<View<'a, O, f32>> {
        Ok(values(self.op, name, self.view(name, tensor)?, tensor.layout())?)
    }

    /// [`Reads::values`] where there is a tensor.
    pub fn optional(&self, name: &'static str, tensor: Option<&Tensor>) -> Result<Option<View<'a, O, f32>>> {
        tensor.map(|tensor| self.values(name, tensor)).transpose()
    }
}

/// Scratch memory of what runs an op.
pub(super) type Workspace<O> = <<O as OnStorage>::Backend as Backend>::Workspace;

/// Where the storage of a tensor is. The lock is given back at once.
fn address(tensor: &Tensor) -> usize {
    std::ptr::from_ref::<Storage>(&tensor.storage_and_layout().0).addr()
}

fn lock<'a>(tensors: &[(usize, &'a Tensor)]) -> Vec<Guard<'a>> {
    tensors.iter().map(|(place, tensor)| (*place, tensor.storage_and_layout().0)).collect()
}

/// Which storages are to be locked, and when.
struct Plan<'a> {
    places: Vec<(TensorId, usize)>,
    /// The storage that candle locks for the op.
    own: usize,
    /// The others, in order.
    below: Vec<(usize, &'a Tensor)>,
    above: Vec<(usize, &'a Tensor)>,
}

impl<'a> Call<'a> {
    fn plan(&self) -> Result<Plan<'a>> {
        let (_, input) = self.input;
        let read: Vec<&Tensor> = self.read.iter().flatten().copied().chain([input]).collect();
        for tensor in read.iter().copied().chain(self.target.map(|(_, target)| target)) {
            untracked(self.op, tensor)?;
        }
        let places: Vec<_> = read.iter().map(|tensor| (tensor.id(), address(tensor))).collect();
        let own = address(self.target.map_or(input, |(_, target)| target));
        let mut others: Vec<_> = places.iter().map(|(_, place)| *place).zip(read).collect();
        others.sort_by_key(|(place, _)| *place);
        others.dedup_by_key(|(place, _)| *place);
        let (below, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|(place, _)| *place < own);
        let (shared, above): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(place, _)| *place == own);
        match self.target {
            Some((name, _)) if !shared.is_empty() => {
                let found = "the storage of a tensor that the op reads";
                Err(Error::argument(self.op, name, "storage of its own", found).into())
            }
            _ => Ok(Plan { places, own, below, above }),
        }
    }

    /// Runs an op: `body` gets its arrays, what else it reads by name, and `with`, whose lifetime is that of the arrays.
    pub fn run<O: OnStorage, T: Number, E>(
        &self,
        ops: &O,
        with: &E,
        body: impl for<'x> Fn(Arrays<'x, O, T>, &Reads<'x, O>, &'x E, &mut Workspace<O>) -> Result<()>,
    ) -> Result<Tensor> {
        let (_, input) = self.input;
        let plan = self.plan()?;
        let below = lock(&plan.below);
        let shape = || Shape::from(self.shape.as_slice());
        let Some((_, target)) = self.target else {
            let body = |held: Held<'_>| {
                let above = lock(&plan.above);
                let own = Some((plan.own, held));
                let locked = Locked { places: &plan.places, own, guards: [&below, &above] };
                Ok((self.compute(ops, locked, None, with, &body)?, shape()))
            };
            return input.apply_op1_no_bwd(&Forward { op: self.op, body });
        };
        let output = Cell::new(None);
        let body = |target: HeldMut<'_>| {
            let above = lock(&plan.above);
            let locked = Locked { places: &plan.places, own: None, guards: [&below, &above] };
            output.set(Some(self.compute(ops, locked, Some(target), with, &body)?));
            Ok(())
        };
        target.inplace_op1(&Update { op: self.op, body })?;
        drop(below);
        // a custom op is how storage becomes a tensor
        let body = |_: Held<'_>| {
            let output = output.take();
            let output = output.ok_or_else(|| Error::argument(self.op, "output", "one", "none"))?;
            Ok((output, shape()))
        };
        input.apply_op1_no_bwd(&Forward { op: self.op, body })
    }

    fn compute<O: OnStorage, T: Number, E>(
        &self,
        ops: &O,
        locked: Locked<'_>,
        target: Option<HeldMut<'_>>,
        with: &E,
        body: impl for<'x> Fn(Arrays<'x, O, T>, &Reads<'x, O>, &'x E, &mut Workspace<O>) -> Result<()>,
    ) -> Result<Storage> {
        let len = checked_product(self.op, self.input.0, &self.shape)?;
        let mut output = ops.output::<T>(self.op, len)?;
        self.fill(ops, locked, target, &mut output, with, body)?;
        Ok(ops.storage_of(output))
    }

    fn fill<'r, O: OnStorage, T: Number, E>(
        &self,
        ops: &'r O,
        locked: Locked<'r>,
        target: Option<HeldMut<'r>>,
        output: &'r mut O::Output<T>,
        with: &'r E,
        body: impl for<'x> Fn(Arrays<'x, O, T>, &Reads<'x, O>, &'x E, &mut Workspace<O>) -> Result<()>,
    ) -> Result<()> {
        let (name, input) = self.input;
        let reads = Reads { op: self.op, ops, locked, uses: RefCell::default() };
        let input = reads.rows(name, input)?;
        let (target, _target_in_use) = match (self.target, target) {
            (Some((name, tensor)), Some(held)) => {
                let (view, in_use) = ops.view_mut(self.op, name, held)?;
                (Some(values(self.op, name, view, tensor.layout())?), Some(in_use))
            }
            _ => (None, None),
        };
        let (output, _output_in_use) = ops.output_view(output)?;
        ops.with_workspace(|workspace| body(Arrays { input, target, output }, &reads, with, workspace))
    }
}

/// A custom op that makes a new tensor from one that is read.
struct Forward<F> {
    op: &'static str,
    body: F,
}

impl<F: Fn(Held<'_>) -> Result<(Storage, Shape)>> CustomOp1 for Forward<F> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match (self.body)(Held::Cpu(storage))? {
            (Storage::Cpu(output), shape) => Ok((output, shape)),
            _ => Err(moved(self.op)),
        }
    }

    fn cuda_fwd(&self, storage: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        match (self.body)(Held::Cuda(storage))? {
            (Storage::Cuda(output), shape) => Ok((output, shape)),
            _ => Err(moved(self.op)),
        }
    }

    fn metal_fwd(&self, storage: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        match (self.body)(Held::Metal(storage))? {
            (Storage::Metal(output), shape) => Ok((output, shape)),
            _ => Err(moved(self.op)),
        }
    }
}

/// A backend takes storage of its own kind only, and makes the same.
fn moved(op: &'static str) -> candle_core::Error {
    Error::argument(op, "output", "storage where the input is", "another device").into()
}

/// A custom op that reads and writes one tensor in place.
struct Update<F> {
    op: &'static str,
    body: F,
}

impl<F: Fn(HeldMut<'_>) -> Result<()>> InplaceOp1 for Update<F> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        (self.body)(HeldMut::Cpu(storage))
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
        (self.body)(HeldMut::Cuda(storage))
    }

    fn metal_fwd(&self, storage: &mut MetalStorage, _: &Layout) -> Result<()> {
        (self.body)(HeldMut::Metal(storage))
    }
}
