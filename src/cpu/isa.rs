//! Which instruction set a kernel runs on: detected once, forced lower by name, provable.

use super::simd::{Portable, Simd};
use crate::error::{Error, Result};
use std::fmt;

/// The environment variable that forces a path: one of the names of [`Isa`].
pub const ISA_VARIABLE: &str = "MAMBA_KERNELS_ISA";

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust, on any CPU.
    Portable,
}

impl Isa {
    /// Every instruction set of this build's architecture, the fastest first.
    pub const ALL: &[Isa] = &[Isa::Portable];

    /// The name, in lower case, as [`ISA_VARIABLE`] takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
        }
    }

    /// The instruction set of that name, where this build's architecture has it.
    pub fn from_name(name: &str) -> Option<Isa> {
        Self::ALL.iter().copied().find(|isa| isa.name() == name)
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
        }
    }

    /// Those that this CPU has, the fastest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::ALL.iter().copied().filter(|isa| isa.is_available())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An instruction set that this CPU has: only the check makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Supported(Isa);

/// A kernel with its arguments, over any vector.
pub(super) trait Kernel {
    /// Runs it. An implementation is `#[inline(always)]`, so that it is compiled with the features of `S`.
    ///
    /// # Safety
    /// The CPU has the features of `S`, and the kernel's own conditions on its arguments hold.
    unsafe fn run<S: Simd>(self);
}

/// The sizes of an instruction set's register tile of the matrix product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    pub rows: usize,
    pub columns: usize,
    pub lanes: usize,
}

impl Tile {
    const fn of<S: Simd>() -> Self {
        Self { rows: S::MR, columns: S::NV * S::LANES, lanes: S::LANES }
    }
}

impl Supported {
    /// The proof that this CPU has `isa`.
    pub(super) fn new(isa: Isa) -> Result<Self> {
        if isa.is_available() {
            return Ok(Self(isa));
        }
        let reason = format!("this CPU lacks {isa}; it has {}", join(Isa::available()));
        Err(Error::Unavailable { backend: "cpu".into(), reason })
    }

    /// The fastest that this CPU has.
    pub(super) fn best() -> Self {
        Self(Isa::available().next().unwrap_or(Isa::Portable))
    }

    /// What [`ISA_VARIABLE`] asks for, or the fastest where it is not set.
    pub(super) fn from_environment() -> Result<Self> {
        match std::env::var(ISA_VARIABLE) {
            Err(_) => Ok(Self::best()),
            Ok(name) => match Isa::from_name(&name) {
                Some(isa) => Self::new(isa),
                None => {
                    let reason =
                        format!("{ISA_VARIABLE}={name} is not one of {}", join(Isa::ALL.iter().copied()));
                    Err(Error::Unavailable { backend: "cpu".into(), reason })
                }
            },
        }
    }

    pub(super) fn isa(self) -> Isa {
        self.0
    }

    pub(super) fn tile(self) -> Tile {
        match self.0 {
            Isa::Portable => Tile::of::<Portable>(),
        }
    }

    /// Runs a kernel with the vectors of this instruction set.
    ///
    /// # Safety
    /// The kernel's own conditions on its arguments hold.
    #[inline]
    pub(super) unsafe fn run<K: Kernel>(self, kernel: K) {
        match self.0 {
            // SAFETY: `self` proves the features; the caller vouches for the arguments.
            Isa::Portable => unsafe { kernel.run::<Portable>() },
        }
    }
}

fn join(names: impl Iterator<Item = Isa>) -> String {
    names.map(Isa::name).collect::<Vec<_>>().join(", ")
}
