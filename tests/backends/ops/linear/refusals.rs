//! Arguments that the op must refuse.

use super::{InProj, Linear};
use crate::harness::arrays::Matrix;
use crate::harness::case::Wrong;

pub const LINEAR: &[Wrong<Linear>] = &[
    ("input", |case| case.input = case.input.grown(0, 1)),
    ("input", |case| case.weight = case.weight.grown(0, 1)),
    ("bias", |case| case.bias = Some(Matrix::vector(vec![0.0; case.weight.rows + 1]))),
    ("bias", |case| case.bias = Some(Matrix::vector(vec![]))),
    ("output", |case| case.output = case.output.grown(1, 0)),
    ("output", |case| case.output = case.output.grown(0, 1)),
    ("output", |case| case.input = case.input.grown(1, 0)),
];

pub const IN_PROJ: &[Wrong<InProj>] = &[
    ("outputs", |case| (case.weight, case.bias) = (case.weight.grown(1, 0), None)),
    ("input", |case| case.input = case.input.grown(0, 1)),
    ("input", |case| case.weight = case.weight.grown(0, 1)),
    ("bias", |case| case.bias = Some(Matrix::vector(vec![0.0; case.x.cols]))),
    ("bias", |case| case.weight = case.weight.grown(2, 0)),
    ("outputs", |case| case.x = case.x.grown(1, 0)),
    ("outputs", |case| case.x = case.x.grown(0, 1)),
    ("outputs", |case| case.input = case.input.grown(1, 0)),
    ("outputs", |case| case.z = case.z.grown(1, 0)),
    ("outputs", |case| case.z = case.z.grown(0, 1)),
];
