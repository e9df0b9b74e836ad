//! What holds for the ops over sequences: splits, batches, padding and causality change no bit.

use crate::harness::arrays::{Check, Device, Matrix, same_bits};
use crate::harness::case::Sequential;
use crate::harness::random::{Draw, Flavour, Sequences};
use crate::properties::every_op::{ends, for_cases, mixed};
use mamba_kernels::{Backend, DType, Slot};

/// Any split of the sequences into several calls gives the bits of one call, state included. Without a state a
/// sequence starts as with a state of zeros.
pub fn any_split_gives_the_same_bits<B: Backend, C: Sequential>(devices: &[Device<B>]) {
    let [first, last] = ends(devices);
    for_cases(mixed, |case: &C, seed| {
        let whole = case.run(last);
        let mut draw = Draw::new(seed, Flavour::Plain);
        let sequences = case.sequences().clone();
        let zeros = || new_state(sequences.pool, case.state_size());
        let mut state = case.state().cloned().unwrap_or_else(zeros);
        let mut done = vec![0; sequences.lengths.len()];
        for call in 0..4 {
            // some rows of each sequence, none of some; all that is left in the last call
            let mut rows = Vec::new();
            let mut lengths = Vec::new();
            for ((range, _), done) in sequences.iter().zip(&mut done) {
                let left = range.len() - *done;
                let take = if call == 3 { left } else { draw.below(left + 1) };
                rows.extend(range.start + *done..range.start + *done + take);
                lengths.push(take);
                *done += take;
            }
            let part = Sequences { lengths, ..sequences.clone() };
            let outcome = case.select(&rows, part, Some(state)).run(first);
            rows_equal(&outcome.outputs, &whole.outputs, &rows, &format!("call {call}"))?;
            state = outcome.state.unwrap();
        }
        match &whole.state {
            Some(whole) => same_bits(&state.values, &whole.values, whole.cols, "state"),
            None => Ok(()),
        }
    });
}

/// A sequence alone, and the sequences in another order and in other slots, give the same bits; slots that are not in
/// the batch stay as they are.
pub fn any_batch_gives_the_same_bits<B: Backend, C: Sequential>(devices: &[Device<B>]) {
    let [first, last] = ends(devices);
    for_cases(mixed, |case: &C, seed| {
        let whole = case.run(last);
        let sequences = case.sequences();
        for (range, slot) in sequences.iter() {
            let state = slot.index().and_then(|slot| Some(case.state()?.select(&[slot])));
            let alone = Sequences {
                lengths: vec![range.len()],
                slots: vec![if slot.index().is_some() { Slot::new(0) } else { slot }],
                pool: 1,
            };
            let rows: Vec<usize> = range.clone().collect();
            let outcome = case.select(&rows, alone, state).run(first);
            let what = format!("the sequence of rows {range:?} alone");
            rows_equal(&outcome.outputs, &whole.outputs, &rows, &what)?;
            if let (Some(alone), Some(whole), Some(slot)) = (&outcome.state, &whole.state, slot.index()) {
                same_bits(&alone.values, whole.row(slot), whole.cols, &format!("{what}: state"))?;
            }
        }

        let mut draw = Draw::new(seed, Flavour::Plain);
        let order = draw.permutation(sequences.lengths.len());
        let old_slots = draw.permutation(sequences.pool); // by new slot
        let ranges: Vec<_> = sequences.iter().collect();
        let moved = |slot: Slot| match slot.index() {
            Some(old) => Slot::new(old_slots.iter().position(|&slot| slot == old).unwrap() as u32),
            None => Slot::PADDING,
        };
        let reordered = Sequences {
            lengths: order.iter().map(|&i| ranges[i].0.len()).collect(),
            slots: order.iter().map(|&i| moved(ranges[i].1)).collect(),
            pool: sequences.pool,
        };
        let rows: Vec<usize> = order.iter().flat_map(|&i| ranges[i].0.clone()).collect();
        let state = case.state().map(|state| state.select(&old_slots));
        let outcome = case.select(&rows, reordered, state).run(first);
        rows_equal(&outcome.outputs, &whole.outputs, &rows, "in another order")?;
        if let (Some(moved), Some(whole)) = (&outcome.state, &whole.state) {
            same_bits(&moved.values, &whole.select(&old_slots).values, whole.cols, "state of another order")?;
        }
        Ok(())
    });
}

/// Padding gives +0.0 whatever its inputs are; only slots of sequences that have tokens change.
pub fn padding_gives_zeros_and_touches_no_state<B: Backend, C: Sequential>(devices: &[Device<B>]) {
    let [first, last] = ends(devices);
    for_cases(mixed, |case: &C, _| {
        let outcome = case.run(last);
        let mut poisoned = case.clone();
        let mut used = vec![];
        for (range, slot) in case.sequences().iter() {
            if let Some(slot) = slot.index() {
                used.extend((!range.is_empty()).then_some(slot));
                continue;
            }
            for t in range {
                poisoned.inputs().iter_mut().for_each(|input| input.row_mut(t).fill(f32::NAN));
                let (_, output) = &outcome.outputs[0];
                same_bits(output.row(t), &vec![0.0; output.cols], output.cols, &format!("padding, row {t}"))?;
            }
        }
        poisoned.run(first).same_bits(&outcome, "NaN in padding")?;
        let (Some(before), Some(after)) = (case.state(), &outcome.state) else { return Ok(()) };
        (0..before.rows).filter(|slot| !used.contains(slot)).try_for_each(|slot| {
            same_bits(after.row(slot), before.row(slot), before.cols, &format!("slot {slot}"))
        })
    });
}

/// No output depends on a later input, or on another sequence.
pub fn later_inputs_change_no_earlier_output<B: Backend, C: Sequential>(devices: &[Device<B>]) {
    let [first, last] = ends(devices);
    for_cases(mixed, |case: &C, seed| {
        let tokens = case.sequences().tokens();
        if tokens == 0 {
            return Ok(());
        }
        let mut draw = Draw::new(seed, Flavour::Special);
        let from = draw.below(tokens);
        let (range, _) = case.sequences().iter().find(|(range, _)| range.contains(&from)).unwrap();
        let mut changed = case.clone();
        for input in changed.inputs() {
            let (shape, layout) = ((range.end - from, input.cols), input.layout);
            let other = draw.matrix(shape, input.dtype, layout, -9.0..9.0);
            (from..range.end).for_each(|t| input.row_mut(t).copy_from_slice(other.row(t - from)));
        }
        let kept: Vec<usize> = (0..from).chain(range.end..tokens).collect();
        let (before, after) = (case.run(last), changed.run(first));
        let after: Vec<_> = after.outputs.iter().map(|(name, rows)| (*name, rows.select(&kept))).collect();
        rows_equal(&after, &before.outputs, &kept, &format!("inputs changed from row {from} on"))
    });
}

/// The rows of `parts` are these rows of `whole`.
fn rows_equal(
    parts: &[(&'static str, Matrix)],
    whole: &[(&'static str, Matrix)],
    rows: &[usize],
    what: &str,
) -> Check {
    parts.iter().zip(whole).try_for_each(|((name, part), (_, whole))| {
        same_bits(&part.values, &whole.select(rows).values, whole.cols, &format!("{what}: {name}"))
    })
}

/// The state pool of new sequences.
fn new_state(slots: usize, size: usize) -> Matrix {
    let layout = Matrix::vector(vec![]).layout;
    Matrix { rows: slots, cols: size, dtype: DType::F32, layout, values: vec![0.0; slots * size] }
}
