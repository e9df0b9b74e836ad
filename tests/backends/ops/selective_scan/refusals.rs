//! Arguments that `selective_scan` must refuse.

use super::SelectiveScan;
use crate::harness::arrays::Matrix;
use crate::harness::case::Wrong;

/// A vector of `len` ones.
fn ones(len: usize) -> Matrix {
    Matrix::vector(vec![1.0; len])
}

pub const WRONG: &[Wrong<SelectiveScan>] = &[
    ("u", |case| case.u = Matrix { cols: 0, values: vec![], ..case.u.clone() }),
    ("n_groups", |case| case.n_groups = 0),
    ("n_groups", |case| case.n_groups = 4),
    ("n_groups", |case| case.u = case.u.grown(0, 1)),
    ("a", |case| case.a = ones(0)),
    ("a", |case| case.a = ones(case.a.values.len() + 1)),
    ("delta", |case| case.u = case.u.grown(1, 0)),
    ("delta", |case| case.delta = case.delta.grown(1, 0)),
    ("delta", |case| case.delta = case.delta.grown(0, 1)),
    ("b", |case| case.b = case.b.grown(1, 0)),
    ("b", |case| case.b = case.b.grown(0, 1)),
    ("b", |case| case.n_groups = 1),
    ("b", |case| case.a = ones(case.a.values.len() + case.u.cols)),
    ("c", |case| case.c = case.c.grown(1, 0)),
    ("c", |case| case.c = case.c.grown(0, 1)),
    ("z", |case| case.z = case.z.as_ref().map(|z| z.grown(1, 0))),
    ("z", |case| case.z = case.z.as_ref().map(|z| z.grown(0, 1))),
    ("d", |case| case.d = Some(ones(case.u.cols + 1))),
    ("delta_bias", |case| case.delta_bias = Some(ones(case.u.cols - 1))),
    ("batch", |case| case.sequences.lengths[0] += 1),
    ("state", |case| case.state = case.state.as_ref().map(|state| state.select(&[0]))),
    ("state", |case| case.state = Some(ones(1000 * case.a.values.len() + 1))),
    ("output", |case| case.output = case.output.grown(1, 0)),
    ("output", |case| case.output = case.output.grown(0, 1)),
];
