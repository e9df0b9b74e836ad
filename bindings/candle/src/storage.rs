//! The storage of a tensor, by device, as candle hands it to a custom op.

use crate::element::TensorElement;
use crate::error::{argument, candle_error};
use candle_core::{CpuStorage, CudaStorage, Error, MetalStorage, Result, Storage, WithDType};

/// Storage that is read. candle passes one of the three kinds to an op, not its own enum of them.
#[derive(Debug, Clone, Copy)]
pub enum DeviceStorage<'a> {
    Cpu(&'a CpuStorage),
    Cuda(&'a CudaStorage),
    Metal(&'a MetalStorage),
}

/// Storage that is updated in place.
#[derive(Debug)]
pub enum DeviceStorageMut<'a> {
    Cpu(&'a mut CpuStorage),
    Cuda(&'a mut CudaStorage),
    Metal(&'a mut MetalStorage),
}

impl<'a> From<&'a Storage> for DeviceStorage<'a> {
    fn from(storage: &'a Storage) -> Self {
        match storage {
            Storage::Cpu(storage) => Self::Cpu(storage),
            Storage::Cuda(storage) => Self::Cuda(storage),
            Storage::Metal(storage) => Self::Metal(storage),
        }
    }
}

impl DeviceStorage<'_> {
    pub fn device(&self) -> &'static str {
        match self {
            Self::Cpu(_) => "cpu",
            Self::Cuda(_) => "cuda",
            Self::Metal(_) => "metal",
        }
    }
}

impl DeviceStorageMut<'_> {
    pub fn device(&self) -> &'static str {
        match self {
            Self::Cpu(_) => "cpu",
            Self::Cuda(_) => "cuda",
            Self::Metal(_) => "metal",
        }
    }
}

/// The elements of storage in host memory.
pub(crate) fn on_host<'a, T: TensorElement>(
    op: &'static str,
    name: &'static str,
    storage: DeviceStorage<'a>,
) -> Result<&'a [T]> {
    let DeviceStorage::Cpu(storage) = storage else {
        return Err(wrong_device(op, name, "the CPU", storage.device()));
    };
    storage.as_slice::<T>().map_err(|_| wrong_type::<T>(op, name))
}

/// The error for a tensor on a device other than the backend's.
pub(crate) fn wrong_device(op: &'static str, name: &'static str, expected: &str, found: &str) -> Error {
    let reason = format!("{op} was given a backend for {expected}, and `{name}` is on {found}");
    candle_error(mamba_kernels::Error::Unavailable { backend: found.into(), reason })
}

/// The error for a tensor whose elements are not of type `T`.
pub(crate) fn wrong_type<T: TensorElement>(op: &'static str, name: &'static str) -> Error {
    argument(op, name, <T as WithDType>::DTYPE.as_str(), "another type")
}
