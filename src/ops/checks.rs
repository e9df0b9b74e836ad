//! Checks that several contracts share.

use crate::arrays::{Batch, Error, Result, checked_product, expect_size};

/// A batch must cover the rows of an op's arrays.
#[inline]
pub(super) fn expect_tokens(op: &'static str, batch: &Batch, rows: usize) -> Result<()> {
    expect_size(op, "batch", "the rows of the input", rows, batch.tokens())
}

/// A state pool `[slots, rows, channels]` must have every slot of the batch. Without rows it must be empty.
pub(super) fn expect_pool(
    op: &'static str,
    batch: &Batch,
    rows: usize,
    channels: usize,
    elements: usize,
) -> Result<()> {
    let slot = checked_product(op, "state", &[rows, channels])?;
    if slot == 0 {
        return expect_size(op, "state", "an empty state of length", 0, elements);
    }
    if !elements.is_multiple_of(slot) {
        let expected = format_args!("a multiple of {rows} x {channels} elements").to_string();
        return Err(Error::argument(op, "state", expected, elements));
    }
    let slots = elements / slot;
    if batch.slots_needed() > slots {
        let expected = format_args!("at least {} slots", batch.slots_needed()).to_string();
        return Err(Error::argument(op, "state", expected, format_args!("{slots} slots")));
    }
    Ok(())
}
