//! [`Split`]: how a call's work is divided into tasks for the threads.

use std::ops::Range;

/// Work divided into tasks: each of `groups` (sequences, or chunks, or one whole array) is cut along `len` items into
/// the same number of ranges.
#[derive(Debug, Clone, Copy)]
pub(in crate::cpu) struct Split {
    groups: usize,
    len: usize,
    unit: usize,
    ranges: usize,
}

impl Split {
    /// One group of `len` items. Ranges start at multiples of `unit`.
    ///
    /// `work` is the size of the whole in any measure, `worth` how much of it is worth a task, `most` a limit on the
    /// number of tasks.
    pub fn new(work: usize, worth: usize, most: usize, len: usize, unit: usize) -> Self {
        Self::grouped(work, worth, most, 1, len, unit)
    }

    /// The same work in `groups` groups of `len` items each: as many ranges per group as it takes to reach the number
    /// of tasks that [`Split::new`] would make.
    pub fn grouped(work: usize, worth: usize, most: usize, groups: usize, len: usize, unit: usize) -> Self {
        let wanted = work.div_ceil(worth).min(most);
        let ranges = wanted.div_ceil(groups.max(1)).min(len.div_ceil(unit));
        Self { groups, len, unit, ranges }
    }

    /// The number of tasks.
    pub fn tasks(&self) -> usize {
        self.groups * self.ranges
    }

    /// The number of ranges that each group is cut into.
    pub fn ranges(&self) -> usize {
        self.ranges
    }

    /// The group and the range of a task.
    pub fn task(&self, index: usize) -> (usize, Range<usize>) {
        let (group, range) = self.place(index);
        (group, split_range(self.len, self.unit, self.ranges, range))
    }

    /// The group of a task, and which of the group's ranges it has.
    pub fn place(&self, index: usize) -> (usize, usize) {
        (index / self.ranges, index % self.ranges)
    }
}

/// Range `index` of `0..len` cut into `count` ranges that start at multiples of `unit`.
pub(in crate::cpu) fn split_range(len: usize, unit: usize, count: usize, index: usize) -> Range<usize> {
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
    fn tasks_cover_every_group() {
        let split = Split::grouped(1000, 10, 8, 3, 40, 16);
        assert_eq!((split.tasks(), split.ranges()), (9, 3));
        let tasks: Vec<_> = (0..9).map(|index| split.task(index)).collect();
        assert_eq!(tasks[..3], [(0, 0..16), (0, 16..32), (0, 32..40)]);
        assert_eq!((tasks[3].0, tasks[8].clone()), (1, (2, 32..40)));
        assert_eq!(Split::new(0, 10, 8, 40, 16).tasks(), 0);
        assert_eq!(Split::new(1000, 10, 8, 40, 16).tasks(), 3);
    }
}
