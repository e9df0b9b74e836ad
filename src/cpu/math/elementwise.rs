//! The elementary functions of the exact mode, over slices.

use crate::cpu::Cpu;
use crate::cpu::machine::isa::Kernel;
use crate::cpu::math;
use crate::cpu::simd::{Simd, load, store};

/// An elementary function of the exact mode.
///
/// `examples/ulp.rs` measures the errors over all 2^32 inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elementary {
    /// `e^x`
    Exp,
    /// `2^x`, the decay of the scan: faster than [`Elementary::Exp`], and less exact
    Exp2,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `x / (1 + e^-x)`
    Silu,
    /// `ln(1 + e^x)`
    Softplus,
}

impl Elementary {
    /// All of them.
    pub const ALL: [Elementary; 5] = [Self::Exp, Self::Exp2, Self::Sigmoid, Self::Silu, Self::Softplus];

    /// The name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Exp2 => "exp2",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::Softplus => "softplus",
        }
    }

    /// The largest error, in units in the last place of the correctly rounded result, wherever that result is at
    /// least [`Elementary::smallest`] in magnitude. Below, the error is at most as large as at that magnitude.
    pub const fn max_ulp(self) -> f64 {
        match self {
            Self::Exp => 1.0,
            Self::Exp2 => 2.0,
            Self::Sigmoid => 2.5,
            Self::Silu => 3.25,
            Self::Softplus => 3.0,
        }
    }

    /// The smallest magnitude of a result for which [`Elementary::max_ulp`] holds: 0 but for SiLU, whose sigmoid
    /// factor is subnormal, and so less precise, where the result is near the end of the range.
    pub const fn smallest(self) -> f64 {
        match self {
            Self::Silu => f32::MIN_POSITIVE as f64 * 128.0,
            _ => 0.0,
        }
    }
}

impl Cpu {
    /// Replaces each value by the function's, on the calling thread.
    pub fn elementary(&self, function: Elementary, values: &mut [f32]) {
        // SAFETY: the kernel has no conditions of its own.
        unsafe { self.isa.run(Map { function, values }) }
    }
}

/// Vectors at once.
const VECTORS: usize = 4;

struct Map<'a> {
    function: Elementary,
    values: &'a mut [f32],
}

impl Kernel for Map<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        macro_rules! functions {
            ($($variant:ident => $function:ident),*) => {
                match self.function {
                    $(Elementary::$variant => {
                        // SAFETY: the caller vouches for the features of `S`; the values are in the slice.
                        unsafe {
                            let (at, len) = (self.values.as_mut_ptr(), self.values.len());
                            let mut i = 0;
                            while len - i >= VECTORS * S::LANES {
                                let mut x = [S::splat(0.0); VECTORS];
                                for j in 0..VECTORS {
                                    x[j] = S::load(at.add(i + j * S::LANES));
                                }
                                x = math::$function::<S, VECTORS>(x);
                                for j in 0..VECTORS {
                                    S::store(at.add(i + j * S::LANES), x[j]);
                                }
                                i += VECTORS * S::LANES;
                            }
                            for i in (i..len).step_by(S::LANES) {
                                let count = S::LANES.min(len - i);
                                let [x] = math::$function::<S, 1>([load::<S, f32>(at.add(i), count)]);
                                store::<S, f32>(at.add(i), x, count);
                            }
                        }
                    })*
                }
            };
        }
        functions!(Exp => exp, Exp2 => exp2, Sigmoid => sigmoid, Silu => silu, Softplus => softplus);
    }
}
