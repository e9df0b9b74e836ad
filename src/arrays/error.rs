//! The typed error of every op and backend.
#![forbid(unsafe_code)]

use std::fmt::Display;

/// What went wrong, with the op, the argument, what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument that the op's contract does not allow.
    #[error("{op}: argument `{argument}`: expected {expected}, found {found}")]
    Argument {
        /// The op, or the constructor, that was called.
        op: &'static str,
        /// The name of the argument as in the op's struct.
        argument: &'static str,
        /// What the contract asks for.
        expected: String,
        /// What was passed.
        found: String,
    },
    /// There is not enough memory for a buffer or for scratch space.
    #[error("{op}: out of memory for {elements} elements of {dtype}")]
    OutOfMemory {
        /// The op that needs the memory.
        op: &'static str,
        /// How many elements it needs.
        elements: usize,
        /// The type of an element.
        dtype: &'static str,
    },
    /// The backend, or the instruction set or device that was chosen for it, is not on this machine.
    #[error("backend `{backend}` is not available: {reason}")]
    Unavailable {
        /// The backend's name.
        backend: String,
        /// Why it is missing, and what would provide it.
        reason: String,
    },
    /// A device failed to run a kernel or a copy.
    #[error("{operation} failed on the device: {reason}")]
    Device {
        /// The kernel, by its symbol, or the copy.
        operation: String,
        /// What the device, or its driver, said.
        reason: String,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Argument`], for ops and bindings outside this crate too.
    #[cold]
    pub fn argument(
        op: &'static str,
        argument: &'static str,
        expected: impl Display,
        found: impl Display,
    ) -> Self {
        Self::Argument { op, argument, expected: expected.to_string(), found: found.to_string() }
    }
}

/// One size that must equal another: `expected` says in words what the number is. The comparison is inlined: a small
/// call has a dozen of them.
#[inline(always)]
pub(crate) fn expect_size(
    op: &'static str,
    argument: &'static str,
    what: &str,
    expected: usize,
    found: usize,
) -> Result<()> {
    if expected == found { Ok(()) } else { Err(wrong_size(op, argument, what, expected, found)) }
}

#[cold]
#[inline(never)]
fn wrong_size(op: &'static str, argument: &'static str, what: &str, expected: usize, found: usize) -> Error {
    Error::argument(op, argument, format_args!("{what} = {expected}"), found)
}

/// The product of `sizes`, or an error if it does not fit in 64 bits.
#[inline]
pub(crate) fn checked_product(op: &'static str, argument: &'static str, sizes: &[usize]) -> Result<usize> {
    let product = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    product.ok_or_else(|| too_large(op, argument, sizes))
}

#[cold]
#[inline(never)]
fn too_large(op: &'static str, argument: &'static str, sizes: &[usize]) -> Error {
    Error::argument(op, argument, "a size that fits in memory", format_args!("the product of {sizes:?}"))
}
