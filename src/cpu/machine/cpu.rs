//! [`Cpu`]: the backend's handle, and what it is made from.

use super::caches::Caches;
use super::isa::{Isa, Level, Supported};
use super::threads::Threads;
use super::weight_arena::WeightArena;
use crate::arrays::{Error, Result, WeightFormat};
use crate::ops::ScanOrder;
use std::sync::Arc;

/// The CPU backend. Clones share their threads, and the memory that weights are packed into.
#[derive(Debug, Clone)]
pub struct Cpu {
    pub(in crate::cpu) isa: Supported,
    pub(in crate::cpu) scan_order: ScanOrder,
    pub(in crate::cpu) caches: Caches,
    pub(in crate::cpu) threads: Arc<Threads>,
    pub(in crate::cpu) arena: Arc<WeightArena>,
}

/// Chooses what a [`Cpu`] runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuBuilder {
    isa: Option<Isa>,
    without_levels: bool,
    threads: Option<usize>,
    scan_order: ScanOrder,
}

impl CpuBuilder {
    /// The instruction set, instead of the one that [`ISA_VARIABLE`](crate::cpu::ISA_VARIABLE) names or the fastest that this CPU has.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Uses none of the CPU's [`Level`]s: their instructions are emulated, with the same results.
    pub fn without_levels(mut self) -> Self {
        self.without_levels = true;
        self
    }

    /// The number of threads, instead of the number of CPUs that this process may use. More than three are no more in
    /// fact than there are CPUs: [`Cpu::threads`] has the number, and [`Cpu::description`] says if it is lower.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
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
    /// [`Error::Unavailable`] if this CPU lacks the instruction set, or [`ISA_VARIABLE`](crate::cpu::ISA_VARIABLE) names none.
    /// [`Error::Argument`] for zero threads, or more than 4096.
    pub fn build(self) -> Result<Cpu> {
        let mut isa = match self.isa {
            Some(isa) => Supported::new(isa)?,
            None => Supported::from_environment()?,
        };
        if self.without_levels {
            isa = isa.without_levels();
        }
        let threads = self.threads.unwrap_or_else(available_threads);
        if !(1..=4096).contains(&threads) {
            return Err(Error::argument("CpuBuilder::build", "threads", "1 to 4096", threads));
        }
        Ok(Cpu::with(isa, threads, self.scan_order))
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
    /// All CPUs that this process may use, and the instruction set that [`ISA_VARIABLE`](crate::cpu::ISA_VARIABLE) names if this CPU has it, else
    /// the fastest. [`CpuBuilder::build`] returns an error instead if it does not.
    pub fn new() -> Self {
        let isa = Supported::from_environment().unwrap_or_else(|_| Supported::best());
        Self::with(isa, available_threads(), ScanOrder::Sequential)
    }

    fn with(isa: Supported, threads: usize, scan_order: ScanOrder) -> Self {
        let caches = Caches::of_this_machine();
        Self { isa, scan_order, caches, threads: Arc::new(Threads::new(threads)), arena: Arc::default() }
    }

    /// Chooses instruction set and threads.
    pub fn builder() -> CpuBuilder {
        CpuBuilder::default()
    }

    /// The instruction set that the kernels run on.
    pub fn isa(&self) -> Isa {
        self.isa.isa()
    }

    /// The levels of the instruction set that the kernels may use.
    pub fn levels(&self) -> impl Iterator<Item = Level> {
        self.isa.levels()
    }

    /// The number of threads that an op uses at most: what was asked for, or if that is more than three, no more than
    /// there are CPUs.
    pub fn threads(&self) -> usize {
        self.threads.team()
    }

    /// How the selective scan goes through time.
    pub fn scan_order(&self) -> ScanOrder {
        self.scan_order
    }

    /// The caches that the sizes of blocks follow from.
    pub fn caches(&self) -> Caches {
        self.caches
    }

    /// Whether products with weights of this format run on instructions that stand in for one that this CPU, or the
    /// instruction set in use, lacks: then they have the same bits as with it, and take longer than exact products.
    pub fn emulates(&self, format: WeightFormat) -> bool {
        match format {
            WeightFormat::Bf16Pairs => !self.levels().any(Level::has_bf16_dot),
            WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16 => false,
        }
    }

    /// One line that names instruction set, levels, threads and inexact modes. If there are fewer threads than were asked
    /// for, it says so.
    pub fn description(&self) -> String {
        let threads = self.threads();
        let plural = if threads == 1 { "" } else { "s" };
        let asked = match self.threads.asked() {
            asked if asked > threads => format!(" of the {asked} asked for, one per CPU"),
            _ => String::new(),
        };
        let levels: String = self.levels().map(|level| format!(" + {level}")).collect();
        let scan = match self.scan_order {
            ScanOrder::Chunked { tokens } => format!(", scan in chunks of {tokens} tokens"),
            _ => String::new(),
        };
        format!("{}{levels} vectors, {threads} thread{plural}{asked}{scan}", self.isa())
    }
}
