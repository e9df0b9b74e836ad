//! The golden data of single ops, computed elsewhere in f64.
//!
//! The exact value of [`crate::harness::error_analysis`] must be the golden one, up to what f64 loses. Then the derived bounds hold
//! against the golden data as they do against the oracle.

use crate::harness::arrays::{Device, Layout, Matrix};
use crate::harness::case::Case;
use crate::harness::error_analysis::Approx;
use crate::harness::error_ratio::{ErrorRatio, F64_PART};
use crate::harness::random::Sequences;
use crate::ops::CausalConv1d;
use crate::ops::RmsNorm;
use crate::ops::SelectiveScan;
use mamba_kernels::ops::{Activation, layout};
use mamba_kernels::{Backend, DType, Reference, Slot};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use std::collections::BTreeSet;

/// The file, as shape and values of each tensor.
struct Golden(Vec<u8>);

type Tensor = (Vec<usize>, Vec<f64>);

impl Golden {
    fn read() -> Self {
        // from the root of the crate, where cargo runs tests: a binary may run in another checkout
        Self(std::fs::read("tests/data/ops.safetensors").unwrap())
    }

    /// The names `OP.CASE` of an op.
    fn cases(&self, op: &str) -> BTreeSet<String> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let names = tensors.names().into_iter().filter_map(|name| name.rsplit_once('.'));
        names.map(|(case, _)| case.to_string()).filter(|case| case.starts_with(&format!("{op}."))).collect()
    }

    fn find(&self, case: &str, tensor: &str) -> Option<Tensor> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let view = tensors.tensor(&format!("{case}.{tensor}")).ok()?;
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|&v| f32::from_le_bytes(v).into()).collect(),
            Dtype::F64 => data.as_chunks().0.iter().map(|&v| f64::from_le_bytes(v)).collect(),
            Dtype::I64 => data.as_chunks().0.iter().map(|&v| i64::from_le_bytes(v) as f64).collect(),
            other => panic!("{case}.{tensor}: {other:?}"),
        };
        Some((view.shape().to_vec(), values))
    }

    fn get(&self, case: &str, tensor: &str) -> Tensor {
        self.find(case, tensor).unwrap_or_else(|| panic!("{case}.{tensor} is missing"))
    }

    fn flag(&self, case: &str, tensor: &str) -> bool {
        self.get(case, tensor).1[0] != 0.0
    }

    fn vector(&self, case: &str, tensor: &str) -> Option<Matrix> {
        self.find(case, tensor).map(|(_, values)| Matrix::vector(narrow(&values)))
    }

    /// `[b, .., l]`, channels first, to rows `[b * l, ..]`.
    fn rows(&self, case: &str, tensor: &str) -> Option<Matrix> {
        let (shape, values) = self.find(case, tensor)?;
        let (sequences, length) = (shape[0], shape[shape.len() - 1]);
        let channels = shape[1..shape.len() - 1].iter().product();
        let values = transposed(&values, sequences, channels, length);
        Some(matrix(sequences * length, channels, narrow(&values)))
    }
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

fn matrix(rows: usize, cols: usize, values: Vec<f32>) -> Matrix {
    Matrix { rows, cols, dtype: DType::F32, layout: Layout::DENSE, values }
}

/// `count` matrices `[rows, cols]` to `[cols, rows]`.
fn transposed(values: &[f64], count: usize, rows: usize, cols: usize) -> Vec<f64> {
    let index = |i: usize| (i / (rows * cols), i / rows % cols, i % rows);
    let at = |(matrix, col, row)| values[(matrix * rows + row) * cols + col];
    (0..count * rows * cols).map(|i| at(index(i))).collect()
}

/// `[b, d, ..]` pools of states to `[b, .. * d]`, or zeros.
fn state(found: Option<Tensor>, sequences: usize, channels: usize, each: usize) -> Matrix {
    let values = match found {
        Some((_, values)) => narrow(&transposed(&values, sequences, channels, each)),
        None => vec![0.0; sequences * channels * each],
    };
    matrix(sequences, channels * each, values)
}

fn sequences(count: usize, length: usize) -> Sequences {
    let slots = (0..count as u32).map(Slot::new).collect();
    Sequences { lengths: vec![length; count], slots, pool: count }
}

/// Runs a case and compares it with the golden arrays, in the order of the outcome's. `slack` is how far the
/// golden value may be from the exact one.
fn check<B: Backend, C: Case>(
    device: &Device<B>,
    name: &str,
    case: &C,
    golden: &[Vec<f64>],
    slack: fn(Approx) -> f64,
) {
    let (found, oracle) = (case.run(device), case.run(&Device::new(Reference)));
    let mut error_ratio = ErrorRatio::default();
    let bounds = case.bounds();
    assert_eq!(bounds.len(), golden.len(), "{name}");
    for (i, (array, found)) in found.arrays().enumerate() {
        assert_eq!(bounds[i].len(), golden[i].len(), "{name} {array}");
        for (j, (&bound, &golden)) in bounds[i].iter().zip(&golden[i]).enumerate() {
            let (value, off) = (bound.value, (bound.value - golden).abs());
            assert!(off <= slack(bound), "{name} {array}[{j}]: {value:e}, golden {golden:e}");
        }
        let (_, oracle) = oracle.arrays().nth(i).unwrap();
        error_ratio.compare(array, found, oracle, &bounds[i]).unwrap();
    }
    println!("{name}: {error_ratio:?}");
}

pub fn causal_conv1d<B: Backend>(devices: &[Device<B>]) {
    let golden = Golden::read();
    let cases = golden.cases("conv");
    assert_eq!(cases.len(), 6);
    for name in cases {
        let (shape, _) = golden.get(&name, "x");
        let (count, channels, length) = (shape[0], shape[1], shape[2]);
        let (weight_shape, weight) = golden.get(&name, "weight");
        let d_conv = weight_shape[1];
        let weight = layout::conv_weight_from_pytorch(&narrow(&weight), channels, d_conv).unwrap();
        let rows = golden.rows(&name, "x").unwrap();
        let case = CausalConv1d {
            sequences: sequences(count, length),
            output: matrix(rows.rows, rows.cols, vec![9.0; rows.values.len()]),
            input: rows,
            weight: matrix(d_conv, channels, weight),
            bias: golden.vector(&name, "bias"),
            activation: if golden.flag(&name, "silu") { Activation::Silu } else { Activation::Identity },
            state: Some(state(golden.find(&name, "initial_state"), count, channels, d_conv - 1)),
        };
        let (_, out) = golden.get(&name, "out");
        let last = match d_conv {
            1 => vec![],
            _ => transposed(&golden.get(&name, "final_state").1, count, channels, d_conv - 1),
        };
        let expected = [transposed(&out, count, channels, length), last];
        let slack = |bound: Approx| bound.error * F64_PART;
        devices.iter().for_each(|device| check(device, &name, &case, &expected, slack));
    }
}

pub fn selective_scan<B: Backend>(devices: &[Device<B>]) {
    let golden = Golden::read();
    let cases = golden.cases("scan");
    assert_eq!(cases.len(), 9);
    for name in cases {
        let (shape, _) = golden.get(&name, "u");
        let (count, channels, length) = (shape[0], shape[1], shape[2]);
        let (shape, a) = golden.get(&name, "A");
        let d_state = shape[1];
        let (b_shape, _) = golden.get(&name, "B");
        // constant `[d, n]`: every channel is a group, and every row is the same
        let constant = b_shape.len() == 2;
        let coefficients = |tensor: &str| match constant {
            true => {
                let values = narrow(&golden.get(&name, tensor).1);
                matrix(count * length, channels * d_state, values.repeat(count * length))
            }
            false => golden.rows(&name, tensor).unwrap(),
        };
        let u = golden.rows(&name, "u").unwrap();
        let case = SelectiveScan {
            sequences: sequences(count, length),
            output: matrix(u.rows, u.cols, vec![9.0; u.values.len()]),
            u,
            delta: golden.rows(&name, "delta").unwrap(),
            a: matrix(d_state, channels, narrow(&transposed(&a, 1, channels, d_state))),
            b: coefficients("B"),
            c: coefficients("C"),
            n_groups: if constant { channels } else { b_shape[1] },
            d: golden.vector(&name, "D"),
            z: golden.rows(&name, "z"),
            delta_bias: golden.vector(&name, "delta_bias"),
            delta_softplus: golden.flag(&name, "delta_softplus"),
            state: Some(state(golden.find(&name, "initial_state"), count, channels, d_state)),
        };
        let (_, out) = golden.get(&name, "out");
        let (_, last) = golden.get(&name, "last_state");
        let expected =
            [transposed(&out, count, channels, length), transposed(&last, count, channels, d_state)];
        // PyTorch's softplus is the identity above 20: off by at most e^-20 = 2.1e-9 there, where the bound of
        // softplus is 2.5 units of 2^-19. That is less than 2^-11 of it, and is carried on in the same way.
        let slack = |bound: Approx| bound.error * 2f64.powi(-11);
        devices.iter().for_each(|device| check(device, &name, &case, &expected, slack));
    }
}

pub fn rms_norm<B: Backend>(devices: &[Device<B>]) {
    let golden = Golden::read();
    let cases = golden.cases("rms_norm");
    assert_eq!(cases.len(), 3);
    for name in cases {
        let (shape, x) = golden.get(&name, "x");
        let rows = |values: &[f64]| matrix(shape[0], shape[1], narrow(values));
        let case = RmsNorm {
            input: rows(&x),
            residual: golden.find(&name, "residual").map(|(_, values)| rows(&values)),
            weight: golden.vector(&name, "weight"),
            eps: golden.get(&name, "eps").1[0] as f32,
            output: rows(&vec![9.0; x.len()]),
        };
        let mut expected = vec![golden.get(&name, "out").1];
        expected.extend(golden.find(&name, "residual_out").map(|(_, values)| values));
        // eps is an f64 there, off by 2^-24 of it at most, which is at most 2^-25 of the result
        let slack = |bound: Approx| bound.error * F64_PART + bound.value.abs() * 2f64.powi(-25);
        devices.iter().for_each(|device| check(device, &name, &case, &expected, slack));
    }
}
