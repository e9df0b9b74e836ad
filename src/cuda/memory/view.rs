//! [`View`] and [`ViewMut`]: borrowed arrays on a device.
#![forbid(unsafe_code)]

use super::device::Device;
use super::on_device::OnDevice;
use crate::arrays::{Result, Scalar, Storage, not_within};
use std::marker::PhantomData;
use std::ops::Range;

/// The place of an array.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// [`Device::id`]
    device: u64,
    address: u64,
    len: usize,
}

impl Extent {
    /// The elements of `range`, which have `size` bytes each.
    fn slice(self, range: Range<usize>, size: usize) -> Result<Self> {
        if range.start > range.end || range.end > self.len {
            return Err(not_within(&range, self.len));
        }
        let address = self.address + (range.start * size) as u64;
        Ok(Self { address, len: range.end - range.start, ..self })
    }
}

/// A borrowed array on a device, for reading.
#[derive(Debug)]
pub struct View<'a, T: Scalar> {
    extent: Extent,
    marker: PhantomData<&'a [T]>,
}

/// A borrowed array on a device, for writing.
#[derive(Debug)]
pub struct ViewMut<'a, T: Scalar> {
    extent: Extent,
    marker: PhantomData<&'a mut [T]>,
}

impl<T: Scalar> View<'_, T> {
    /// `len` elements from `address` on, which the caller has made sure of.
    pub(in crate::cuda) fn at(device: &Device, address: u64, len: usize) -> Self {
        View { extent: Extent { device: device.id(), address, len }, marker: PhantomData }
    }
}

impl<T: Scalar> ViewMut<'_, T> {
    /// `len` elements from `address` on, which the caller has made sure of.
    pub(in crate::cuda) fn at(device: &Device, address: u64, len: usize) -> Self {
        ViewMut { extent: Extent { device: device.id(), address, len }, marker: PhantomData }
    }

    /// The elements before `middle`, and those from it on.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if there are fewer.
    pub fn split_at(self, middle: usize) -> Result<(Self, Self)> {
        let Self { extent, marker } = self;
        let first = extent.slice(0..middle, size_of::<T>())?;
        let second = extent.slice(middle..extent.len, size_of::<T>())?;
        Ok((Self { extent: first, marker }, Self { extent: second, marker }))
    }
}

impl<T: Scalar> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Scalar> Copy for View<'_, T> {}

impl<T: Scalar> OnDevice for View<'_, T> {
    const ELEMENT: u64 = size_of::<T>() as u64;

    fn device(&self) -> u64 {
        self.extent.device
    }

    fn address(&self) -> u64 {
        self.extent.address
    }
}

impl<T: Scalar> OnDevice for ViewMut<'_, T> {
    const ELEMENT: u64 = size_of::<T>() as u64;

    fn device(&self) -> u64 {
        self.extent.device
    }

    fn address(&self) -> u64 {
        self.extent.address
    }
}

impl<T: Scalar> Storage for View<'_, T> {
    fn elements(&self) -> usize {
        self.extent.len
    }

    fn slice(self, range: Range<usize>) -> Result<Self> {
        Ok(Self { extent: self.extent.slice(range, size_of::<T>())?, ..self })
    }
}

impl<T: Scalar> Storage for ViewMut<'_, T> {
    fn elements(&self) -> usize {
        self.extent.len
    }

    fn slice(self, range: Range<usize>) -> Result<Self> {
        Ok(Self { extent: self.extent.slice(range, size_of::<T>())?, ..self })
    }
}
