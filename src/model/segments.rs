//! Which rows of a batch go together: chunks of it, and rows that one call can reach.
#![forbid(unsafe_code)]

use crate::arrays::Batch;
use crate::model::error::ModelError;
use std::ops::Range;

/// The sequences that have a last token whose logits mean something: their index and rows.
pub(super) fn live(batch: &Batch) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
    let sequences = batch.sequences().enumerate();
    sequences
        .filter(|(_, (rows, slot))| !rows.is_empty() && slot.index().is_some())
        .map(|(i, (rows, _))| (i, rows))
}

/// The part of a batch within `chunk`, whose sequences are cut at its borders.
pub(super) fn cut(batch: &Batch, chunk: &Range<usize>) -> Result<Batch, ModelError> {
    if *chunk == (0..batch.tokens()) {
        return Ok(batch.clone());
    }
    let first = batch.offsets().partition_point(|&offset| offset <= chunk.start).saturating_sub(1);
    let (mut offsets, mut slots) = (vec![0], Vec::new());
    for (i, pair) in batch.offsets().windows(2).enumerate().skip(first) {
        if pair[0] >= chunk.end {
            break;
        }
        if pair[1] > chunk.start.max(pair[0]) {
            offsets.push(pair[1].min(chunk.end) - chunk.start);
            slots.push(batch.slots()[i]);
        }
    }
    Ok(Batch::new(&offsets, &slots)?)
}

/// The longest beginning of ascending `rows` with equal steps: how many rows, and the step.
pub(super) fn equal_steps(rows: &[usize]) -> (usize, usize) {
    let step = match rows {
        [first, second, ..] => second - first,
        _ => 1,
    };
    (1 + rows.windows(2).take_while(|pair| pair[1] - pair[0] == step).count(), step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Slot;

    #[test]
    fn a_cut_keeps_slots_and_drops_what_is_outside() {
        let slot = Slot::new;
        let batch = Batch::new(&[0, 3, 3, 4, 9], &[slot(5), slot(1), Slot::PADDING, slot(2)]).unwrap();
        let parts: Vec<_> = (0..9)
            .step_by(2)
            .map(|start| cut(&batch, &(start..9.min(start + 2))).unwrap())
            .map(|part| (part.offsets().to_vec(), part.slots().to_vec()))
            .collect();
        let expected = [
            (vec![0, 2], vec![slot(5)]),
            (vec![0, 1, 2], vec![slot(5), Slot::PADDING]),
            (vec![0, 2], vec![slot(2)]),
            (vec![0, 2], vec![slot(2)]),
            (vec![0, 1], vec![slot(2)]),
        ];
        assert_eq!(parts, expected);
        assert_eq!(cut(&batch, &(0..9)).unwrap().id(), batch.id());
    }

    #[test]
    fn rows_with_equal_steps() {
        assert_eq!(equal_steps(&[7]), (1, 1));
        assert_eq!(equal_steps(&[0, 1, 2, 4]), (3, 1));
        assert_eq!(equal_steps(&[4, 9, 14, 15]), (3, 5));
    }
}
