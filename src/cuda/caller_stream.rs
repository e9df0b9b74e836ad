//! Work among someone else's: on a stream of the caller's, over memory of the caller's.

use crate::arrays::{Error, Result, Scalar};
use crate::cuda::builder::{Cuda, CudaBuilder, Target};
use crate::cuda::driver::gpu::Gpu;
use crate::cuda::memory::view::{View, ViewMut};
use cudarc::driver::CudaStream;
use std::sync::Arc;

impl CudaBuilder {
    /// Makes the backend on a stream of the caller's, in the caller's context: its work comes after what is on the stream
    /// and before what follows, so that nothing needs to be waited for. The device is the stream's.
    ///
    /// Of the per-thread default stream each thread has its own. Work on it is in order within a thread: call
    /// [`Backend::read`](crate::Backend::read) before memory of this backend or a workspace goes to another.
    ///
    /// # Errors
    /// As [`CudaBuilder::build`]; [`Error::Argument`] where a device or the executor was chosen that the stream is not of.
    pub fn build_on_stream(self, stream: Arc<CudaStream>) -> Result<Cuda> {
        let ordinal = stream.context().ordinal();
        match self.target {
            Target::Gpu(0) => {}
            Target::Gpu(chosen) if chosen == ordinal => {}
            chosen => {
                let expected = format!("a stream of {chosen:?}");
                let found = format!("one of device {ordinal}");
                return Err(Error::argument("build_on_stream", "stream", expected, found));
            }
        }
        self.over("cuda", Box::new(Gpu::on(stream)?))
    }
}

impl Cuda {
    /// Memory of the caller's as an array that ops read: `len` elements from `address` on. Nothing is copied, and nothing
    /// is given back when the view goes.
    ///
    /// # Errors
    /// [`Error::Argument`] for an address that is no multiple of an element's size or that the array does not fit behind.
    ///
    /// # Safety
    /// The address is of the memory of this backend's device, which stays allocated, and which no one writes to, from now
    /// until all work that was handed over during `'a` is done. Work on the same stream as the backend's is in order with
    /// it, and counts as before or after by when it is handed over. The elements have been written.
    pub unsafe fn view_at<'a, T: Scalar>(&self, address: u64, len: usize) -> Result<View<'a, T>> {
        expect_array::<T>("view_at", address, len)?;
        Ok(View::at(&self.device, address, len))
    }

    /// Memory of the caller's as an array that ops write, as [`Cuda::view_at`].
    ///
    /// # Errors
    /// As [`Cuda::view_at`].
    ///
    /// # Safety
    /// As [`Cuda::view_at`], and no one else reads it either. Where an op reads what it updates, the elements have been
    /// written.
    pub unsafe fn view_mut_at<'a, T: Scalar>(&self, address: u64, len: usize) -> Result<ViewMut<'a, T>> {
        expect_array::<T>("view_mut_at", address, len)?;
        Ok(ViewMut::at(&self.device, address, len))
    }
}

fn expect_array<T: Scalar>(op: &'static str, address: u64, len: usize) -> Result<()> {
    let size = size_of::<T>();
    if !address.is_multiple_of(size as u64) || (address == 0 && len > 0) {
        let expected = format!("a multiple of {size}, above 0");
        return Err(Error::argument(op, "address", expected, address));
    }
    let bytes = len.checked_mul(size).filter(|&bytes| bytes <= isize::MAX as usize);
    match bytes.and_then(|bytes| address.checked_add(bytes as u64)) {
        Some(_) => Ok(()),
        None => Err(Error::argument(op, "len", "an array that ends within the addresses", len)),
    }
}
