//! [`Batch`]: sequences of any lengths, packed one after the other, and the state slot of each.
#![forbid(unsafe_code)]

use super::error::{Error, Result};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the recurrent state of a sequence lies in a state pool, or [`Slot::PADDING`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u32);

impl Slot {
    /// A sequence that only fills up a batch: its outputs are zeros, and no state is read or written.
    pub const PADDING: Slot = Slot(u32::MAX);

    /// The slot at `index` of the pool. `u32::MAX` is [`Slot::PADDING`].
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The index in the pool, or `None` for padding.
    pub const fn index(self) -> Option<usize> {
        if self.0 == u32::MAX { None } else { Some(self.0 as usize) }
    }
}

/// A ragged batch: sequence `i` is rows `offsets[i]..offsets[i + 1]` of every `[tokens, ...]` array, and its state
/// is at `slots[i]`.
///
/// A decode step is a batch of sequences of length 1, a prefill one of length L, continuous batching a mix, chunked
/// prefill a second call with the same slots. Empty sequences are legal and leave their state as it is. The value is
/// checked once, immutable and cheap to clone.
#[derive(Debug, Clone)]
pub struct Batch {
    id: u64,
    offsets: Arc<[usize]>,
    slots: Arc<[Slot]>,
    slots_needed: usize,
}

impl Batch {
    /// A batch from token offsets (`cu_seqlens`, one more than the number of sequences) and one slot per sequence.
    ///
    /// # Errors
    /// [`Error::Argument`] if the offsets do not start at 0 or decrease, their number is not that of the slots
    /// plus one, or two sequences share a slot.
    pub fn new(offsets: &[usize], slots: &[Slot]) -> Result<Self> {
        const OP: &str = "Batch::new";
        if offsets.len() != slots.len() + 1 {
            let expected = format_args!("one more than the {} slots", slots.len()).to_string();
            return Err(Error::argument(OP, "offsets", expected, format_args!("{} offsets", offsets.len())));
        }
        if offsets[0] != 0 {
            return Err(Error::argument(OP, "offsets", "a first offset of 0", offsets[0]));
        }
        if let Some(i) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
            let found = format_args!("{} before {} at {i}", offsets[i], offsets[i + 1]).to_string();
            return Err(Error::argument(OP, "offsets", "offsets that never decrease", found));
        }
        let mut used: Vec<usize> = slots.iter().filter_map(|slot| slot.index()).collect();
        used.sort_unstable();
        if let Some(pair) = used.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::argument(
                OP,
                "slots",
                "each slot at most once",
                format_args!("{} twice", pair[0]),
            ));
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            offsets: offsets.into(),
            slots: slots.into(),
            slots_needed: used.last().map_or(0, |&last| last + 1),
        })
    }

    /// Sequences of these lengths in the slots 0, 1, 2...
    ///
    /// # Errors
    /// [`Error::Argument`] if the sum of the lengths, or their number, is too large.
    pub fn from_lengths(lengths: &[usize]) -> Result<Self> {
        const OP: &str = "Batch::from_lengths";
        let mut offsets = vec![0usize];
        for &length in lengths {
            let end = offsets[offsets.len() - 1].checked_add(length);
            offsets.push(end.ok_or_else(|| {
                Error::argument(OP, "lengths", "a sum that fits in 64 bits", format_args!("{lengths:?}"))
            })?);
        }
        let count = u32::try_from(lengths.len()).ok().filter(|&count| count < u32::MAX);
        let count = count
            .ok_or_else(|| Error::argument(OP, "lengths", "fewer than 2^32 - 1 sequences", lengths.len()))?;
        let slots: Vec<Slot> = (0..count).map(Slot::new).collect();
        Self::new(&offsets, &slots)
    }

    /// One sequence of `length` tokens in slot 0.
    pub fn single(length: usize) -> Self {
        Self::from_lengths(&[length]).expect("one length cannot overflow")
    }

    /// One token for each of these slots: a decode step.
    ///
    /// # Errors
    /// [`Error::Argument`] if a slot occurs twice.
    pub fn decode(slots: &[Slot]) -> Result<Self> {
        let offsets: Vec<usize> = (0..=slots.len()).collect();
        Self::new(&offsets, slots)
    }

    /// The number of tokens: the rows that every array of a call has.
    pub fn tokens(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// The number of sequences.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the batch has no sequence.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The token offsets, one more than the number of sequences.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The slot of each sequence.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// How many slots a state pool must have: the highest slot plus one.
    pub fn slots_needed(&self) -> usize {
        self.slots_needed
    }

    /// A number that no other batch of this process has, except clones of this one: a key under which a backend
    /// may keep the offsets on a device.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The rows and the slot of each sequence.
    pub fn sequences(&self) -> impl Iterator<Item = (Range<usize>, Slot)> + '_ {
        self.offsets.windows(2).zip(self.slots.iter()).map(|(pair, &slot)| (pair[0]..pair[1], slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_batch_refuses() {
        let slot = Slot::new;
        assert!(Batch::new(&[], &[]).is_err());
        assert!(Batch::new(&[0, 1], &[]).is_err());
        assert!(Batch::new(&[1, 2], &[slot(0)]).is_err());
        assert!(Batch::new(&[0, 2, 1], &[slot(0), slot(1)]).is_err());
        assert!(Batch::new(&[0, 1, 2], &[slot(3), slot(3)]).is_err());
        assert!(Batch::from_lengths(&[usize::MAX, 1]).is_err());
    }

    #[test]
    fn padding_may_repeat_and_needs_no_slot() {
        let batch = Batch::new(&[0, 1, 1, 4], &[Slot::PADDING, Slot::new(6), Slot::PADDING]).unwrap();
        assert_eq!((batch.tokens(), batch.len(), batch.slots_needed()), (4, 3, 7));
        let empty = Batch::new(&[0], &[]).unwrap();
        assert_eq!((empty.tokens(), empty.slots_needed(), empty.is_empty()), (0, 0, true));
    }
}
