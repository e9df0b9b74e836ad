//! Arguments that the op must refuse.

use super::RmsNorm;
use crate::harness::arrays::Matrix;
use crate::harness::case::Wrong;

pub const WRONG: &[Wrong<RmsNorm>] = &[
    ("eps", |case| case.eps = -1e-6),
    ("eps", |case| case.eps = f32::INFINITY),
    ("eps", |case| case.eps = f32::NAN),
    ("residual", |case| case.residual = case.residual.as_ref().map(|rows| rows.grown(1, 0))),
    ("residual", |case| case.residual = case.residual.as_ref().map(|rows| rows.grown(0, 1))),
    ("residual", |case| case.input = case.input.grown(1, 0)),
    ("weight", |case| case.weight = Some(Matrix::vector(vec![1.0; case.input.cols - 1]))),
    ("output", |case| case.output = case.output.grown(1, 0)),
    ("output", |case| case.output = case.output.grown(0, 1)),
];
