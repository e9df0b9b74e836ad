//! [`Buffer`]: an array that owns its memory, and copies between host and device.
#![forbid(unsafe_code)]

use super::device::{Device, Memory};
use super::view::{View, ViewMut};
use crate::arrays::host::expect_host;
use crate::arrays::{Result, Scalar, Storage};
use std::marker::PhantomData;
use std::sync::Arc;

/// An array on a device.
#[derive(Debug)]
pub struct Buffer<T: Scalar> {
    memory: Memory,
    len: usize,
    marker: PhantomData<T>,
}

impl<T: Scalar> Buffer<T> {
    pub(in crate::cuda) fn zeros(device: &Arc<Device>, len: usize) -> Result<Self> {
        let memory = Memory::of::<T>(device, "zeros", len)?;
        device.driver.zero(memory.address(), len * size_of::<T>())?;
        Ok(Self { memory, len, marker: PhantomData })
    }

    pub(in crate::cuda) fn upload(device: &Arc<Device>, host: &[T]) -> Result<Self> {
        let memory = Memory::of::<T>(device, "upload", host.len())?;
        device.driver.upload(bytemuck::cast_slice(host), memory.address())?;
        Ok(Self { memory, len: host.len(), marker: PhantomData })
    }

    pub(in crate::cuda) fn view(&self) -> View<'_, T> {
        View::at(self.memory.device(), self.memory.address(), self.len)
    }

    pub(in crate::cuda) fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut::at(self.memory.device(), self.memory.address(), self.len)
    }
}

pub(in crate::cuda) fn write<T: Scalar>(device: &Device, host: &[T], target: &ViewMut<'_, T>) -> Result<()> {
    expect_host("write", target.elements(), host.len())?;
    let address = device.address("write", "target", target)?;
    device.driver.upload(bytemuck::cast_slice(host), address)
}

pub(in crate::cuda) fn read<T: Scalar>(device: &Device, source: &View<'_, T>, host: &mut [T]) -> Result<()> {
    expect_host("read", source.elements(), host.len())?;
    let address = device.address("read", "source", source)?;
    device.driver.download(address, bytemuck::cast_slice_mut(host))
}
