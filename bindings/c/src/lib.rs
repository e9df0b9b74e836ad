//! The C interface of `mamba-kernels`.
//!
//! The header is `include/mamba_kernels.h`, which cbindgen generates from this crate. Every function that can fail returns a
//! [`MambaStatus`], and [`mamba_last_error`] says what was wrong in words. No panic leaves this library.
//!
//! # What a caller must guarantee
//! 1. A pointer to an array points to memory of the stated type and size during the call.
//! 2. While a call runs, nothing else writes to its arrays or reads those that it writes.
//! 3. A handle was made by this library and has not been freed. Threads may share handles.
//!
//! The library checks for null pointers, alignment and sizes, and that an array that is written overlaps no other array of
//! the call.
//!
//! # Processes
//! A child of `fork` may use and free every handle that it inherits, also if other threads of its parent were inside of calls:
//! it starts threads of its own at the first call that needs them. Only what another thread was writing at the time, such as
//! its arrays, is as it was left. That holds for `fork` of the C library, not for the bare system call. The
//! floating-point mode of the calling thread (rounding, flush to zero) changes no result, and is the same after a call.

mod arrays;
mod dtype;
mod handles;
mod ops;
mod slices;
mod status;

pub use arrays::{MambaFloats, MambaFloatsMut, MambaRows, MambaRowsMut, MambaTokens};
pub use dtype::{MAMBA_DTYPE_BF16, MAMBA_DTYPE_F16, MAMBA_DTYPE_F32};
pub use handles::*;
pub use ops::*;
pub use status::{MambaStatus, mamba_last_error};

use std::ffi::c_char;

/// The version of this interface. A program works with a library of the same version.
pub const MAMBA_ABI_VERSION: u32 = 1;

/// The `MAMBA_ABI_VERSION` that the library was built with.
#[unsafe(no_mangle)]
pub extern "C" fn mamba_abi_version() -> u32 {
    MAMBA_ABI_VERSION
}

/// The version of the library, as text that is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn mamba_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
