//! `kernel!`: from a kernel's body to one function per instruction set, and the choice among them.

use super::vector::Simd;
use crate::cpu::machine::isa::{Isa, Supported, isa_table};

/// Makes a kernel: one never-inlined function per instruction set, and the function that chooses among them.
///
/// `kernel! { fn name(Job) = body; }` makes `fn name(isa: Supported) -> unsafe fn(&Job)`. What it returns runs
/// `body::<S>(job)`, compiled with the target features of the instruction set that `isa` proves. `with Bf16Dot` after the
/// body's name makes it `body::<S, D>(job)`, with the best implementation `D` of that capability that `isa` proves.
///
/// The body is `#[inline(always)] unsafe fn body<S: Simd>(job: &Job)`. The conditions in its `# Safety` section are those
/// of the function that is returned; that the CPU has the features of `S` is proven by `isa`.
macro_rules! kernel {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($Job:ty) = $body:ident;) => {
        $(#[$meta])*
        $vis fn $name(isa: $crate::cpu::machine::isa::Supported) -> unsafe fn(&$Job) {
            $crate::cpu::machine::isa::isa_table!(
                [$crate::cpu::simd::dispatch::kernel_per_isa], (isa, $Job, $body))
        }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident($Job:ty) = $body:ident with Bf16Dot;) => {
        $(#[$meta])*
        $vis fn $name(isa: $crate::cpu::machine::isa::Supported) -> unsafe fn(&$Job) {
            $crate::cpu::machine::isa::isa_table!(
                [$crate::cpu::simd::dispatch::kernel_per_bf16_dot], (isa, $Job, $body))
        }
    };
}

/// The choice among the rows of the table.
macro_rules! kernel_per_isa {
    (($isa:ident, $Job:ty, $body:ident)
        $({ $Isa:ident $name:ident $arch:literal $detect:ident $features:tt $($levels:tt)* })*
    ) => {
        match $isa.isa() {
            $(
                #[cfg(target_arch = $arch)]
                $crate::cpu::machine::isa::Isa::$Isa => {
                    $crate::cpu::simd::dispatch::kernel_function!(
                        $features [] $name, $Job, $body<$crate::cpu::simd::$Isa>
                    );
                    $name
                }
            )*
            _ => {
                $crate::cpu::simd::dispatch::kernel_function!(
                    portable, $Job, $body<$crate::cpu::simd::Portable>
                );
                portable
            }
        }
    };
}

/// The same for a body over a capability: a function per level, and one for the instruction set alone.
macro_rules! kernel_per_bf16_dot {
    (($isa:ident, $Job:ty, $body:ident)
        $({ $Isa:ident $name:ident $arch:literal $detect:ident $features:tt
            Bf16Dot { $($Level:ident $level:ident $more:tt)* }
            $($others:tt)* })*
    ) => {
        match $isa.isa() {
            $(
                #[cfg(target_arch = $arch)]
                $crate::cpu::machine::isa::Isa::$Isa => {
                    $(
                        if $isa.has($crate::cpu::machine::isa::Level::$Level) {
                            $crate::cpu::simd::dispatch::kernel_function!(
                                $features $more $level, $Job,
                                $body<$crate::cpu::simd::$Isa, $crate::cpu::simd::$Level>
                            );
                            return $level;
                        }
                    )*
                    $crate::cpu::simd::dispatch::kernel_function!(
                        $features [] $name, $Job,
                        $body<$crate::cpu::simd::$Isa, $crate::cpu::simd::EmulatedBf16Dot>
                    );
                    $name
                }
            )*
            _ => {
                $crate::cpu::simd::dispatch::kernel_function!(
                    portable, $Job,
                    $body<$crate::cpu::simd::Portable, $crate::cpu::simd::EmulatedBf16Dot>
                );
                portable
            }
        }
    };
}

/// One function of a kernel. It has the conditions of the kernel's body, and that the CPU has the features.
macro_rules! kernel_function {
    ([$($feature:tt)*] [$($more:tt)*] $name:ident, $Job:ty, $body:ident<$($T:ty),*>) => {
        #[inline(never)]
        #[target_feature($(enable = $feature,)* $(enable = $more,)*)]
        unsafe fn $name(job: &$Job) {
            // SAFETY: this function enables the features; the other conditions of the body are also this function's.
            unsafe { $body::<$($T),*>(job) }
        }
    };
    ($name:ident, $Job:ty, $body:ident<$($T:ty),*>) => {
        #[inline(never)]
        unsafe fn $name(job: &$Job) {
            // SAFETY: plain Rust needs no features; the other conditions of the body are also this function's.
            unsafe { $body::<$($T),*>(job) }
        }
    };
}

pub(in crate::cpu) use {kernel, kernel_function, kernel_per_bf16_dot, kernel_per_isa};

macro_rules! constant_per_isa {
    (($isa:ident, $CONSTANT:ident)
        $({ $Isa:ident $name:ident $arch:literal $detect:ident $features:tt $($levels:tt)* })*
    ) => {
        match $isa.isa() {
            $(
                #[cfg(target_arch = $arch)]
                Isa::$Isa => super::$Isa::$CONSTANT,
            )*
            _ => super::Portable::$CONSTANT,
        }
    };
}

/// Numbers per vector of an instruction set.
pub(in crate::cpu) fn lanes(isa: Supported) -> usize {
    isa_table!([constant_per_isa], (isa, LANES))
}

/// Vector registers of an instruction set.
pub(in crate::cpu) fn registers(isa: Supported) -> usize {
    isa_table!([constant_per_isa], (isa, REGISTERS))
}
