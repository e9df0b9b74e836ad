//! Which instruction set a kernel runs on: detected once, forced lower by name, and proven by a type.

use crate::arrays::{Error, Result};
use std::ffi::OsString;
use std::fmt;

/// The environment variable that forces an instruction set: one of the names of [`Isa`]. Empty is as if it were not set.
pub const ISA_VARIABLE: &str = "MAMBA_KERNELS_ISA";

/// The one table of instruction sets. It makes the detection here and the target features of every kernel
/// (`kernel!` in `simd/dispatch.rs`) from the same words.
///
/// `isa_table!([callback], args)` calls `callback! { args rows }` with a row per instruction set that is not portable:
/// variant of [`Isa`] and type in `simd`, name, architecture, detection macro, features; then the levels of each
/// capability of `simd`: variant of [`Level`] and type in `simd`, name, further features.
macro_rules! isa_table {
    ([$($callback:tt)*], $args:tt) => {
        $($callback)*! { $args
            { Avx512 avx512 "x86_64" is_x86_feature_detected
                ["avx512f" "avx512bw" "avx512vl" "avx512dq" "avx2" "fma" "f16c"]
                Bf16Dot { Avx512Bf16 avx512_bf16 ["avx512bf16"] }
                Int8Dot { Avx512Vnni avx512_vnni ["avx512vnni"] } }
            { Avx2 avx2 "x86_64" is_x86_feature_detected
                ["avx2" "fma" "f16c"]
                Bf16Dot { }
                Int8Dot { AvxVnni avx_vnni ["avxvnni"] } }
            { Neon neon "aarch64" is_aarch64_feature_detected
                ["neon"]
                Bf16Dot { }
                Int8Dot { NeonI8mm neon_i8mm ["i8mm"] NeonDotProd neon_dotprod ["dotprod"] } }
        }
    };
}
pub(in crate::cpu) use isa_table;

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

/// An extension of an instruction set that some kernels use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// AVX512-BF16, `vdpbf16ps`.
    Avx512Bf16,
    /// AVX512-VNNI: dot products of 8-bit integers.
    Avx512Vnni,
    /// AVX-VNNI: the same over vectors of 8, with AVX2.
    AvxVnni,
    /// FEAT_I8MM: matrix products of 8-bit integers.
    NeonI8mm,
    /// FEAT_DotProd: dot products of 8-bit integers.
    NeonDotProd,
}

macro_rules! detection {
    (()
        $({ $Isa:ident $name:ident $arch:literal $detect:ident [$($feature:tt)*]
            $($Capability:ident { $($Level:ident $level:ident [$($more:tt)*])* })* })*
    ) => {
        impl Isa {
            /// Every instruction set that this crate knows, on any architecture, the fastest first.
            pub const ALL: &[Isa] = &[$(Isa::$Isa,)* Isa::Portable];

            /// The name, in lower case, as [`ISA_VARIABLE`] takes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Isa::$Isa => stringify!($name),)*
                    Isa::Portable => "portable",
                }
            }

            /// Whether this CPU has it.
            pub fn is_available(self) -> bool {
                match self {
                    $(
                        #[cfg(target_arch = $arch)]
                        Isa::$Isa => $(std::arch::$detect!($feature))&&*,
                    )*
                    Isa::Portable => true,
                    #[allow(unreachable_patterns, reason = "the instruction sets of other architectures")]
                    _ => false,
                }
            }
        }

        impl Level {
            /// Every level that this crate knows, on any architecture.
            pub const ALL: &[Level] = &[$($($(Level::$Level,)*)*)*];

            /// The name, in lower case.
            pub const fn name(self) -> &'static str {
                match self {
                    $($($(Level::$Level => stringify!($level),)*)*)*
                }
            }

            /// The instruction set that it extends.
            pub const fn isa(self) -> Isa {
                match self {
                    $($($(Level::$Level => Isa::$Isa,)*)*)*
                }
            }

            /// Whether it has dot products of bf16 pairs.
            pub(in crate::cpu) fn has_bf16_dot(self) -> bool {
                let capability = match self {
                    $($($(Level::$Level => stringify!($Capability),)*)*)*
                };
                capability == "Bf16Dot"
            }

            /// Whether this CPU has it, and the instruction set that it extends.
            pub fn is_available(self) -> bool {
                self.isa().is_available() && match self {
                    $($($(
                        #[cfg(target_arch = $arch)]
                        Level::$Level => $(std::arch::$detect!($more))&&*,
                    )*)*)*
                    #[allow(unreachable_patterns, reason = "the levels of other architectures")]
                    _ => false,
                }
            }
        }
    };
}
isa_table!([detection], ());

impl Isa {
    /// The instruction set of that name.
    pub fn from_name(name: &str) -> Option<Isa> {
        Self::ALL.iter().copied().find(|isa| isa.name() == name)
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

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An instruction set that this CPU has, with its levels: the proof on which every kernel function relies.
///
/// Only detection makes one, so whoever holds it may call the kernels of its instruction set and levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supported {
    isa: Isa,
    /// Bit `level as u8` is set if the CPU has the level.
    levels: u8,
}

impl Supported {
    /// The proof that this CPU has `isa`.
    pub(in crate::cpu) fn new(isa: Isa) -> Result<Self> {
        if isa.is_available() {
            return Ok(Self::detect_levels(isa));
        }
        let reason = format!("this CPU lacks {isa}; it has {}", join(Isa::available()));
        Err(Error::Unavailable { backend: "cpu".into(), reason })
    }

    /// The fastest that this CPU has.
    pub(in crate::cpu) fn best() -> Self {
        Self::detect_levels(Isa::available().next().unwrap_or(Isa::Portable))
    }

    /// What [`ISA_VARIABLE`] names, or the fastest if it is not set or empty.
    pub(in crate::cpu) fn from_environment() -> Result<Self> {
        Self::named(std::env::var_os(ISA_VARIABLE).unwrap_or_default())
    }

    /// What a value of [`ISA_VARIABLE`] names.
    fn named(name: OsString) -> Result<Self> {
        if name.is_empty() {
            return Ok(Self::best());
        }
        match name.to_str().and_then(Isa::from_name) {
            Some(isa) => Self::new(isa),
            None => {
                let names = join(Isa::ALL.iter().copied());
                let reason = format!("{ISA_VARIABLE}={} is not one of {names}", name.display());
                Err(Error::Unavailable { backend: "cpu".into(), reason })
            }
        }
    }

    /// The levels of an instruction set that is available.
    fn detect_levels(isa: Isa) -> Self {
        let found = Level::ALL.iter().filter(|level| level.isa() == isa && level.is_available());
        Self { isa, levels: found.fold(0, |levels, &level| levels | 1 << level as u8) }
    }

    /// The same without its levels: what they do is emulated.
    pub(in crate::cpu) fn without_levels(self) -> Self {
        Self { levels: 0, ..self }
    }

    pub(in crate::cpu) fn isa(self) -> Isa {
        self.isa
    }

    #[inline]
    pub(in crate::cpu) fn has(self, level: Level) -> bool {
        self.levels & 1 << level as u8 != 0
    }

    pub(in crate::cpu) fn levels(self) -> impl Iterator<Item = Level> {
        Level::ALL.iter().copied().filter(move |&level| self.has(level))
    }
}

fn join(names: impl Iterator<Item = Isa>) -> String {
    names.map(Isa::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_as_if_it_were_not_set() {
        assert_eq!(Supported::named(OsString::new()).unwrap(), Supported::best());
        assert_eq!(Supported::named("portable".into()).unwrap().isa(), Isa::Portable);
        let error = Supported::named("sse".into()).unwrap_err().to_string();
        assert!(
            error.contains("MAMBA_KERNELS_ISA=sse is not one of avx512, avx2, neon, portable"),
            "{error}"
        );
    }

    #[test]
    fn levels_belong_to_their_instruction_set() {
        for isa in Isa::available() {
            let supported = Supported::new(isa).unwrap();
            assert!(supported.levels().all(|level| level.isa() == isa && level.is_available()));
            assert_eq!(supported.without_levels().levels().count(), 0);
            assert_eq!(supported.without_levels().isa(), isa);
        }
    }
}
