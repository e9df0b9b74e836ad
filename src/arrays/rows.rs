//! [`Rows`]: a borrowed row-major matrix with a row stride.
#![forbid(unsafe_code)]

use super::error::{Error, Result};
use std::ops::Range;

/// Borrowed memory of a backend that knows how many elements it spans.
pub trait Storage: Sized {
    /// The number of elements.
    fn elements(&self) -> usize;

    /// The elements `range`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the range is not within `0..elements()`.
    fn slice(self, range: Range<usize>) -> Result<Self>;
}

impl<T> Storage for &[T] {
    fn elements(&self) -> usize {
        self.len()
    }

    fn slice(self, range: Range<usize>) -> Result<Self> {
        self.get(range.clone()).ok_or_else(|| not_within(&range, self.len()))
    }
}

impl<T> Storage for &mut [T] {
    fn elements(&self) -> usize {
        self.len()
    }

    fn slice(self, range: Range<usize>) -> Result<Self> {
        let len = self.len();
        self.get_mut(range.clone()).ok_or_else(|| not_within(&range, len))
    }
}

/// The error of [`Storage::slice`].
pub(crate) fn not_within(range: &Range<usize>, len: usize) -> Error {
    let expected = format_args!("a range within 0..{len}").to_string();
    Error::argument("Storage::slice", "range", expected, format_args!("{range:?}"))
}

/// A row-major view `[rows, cols]`: row `i` starts at element `offset + i * stride` of `data`.
///
/// `S` is a backend's borrowed view: `&[T]` or `&mut [T]` on the CPU. A column slice of a wider array is a view
/// with that array's stride, never a copy. Every `Rows` is within its data and its rows do not overlap: the
/// constructors are the check.
#[derive(Clone, Copy, Debug)]
pub struct Rows<S> {
    data: S,
    offset: usize,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<S: Storage> Rows<S> {
    /// The first `rows * cols` elements of `data`, without gaps.
    ///
    /// # Errors
    /// [`Error::Argument`] if `data` is too short.
    pub fn new(data: S, rows: usize, cols: usize) -> Result<Self> {
        Self::strided(data, 0, rows, cols, cols)
    }

    /// Row `i` is `data[offset + i * stride ..][..cols]`.
    ///
    /// # Errors
    /// [`Error::Argument`] if `stride < cols`, or the last row ends past `data`.
    pub fn strided(data: S, offset: usize, rows: usize, cols: usize, stride: usize) -> Result<Self> {
        if stride < cols {
            return Err(Error::argument("Rows", "stride", format_args!("at least cols = {cols}"), stride));
        }
        let end = match rows.checked_sub(1) {
            None => Some(0),
            Some(last) => last
                .checked_mul(stride)
                .and_then(|start| start.checked_add(offset))
                .and_then(|start| start.checked_add(cols)),
        };
        let len = data.elements();
        if end.is_none_or(|end| end > len) {
            let expected = match end {
                Some(end) => format!("at least {end} elements"),
                None => "a size that fits in memory".into(),
            };
            return Err(Error::argument("Rows", "data", expected, len));
        }
        Ok(Self { data, offset, rows, cols, stride })
    }

    /// The columns `range` of every row.
    ///
    /// # Errors
    /// [`Error::Argument`] if the range is not within `0..cols`.
    pub fn columns(self, range: Range<usize>) -> Result<Self> {
        if range.start > range.end || range.end > self.cols {
            let expected = format_args!("a range within 0..{}", self.cols).to_string();
            return Err(Error::argument("Rows::columns", "range", expected, format_args!("{range:?}")));
        }
        // without rows the offset was never checked, and nothing is at it
        let offset = if self.rows == 0 { self.offset } else { self.offset + range.start };
        Ok(Self { offset, cols: range.end - range.start, ..self })
    }

    /// The rows `range`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the range is not within `0..rows`.
    pub fn range(self, range: Range<usize>) -> Result<Self> {
        if range.start > range.end || range.end > self.rows {
            let expected = format_args!("a range within 0..{}", self.rows).to_string();
            return Err(Error::argument("Rows::range", "range", expected, format_args!("{range:?}")));
        }
        let rows = range.end - range.start;
        let offset = if rows == 0 { self.offset } else { self.offset + range.start * self.stride };
        Ok(Self { offset, rows, ..self })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from the start of one row to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The element of `data` at which row 0 starts.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The backend's view that the rows lie in.
    pub fn data(&self) -> &S {
        &self.data
    }

    /// Gives the backend's view back.
    pub fn into_data(self) -> S {
        self.data
    }
}

impl<'a, T> Rows<&'a [T]> {
    /// The address of row 0. A view without rows may lie past its data: then nothing may be read there.
    pub(crate) fn start(&self) -> *const T {
        self.data.as_ptr().wrapping_add(self.offset)
    }

    /// Row `i`. Panics if `i` is not below `rows()`.
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.data[self.offset + i * self.stride..][..self.cols]
    }
}

impl<T> Rows<&mut [T]> {
    /// The address of row 0. A view without rows may lie past its data: then nothing may be written there.
    pub(crate) fn start_mut(self) -> *mut T {
        self.data.as_mut_ptr().wrapping_add(self.offset)
    }

    /// Row `i`. Panics if `i` is not below `rows()`.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &mut self.data[self.offset + i * self.stride..][..self.cols]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_past_its_data_is_an_error() {
        let data = [0f32; 10];
        assert!(Rows::new(&data[..], 2, 5).is_ok());
        assert!(Rows::new(&data[..], 2, 6).is_err());
        assert!(Rows::strided(&data[..], 1, 2, 4, 5).is_ok());
        assert!(Rows::strided(&data[..], 2, 2, 4, 5).is_err());
        assert!(Rows::strided(&data[..], 0, 2, 4, 3).is_err());
        assert!(Rows::strided(&data[..], 0, usize::MAX, 4, 5).is_err());
        assert!(Rows::strided(&data[..], usize::MAX, 1, 4, 5).is_err());
        assert!(Rows::new(&data[..], 0, 1000).is_ok());
    }

    #[test]
    fn a_slice_past_the_elements_is_an_error() {
        let mut data = [1u32, 2, 3];
        assert_eq!((&data[..]).slice(1..3).unwrap(), [2, 3]);
        assert!((&data[..]).slice(1..4).is_err());
        (&mut data[..]).slice(3..3).unwrap();
        let error = (&mut data[..]).slice(2..4).unwrap_err();
        assert!(error.to_string().contains("expected a range within 0..3, found 2..4"));
    }

    #[test]
    fn slices_of_rows_and_columns() {
        let data: Vec<u32> = (0..12).collect();
        let rows = Rows::new(&data[..], 3, 4).unwrap();
        assert_eq!(rows.columns(1..3).unwrap().row(2), [9, 10]);
        assert_eq!(rows.range(1..2).unwrap().row(0), [4, 5, 6, 7]);
        assert!(rows.columns(3..5).is_err());
        assert!(Rows::strided(&data[..], usize::MAX, 0, 4, 4).unwrap().columns(1..2).is_ok());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 2..1;
        assert!(rows.range(reversed).is_err());
        assert_eq!(rows.range(3..3).unwrap().rows(), 0);
    }
}
