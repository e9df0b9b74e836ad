//! Arrays that start at a cache line.

use crate::arrays::{Error, Result, Scalar, checked_product};
use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;

/// One cache line: the alignment of packed data.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A vector that starts at a cache line and is zero at first.
#[derive(Debug, Clone)]
pub(in crate::cpu) struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    element: PhantomData<T>,
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), len: 0, element: PhantomData }
    }
}

impl<T: Scalar> Aligned<T> {
    pub fn zeros(op: &'static str, len: usize) -> Result<Self> {
        let mut aligned = Self::default();
        aligned.ensure(op, len)?;
        Ok(aligned)
    }

    /// Makes it at least `len` long. If it grows, its contents are lost.
    pub fn ensure(&mut self, op: &'static str, len: usize) -> Result<()> {
        if len > self.len {
            let lines = checked_product(op, "elements", &[len, size_of::<T>()])?.div_ceil(size_of::<Line>());
            self.lines.clear();
            self.len = 0; // until there is memory
            self.lines.try_reserve_exact(lines).map_err(|_| Error::OutOfMemory {
                op,
                elements: len,
                dtype: T::DTYPE.name(),
            })?;
            self.lines.resize(lines, Line::zeroed());
            self.len = len;
        }
        Ok(())
    }

    pub fn as_slice(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_cannot_be_had_leaves_a_usable_array() {
        let mut array = Aligned::<f32>::zeros("test", 8).unwrap();
        assert!(matches!(array.ensure("test", isize::MAX as usize / 4), Err(Error::OutOfMemory { .. })));
        assert!(array.as_slice().is_empty());
        array.ensure("test", 4).unwrap();
        assert_eq!(array.as_mut_slice(), [0.0; 4]);
    }
}
