//! Arguments that the op must refuse.

use super::CausalConv1d;
use crate::harness::arrays::Matrix;
use crate::harness::case::Wrong;

pub const WRONG: &[Wrong<CausalConv1d>] = &[
    ("input", |case| case.input = Matrix { cols: 0, values: vec![], ..case.input.clone() }),
    ("weight", |case| case.weight = Matrix::vector(vec![])),
    ("weight", |case| case.weight = Matrix::vector(vec![0.0; 2 * case.input.cols + 1])),
    ("bias", |case| case.bias = Some(Matrix::vector(vec![0.0; case.input.cols + 1]))),
    ("batch", |case| case.sequences.lengths[0] += 1),
    ("batch", |case| case.input = case.input.grown(1, 0)),
    ("state", |case| case.state = case.state.as_ref().map(|state| state.select(&[0]))),
    ("state", |case| case.state = Some(Matrix::vector(vec![0.0; 1000 * case.input.cols + 1]))),
    ("state", |case| case.weight = case.weight.select(&[0])),
    ("output", |case| case.output = case.output.grown(1, 0)),
    ("output", |case| case.output = case.output.grown(0, 1)),
];
