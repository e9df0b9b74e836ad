//! The backend on a stream and over memory that belong to the caller.

use crate::arrays::{Error, Result, Scalar};
use crate::cuda::builder::{Cuda, CudaBuilder, Target};
use crate::cuda::driver::gpu::Gpu;
use crate::cuda::memory::view::{View, ViewMut};
use cudarc::driver::CudaStream;
use std::sync::Arc;

impl CudaBuilder {
    /// Makes the backend on the caller's stream, in the caller's context. Its work runs after what the stream already
    /// has and before what follows, so no synchronisation is needed. The device is the stream's.
    ///
    /// Each thread has its own per-thread default stream, and only the work of one thread is in order on it: call
    /// [`Backend::read`](crate::Backend::read) before another thread uses memory of this backend or a workspace.
    ///
    /// # Errors
    /// As [`CudaBuilder::build`]; [`Error::Argument`] if the builder chose the executor or a device other than the
    /// stream's.
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
    /// The caller's memory as an array that ops read: `len` elements from `address` on. Nothing is copied, and dropping
    /// the view frees nothing.
    ///
    /// # Errors
    /// [`Error::Argument`] if the address is not a multiple of the element's size, or the array would end past the last
    /// address.
    ///
    /// # Safety
    /// 1. All `len` elements lie in one allocation of this backend's device.
    /// 2. It stays allocated until all work that was submitted during `'a` is done.
    /// 3. The elements have been written, and nothing writes to them until then. Work on the backend's own stream is in
    ///    order: it counts as earlier or later by when it was submitted.
    pub unsafe fn view_at<'a, T: Scalar>(&self, address: u64, len: usize) -> Result<View<'a, T>> {
        expect_array::<T>("view_at", address, len)?;
        Ok(View::at(&self.device, address, len))
    }

    /// The caller's memory as an array that ops write, as [`Cuda::view_at`].
    ///
    /// # Errors
    /// As [`Cuda::view_at`].
    ///
    /// # Safety
    /// 1. and 2. as for [`Cuda::view_at`].
    /// 3. Nothing else reads or writes the elements until that work is done, with the same order on the stream.
    /// 4. If an op reads what it updates, the elements have been written.
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
