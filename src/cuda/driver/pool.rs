//! A pool of device memory that keeps what is freed for the next allocation.
//!
//! The device's default pool gives freed memory back at each synchronisation, unless a setting of the whole process says
//! otherwise; a library must not change that one.

use super::failure::failed;
use crate::arrays::Result;
use cudarc::driver::sys;
use std::ffi::c_int;
use std::ptr;

/// `CUmemPoolProps`: plain memory of one device. Versions of the header differ in how the rest, zeros here, is divided.
#[repr(C, align(8))]
struct Properties {
    alloc_type: c_int,
    handle_types: c_int,
    location_type: c_int,
    location_id: c_int,
    rest: [u8; 112],
}

/// `CU_MEM_ALLOCATION_TYPE_PINNED` and `CU_MEM_LOCATION_TYPE_DEVICE`.
const PINNED: c_int = 1;
const ON_DEVICE: c_int = 1;

const _: () = assert!(size_of::<Properties>() >= size_of::<sys::CUmemPoolProps>());

#[derive(Debug)]
pub(super) struct Pool(sys::CUmemoryPool);

// SAFETY: the driver allows any thread to use a pool and does its own locking.
unsafe impl Send for Pool {}
// SAFETY: as for `Send`.
unsafe impl Sync for Pool {}

impl Pool {
    /// On a device that has pools; its context is the calling thread's.
    pub(super) fn new(ordinal: c_int) -> Result<Self> {
        const WHAT: &str = "a memory pool";
        let properties = Properties {
            alloc_type: PINNED,
            handle_types: 0,
            location_type: ON_DEVICE,
            location_id: ordinal,
            rest: [0; 112],
        };
        let mut pool = ptr::null_mut();
        // SAFETY: the struct begins as `CUmemPoolProps` does in all versions, and is at least as long; zeros are
        // allowed in the rest of it.
        let created = unsafe { sys::cuMemPoolCreate(&mut pool, (&raw const properties).cast()) };
        created.result().map_err(|error| failed(WHAT, error))?;
        let pool = Self(pool);
        let mut most = u64::MAX;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the pool was created above, and the value of this attribute is a 64-bit number.
        let set = unsafe { sys::cuMemPoolSetAttribute(pool.0, attribute, (&raw mut most).cast()) };
        set.result().map_err(|error| failed(WHAT, error))?;
        Ok(pool)
    }

    /// Memory that work on `stream` may use from its next call on.
    pub(super) fn alloc(
        &self,
        bytes: usize,
        stream: sys::CUstream,
    ) -> std::result::Result<u64, cudarc::driver::result::DriverError> {
        let mut address = 0;
        // SAFETY: the pool lives, and the caller's stream is one of its device.
        unsafe { sys::cuMemAllocFromPoolAsync(&mut address, bytes, self.0, stream) }.result()?;
        Ok(address)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: `new` created the pool, and it is destroyed once; the driver keeps what is not freed yet.
        let destroyed = unsafe { sys::cuMemPoolDestroy(self.0) }.result();
        // after a failure of the device nothing can be destroyed
        let _ = destroyed;
    }
}
