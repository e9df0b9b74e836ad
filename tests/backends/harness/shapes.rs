//! Strategies for shapes: small ones, around the edges of lanes and tiles.

use crate::harness::arrays::Layout;
use mamba_kernels::DType;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub fn dtypes() -> impl Strategy<Value = DType> {
    prop_oneof![2 => Just(DType::F32), 1 => Just(DType::F16), 1 => Just(DType::BF16)]
}

pub fn layouts() -> impl Strategy<Value = Layout> {
    let strided = (0..20usize, 0..20usize, 0..20usize);
    prop_oneof![
        1 => Just(Layout::DENSE),
        3 => strided.prop_map(|(before, gap, after)| Layout { before, gap, after }),
    ]
}

/// A layout at a multiple of 16 bytes, whatever the type.
pub const ALIGNED: Layout = Layout { before: 8, gap: 0, after: 5 };

/// Layouts whose rows are all at multiples of 16 bytes, if the columns are a multiple of eight.
pub fn aligned_layouts() -> impl Strategy<Value = Layout> {
    let layout = |(before, gap, after)| Layout { before: 8 * before, gap: 8 * gap, after };
    (0..3usize, 0..3usize, 0..20usize).prop_map(layout)
}

/// Channels: multiples of lanes and their neighbours, and any others.
pub fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![1..=9usize, select(vec![15, 16, 17, 31, 32, 33]), 1..=70usize, select(vec![63, 64, 65])]
}

/// Rows of an op without sequences: register tiles are at most 8 rows tall, of even height.
pub fn tokens() -> impl Strategy<Value = usize> {
    prop_oneof![0..=8usize, select(vec![9, 15, 16, 17, 24, 25, 31, 32, 33]), 0..=40usize]
}

/// Features of a matrix: around panels of 16, 24, 32, 48 and 80, and the edges of wide panels.
pub fn features() -> impl Strategy<Value = usize> {
    let edges = vec![
        0, 1, 2, 3, 4, 5, 13, 14, 15, 16, 17, 31, 32, 33, 23, 24, 25, 47, 48, 49, 79, 80, 81, 95, 96, 97,
        255, 256, 257,
    ];
    prop_oneof![3 => select(edges), 1 => 1..=70usize]
}

/// The length of each sequence and whether it is padding.
pub fn sequences() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let length = prop_oneof![
        2 => Just(0usize),
        4 => Just(1usize),
        8 => 2..=8usize,
        4 => 9..=40usize,
        1 => 41..=130usize,
    ];
    vec((length, prop_oneof![5 => Just(false), 1 => Just(true)]), 0..=4)
}
