//! [`TensorBackend`]: what runs the ops on candle's tensors, and the storage of tensors as its arrays.

use super::arrays::{Number, by_dtype, rows};
use crate::arrays::Error;
use crate::arrays::host::zeros;
use crate::backend::Backend;
use crate::cpu::{Cpu, Workspace};
use candle_core::{CpuStorage, CudaStorage, Device, MetalStorage, Result, Storage, Tensor, WithDType};
use std::cell::RefCell;

/// What runs the ops on candle's tensors: a [`Cpu`](crate::Cpu) for tensors in the host's memory, and with the feature
/// `candle-cuda` a `Cuda` of this module for those of one CUDA device. It is this crate's alone to implement.
pub trait TensorBackend: OnStorage {}

impl<O: OnStorage> TensorBackend for O {}

/// The storage of a tensor that is read. candle hands out one kind or the other, not the enum of both.
#[derive(Debug, Clone, Copy)]
pub enum Held<'a> {
    Cpu(&'a CpuStorage),
    Cuda(&'a CudaStorage),
    Metal(&'a MetalStorage),
}

/// The storage of a tensor that is updated.
#[derive(Debug)]
pub enum HeldMut<'a> {
    Cpu(&'a mut CpuStorage),
    Cuda(&'a mut CudaStorage),
    Metal(&'a mut MetalStorage),
}

impl<'a> From<&'a Storage> for Held<'a> {
    fn from(storage: &'a Storage) -> Self {
        match storage {
            Storage::Cpu(storage) => Self::Cpu(storage),
            Storage::Cuda(storage) => Self::Cuda(storage),
            Storage::Metal(storage) => Self::Metal(storage),
        }
    }
}

impl<'a> HeldMut<'a> {
    pub fn device(&self) -> &'static str {
        match self {
            Self::Cpu(_) => "cpu",
            Self::Cuda(_) => "cuda",
            Self::Metal(_) => "metal",
        }
    }
}

impl Held<'_> {
    pub fn device(&self) -> &'static str {
        match self {
            Self::Cpu(_) => "cpu",
            Self::Cuda(_) => "cuda",
            Self::Metal(_) => "metal",
        }
    }
}

pub(super) type View<'a, O, T> = <<O as OnStorage>::Backend as Backend>::View<'a, T>;
pub(super) type ViewMut<'a, O, T> = <<O as OnStorage>::Backend as Backend>::ViewMut<'a, T>;
type WorkspaceOf<O> = <<O as OnStorage>::Backend as Backend>::Workspace;

/// A backend together with what it needs to take and make the storage of tensors.
pub trait OnStorage: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// What runs the ops.
    type Backend: Backend + Clone + std::fmt::Debug;
    /// An output until it becomes storage.
    type Output<T: Number>;
    /// That an array is in use, for as long as work on it is being handed over.
    type Use<'a>;

    /// What runs the ops.
    fn backend(&self) -> &Self::Backend;

    /// Where its tensors are.
    fn device(&self) -> Device;

    /// The elements of a storage.
    fn view<'a, T: Number>(
        &'a self,
        op: &'static str,
        name: &'static str,
        storage: Held<'a>,
    ) -> Result<(View<'a, Self, T>, Self::Use<'a>)>;

    /// The elements of a storage of f32, to be updated.
    fn view_mut<'a>(
        &'a self,
        op: &'static str,
        name: &'static str,
        storage: HeldMut<'a>,
    ) -> Result<(ViewMut<'a, Self, f32>, Self::Use<'a>)>;

    /// An array of `len` zeros.
    fn output<T: Number>(&self, op: &'static str, len: usize) -> Result<Self::Output<T>>;

    /// The elements of an output.
    fn output_view<'a, T: Number>(
        &'a self,
        output: &'a mut Self::Output<T>,
    ) -> Result<(ViewMut<'a, Self, T>, Self::Use<'a>)>;

    /// The first half of an output, and the second.
    fn halves<'a, T: Number>(
        &'a self,
        output: ViewMut<'a, Self, T>,
    ) -> Result<(ViewMut<'a, Self, T>, ViewMut<'a, Self, T>)>;

    /// The output as storage.
    fn storage_of<T: Number>(&self, output: Self::Output<T>) -> Storage;

    /// Runs an op with this thread's scratch memory.
    fn with_workspace(&self, op: impl FnOnce(&mut WorkspaceOf<Self>) -> Result<()>) -> Result<()>;
}

/// The error for a tensor that is not where the backend works.
pub(super) fn elsewhere(
    op: &'static str,
    name: &'static str,
    expected: &str,
    found: &str,
) -> candle_core::Error {
    let reason = format!("{op} was given a backend for {expected}, and `{name}` is on {found}");
    Error::Unavailable { backend: found.into(), reason }.into()
}

/// The error for a tensor of another type.
pub(super) fn another_type<T: Number>(op: &'static str, name: &'static str) -> candle_core::Error {
    Error::argument(op, name, <T as WithDType>::DTYPE.as_str(), "another type").into()
}

/// The elements of a storage in the host's memory.
pub(super) fn on_host<'a, T: Number>(
    op: &'static str,
    name: &'static str,
    storage: Held<'a>,
) -> Result<&'a [T]> {
    let Held::Cpu(storage) = storage else {
        return Err(elsewhere(op, name, "the CPU", storage.device()));
    };
    storage.as_slice::<T>().map_err(|_| another_type::<T>(op, name))
}

/// Packs a matrix in the host's memory.
pub(super) fn packed<B: Backend>(op: &'static str, backend: &B, weight: &Tensor) -> Result<B::Weights> {
    by_dtype!(op, "weight", weight, T => {
        let (storage, layout) = weight.storage_and_layout();
        let data = on_host::<T>(op, "weight", Held::from(&*storage))?;
        Ok(backend.pack(rows(op, "weight", data, layout)?)?)
    })
}

impl OnStorage for Cpu {
    type Backend = Cpu;
    type Output<T: Number> = Vec<T>;
    type Use<'a> = ();

    fn backend(&self) -> &Cpu {
        self
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn view<'a, T: Number>(
        &'a self,
        op: &'static str,
        name: &'static str,
        storage: Held<'a>,
    ) -> Result<(&'a [T], ())> {
        Ok((on_host(op, name, storage)?, ()))
    }

    fn view_mut<'a>(
        &'a self,
        op: &'static str,
        name: &'static str,
        storage: HeldMut<'a>,
    ) -> Result<(&'a mut [f32], ())> {
        match storage {
            HeldMut::Cpu(CpuStorage::F32(data)) => Ok((data, ())),
            HeldMut::Cpu(_) => Err(another_type::<f32>(op, name)),
            other => Err(elsewhere(op, name, "the CPU", other.device())),
        }
    }

    fn output<T: Number>(&self, op: &'static str, len: usize) -> Result<Vec<T>> {
        Ok(zeros(op, len)?)
    }

    fn output_view<'a, T: Number>(&'a self, output: &'a mut Vec<T>) -> Result<(&'a mut [T], ())> {
        Ok((output, ()))
    }

    fn halves<'a, T: Number>(&'a self, output: &'a mut [T]) -> Result<(&'a mut [T], &'a mut [T])> {
        Ok(output.split_at_mut(output.len() / 2))
    }

    fn storage_of<T: Number>(&self, output: Vec<T>) -> Storage {
        Storage::Cpu(T::to_cpu_storage_owned(output))
    }

    fn with_workspace(&self, op: impl FnOnce(&mut Workspace) -> Result<()>) -> Result<()> {
        thread_local!(static WORKSPACE: RefCell<Workspace> = RefCell::default());
        WORKSPACE.with_borrow_mut(op)
    }
}
