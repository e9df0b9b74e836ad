//! Arguments that the op must refuse.

use super::Embedding;
use crate::harness::case::Wrong;

pub const WRONG: &[Wrong<Embedding>] = &[
    ("tokens", |case| case.tokens[4] = case.weight.rows as u32),
    ("tokens", |case| case.tokens[0] = u32::MAX),
    ("output", |case| case.tokens.push(0)),
    ("output", |case| case.output = case.output.grown(1, 0)),
    ("output", |case| case.output = case.output.grown(0, 1)),
    ("output", |case| case.weight = case.weight.grown(0, 1)),
];
