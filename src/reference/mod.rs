//! The oracle: every op as plain loops in f64, with the storage types at the edges only.
//!
//! This is the specification, one screen an op. No optimisation enters it. Sums have no fixed order here; the exact
//! backends are compared with it within bounds, and with each other bit for bit.
#![forbid(unsafe_code)]

mod causal_conv1d;
mod embedding;
mod linear;
pub mod math;
mod rms_norm;
mod selective_scan;

use crate::arrays::Rows;
use crate::arrays::host::host_memory;
use crate::arrays::{DType, Element, Scalar};
use crate::arrays::{Result, checked_product};
use crate::backend::{Backend, WeightMatrix};
use crate::ops::{CausalConv1d, Embedding, InProj, Linear, RmsNorm, SelectiveScan};

/// The oracle, as a backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

/// A weight matrix of the oracle: row-major, widened exactly.
#[derive(Debug, Clone)]
pub struct Weights {
    values: Vec<f32>,
    rows: usize,
    cols: usize,
    dtype: DType,
}

impl Weights {
    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.cols..][..self.cols]
    }
}

impl WeightMatrix for Weights {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn dtype(&self) -> DType {
        self.dtype
    }
}

impl Backend for Reference {
    host_memory!();
    type Weights = Weights;
    type Workspace = ();

    fn name(&self) -> &'static str {
        "reference"
    }

    fn pack<W: Element>(&self, weight: Rows<&[W]>) -> Result<Weights> {
        let (rows, cols) = (weight.rows(), weight.cols());
        let mut values =
            crate::arrays::host::zeros("pack", checked_product("pack", "weight", &[rows, cols])?)?;
        for i in 0..rows {
            for (value, &stored) in values[i * cols..].iter_mut().zip(weight.row(i)) {
                *value = stored.to_f32();
            }
        }
        Ok(Weights { values, rows, cols, dtype: W::DTYPE })
    }

    fn in_proj<T: Element>(&self, args: InProj<'_, Self, T>, _: &mut ()) -> Result<()> {
        linear::forward::in_proj(args)
    }

    fn linear<T: Element, U: Element>(&self, args: Linear<'_, Self, T, U>, _: &mut ()) -> Result<()> {
        linear::forward::linear(args)
    }

    fn causal_conv1d<T: Element>(&self, args: CausalConv1d<'_, Self, T>, _: &mut ()) -> Result<()> {
        causal_conv1d::forward::causal_conv1d(args)
    }

    fn selective_scan<T: Element>(&self, args: SelectiveScan<'_, Self, T>, _: &mut ()) -> Result<()> {
        selective_scan::forward::selective_scan(args)
    }

    fn rms_norm<T: Element, U: Element>(&self, args: RmsNorm<'_, Self, T, U>, _: &mut ()) -> Result<()> {
        rms_norm::forward::rms_norm(args)
    }

    fn embedding<U: Element>(&self, args: Embedding<'_, Self, U>, _: &mut ()) -> Result<()> {
        embedding::forward::embedding(args)
    }
}
