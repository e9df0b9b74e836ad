//! Buffers in the host's memory, for the backends whose buffers are `Vec`s and whose views are slices.
#![forbid(unsafe_code)]

use super::element::Scalar;
use super::error::{Error, Result, expect_size};
use super::huge_pages::advise_vec;

/// A vector of `len` zeros, or an error if there is no memory for it.
pub(crate) fn zeros<T: Scalar>(op: &'static str, len: usize) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    reserve(op, &mut vec, len)?;
    vec.resize(len, T::zeroed());
    Ok(vec)
}

/// A copy of `host`, or an error if there is no memory for it.
pub(crate) fn copied<T: Scalar>(op: &'static str, host: &[T]) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    reserve(op, &mut vec, host.len())?;
    vec.extend_from_slice(host);
    Ok(vec)
}

fn reserve<T: Scalar>(op: &'static str, vec: &mut Vec<T>, len: usize) -> Result<()> {
    let no_memory = |_| Error::OutOfMemory { op, elements: len, dtype: T::DTYPE.name() };
    vec.try_reserve_exact(len).map_err(no_memory)?;
    advise_vec(vec);
    Ok(())
}

/// Copies `source` over `target`: [`Backend::write`](crate::Backend::write) on slices.
pub(crate) fn write<T: Scalar>(source: &[T], target: &mut [T]) -> Result<()> {
    expect_host("write", target.len(), source.len())?;
    target.copy_from_slice(source);
    Ok(())
}

/// Copies `source` to `host`: [`Backend::read`](crate::Backend::read) on slices.
pub(crate) fn read<T: Scalar>(source: &[T], host: &mut [T]) -> Result<()> {
    expect_host("read", source.len(), host.len())?;
    host.copy_from_slice(source);
    Ok(())
}

/// The host's slice of a copy must be as long as the view.
pub(crate) fn expect_host(op: &'static str, view: usize, host: usize) -> Result<()> {
    expect_size(op, "host", "the elements of the view", view, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_another_length_names_what_was_expected() {
        let error = read(&[1.0f32, 2.0], &mut [0.0; 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "read: argument `host`: expected the elements of the view = 2, found 3"
        );
        let error = write(&[1.0f32, 2.0], &mut [0.0; 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "write: argument `host`: expected the elements of the view = 3, found 2"
        );
    }
}
