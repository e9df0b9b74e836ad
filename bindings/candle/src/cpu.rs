//! [`Cpu`] on tensors in host memory.

use crate::backend::StorageAccess;
use crate::element::TensorElement;
use crate::error::OrCandle;
use crate::storage::{DeviceStorage, DeviceStorageMut, on_host, wrong_device, wrong_type};
use candle_core::{CpuStorage, Device, Result, Storage};
use mamba_kernels::cpu::{Cpu, Workspace};
use std::cell::RefCell;

impl StorageAccess for Cpu {
    type Backend = Cpu;
    type Output<T: TensorElement> = Vec<T>;
    type Guard<'a> = ();

    fn backend(&self) -> &Cpu {
        self
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn view<'a, T: TensorElement>(
        &'a self,
        op: &'static str,
        name: &'static str,
        storage: DeviceStorage<'a>,
    ) -> Result<(&'a [T], ())> {
        Ok((on_host(op, name, storage)?, ()))
    }

    fn view_mut<'a>(
        &'a self,
        op: &'static str,
        name: &'static str,
        storage: DeviceStorageMut<'a>,
    ) -> Result<(&'a mut [f32], ())> {
        match storage {
            DeviceStorageMut::Cpu(CpuStorage::F32(data)) => Ok((data, ())),
            DeviceStorageMut::Cpu(_) => Err(wrong_type::<f32>(op, name)),
            other => Err(wrong_device(op, name, "the CPU", other.device())),
        }
    }

    fn output<T: TensorElement>(&self, len: usize) -> Result<Vec<T>> {
        mamba_kernels::Backend::zeros(self, len).or_candle()
    }

    fn output_view<'a, T: TensorElement>(&'a self, output: &'a mut Vec<T>) -> Result<(&'a mut [T], ())> {
        Ok((output, ()))
    }

    fn storage_of<T: TensorElement>(&self, output: Vec<T>) -> Storage {
        Storage::Cpu(T::to_cpu_storage_owned(output))
    }

    fn with_workspace(&self, op: impl FnOnce(&mut Workspace) -> Result<()>) -> Result<()> {
        thread_local!(static WORKSPACE: RefCell<Workspace> = RefCell::default());
        WORKSPACE.with_borrow_mut(op)
    }
}
