//! [`RowPtr`]: rows of a storage type that is known as a value, as kernels receive them.

use crate::arrays::{Element, Rows};
use std::ops::Range;

/// The address of row 0 of a row-major array and its row stride in elements. The element type is named at each access.
#[derive(Debug, Clone, Copy)]
pub(in crate::cpu) struct RowPtr {
    start: *mut u8,
    stride: usize,
}

impl RowPtr {
    /// Rows with this start and stride.
    pub fn new<T>(start: *mut T, stride: usize) -> Self {
        Self { start: start.cast(), stride }
    }

    /// Rows that are only read.
    pub fn of<T>(rows: &Rows<&[T]>) -> Self {
        Self::new(rows.start().cast_mut(), rows.stride())
    }

    /// Rows that are written.
    pub fn of_mut<T>(rows: Rows<&mut [T]>) -> Self {
        let stride = rows.stride();
        Self::new(rows.start_mut(), stride)
    }

    pub fn stride(self) -> usize {
        self.stride
    }

    /// The address of an element.
    ///
    /// # Safety
    /// 1. The elements have type `T`.
    /// 2. Row `row` exists, and column `col` is within it or one past its end.
    #[inline(always)]
    pub unsafe fn at<T>(self, row: usize, col: usize) -> *mut T {
        // SAFETY: by 1 and 2 the offset stays within the array.
        unsafe { self.start.cast::<T>().add(row * self.stride + col) }
    }

    /// The address of an element that need not exist: for a prefetch. A view of one row may have any stride.
    #[inline(always)]
    pub fn wrapping_at<T>(self, row: usize, col: usize) -> *const T {
        self.start.cast::<T>().wrapping_add(row.wrapping_mul(self.stride).wrapping_add(col))
    }

    /// The same rows from row `first` on. Without rows from there on, nothing may be accessed.
    pub fn starting_at<T>(self, first: usize) -> Self {
        Self { start: self.wrapping_at::<T>(first, 0).cast_mut().cast(), ..self }
    }

    /// Writes zeros to some columns of some rows: the output of padding.
    ///
    /// # Safety
    /// 1. The elements have type `T`.
    /// 2. The rows and columns exist, may be written, and no other thread accesses them.
    pub unsafe fn clear<T: Element>(self, rows: Range<usize>, columns: Range<usize>) {
        for row in rows {
            // SAFETY: by 1 and 2; all bits zero is +0.0 in every storage type.
            unsafe { std::ptr::write_bytes(self.at::<T>(row, columns.start), 0, columns.len()) };
        }
    }
}
