//! Values from a seed, plain or with special ones among them.

use crate::harness::arrays::{Layout, Matrix, stored};
use mamba_kernels::{Batch, DType, Slot};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use std::ops::Range;

/// What kind of values a case has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Numbers of ordinary size.
    Plain,
    /// Zeros of both signs, subnormals, huge numbers, infinities and NaN among them.
    Special,
}

const SPECIAL: [f32; 16] = [
    0.0,
    -0.0,
    f32::from_bits(1),
    f32::from_bits(0x8000_0fff),
    f32::MIN_POSITIVE,
    6e-8,  // a subnormal of f16
    3e-31, // just below 2^-101
    -1e-35,
    1e-20,
    -1e20,
    60000.0,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

/// A source of values: the same for the same seed, everywhere.
pub struct Draw {
    rng: Pcg64,
    /// One value in this many is special; 0 for none.
    rarity: usize,
}

impl Draw {
    pub fn new(seed: u64, flavour: Flavour) -> Self {
        let mut rng = Pcg64::seed_from_u64(seed);
        // few special values in some cases, so that they do not always flood sums and states
        let rarity = [4, 16, 64, 256][rng.next_u64() as usize % 4];
        Self { rng, rarity: if flavour == Flavour::Special { rarity } else { 0 } }
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.rng.next_u64() % end as u64) as usize
    }

    /// Uniform in a range, with all digits of f32 however small it is; never special.
    pub fn plain(&mut self, range: Range<f32>) -> f32 {
        let (start, end) = (f64::from(range.start), f64::from(range.end));
        let unit = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        (start + unit * (end - start)) as f32
    }

    /// A matrix whose values `value` draws.
    pub fn matrix_of(
        &mut self,
        (rows, cols): (usize, usize),
        dtype: DType,
        layout: Layout,
        mut value: impl FnMut(&mut Self) -> f32,
    ) -> Matrix {
        let values = (0..rows * cols).map(|_| {
            let special = self.rarity > 0 && self.below(self.rarity) == 0;
            let value = if special { SPECIAL[self.below(SPECIAL.len())] } else { value(self) };
            stored(value, dtype)
        });
        Matrix { rows, cols, dtype, layout, values: values.collect() }
    }

    /// A matrix of values from a range.
    pub fn matrix(
        &mut self,
        shape: (usize, usize),
        dtype: DType,
        layout: Layout,
        range: Range<f32>,
    ) -> Matrix {
        self.matrix_of(shape, dtype, layout, |draw| draw.plain(range.clone()))
    }

    /// A vector of f32 values that `value` draws.
    pub fn vector_of(&mut self, len: usize, value: impl FnMut(&mut Self) -> f32) -> Matrix {
        Matrix::vector(self.matrix_of((1, len), DType::F32, Layout::DENSE, value).values)
    }

    /// A vector of f32 values from a range.
    pub fn vector(&mut self, len: usize, range: Range<f32>) -> Matrix {
        self.vector_of(len, |draw| draw.plain(range.clone()))
    }

    /// `0..len` in some order.
    pub fn permutation(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for i in (1..len).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    /// Slots in any order and with gaps for sequences of these lengths; those marked are padding.
    pub fn sequences(&mut self, sequences: &[(usize, bool)]) -> Sequences {
        let pool = sequences.len() + 2;
        let order = self.permutation(pool);
        let slot = |(i, &(_, padding)): (usize, &(usize, bool))| {
            if padding { Slot::PADDING } else { Slot::new(order[i] as u32) }
        };
        Sequences {
            lengths: sequences.iter().map(|&(length, _)| length).collect(),
            slots: sequences.iter().enumerate().map(slot).collect(),
            pool,
        }
    }
}

/// The sequences of a batch.
#[derive(Clone, Debug)]
pub struct Sequences {
    pub lengths: Vec<usize>,
    pub slots: Vec<Slot>,
    /// Slots of the state pool.
    pub pool: usize,
}

impl Sequences {
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub fn batch(&self) -> Batch {
        let mut offsets = vec![0];
        self.lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + length));
        Batch::new(&offsets, &self.slots).unwrap()
    }

    /// The rows and the slot of each sequence.
    pub fn iter(&self) -> impl Iterator<Item = (Range<usize>, Slot)> {
        let mut start = 0;
        self.lengths.iter().zip(&self.slots).map(move |(&length, &slot)| {
            start += length;
            (start - length..start, slot)
        })
    }
}
