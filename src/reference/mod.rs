//! The reference: every op as plain loops in f64, with the storage types at the edges only.
//!
//! This is the specification, one screen per op. No optimisation enters it. Sums have no fixed order here; the exact
//! backends are compared with it within error bounds, and with each other bit for bit.
#![forbid(unsafe_code)]

mod causal_conv1d;
mod embedding;
mod linear;
pub mod math;
mod memory;
mod rms_norm;
mod selective_scan;

pub use memory::{Reference, Weights};

use crate::arrays::{Element, FloatMode, Result, Rows, Scalar, WeightFormat, host};
use crate::backend::Backend;
use crate::ops::{CausalConv1d, Embedding, InProj, Linear, RmsNorm, SelectiveScan};

impl Backend for Reference {
    type Workspace = ();

    fn name(&self) -> &'static str {
        "reference"
    }

    fn zeros<T: Scalar>(&self, len: usize) -> Result<Vec<T>> {
        host::zeros("zeros", len)
    }

    fn upload<T: Scalar>(&self, host: &[T]) -> Result<Vec<T>> {
        host::copied("upload", host)
    }

    fn write<T: Scalar>(&self, host: &[T], target: &mut [T]) -> Result<()> {
        host::write(host, target)
    }

    fn read<T: Scalar>(&self, source: &[T], host: &mut [T]) -> Result<()> {
        host::read(source, host)
    }

    fn view<'a, T: Scalar>(&self, buffer: &'a Vec<T>) -> &'a [T] {
        buffer
    }

    fn view_mut<'a, T: Scalar>(&self, buffer: &'a mut Vec<T>) -> &'a mut [T] {
        buffer
    }

    fn pack_as<W: Element>(&self, weight: Rows<&[W]>, format: WeightFormat) -> Result<Weights> {
        let _mode = FloatMode::standard();
        Weights::new(weight, format)
    }

    fn in_proj<T: Element, const N: usize>(&self, args: InProj<'_, Self, T, N>, _: &mut ()) -> Result<()> {
        let _mode = FloatMode::standard();
        linear::in_proj::in_proj(args)
    }

    fn linear<T: Element, U: Element>(&self, args: Linear<'_, Self, T, U>, _: &mut ()) -> Result<()> {
        let _mode = FloatMode::standard();
        linear::forward::linear(args)
    }

    fn causal_conv1d<T: Element>(&self, args: CausalConv1d<'_, Self, T>, _: &mut ()) -> Result<()> {
        let _mode = FloatMode::standard();
        causal_conv1d::forward::causal_conv1d(args)
    }

    fn selective_scan<T: Element>(&self, args: SelectiveScan<'_, Self, T>, _: &mut ()) -> Result<()> {
        let _mode = FloatMode::standard();
        selective_scan::forward::selective_scan(args)
    }

    fn rms_norm<T: Element, U: Element>(&self, args: RmsNorm<'_, Self, T, U>, _: &mut ()) -> Result<()> {
        let _mode = FloatMode::standard();
        rms_norm::forward::rms_norm(args)
    }

    fn embedding<U: Element>(&self, args: Embedding<'_, Self, U>, _: &mut ()) -> Result<()> {
        let _mode = FloatMode::standard();
        embedding::forward::embedding(args)
    }
}
