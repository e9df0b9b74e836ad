//! A case of an op: shapes, layouts, flags and values on the host, and how any backend runs it.

use crate::harness::arrays::{Device, Matrix, Outcome};
use crate::harness::error_analysis::Approx;
use crate::harness::random::{Draw, Flavour, Sequences};
use mamba_kernels::{Backend, Result};
use proptest::strategy::BoxedStrategy;
use std::fmt::Debug;

/// An argument of a case `C` by name, and what makes it wrong.
pub type Wrong<C> = (&'static str, fn(&mut C));

/// One op with all its arguments.
pub trait Case: Sized + Clone + 'static {
    /// What a case is drawn from: its shapes, layouts and flags, and the seed of its values.
    type Spec: Debug + Clone;

    /// The op, as its errors name it.
    const NAME: &'static str;
    /// Where proptest keeps the seeds of cases that have failed, from the root of the crate.
    const REGRESSIONS: &'static str;
    /// What the op must refuse, made from [`Case::complete`].
    const WRONG: &'static [Wrong<Self>];

    fn specs() -> BoxedStrategy<Self::Spec>;

    /// A few cases large enough for several threads and blocks.
    fn large() -> Vec<Self::Spec>;

    /// A case of which every option is on, for [`Case::WRONG`].
    fn complete() -> Self::Spec;

    fn seed(spec: &Self::Spec) -> u64;

    fn draw(spec: &Self::Spec, draw: &mut Draw) -> Self;

    /// Runs the op, with weights that `packer` has packed. The outcome is read back whether or not it succeeds.
    fn run_packed_by<B: Backend>(&self, device: &Device<B>, packer: &B) -> (Result<()>, Outcome);

    /// The outputs and the state as they are before the call.
    fn before(&self) -> Outcome;

    /// The same case with no array strided or at an offset.
    fn dense(&self) -> Self;

    /// What the op gives in exact arithmetic, and how far the contract's arithmetic may be from it: in the order of
    /// [`Outcome::arrays`].
    fn bounds(&self) -> Vec<Vec<Approx>>;

    fn of(spec: &Self::Spec, flavour: Flavour) -> Self {
        Self::draw(spec, &mut Draw::new(Self::seed(spec), flavour))
    }

    /// Runs the op, which must succeed.
    fn run<B: Backend>(&self, device: &Device<B>) -> Outcome {
        let (result, outcome) = self.run_packed_by(device, &device.backend);
        result.unwrap();
        outcome
    }
}

/// An op whose rows are independent of each other.
pub trait Rowwise: Case {
    fn tokens(&self) -> usize;
    /// The case of some of the rows, in this order.
    fn select(&self, rows: &[usize]) -> Self;
}

/// An op over sequences.
pub trait Sequential: Case {
    fn sequences(&self) -> &Sequences;
    /// The state pool, `[slots, ..]`.
    fn state(&self) -> Option<&Matrix>;
    /// Numbers per slot of the pool.
    fn state_size(&self) -> usize;
    /// The case of some of the rows, in this order, as these sequences.
    fn select(&self, rows: &[usize], sequences: Sequences, state: Option<Matrix>) -> Self;
    /// The inputs that have rows.
    fn inputs(&mut self) -> Vec<&mut Matrix>;
}
