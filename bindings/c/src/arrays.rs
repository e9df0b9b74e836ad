//! The structs by which a caller passes arrays.

use std::ffi::c_void;

/// A matrix that is read: row `i` is the `cols` elements from `data + i * stride` elements. Null `data` means no
/// matrix, or one without elements where one is required.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct MambaRows {
    /// The first element of row 0.
    pub data: *const c_void,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Elements from one row to the next, at least `cols`.
    pub stride: usize,
}

/// A matrix that is written, or read and written. Null `data` means no matrix, or one without elements where one is
/// required.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct MambaRowsMut {
    /// The first element of row 0.
    pub data: *mut c_void,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Elements from one row to the next, at least `cols`.
    pub stride: usize,
}

/// An array of floats that is read. Null `data` means no array.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct MambaFloats {
    /// The first element.
    pub data: *const f32,
    /// The number of elements.
    pub len: usize,
}

/// An array of floats that is read and written. Null `data` means no array.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct MambaFloatsMut {
    /// The first element.
    pub data: *mut f32,
    /// The number of elements.
    pub len: usize,
}

/// An array of token ids. Null `data` means no array.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct MambaTokens {
    /// The first element.
    pub data: *const u32,
    /// The number of elements.
    pub len: usize,
}
