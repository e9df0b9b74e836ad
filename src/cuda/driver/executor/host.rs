//! The executor's functions for the host: `cuda/executor/runtime/host.cpp`.

use std::ffi::{c_char, c_int, c_void};

/// A device of the executor, opaque.
#[repr(C)]
pub(super) struct RawDevice {
    opaque: [u8; 0],
}

/// What a launch cost in accesses of memory. A GPU counts the same for the same accesses.
#[cfg(test)]
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// Loads of global memory by warps.
    pub global_loads: u64,
    /// 32-byte sectors that these loads touch.
    pub global_load_sectors: u64,
    /// The fewest sectors that could hold what each load reads.
    pub global_load_sectors_least: u64,
    /// Stores to global memory by warps.
    pub global_stores: u64,
    /// 32-byte sectors that these stores touch.
    pub global_store_sectors: u64,
    /// The fewest sectors that could hold what each store writes.
    pub global_store_sectors_least: u64,
    /// Accesses of shared memory by warps.
    pub shared_accesses: u64,
    /// Turns of shared memory beyond the fewest for accesses of their size.
    pub bank_conflicts: u64,
    /// Barriers of blocks.
    pub barriers: u64,
    /// Atomic operations of threads.
    pub atomics: u64,
}

unsafe extern "C" {
    pub(super) fn mamba_executor_new(checked: c_int, counting: c_int, memory_limit: u64) -> *mut RawDevice;
    pub(super) fn mamba_executor_delete(device: *mut RawDevice);
    pub(super) fn mamba_executor_alloc(device: *mut RawDevice, bytes: usize) -> u64;
    pub(super) fn mamba_executor_free(device: *mut RawDevice, address: u64) -> c_int;
    pub(super) fn mamba_executor_zero(device: *mut RawDevice, address: u64, bytes: usize) -> c_int;
    pub(super) fn mamba_executor_upload(
        device: *mut RawDevice,
        address: u64,
        host: *const c_void,
        bytes: usize,
    ) -> c_int;
    pub(super) fn mamba_executor_download(
        device: *mut RawDevice,
        address: u64,
        host: *mut c_void,
        bytes: usize,
    ) -> c_int;
    pub(super) fn mamba_executor_launch(
        device: *mut RawDevice,
        name: *const c_char,
        name_bytes: usize,
        grid: *const u32,
        block: *const u32,
        shared_bytes: u32,
        args: *const c_void,
        args_bytes: usize,
    ) -> c_int;
    pub(super) fn mamba_executor_message(device: *const RawDevice) -> *const c_char;
    pub(super) fn mamba_executor_found_at(device: *const RawDevice) -> *const c_void;
    #[cfg(test)]
    pub(super) fn mamba_executor_args_size(name: *const c_char, name_bytes: usize, checked: c_int) -> i64;
    #[cfg(test)]
    pub(super) fn mamba_executor_totals(device: *const RawDevice, totals: *mut Totals);
}
