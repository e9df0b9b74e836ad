//! Checks the pointers and sizes of a call and makes slices of them.

use crate::arrays::{MambaFloats, MambaFloatsMut, MambaRows, MambaRowsMut, MambaTokens};
use kernels::{Error, Result, Rows, Scalar};
use std::mem::{align_of, size_of};
use std::ops::Range;

/// The arrays of one call. It hands out slices, and refuses one that overlaps another if either is written.
pub(crate) struct Arrays {
    op: &'static str,
    spans: Vec<Span>,
}

struct Span {
    name: &'static str,
    bytes: Range<usize>,
    written: bool,
}

impl Arrays {
    pub fn new(op: &'static str) -> Self {
        Self { op, spans: Vec::new() }
    }

    /// Checks the memory of an array of `len` elements at `data`, which is not null.
    fn admit<T>(&mut self, name: &'static str, data: *const T, len: usize, written: bool) -> Result<()> {
        let op = self.op;
        let start = data.addr();
        if !start.is_multiple_of(align_of::<T>()) {
            let expected = format!("an address that is a multiple of {}", align_of::<T>());
            return Err(Error::argument(op, name, expected, format_args!("{data:?}")));
        }
        let size = len.checked_mul(size_of::<T>()).filter(|&size| isize::try_from(size).is_ok());
        let end = size.and_then(|size| start.checked_add(size));
        let Some(end) = end else {
            return Err(Error::argument(
                op,
                name,
                "a size that fits in memory",
                format_args!("{len} elements"),
            ));
        };
        let span = Span { name, bytes: start..end, written };
        let overlaps = |other: &&Span| {
            let ends = span.bytes.end.min(other.bytes.end);
            (written || other.written) && span.bytes.start.max(other.bytes.start) < ends
        };
        if let Some(other) = self.spans.iter().find(overlaps) {
            let expected = format!("memory apart from `{}`", other.name);
            return Err(Error::argument(op, name, expected, "an overlap, of which one is written"));
        }
        self.spans.push(span);
        Ok(())
    }

    /// A slice that is read.
    ///
    /// # Safety
    /// 1. `data` is null or points to `len` elements that are readable during `'a`.
    /// 2. Nothing writes to them during `'a`, except through slices of this `Arrays`.
    /// 3. All slices of the call come from this `Arrays`.
    unsafe fn slice<'a, T: Scalar>(
        &mut self,
        name: &'static str,
        data: *const T,
        len: usize,
    ) -> Result<Option<&'a [T]>> {
        if data.is_null() {
            return Ok(None);
        }
        self.admit(name, data, len, false)?;
        // SAFETY: `data` is not null; `admit` has checked alignment, size, and that no written slice of this call overlaps
        // it; 1. and 2. make it readable and unchanged. Any bits are a `Scalar`.
        Ok(Some(unsafe { std::slice::from_raw_parts(data, len) }))
    }

    /// A slice that is written.
    ///
    /// # Safety
    /// 1. `data` is null or points to `len` elements that are readable and writable during `'a`.
    /// 2. Nothing else reads or writes them during `'a`.
    /// 3. All slices of the call come from this `Arrays`.
    unsafe fn slice_mut<'a, T: Scalar>(
        &mut self,
        name: &'static str,
        data: *mut T,
        len: usize,
    ) -> Result<Option<&'a mut [T]>> {
        if data.is_null() {
            return Ok(None);
        }
        self.admit(name, data, len, true)?;
        // SAFETY: `data` is not null; `admit` has checked alignment, size, and that no slice of this call overlaps it; 1.
        // and 2. make it readable and writable for this slice alone. Any bits are a `Scalar`.
        Ok(Some(unsafe { std::slice::from_raw_parts_mut(data, len) }))
    }

    /// The array that `given` describes, or `None` if it is null.
    ///
    /// # Safety
    /// As [`Arrays::slice`], for `given.data` and `given.len`.
    pub unsafe fn floats<'a>(&mut self, name: &'static str, given: MambaFloats) -> Result<Option<&'a [f32]>> {
        // SAFETY: this function repeats the preconditions of the callee.
        unsafe { self.slice(name, given.data, given.len) }
    }

    /// The array that `given` describes, or `None` if it is null.
    ///
    /// # Safety
    /// As [`Arrays::slice_mut`], for `given.data` and `given.len`.
    pub unsafe fn floats_mut<'a>(
        &mut self,
        name: &'static str,
        given: MambaFloatsMut,
    ) -> Result<Option<&'a mut [f32]>> {
        // SAFETY: this function repeats the preconditions of the callee.
        unsafe { self.slice_mut(name, given.data, given.len) }
    }

    /// The tokens that `given` describes.
    ///
    /// # Safety
    /// As [`Arrays::slice`], for `given.data` and `given.len`.
    pub unsafe fn tokens<'a>(&mut self, name: &'static str, given: MambaTokens) -> Result<&'a [u32]> {
        // SAFETY: this function repeats the preconditions of the callee.
        let tokens = unsafe { self.slice(name, given.data, given.len) }?;
        self.present(name, tokens, given.len)
    }

    /// The matrix that `given` describes, or `None` if it is null.
    ///
    /// # Safety
    /// As [`Arrays::slice`], for the elements from the start of the first row to the end of the last.
    pub unsafe fn rows<'a, T: Scalar>(
        &mut self,
        name: &'static str,
        given: MambaRows,
    ) -> Result<Option<Rows<&'a [T]>>> {
        let MambaRows { data, rows, cols, stride } = given;
        let len = self.extent(name, rows, cols, stride)?;
        // SAFETY: this function repeats the preconditions of the callee.
        let data = unsafe { self.slice(name, data.cast::<T>(), len) }?;
        data.map(|data| Rows::strided(data, 0, rows, cols, stride)).transpose()
    }

    /// The matrix that `given` describes, or `None` if it is null.
    ///
    /// # Safety
    /// As [`Arrays::slice_mut`], for the elements from the start of the first row to the end of the last.
    pub unsafe fn rows_mut<'a, T: Scalar>(
        &mut self,
        name: &'static str,
        given: MambaRowsMut,
    ) -> Result<Option<Rows<&'a mut [T]>>> {
        let MambaRowsMut { data, rows, cols, stride } = given;
        let len = self.extent(name, rows, cols, stride)?;
        // SAFETY: this function repeats the preconditions of the callee.
        let data = unsafe { self.slice_mut(name, data.cast::<T>(), len) }?;
        data.map(|data| Rows::strided(data, 0, rows, cols, stride)).transpose()
    }

    /// The matrix that `given` describes, which must not be null unless it has no elements.
    ///
    /// # Safety
    /// As [`Arrays::rows`].
    pub unsafe fn required_rows<'a, T: Scalar>(
        &mut self,
        name: &'static str,
        given: MambaRows,
    ) -> Result<Rows<&'a [T]>> {
        // SAFETY: this function repeats the preconditions of the callee.
        match unsafe { self.rows(name, given) }? {
            Some(rows) => Ok(rows),
            None if given.rows == 0 || given.cols == 0 => {
                Rows::strided(&[], 0, given.rows, given.cols, given.cols)
            }
            None => Err(self.null(name)),
        }
    }

    /// The matrix that `given` describes, which must not be null unless it has no elements.
    ///
    /// # Safety
    /// As [`Arrays::rows_mut`].
    pub unsafe fn required_rows_mut<'a, T: Scalar>(
        &mut self,
        name: &'static str,
        given: MambaRowsMut,
    ) -> Result<Rows<&'a mut [T]>> {
        // SAFETY: this function repeats the preconditions of the callee.
        match unsafe { self.rows_mut(name, given) }? {
            Some(rows) => Ok(rows),
            None if given.rows == 0 || given.cols == 0 => {
                Rows::strided(&mut [], 0, given.rows, given.cols, given.cols)
            }
            None => Err(self.null(name)),
        }
    }

    fn null(&self, name: &'static str) -> Error {
        Error::argument(self.op, name, "an array", "a null pointer")
    }

    /// An array that must not be null, unless it has no elements.
    pub fn present<T: Default>(&self, name: &'static str, array: Option<T>, len: usize) -> Result<T> {
        match array {
            None if len > 0 => Err(self.null(name)),
            array => Ok(array.unwrap_or_default()),
        }
    }

    /// An array that must not be null.
    pub fn required<T>(&self, name: &'static str, array: Option<T>) -> Result<T> {
        array.ok_or_else(|| self.null(name))
    }

    /// Elements from the start of the first row to the end of the last.
    fn extent(&self, name: &'static str, rows: usize, cols: usize, stride: usize) -> Result<usize> {
        if stride < cols {
            return Err(Error::argument(
                self.op,
                name,
                format_args!("a stride of at least cols = {cols}"),
                stride,
            ));
        }
        let Some(last) = rows.checked_sub(1) else { return Ok(0) };
        let len = last.checked_mul(stride).and_then(|start| start.checked_add(cols));
        len.ok_or_else(|| {
            Error::argument(self.op, name, "a size that fits in memory", format_args!("{rows} rows"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(data: &[f32], offset: usize, rows: usize, cols: usize, stride: usize) -> MambaRows {
        MambaRows { data: data[offset..].as_ptr().cast(), rows, cols, stride }
    }

    #[test]
    fn columns_of_one_array_may_both_be_read_but_not_written() {
        let data = [0.0f32; 12];
        let mut arrays = Arrays::new("test");
        // SAFETY: both are within `data`, which is only read.
        let [b, c] = [0, 2].map(|at| unsafe { arrays.rows::<f32>("b", rows(&data, at, 3, 2, 4)) });
        assert_eq!((b.unwrap().unwrap().rows(), c.unwrap().unwrap().cols()), (3, 2));
        let output = MambaFloatsMut { data: data.as_ptr().cast_mut(), len: 1 };
        // SAFETY: it is refused before anything is made of it.
        let error = unsafe { arrays.floats_mut("output", output) }.unwrap_err();
        assert!(error.to_string().contains("expected memory apart from `b`"), "{error}");
    }

    #[test]
    fn what_is_refused() {
        let data = [0.0f32; 8];
        let refused = |given: MambaRows| {
            // SAFETY: each is refused, or within `data`.
            unsafe { Arrays::new("test").rows::<f32>("u", given) }
                .map(|rows| rows.is_some())
                .map_err(|e| e.to_string())
        };
        assert_eq!(refused(rows(&data, 0, 2, 4, 4)), Ok(true));
        assert_eq!(refused(MambaRows { data: std::ptr::null(), rows: 1, cols: 1, stride: 1 }), Ok(false));
        assert!(refused(rows(&data, 0, 2, 4, 3)).unwrap_err().contains("stride of at least cols = 4"));
        assert!(refused(rows(&data, 0, usize::MAX, 4, 4)).unwrap_err().contains("fits in memory"));
        assert!(
            refused(rows(&data, 0, 1, usize::MAX / 4, usize::MAX)).unwrap_err().contains("fits in memory")
        );
        let odd = MambaRows { data: data.as_ptr().wrapping_byte_add(2).cast(), rows: 1, cols: 1, stride: 1 };
        assert!(refused(odd).unwrap_err().contains("a multiple of 4"));
    }

    #[test]
    fn a_required_matrix_may_be_null_if_it_has_no_elements() {
        let null = |rows, cols| {
            let read = MambaRows { data: std::ptr::null(), rows, cols, stride: cols + 1 };
            let written = MambaRowsMut { data: std::ptr::null_mut(), rows, cols, stride: cols + 1 };
            let mut arrays = Arrays::new("test");
            // SAFETY: null is allowed.
            let shapes = unsafe {
                (
                    arrays.required_rows::<f32>("u", read).map(|rows| (rows.rows(), rows.cols())),
                    arrays.required_rows_mut::<f32>("y", written).map(|rows| (rows.rows(), rows.cols())),
                )
            };
            (shapes.0.map_err(|error| error.to_string()), shapes.1.map_err(|error| error.to_string()))
        };
        for shape in [(0, 4), (3, 0), (0, 0)] {
            assert_eq!(null(shape.0, shape.1), (Ok(shape), Ok(shape)));
        }
        let refused = null(1, 4);
        assert!(refused.0.unwrap_err().contains("expected an array, found a null pointer"));
        assert!(refused.1.unwrap_err().contains("expected an array, found a null pointer"));
    }
}
