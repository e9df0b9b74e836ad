//! [`Cuda`]: the ops on tensors of a CUDA device, on candle's own stream.
#![allow(unsafe_code)] // views of the memory of tensors on a device

use crate::backend::StorageAccess;
use crate::element::TensorElement;
use crate::error::{OrCandle, candle_error};
use crate::storage::{DeviceStorage, DeviceStorageMut, wrong_device, wrong_type};
use candle_core::backend::BackendDevice;
use candle_core::{CudaDevice, CudaStorage, Device, Result, Storage};
use mamba_kernels::Error;
use mamba_kernels::cuda::cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};
use mamba_kernels::cuda::{CudaBuilder, View, ViewMut, Workspace};
use std::cell::RefCell;
use std::sync::Arc;

/// Runs the ops on the tensors of one CUDA device of candle: in candle's context, on candle's stream, on the memory of the
/// tensors. candle allocates the outputs. Clones share the loaded kernels: keep one instead of making a new one per call.
#[derive(Debug, Clone)]
pub struct Cuda {
    cuda: mamba_kernels::Cuda,
    device: CudaDevice,
    stream: Arc<CudaStream>,
}

impl Cuda {
    /// The exact kernels, on a device that `Device::new_cuda` has made.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it is not a CUDA device, and as [`CudaBuilder::build`].
    pub fn new(device: &Device) -> Result<Self> {
        Self::with_builder(CudaBuilder::default(), device)
    }

    /// With faster forms that the builder chooses.
    ///
    /// # Errors
    /// As [`Cuda::new`].
    pub fn with_builder(builder: CudaBuilder, device: &Device) -> Result<Self> {
        let Device::Cuda(device) = device else {
            let reason = "candle's device is not a CUDA device".into();
            return Err(candle_error(Error::Unavailable { backend: "cuda".into(), reason }));
        };
        let stream = device.cuda_stream();
        let cuda = builder.build_on_stream(stream.clone()).or_candle()?;
        Ok(Self { cuda, device: device.clone(), stream })
    }

    /// Refuses storage of another device.
    fn expect(&self, op: &'static str, name: &'static str, device: &CudaDevice) -> Result<()> {
        match device.same_device(&self.device) {
            true => Ok(()),
            false => Err(wrong_device(op, name, "one CUDA device", "another")),
        }
    }
}

impl StorageAccess for Cuda {
    type Backend = mamba_kernels::Cuda;
    type Output<T: TensorElement> = CudaSlice<T>;
    type Guard<'a> = SyncOnDrop<'a>;

    fn backend(&self) -> &mamba_kernels::Cuda {
        &self.cuda
    }

    fn device(&self) -> Device {
        Device::Cuda(self.device.clone())
    }

    fn view<'a, T: TensorElement>(
        &'a self,
        op: &'static str,
        name: &'static str,
        storage: DeviceStorage<'a>,
    ) -> Result<(View<'a, T>, SyncOnDrop<'a>)> {
        let DeviceStorage::Cuda(storage) = storage else {
            return Err(wrong_device(op, name, "a CUDA device", storage.device()));
        };
        self.expect(op, name, &storage.device)?;
        let slice = storage.as_cuda_slice::<T>().map_err(|_| wrong_type::<T>(op, name))?;
        let (address, in_use) = slice.device_ptr(&self.stream);
        // SAFETY: 'a borrows the slice under the tensor's read lock, so nothing writes to it meanwhile. Later work on it, a
        // free included, runs after the op: by stream order, or by the event that `in_use` records when it is dropped after
        // the launches. candle hands out no uninitialised storage.
        let view = unsafe { self.cuda.view_at(address, slice.len()) }.or_candle()?;
        Ok((view, in_use))
    }

    fn view_mut<'a>(
        &'a self,
        op: &'static str,
        name: &'static str,
        storage: DeviceStorageMut<'a>,
    ) -> Result<(ViewMut<'a, f32>, SyncOnDrop<'a>)> {
        let storage = match storage {
            DeviceStorageMut::Cuda(storage) => storage,
            other => return Err(wrong_device(op, name, "a CUDA device", other.device())),
        };
        self.expect(op, name, &storage.device)?;
        let slice = storage.as_cuda_slice_mut::<f32>().map_err(|_| wrong_type::<f32>(op, name))?;
        self.exclusive(slice)
    }

    fn output<T: TensorElement>(&self, len: usize) -> Result<CudaSlice<T>> {
        // the driver cannot allocate 0 bytes
        self.device.alloc_zeros::<T>(len.max(1))
    }

    fn output_view<'a, T: TensorElement>(
        &'a self,
        output: &'a mut CudaSlice<T>,
    ) -> Result<(ViewMut<'a, T>, SyncOnDrop<'a>)> {
        self.exclusive(output)
    }

    fn storage_of<T: TensorElement>(&self, output: CudaSlice<T>) -> Storage {
        Storage::Cuda(CudaStorage::wrap_cuda_slice(output, self.device.clone()))
    }

    fn with_workspace(&self, op: impl FnOnce(&mut Workspace) -> Result<()>) -> Result<()> {
        thread_local!(static WORKSPACE: RefCell<Workspace> = RefCell::default());
        WORKSPACE.with_borrow_mut(op)
    }
}

impl Cuda {
    fn exclusive<'a, T: TensorElement>(
        &'a self,
        slice: &'a mut CudaSlice<T>,
    ) -> Result<(ViewMut<'a, T>, SyncOnDrop<'a>)> {
        let len = slice.len();
        let (address, in_use) = slice.device_ptr_mut(&self.stream);
        // SAFETY: 'a borrows the slice mutably, so nothing else uses it meanwhile. Earlier and later work is ordered as in
        // `view`, here by the event of a write. Tensors and new outputs are initialised.
        let view = unsafe { self.cuda.view_mut_at(address, len) }.or_candle()?;
        Ok((view, in_use))
    }
}
