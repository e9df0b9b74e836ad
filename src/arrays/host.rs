//! What the backends in the host's memory share: buffers are `Vec`s and views are slices.
#![forbid(unsafe_code)]

use crate::arrays::Scalar;
use crate::arrays::{Error, Result, expect_size};
use crate::cpu::ask_for_large_pages;

/// A vector of `len` zeros, or an error where there is no memory for it.
pub(crate) fn zeros<T: Scalar>(op: &'static str, len: usize) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    reserve(op, &mut vec, len)?;
    vec.resize(len, T::zeroed());
    Ok(vec)
}

/// A copy of `host`, or an error where there is no memory for it.
pub(crate) fn copied<T: Scalar>(op: &'static str, host: &[T]) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    reserve(op, &mut vec, host.len())?;
    vec.extend_from_slice(host);
    Ok(vec)
}

fn reserve<T: Scalar>(op: &'static str, vec: &mut Vec<T>, len: usize) -> Result<()> {
    let no_memory = |_| Error::OutOfMemory { op, elements: len, dtype: T::DTYPE.name() };
    vec.try_reserve_exact(len).map_err(no_memory)?;
    ask_for_large_pages(vec);
    Ok(())
}

/// The host's slice of a copy must be as long as the view.
pub(crate) fn expect_host(op: &'static str, view: usize, host: usize) -> Result<()> {
    expect_size(op, "host", "the elements of the view", view, host)
}

/// The associated types and the memory methods of a [`Backend`](crate::Backend) whose memory is the host's.
macro_rules! host_memory {
    () => {
        type View<'a, T: Scalar> = &'a [T];
        type ViewMut<'a, T: Scalar> = &'a mut [T];
        type Buffer<T: Scalar> = Vec<T>;

        fn zeros<T: Scalar>(&self, len: usize) -> Result<Vec<T>> {
            crate::arrays::host::zeros("zeros", len)
        }

        fn upload<T: Scalar>(&self, host: &[T]) -> Result<Vec<T>> {
            crate::arrays::host::copied("upload", host)
        }

        fn write<T: Scalar>(&self, host: &[T], target: &mut [T]) -> Result<()> {
            crate::arrays::host::expect_host("write", target.len(), host.len())?;
            target.copy_from_slice(host);
            Ok(())
        }

        fn read<T: Scalar>(&self, source: &[T], host: &mut [T]) -> Result<()> {
            crate::arrays::host::expect_host("read", source.len(), host.len())?;
            host.copy_from_slice(source);
            Ok(())
        }

        fn view<'a, T: Scalar>(&self, buffer: &'a Vec<T>) -> &'a [T] {
            buffer
        }

        fn view_mut<'a, T: Scalar>(&self, buffer: &'a mut Vec<T>) -> &'a mut [T] {
            buffer
        }
    };
}

pub(crate) use host_memory;

#[cfg(test)]
mod tests {
    use crate::{Backend, Reference};

    #[test]
    fn a_copy_of_another_length_names_what_was_expected() {
        let error = Reference.read(&[1.0f32, 2.0][..], &mut [0.0; 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "read: argument `host`: expected the elements of the view = 2, found 3"
        );
        let error = Reference.write(&[1.0f32, 2.0], &mut [0.0; 3][..]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "write: argument `host`: expected the elements of the view = 3, found 2"
        );
    }
}
