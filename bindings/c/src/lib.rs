//! The C interface of `mamba-kernels`.
//!
//! The header is `include/mamba_kernels.h`, made from this crate by cbindgen. Every function that can fail returns a
//! [`MambaStatus`], and [`mamba_last_error`] says what was wrong in words. No panic leaves this library.
//!
//! # What a caller owes
//! - A pointer to an array is to memory of the type and the size that is said beside it, for as long as the call takes.
//! - Nothing else writes to the arrays of a call, or reads what the call writes, while it runs.
//! - A handle is one that this library made and that has not been freed. Handles may be shared between threads.
//!
//! What can be checked is: null, alignment, sizes, and that nothing that is written overlaps another array of the call.

mod arrays;
mod handles;
mod ops;
mod status;

pub use arrays::{MambaFloats, MambaFloatsMut, MambaRows, MambaRowsMut, MambaTokens};
pub use handles::*;
pub use ops::*;
pub use status::{MambaStatus, mamba_last_error};

use std::ffi::c_char;

/// The version of this interface. A program and a library work together where they agree on it.
pub const MAMBA_ABI_VERSION: u32 = 1;

/// IEEE-754 binary32: `float`.
pub const MAMBA_DTYPE_F32: u32 = 0;
/// IEEE-754 binary16.
pub const MAMBA_DTYPE_F16: u32 = 1;
/// bfloat16: the upper half of a binary32.
pub const MAMBA_DTYPE_BF16: u32 = 2;

/// The slot of a sequence that fills up a batch: its outputs are zeros, and it has no state.
pub const MAMBA_SLOT_PADDING: u32 = 0xffff_ffff;

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
