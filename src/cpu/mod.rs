//! The exact CPU backend: every op as a fixed sequence of f32 operations, over vectors of any width.
//!
//! Thread count, vector width, batch and any split of a sequence give the same bits: `docs/arithmetic.md`.

mod causal_conv1d;
mod embedding;
mod linear;
mod machine;
mod math;
mod rms_norm;
mod selective_scan;
mod simd;

pub use crate::ops::ScanOrder;
pub use linear::PackedWeights;
pub use machine::caches::Caches;
pub use machine::cpu::{Cpu, CpuBuilder};
pub use machine::isa::{ISA_VARIABLE, Isa, Level};
pub use machine::workspace::Workspace;
pub use math::elementwise::Elementary;

use crate::arrays::{Element, FloatMode, Memory, Result, Rows, Scalar, WeightFormat, host};
use crate::backend::Backend;
use crate::ops::{CausalConv1d, Embedding, InProj, Linear, RmsNorm, SelectiveScan};

impl Memory for Cpu {
    type View<'a, T: Scalar> = &'a [T];
    type ViewMut<'a, T: Scalar> = &'a mut [T];
    type Buffer<T: Scalar> = Vec<T>;
    type Weights = PackedWeights;
}

impl Backend for Cpu {
    type Workspace = Workspace;

    fn name(&self) -> &'static str {
        "cpu"
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

    fn pack_as<W: Element>(&self, weight: Rows<&[W]>, format: WeightFormat) -> Result<PackedWeights> {
        let _mode = FloatMode::standard();
        PackedWeights::new(self, weight, format)
    }

    fn in_proj<T: Element, const N: usize>(
        &self,
        args: InProj<'_, Self, T, N>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        let _mode = FloatMode::standard();
        linear::forward::in_proj(self, args, workspace)
    }

    fn linear<T: Element, U: Element>(
        &self,
        args: Linear<'_, Self, T, U>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        let _mode = FloatMode::standard();
        linear::forward::linear(self, args, workspace)
    }

    fn causal_conv1d<T: Element>(&self, args: CausalConv1d<'_, Self, T>, _: &mut Workspace) -> Result<()> {
        let _mode = FloatMode::standard();
        causal_conv1d::forward::causal_conv1d(self, args)
    }

    fn selective_scan<T: Element>(
        &self,
        args: SelectiveScan<'_, Self, T>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        let _mode = FloatMode::standard();
        selective_scan::forward::selective_scan(self, args, workspace)
    }

    fn rms_norm<T: Element, U: Element>(
        &self,
        args: RmsNorm<'_, Self, T, U>,
        _: &mut Workspace,
    ) -> Result<()> {
        let _mode = FloatMode::standard();
        rms_norm::forward::rms_norm(self, args)
    }

    fn embedding<U: Element>(&self, args: Embedding<'_, Self, U>, _: &mut Workspace) -> Result<()> {
        let _mode = FloatMode::standard();
        embedding::forward::embedding(self, args)
    }
}
