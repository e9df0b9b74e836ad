//! Which instruction set a kernel runs on: detected once, forced lower by name, provable.

use crate::arrays::{Error, Result};
#[cfg(target_arch = "aarch64")]
use crate::cpu::simd::Neon;
#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::{Avx2, Avx512};
use crate::cpu::simd::{Portable, Simd};
use std::fmt;

/// The environment variable that forces a path: one of the names of [`Isa`].
pub const ISA_VARIABLE: &str = "MAMBA_KERNELS_ISA";

/// An instruction set that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// x86-64 with AVX-512 F, BW, VL and DQ: vectors of 16.
    Avx512,
    /// x86-64 with AVX2, FMA and F16C: vectors of 8.
    Avx2,
    /// aarch64 with NEON: vectors of 4.
    Neon,
    /// Plain Rust, on any CPU.
    Portable,
}

impl Isa {
    /// Every instruction set that this crate knows, on any architecture, the fastest first.
    pub const ALL: &[Isa] = &[Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable];

    /// The name, in lower case, as [`ISA_VARIABLE`] takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Portable => "portable",
        }
    }

    /// The instruction set of that name.
    pub fn from_name(name: &str) -> Option<Isa> {
        Self::ALL.iter().copied().find(|isa| isa.name() == name)
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Isa::Portable => true,
            #[allow(unreachable_patterns, reason = "the instruction sets of the other architectures")]
            _ => false,
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
pub struct Supported(Isa);

/// A kernel with its arguments, over any vector.
pub(in crate::cpu) trait Kernel {
    /// Runs it. An implementation is `#[inline(always)]`, so that it is compiled with the features of `S`.
    ///
    /// # Safety
    /// The CPU has the features of `S`, and the kernel's own conditions on its arguments hold.
    unsafe fn run<S: Simd>(self);
}

/// The sizes of an instruction set's vectors and of its register tile of the matrix product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    pub lanes: usize,
    /// Vectors in a row of the tile.
    pub vectors: usize,
    /// The same at most, for matrices with few outputs.
    pub most_vectors: usize,
}

impl Tile {
    const fn of<S: Simd>() -> Self {
        Self { lanes: S::LANES, vectors: S::NV, most_vectors: S::MOST_NV }
    }
}

impl Supported {
    /// The proof that this CPU has `isa`.
    pub(in crate::cpu) fn new(isa: Isa) -> Result<Self> {
        if isa.is_available() {
            return Ok(Self(isa));
        }
        let reason = format!("this CPU lacks {isa}; it has {}", join(Isa::available()));
        Err(Error::Unavailable { backend: "cpu".into(), reason })
    }

    /// The fastest that this CPU has.
    pub(in crate::cpu) fn best() -> Self {
        Self(Isa::available().next().unwrap_or(Isa::Portable))
    }

    /// What [`ISA_VARIABLE`] asks for, or the fastest where it is not set.
    pub(in crate::cpu) fn from_environment() -> Result<Self> {
        let Some(name) = std::env::var_os(ISA_VARIABLE) else { return Ok(Self::best()) };
        match name.to_str().and_then(Isa::from_name) {
            Some(isa) => Self::new(isa),
            None => {
                let names = join(Isa::ALL.iter().copied());
                let reason = format!("{ISA_VARIABLE}={} is not one of {names}", name.display());
                Err(Error::Unavailable { backend: "cpu".into(), reason })
            }
        }
    }

    pub(in crate::cpu) fn isa(self) -> Isa {
        self.0
    }

    pub(in crate::cpu) fn tile(self) -> Tile {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Tile::of::<Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Tile::of::<Avx2>(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Tile::of::<Neon>(),
            _ => Tile::of::<Portable>(),
        }
    }

    /// Runs a kernel with the vectors of this instruction set.
    ///
    /// # Safety
    /// The kernel's own conditions on its arguments hold.
    #[inline]
    pub(in crate::cpu) unsafe fn run<K: Kernel>(self, kernel: K) {
        // SAFETY: `self` proves the features; the caller vouches for the arguments.
        unsafe {
            match self.0 {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => run_avx512(kernel),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => run_avx2(kernel),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => run_neon(kernel),
                _ => kernel.run::<Portable>(),
            }
        }
    }
}

/// # Safety
/// The CPU has the features, and the kernel's own conditions hold.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
unsafe fn run_avx512<K: Kernel>(kernel: K) {
    // SAFETY: the caller's promise is the same.
    unsafe { kernel.run::<Avx512>() }
}

/// # Safety
/// The CPU has the features, and the kernel's own conditions hold.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<K: Kernel>(kernel: K) {
    // SAFETY: the caller's promise is the same.
    unsafe { kernel.run::<Avx2>() }
}

/// # Safety
/// The CPU has the features, and the kernel's own conditions hold.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn run_neon<K: Kernel>(kernel: K) {
    // SAFETY: the caller's promise is the same.
    unsafe { kernel.run::<Neon>() }
}

fn join(names: impl Iterator<Item = Isa>) -> String {
    names.map(Isa::name).collect::<Vec<_>>().join(", ")
}
