//! [`Split`]: how a call's work is divided into tasks for the threads.

use std::ops::Range;

/// The number of tasks that work is divided into: `work` in any measure, of which `worth` is worth a task, and at most
/// `most` tasks.
#[inline]
pub(in crate::cpu) fn tasks_for(work: usize, worth: usize, most: usize) -> usize {
    work.div_ceil(worth).min(most)
}

/// One array of `len` items, divided into ranges that start at multiples of a unit: a task each.
#[derive(Debug, Clone, Copy)]
pub(in crate::cpu) struct Split {
    len: usize,
    unit: usize,
    tasks: usize,
}

impl Split {
    /// See [`tasks_for`].
    #[inline]
    pub fn new(work: usize, worth: usize, most: usize, len: usize, unit: usize) -> Self {
        Self { len, unit, tasks: tasks_for(work, worth, most).min(len.div_ceil(unit)) }
    }

    /// The number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// The range of a task.
    pub fn task(&self, index: usize) -> Range<usize> {
        split_range(self.len, self.unit, self.tasks, index)
    }
}

/// The work of a ragged batch, divided into tasks of about the same size, whatever the lengths of the sequences.
///
/// The work is a line: sequence after sequence, in each unit after unit (a vector of channels), in each token after
/// token. A task is a range of the line whose ends are moved to the nearest end of a unit: the tokens of a unit stay
/// together, as a recurrence needs it.
#[derive(Debug, Clone, Copy)]
pub(in crate::cpu) struct RaggedSplit<'a> {
    offsets: &'a [usize],
    units: usize,
    tasks: usize,
}

impl<'a> RaggedSplit<'a> {
    /// `offsets` as [`Batch::offsets`](crate::Batch::offsets) has them; each token has `units` units. For the number of
    /// tasks see [`tasks_for`].
    pub fn new(offsets: &'a [usize], units: usize, work: usize, worth: usize, most: usize) -> Self {
        let split = Self { offsets, units, tasks: 0 };
        Self { tasks: tasks_for(work, worth, most).min(split.length()), ..split }
    }

    /// The number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// The sequences of a task, each with its units. None is without tokens.
    pub fn pieces(&self, index: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let (first, last) = (self.border(index), self.border(index + 1));
        let units = self.units;
        let piece = move |sequence| {
            let start = if sequence == first.0 { first.1 } else { 0 };
            let end = if sequence == last.0 { last.1 } else { units };
            (sequence, start..end)
        };
        let offsets = self.offsets;
        // nothing of the sequence past the last one is in a task
        let is_some = move |(sequence, units): &(usize, Range<usize>)| {
            !units.is_empty() && offsets[*sequence] < offsets[sequence + 1]
        };
        (first.0..=last.0).map(piece).filter(is_some)
    }

    /// The length of the line.
    fn length(&self) -> usize {
        self.offsets.last().map_or(0, |tokens| tokens.saturating_mul(self.units))
    }

    /// The sequence and the unit that the task after this border starts with.
    fn border(&self, index: usize) -> (usize, usize) {
        // the ends of the line, without divisions: all that a small call has
        if index == 0 {
            return (0, 0);
        }
        if index == self.tasks {
            return (self.offsets.len() - 1, 0);
        }
        let at = (self.length() as u128 * index as u128 / self.tasks as u128) as usize;
        let sequence = sequence_at(self.offsets, at / self.units.max(1));
        let Some(&end) = self.offsets.get(sequence + 1) else { return (sequence, 0) };
        let start = self.offsets[sequence];
        let (done, tokens) = (at - start * self.units, end - start);
        (sequence, (done + tokens / 2) / tokens)
    }
}

/// The sequence that has a token, or the number of sequences for the token after the last.
pub(in crate::cpu) fn sequence_at(offsets: &[usize], token: usize) -> usize {
    offsets.partition_point(|&offset| offset <= token).saturating_sub(1)
}

/// Range `index` of `0..len` cut into `count` ranges that start at multiples of `unit`.
pub(in crate::cpu) fn split_range(len: usize, unit: usize, count: usize, index: usize) -> Range<usize> {
    if count == 1 {
        return 0..len; // the usual case of a small call, without divisions
    }
    let units = len.div_ceil(unit);
    let border = |i: usize| (units * i / count * unit).min(len);
    border(index)..border(index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_whole() {
        for len in [0, 1, 7, 16, 33] {
            for count in 1..5 {
                let ranges: Vec<_> = (0..count).map(|index| split_range(len, 4, count, index)).collect();
                assert_eq!((ranges[0].start, ranges[count - 1].end), (0, len));
                for pair in ranges.windows(2) {
                    assert_eq!(pair[0].end, pair[1].start);
                    assert!(pair[0].end % 4 == 0 || pair[0].end == len);
                }
            }
        }
    }

    #[test]
    fn tasks_are_as_many_as_the_work_is_worth() {
        assert_eq!(Split::new(0, 10, 8, 40, 16).tasks(), 0);
        let split = Split::new(1000, 10, 8, 40, 16);
        assert_eq!((0..split.tasks()).map(|i| split.task(i)).collect::<Vec<_>>(), [0..16, 16..32, 32..40]);
        assert_eq!(Split::new(15, 10, 8, 40, 1).tasks(), 2);
    }

    /// Each unit of each sequence that has tokens is in one task, and no task has much more than its share.
    #[test]
    fn ragged_tasks_cover_every_sequence_evenly() {
        let batches: [&[usize]; 7] =
            [&[2048], &[2048, 0], &[0, 1, 2048], &[1; 40], &[1900, 148], &[0, 0], &[5, 0, 0, 300, 1, 7]];
        for lengths in batches {
            let mut offsets = vec![0];
            lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + length));
            for (units, most) in [(1, 8), (7, 8), (96, 1), (96, 8), (96, 3)] {
                let work = offsets[lengths.len()] * units;
                let split = RaggedSplit::new(&offsets, units, work, 1, most);
                let mut seen = vec![vec![0; units]; lengths.len()];
                for task in 0..split.tasks() {
                    let mut size = 0;
                    for (sequence, range) in split.pieces(task) {
                        size += range.len() * lengths[sequence];
                        range.for_each(|unit| seen[sequence][unit] += 1);
                    }
                    let longest = lengths.iter().max().unwrap();
                    assert!(
                        size <= work / split.tasks() + longest + 1,
                        "{lengths:?}, {units}, {most}: {size}"
                    );
                }
                for (length, seen) in lengths.iter().zip(seen) {
                    assert!(
                        seen.iter().all(|&times| times == usize::from(*length > 0)),
                        "{lengths:?}, {units}"
                    );
                }
            }
        }
    }
}
