//! The exact CPU backend: every op as a fixed sequence of binary32 operations, over vectors of any width.
//!
//! Thread count, vector width, batch and any split of a sequence give the same bits: `docs/arithmetic.md`.

mod causal_conv1d;
pub(crate) mod compiled;
mod embedding;
mod inexact;
pub(crate) mod linear;
mod machine;
mod math;
mod rms_norm;
mod selective_scan;
pub(crate) mod simd;

pub use inexact::{Products, ScanOrder};
pub use linear::PackedWeights;
pub use machine::isa::{ISA_VARIABLE, Isa};
pub use math::elementwise::Elementary;

use crate::arrays::Rows;
use crate::arrays::host::host_memory;
use crate::arrays::{DType, Element, Scalar};
use crate::arrays::{Error, Result};
use crate::backend::Backend;
use crate::ops::{CausalConv1d, Embedding, InProj, Linear, RmsNorm, SelectiveScan};
use bytemuck::cast_slice;
use machine::aligned::Aligned;
use machine::isa::Supported;
use machine::threads::Threads;
use machine::weight_arena::Pages;
pub(crate) use machine::weight_arena::ask_for_large_pages;
use selective_scan::Chunk;
use std::sync::Arc;

/// The CPU backend. Clones share their threads, and the memory that weights are packed into.
#[derive(Debug, Clone)]
pub struct Cpu {
    isa: Supported,
    products: Products,
    scan_order: ScanOrder,
    threads: Arc<Threads>,
    pages: Arc<Pages>,
}

/// Scratch memory of [`Cpu`]'s ops. It grows to what a call needs and keeps that for the next.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Inputs of a matrix product that are not binary32, widened.
    inputs: Aligned<f32>,
    /// Scratch of the scan, a part per thread.
    scan: Aligned<f32>,
    /// Of the scan in chunks: the chunks, and their states and products of decays.
    chunks: Vec<Chunk>,
    states: Aligned<f32>,
}

/// Chooses what a [`Cpu`] runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuBuilder {
    isa: Option<Isa>,
    threads: Option<usize>,
    products: Products,
    scan_order: ScanOrder,
}

impl CpuBuilder {
    /// The instruction set, instead of the one that [`ISA_VARIABLE`] names or the fastest that this CPU has.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// The number of threads, instead of the number of CPUs that this process may use.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// How matrix products are computed, instead of exactly.
    pub fn products(mut self, products: Products) -> Self {
        self.products = products;
        self
    }

    /// How the selective scan goes through time, instead of token by token.
    pub fn scan_order(mut self, order: ScanOrder) -> Self {
        self.scan_order = order;
        self
    }

    /// Makes the backend.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where this CPU lacks the instruction set, or [`ISA_VARIABLE`] names none.
    /// [`Error::Argument`] for zero threads, or more than 4096.
    pub fn build(self) -> Result<Cpu> {
        let isa = match self.isa {
            Some(isa) => Supported::new(isa)?,
            None => Supported::from_environment()?,
        };
        let threads = self.threads.unwrap_or_else(available_threads);
        if !(1..=4096).contains(&threads) {
            return Err(Error::argument("CpuBuilder::build", "threads", "1 to 4096", threads));
        }
        let Self { products, scan_order, .. } = self;
        Ok(Cpu { isa, products, scan_order, threads: Arc::new(Threads::new(threads)), pages: Arc::default() })
    }
}

fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(4096))
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Cpu {
    /// All CPUs that this process may use, and the fastest instruction set, or the one that [`ISA_VARIABLE`] names
    /// where this CPU has it. [`CpuBuilder::build`] says when it has not.
    pub fn new() -> Self {
        let isa = Supported::from_environment().unwrap_or_else(|_| Supported::best());
        Cpu {
            isa,
            products: Products::Exact,
            scan_order: ScanOrder::Sequential,
            threads: Arc::new(Threads::new(available_threads())),
            pages: Arc::default(),
        }
    }

    /// Chooses instruction set and threads.
    pub fn builder() -> CpuBuilder {
        CpuBuilder::default()
    }

    /// The instruction set that the kernels run on.
    pub fn isa(&self) -> Isa {
        self.isa.isa()
    }

    /// The number of threads that an op uses at most.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// How the matrix products of weights that this backend packs are computed.
    pub fn products(&self) -> Products {
        self.products
    }

    /// How the selective scan goes through time.
    pub fn scan_order(&self) -> ScanOrder {
        self.scan_order
    }

    /// One line that names instruction set, threads and inexact modes.
    pub fn description(&self) -> String {
        let threads = self.threads();
        let plural = if threads == 1 { "" } else { "s" };
        let products = if self.products == Products::Bf16Dot { ", bf16 products" } else { "" };
        let scan = match self.scan_order {
            ScanOrder::Sequential => String::new(),
            ScanOrder::Chunked { tokens } => format!(", scan in chunks of {tokens} tokens"),
        };
        format!("{} vectors, {threads} thread{plural}{products}{scan}", self.isa())
    }
}

impl Backend for Cpu {
    host_memory!();
    type Weights = PackedWeights;
    type Workspace = Workspace;

    fn name(&self) -> &'static str {
        "cpu"
    }

    fn pack<W: Element>(&self, weight: Rows<&[W]>) -> Result<PackedWeights> {
        let (rows, cols) = (weight.rows(), weight.cols());
        let (offset, stride) = (weight.offset(), weight.stride());
        let data = *weight.data();
        macro_rules! pack_as {
            ($t:ty) => {{
                let data: &[$t] = cast_slice(data);
                PackedWeights::new(
                    Rows::strided(data, offset, rows, cols, stride)?,
                    self.isa,
                    self.products,
                    &self.pages,
                )
            }};
        }
        match W::DTYPE {
            DType::F32 => pack_as!(f32),
            DType::F16 => pack_as!(half::f16),
            DType::BF16 => pack_as!(half::bf16),
            DType::U32 => Err(Error::argument("pack", "weight", "a floating-point type", W::DTYPE)),
        }
    }

    fn in_proj<T: Element>(&self, args: InProj<'_, Self, T>, workspace: &mut Workspace) -> Result<()> {
        linear::in_proj(self, args, workspace)
    }

    fn linear<T: Element, U: Element>(
        &self,
        args: Linear<'_, Self, T, U>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        linear::linear(self, args, workspace)
    }

    fn causal_conv1d<T: Element>(&self, args: CausalConv1d<'_, Self, T>, _: &mut Workspace) -> Result<()> {
        causal_conv1d::forward::causal_conv1d(self, args)
    }

    fn selective_scan<T: Element>(
        &self,
        args: SelectiveScan<'_, Self, T>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        selective_scan::selective_scan(self, args, workspace)
    }

    fn rms_norm<T: Element, U: Element>(
        &self,
        args: RmsNorm<'_, Self, T, U>,
        _: &mut Workspace,
    ) -> Result<()> {
        rms_norm::forward::rms_norm(self, args)
    }

    fn embedding<U: Element>(&self, args: Embedding<'_, Self, U>, _: &mut Workspace) -> Result<()> {
        embedding::forward::embedding(self, args)
    }
}
