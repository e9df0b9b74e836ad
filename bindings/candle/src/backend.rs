//! [`TensorBackend`]: what runs the ops on candle's tensors.

use crate::element::{TensorElement, with_tensor_type};
use crate::error::OrCandle;
use crate::layout::rows;
use crate::storage::{DeviceStorage, DeviceStorageMut, on_host};
use candle_core::{Device, Result, Storage, Tensor};
use mamba_kernels::{Backend, Memory, WeightFormat};

/// What runs the ops on candle's tensors: a [`Cpu`](mamba_kernels::Cpu) for tensors in host memory, or with the feature
/// `cuda` this crate's `Cuda` for tensors of one CUDA device. It is sealed.
pub trait TensorBackend: StorageAccess {}

impl<O: StorageAccess> TensorBackend for O {}

pub(crate) type View<'a, O, T> = <<O as StorageAccess>::Backend as Memory>::View<'a, T>;
pub(crate) type ViewMut<'a, O, T> = <<O as StorageAccess>::Backend as Memory>::ViewMut<'a, T>;
pub(crate) type Workspace<O> = <<O as StorageAccess>::Backend as Backend>::Workspace;
pub(crate) type Weights<O> = <<O as StorageAccess>::Backend as Memory>::Weights;
pub(crate) type Buffer<O> = <<O as StorageAccess>::Backend as Memory>::Buffer<f32>;

/// A backend and its access to the storage of tensors.
pub trait StorageAccess: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// What runs the ops.
    type Backend: Backend + Clone + std::fmt::Debug;
    /// An output before it becomes storage.
    type Output<T: TensorElement>;
    /// Keeps an array in use while work on it is submitted.
    type Guard<'a>;

    /// What runs the ops.
    fn backend(&self) -> &Self::Backend;

    /// The device of its tensors.
    fn device(&self) -> Device;

    /// The elements of a storage.
    fn view<'a, T: TensorElement>(
        &'a self,
        op: &'static str,
        name: &'static str,
        storage: DeviceStorage<'a>,
    ) -> Result<(View<'a, Self, T>, Self::Guard<'a>)>;

    /// The elements of a storage of f32, to be updated.
    fn view_mut<'a>(
        &'a self,
        op: &'static str,
        name: &'static str,
        storage: DeviceStorageMut<'a>,
    ) -> Result<(ViewMut<'a, Self, f32>, Self::Guard<'a>)>;

    /// An array of `len` zeros.
    fn output<T: TensorElement>(&self, len: usize) -> Result<Self::Output<T>>;

    /// The elements of an output.
    fn output_view<'a, T: TensorElement>(
        &'a self,
        output: &'a mut Self::Output<T>,
    ) -> Result<(ViewMut<'a, Self, T>, Self::Guard<'a>)>;

    /// The output as storage.
    fn storage_of<T: TensorElement>(&self, output: Self::Output<T>) -> Storage;

    /// Runs an op with this thread's scratch memory.
    fn with_workspace(&self, op: impl FnOnce(&mut Workspace<Self>) -> Result<()>) -> Result<()>;
}

/// Packs a matrix in host memory, in a format or in that of its type.
pub(crate) fn packed<B: Backend>(
    op: &'static str,
    backend: &B,
    weight: &Tensor,
    format: Option<WeightFormat>,
) -> Result<B::Weights> {
    with_tensor_type!(op, "weight", weight, T => {
        let (storage, layout) = weight.storage_and_layout();
        let data = on_host::<T>(op, "weight", DeviceStorage::from(&*storage))?;
        let weight = rows(op, "weight", data, layout)?;
        match format {
            Some(format) => backend.pack_as(weight, format),
            None => backend.pack(weight),
        }
        .or_candle()
    })
}
