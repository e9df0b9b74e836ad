//! The work that is timed, shared by all benchmarks: inputs, what a run costs, and the check of what it wrote.
#![allow(dead_code, unused_imports, unused_macros, reason = "each benchmark uses a part of this module")]

#[path = "../ops/causal_conv1d/workload.rs"]
mod conv;
#[cfg(feature = "model")]
#[path = "../model/workload.rs"]
pub mod model;
#[path = "../ops/rms_norm/workload.rs"]
mod norm;
#[path = "../ops/linear/workload.rs"]
mod product;
#[path = "../ops/selective_scan/workload.rs"]
mod scan;
mod timed;

pub use conv::Conv;
pub use norm::Norm;
pub use product::Product;
pub use scan::Scan;
pub use timed::{Unit, cpus, criterion, quick, time};

use mamba_kernels::{Cpu, DType, Element};

/// The arithmetic of the contract.
pub const EXACT: &str = "exact";

/// An op at one shape.
pub trait Workload {
    /// The name of the op.
    fn op(&self) -> &'static str;
    /// The sizes, as in `b1_l2048_d1536_n16`.
    fn shape(&self) -> String;
    /// What the weights or the activations are stored in.
    fn dtype(&self) -> DType;
    /// What one run costs, whoever runs it.
    fn work(&self) -> Work;
    /// The arrays, placed so that the backend can run the op on them repeatedly.
    fn place(&self, cpu: &Cpu) -> Box<dyn Prepared>;
    /// Compares what the first run wrote with the oracle.
    fn check(&self, found: &[f32]) -> Result<(), String>;

    /// `op/shape/type`
    fn id(&self) -> String {
        let mode = if self.mode() == EXACT { String::new() } else { format!("-{}", self.mode()) };
        format!("{}/{}/{}{mode}", self.op(), self.shape(), self.dtype())
    }

    /// The arithmetic: the contract's, or the name of an inexact mode.
    fn mode(&self) -> &'static str {
        EXACT
    }
}

/// A case on a backend.
pub trait Prepared {
    fn run(&mut self);
    /// What the last run wrote.
    fn outputs(&self) -> Vec<f32>;
}

/// What one run costs.
#[derive(Clone, Copy, Default)]
pub struct Work {
    /// Multiplications and additions.
    pub flops: f64,
    /// Multiplications and additions of bf16 dot products.
    pub bf16_flops: f64,
    /// Exponentials, or functions that hold one.
    pub exps: f64,
    /// Bytes that have to be read.
    pub read: f64,
    /// Bytes that have to be written.
    pub written: f64,
    /// Bytes that are touched before any is touched again: the cache that holds them feeds the kernel.
    pub resident: f64,
}

/// Places the case, runs it once and checks what it wrote. Panics if that is wrong: a wrong kernel is not timed.
pub fn checked(case: &dyn Workload, cpu: &Cpu) -> Box<dyn Prepared> {
    let mut placed = case.place(cpu);
    placed.run();
    if let Err(reason) = case.check(&placed.outputs()) {
        panic!("{} on {}: {reason}", case.id(), cpu.description());
    }
    placed
}

/// Pseudo-random values in [-1, 1).
pub fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// The same in a storage type.
pub fn stored<T: Element>(len: usize, seed: u64) -> Vec<T> {
    values(len, seed).into_iter().map(T::from_f32).collect()
}

pub fn magnitudes<T: Element>(values: &[T]) -> Vec<T> {
    values.iter().map(|value| T::from_f32(value.to_f32().abs())).collect()
}

/// Half a unit in the last place of 1, relative to it.
pub fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => 2f64.powi(-24),
    }
}

/// Every value is within its bound of the oracle's. `oracle(i)` gives the value and the bound.
pub fn within(found: &[f32], dtype: DType, oracle: impl Fn(usize) -> (f32, f64)) -> Result<(), String> {
    for (i, &value) in found.iter().enumerate() {
        let (expected, bound) = oracle(i);
        let bound = bound + rounding(dtype) * (f64::from(expected).abs() + bound) * 2.0 + 1e-37;
        let error = (f64::from(value) - f64::from(expected)).abs();
        if error.is_nan() || error > bound {
            return Err(format!(
                "element {i} is {value:e}, the oracle has {expected:e}, the bound is {bound:e}"
            ));
        }
    }
    Ok(())
}
